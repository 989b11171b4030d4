"""The Dockerfiles of docs/docker, without Docker: their steps run in a virtual environment, from built wheels."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from programs import cannot_run

pytestmark = pytest.mark.no_cover

REPO = Path(__file__).parents[2]
FOLDER = REPO / "docs" / "docker"
GOLDEN = REPO / "tests" / "golden"
FILES = sorted(path.name for path in FOLDER.glob("*.Dockerfile"))


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, in order."""
    text = re.sub(r"^#.*\n", "", (FOLDER / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def of(name: str, instruction: str) -> list[str]:
    return [rest for word, rest in instructions(name) if word == instruction]


def test_there_is_one_for_each_distribution() -> None:
    assert FILES == ["board.Dockerfile", "workstation.Dockerfile"]
    assert of("board.Dockerfile", "ENTRYPOINT") == ['["edgetl-device"]']
    assert of("workstation.Dockerfile", "ENTRYPOINT") == ['["edgetl"]']


@pytest.mark.parametrize("name", FILES)
def test_the_image_is_small_in_rights_and_built_from_wheels(name: str) -> None:
    known = {"FROM", "COPY", "RUN", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions(name)} <= known
    (base,) = of(name, "FROM")
    # edgetl is tested with Python 3.12, and a slim Debian has what the wheels need.
    assert base == "python:3.12-slim-bookworm"
    assert of(name, "USER") == ["1000:1000"]
    (copied,) = of(name, "COPY")
    *patterns, target = copied.split()
    assert target == "/wheels/"
    wheels = {"edgetl_device-0.1.0-py3-none-any.whl", "edgetl-0.1.0-py3-none-any.whl"}
    taken = [{wheel for wheel in wheels if fnmatch(wheel, pattern)} for pattern in patterns]
    # Each pattern is one wheel.
    assert [len(found) for found in taken] == [1] * len(patterns)


def done(*command: object, cwd: Path, env: dict[str, str]) -> str:
    run = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
    said = run.stdout + run.stderr
    if run.returncode and any(word in said for word in ("No matching distribution found", "Connection", "timed out")):
        cannot_run(f"no package index here: {said.strip().splitlines()[-1]}")
    assert run.returncode == 0, said
    return run.stdout


@pytest.mark.parametrize("name", ["board.Dockerfile", pytest.param("workstation.Dockerfile", marks=pytest.mark.slow)])
def test_its_steps_make_a_command_that_works(name: str, tmp_path: Path) -> None:
    """COPY, RUN, ENV and ENTRYPOINT, with a virtual environment for the image's Python and a folder for its root."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    built, root = tmp_path / "dist", tmp_path / "root"
    sources = [REPO / "device", *([REPO] if name.startswith("workstation") else [])]
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    done(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", built, *sources, cwd=tmp_path, env=clean)
    done(sys.executable, "-m", "venv", root / "venv", cwd=tmp_path, env=clean)
    env = clean | {"PATH": f"{root / 'venv' / 'bin'}{os.pathsep}{clean['PATH']}"}
    for word, rest in instructions(name):
        if word == "COPY":
            *patterns, target = rest.split()
            folder = root / target.strip("/")
            folder.mkdir(parents=True)
            for pattern in patterns:
                (file,) = built.glob(pattern)
                (folder / file.name).write_bytes(file.read_bytes())
        elif word == "ENV":
            pairs = dict(part.partition("=")[::2] for part in shlex.split(rest))
            # The image's folders are below the root.
            env |= {key: str(root / value.strip("/")) for key, value in pairs.items()}
        elif word == "RUN":
            # Of the image's absolute paths, only those of the wheels occur.
            done("sh", "-ec", rest.replace("/wheels", f"{root}/wheels"), cwd=tmp_path, env=env)
    assert not (root / "wheels").exists()
    (entry,) = re.findall(r'"([^"]+)"', of(name, "ENTRYPOINT")[0])
    (arguments,) = of(name, "CMD")
    assert done(entry, *re.findall(r'"([^"]+)"', arguments), cwd=tmp_path, env=env)
    assert "ok" in done(entry, "verify", GOLDEN / "tiny.edgetl", cwd=tmp_path, env=env)
    photo = GOLDEN / "photos" / "circle0.jpg"
    assert "circle 0." in done(entry, "classify", GOLDEN / "tiny.edgetl", photo, cwd=tmp_path, env=env)
