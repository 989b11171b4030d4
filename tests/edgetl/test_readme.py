"""README's blocks, word for word: a workstation and a board, each in a new environment.

``make test-readme`` runs them on the last commit; the packages come from the index. Where the photos of the README are
here, what it shows is compared with what is printed, but for the numbers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sshd import Lab

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
URL = "https://github.com/edgetl/edgetl"
TRIED, WORKSTATION, PYTORCH, BOARD, TEXT = "tried", "workstation", "pytorch", "board", "text"
# Where each block is followed, in order, by its first words. The clone is where the workstation begins, too.
BLOCKS = (
    (f"git clone {URL}", TRIED),
    ("flowers/roses/*.jpg", TEXT),
    ("python3 -m venv .venv", WORKSTATION),
    ("$ edgetl train", WORKSTATION),
    ("$ edgetl quantize", WORKSTATION),
    ("edgetl bench", WORKSTATION),
    ("pip install ./device '.[search]'", WORKSTATION),
    ("torch.onnx.export(", PYTORCH),
    ("$ edgetl import theirs.onnx", WORKSTATION),
    ("$ edgetl import person.h5", WORKSTATION),
    ("$ edgetl pack", WORKSTATION),
    ("sudo apt install", BOARD),
    # What verify prints in the block before.
    ("ok       files", TEXT),
    ("from edgetl_device import", BOARD),
)
# Words that are not followed, and what stands for them.
INSTEAD = {
    # The suite, which these tests are a part of; make runs part of it even when asked only to print it.
    "make test ": "grep '^test:' Makefile ",
    # A package of Debian, for a board: that it has what the package brings is checked.
    "sudo apt install python3-venv": "python3 -c 'import ensurepip, venv'",
    # This machine has no user of this name.
    "pi@raspberrypi.local": "raspberrypi.local",
}
# Of the reader: made before the command that begins with these words.
BEFORE = {"edgetl import theirs.onnx": "KERAS_BACKEND=torch ../pytorch/bin/python ../export.py"}
# Their model: the one that the README trains, with its weights in timm's.
MODEL = """import sys
from pathlib import Path
sys.path.insert(0, "benchmarks")
from carried_over import pytorch_model
import torch
model = pytorch_model(Path("runs/flowers"))
"""
NUMBER = re.compile(r"[+-]?\b\d+(?:[.,]\d+)*(?:e[+-]\d+)?%?")
MARK = "next command of the README:"


@dataclass(frozen=True)
class Command:
    """A command, and the lines that the README shows below it; None if it shows none."""

    text: str
    shown: tuple[str, ...] | None


def blocks() -> list[str]:
    return re.findall(r"^```(?:python)?\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[Command]:
    """Commands of a block: all its lines, or those after a prompt, with what they print below."""
    if block.startswith("from "):
        return [Command(f"python - <<'END'\n{block}END", None)]
    if not block.startswith("$ "):
        return [Command(line, None) for line in block.splitlines()]
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    lines = [part.splitlines() for part in parts]
    return [Command(first, tuple(rest) or None) for first, *rest in lines]


def of(place: str) -> list[Command]:
    return [
        one for block, (_, where) in zip(blocks(), BLOCKS, strict=True) if where == place for one in commands(block)
    ]


def instead(text: str) -> str:
    for words, others in INSTEAD.items():
        text = text.replace(words, others)
    return text


def follow(asked: Sequence[Command], start: Sequence[str], cwd: Path, env: dict[str, str]) -> list[list[str]]:
    """Type commands into one shell, started by ``start``; return the lines that each printed."""
    script = cwd / "typed.sh"
    lines = []
    for one in asked:
        lines += [made for words, made in BEFORE.items() if one.text.startswith(words)]
        lines += [f"echo '{MARK}'", f"{{ {instead(one.text)}\n}} || exit 1"]
    script.write_text("\n".join(lines) + "\n", "utf-8")
    done = subprocess.run(
        [*start, str(script)], cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    printed = [part.strip("\n").splitlines() for part in done.stdout.split(f"{MARK}\n")[1:]]
    assert done.returncode == 0, f"{asked[len(printed) - 1].text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return printed


def masked(line: str) -> str:
    return " ".join(NUMBER.sub("#", line).replace("─", "").split())


def differences(shown: Sequence[str], printed: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the README that are not printed in its order; only ``...`` stands for others.

    The README leaves out the empty lines around tables.
    """
    left, free = [masked(line) for line in printed if masked(line)], False
    for line in filter(masked, shown):
        if line == "...":
            free = True
            continue
        wanted = masked(line)
        place = left.index(wanted) if free and wanted in left else 0
        if not left or left[place] != wanted:
            yield line
            continue
        left, free = left[place + 1 :], False
    if left and not free:
        yield f"not shown: {left[0]}"


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, str]:
    """The environment of a new user, who clones this repository from the address of the README."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "gitconfig").write_text(f'[url "file://{ROOT}"]\n\tinsteadOf = {URL}\n[safe]\n\tdirectory = *\n')
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EDGETL", "VIRTUAL"))}
    inside = str(Path(sys.executable).parent)
    env["PATH"] = os.pathsep.join(one for one in env["PATH"].split(os.pathsep) if one != inside)
    kept = os.environ.get("PIP_CACHE_DIR", str(Path("~/.cache/pip").expanduser()))
    return env | {
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        "PIP_CACHE_DIR": kept,
    }


def own_files(folder: Path) -> bool:
    """Put what the README takes for the reader's into a clone; return whether it is what was shown from."""
    shared = Path(os.environ.get("EDGETL_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if (shared / "flowers").is_dir():
        shutil.copytree(shared / "flowers", folder / "flowers")
        for label, kind in (("no person", "paper"), ("person", "glass")):
            shutil.copytree(shared / "waste" / "train" / kind, folder / "photos" / label)
        shutil.copy(shared / "vww" / "vww_96.h5", folder / "person.h5")
        return True
    from edgetl._lib.extras import keras
    from edgetl.synthetic import CLASSES, draw_dataset

    draw_dataset(folder / "flowers", per_class=30, classes=CLASSES[:5], size=160)
    draw_dataset(folder / "photos", per_class=30, classes=CLASSES[:2], size=96)
    layers = keras().layers
    first = layers.Conv2D(8, 3, strides=2, activation="relu")
    head = (layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax"))
    keras().Sequential([layers.Input((96, 96, 3)), first, *head]).save(folder / "person.h5")
    return False


def with_pytorch(folder: Path, env: dict[str, str]) -> None:
    """Make the environment of somebody who trains with PyTorch, and a script that ends as the README says."""
    packages = "torch timm onnx onnxscript keras"
    for line in ("python3 -m venv pytorch", f"pytorch/bin/pip install --quiet {packages}"):
        subprocess.run(line.split(), cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
    (export,) = (block for block, (_, where) in zip(blocks(), BLOCKS, strict=True) if where == PYTORCH)
    (folder / "export.py").write_text(MODEL + export, "utf-8")


def test_every_block_has_its_place() -> None:
    assert [block[: len(first)] for block, (first, _) in zip(blocks(), BLOCKS, strict=True)] == [
        first for first, _ in BLOCKS
    ]
    text = "".join(blocks())
    for words in (*INSTEAD, *BEFORE):
        assert words in text, words


def test_what_differs_is_seen() -> None:
    shown = ("...", "time  21.2 s", "next  edgetl quantize")
    assert list(differences(shown, ["a", "b", "time  7 s", "next  edgetl quantize"])) == []
    found = list(differences(shown, ["a", "time  7 s", "more", "next  edgetl quantize"]))
    assert found == ["next  edgetl quantize", "not shown: more"]
    assert list(differences(shown[1:], ["a", "time  7 s"])) == [*shown[1:], "not shown: a"]
    assert list(differences(("top-1 0.900 (0.85..0.93)",), ["top-1 0.9  (0.8..1)"])) == []


@pytest.mark.readme
def test_it_is_tried_as_the_readme_says(clean: dict[str, str], tmp_path: Path) -> None:
    follow(of(TRIED), ["bash"], tmp_path, clean)
    assert (tmp_path / "edgetl" / "demo" / "result.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.readme
@pytest.mark.needs_program("ssh", "sshd")
def test_a_workstation_and_a_board_follow_the_readme(clean: dict[str, str], tmp_path: Path) -> None:
    clone, *_ = of(TRIED)
    board = tmp_path / "board"
    board.mkdir()
    follow([clone], ["bash"], tmp_path, clean)
    as_shown = own_files(tmp_path / "edgetl")
    with_pytorch(tmp_path, clean)
    photo = min((tmp_path / "edgetl" / "flowers").rglob("*.[jp][pn]g"))
    shutil.copy(photo, board / "photo.jpg")
    asked = of(WORKSTATION)
    with Lab(tmp_path / "lab") as lab:
        # A board knows the index of packages, and nothing else of this machine.
        pip = {name: value for name, value in clean.items() if name.startswith(("LANG", "PIP_")) or "_proxy" in name}
        lab.board("raspberrypi.local", home=board, env=" ".join(f'"{name}={value}"' for name, value in pip.items()))
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "scp").write_text(f'#!/bin/sh\nexec {shutil.which("scp")} -q -F {lab.config} "$@"\n')
        (programs / "scp").chmod(0o755)
        env = clean | {"PATH": f"{programs}{os.pathsep}{clean['PATH']}"}
        printed = follow(asked, ["bash"], tmp_path / "edgetl", env)
        both = [(one, lines) for one, lines in zip(asked, printed, strict=True) if one.shown and as_shown]
        wrong = {one.text: (found, lines) for one, lines in both if (found := list(differences(one.shown, lines)))}
        assert not wrong, "\n".join(
            "\n".join((text, *found, "printed:", *lines)) for text, (found, lines) in wrong.items()
        )
        assert (board / "flowers.edgetl").is_file()
        over = ["ssh", "-F", str(lab.config), "raspberrypi.local", "cd ~ && bash"]
        asked = of(BOARD)
        printed = follow(asked, over, board, clean)
        found = dict(zip((one.text.partition(" flowers")[0] for one in asked), printed, strict=True))
        if as_shown:
            (verified,) = (block for block in blocks() if block.startswith("ok  "))
            assert list(differences(verified.splitlines(), found["edgetl-device verify"])) == []
        assert "model" in "\n".join(found["edgetl-device bench"])
        assert found["edgetl-device classify"]
        # The loop of the program in Python.
        labels = {path.name for path in (tmp_path / "edgetl" / "flowers").rglob("*") if path.is_dir()}
        assert [line.split()[0] in labels for line in printed[-1]] == [True] * 3
        (packages,) = board.glob("edge/lib/python*/site-packages")
        assert not (packages / "tensorflow").exists()
        # What is installed, without pip itself and what Python compiles.
        files = [path for path in packages.rglob("*") if path.is_file() and not path.is_symlink()]
        counted = [path for path in files if not {"pip", "setuptools", "__pycache__"} & set(path.parts)]
        assert sum(path.stat().st_size for path in counted) < 150e6
