"""The Dockerfiles of docs/docker, without Docker: their steps run from built wheels.

In a virtual environment; and by ``make test-containers`` in a Debian root of each architecture, as the image's users.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from programs import cannot_run

from edgetl.remote.connection import Children
from edgetl.remote.offline import Target, fetch_wheels
from edgetl.remote.wheel import device_wheel

pytestmark = pytest.mark.no_cover

REPO = Path(__file__).parents[2]
FOLDER = REPO / "docs" / "docker"
GOLDEN = REPO / "tests" / "golden"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
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


def build_wheels(folder: Path, name: str, env: dict[str, str]) -> None:
    """Build what an image of this Dockerfile is made of."""
    sources = [REPO / "device", *([REPO] if name.startswith("workstation") else [])]
    done(*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, *sources, cwd=folder.parent, env=env)


def copy_wheels(built: Path, rest: str, root: Path) -> None:
    """Do what COPY does, below a root."""
    *patterns, target = rest.split()
    folder = root / target.strip("/")
    folder.mkdir(parents=True)
    for pattern in patterns:
        (file,) = built.glob(pattern)
        (folder / file.name).write_bytes(file.read_bytes())


def words(name: str, instruction: str) -> list[str]:
    """The words of ENTRYPOINT or CMD."""
    (value,) = of(name, instruction)
    return list(json.loads(value))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["board.Dockerfile", "workstation.Dockerfile"])
def test_its_steps_make_a_command_that_works(name: str, tmp_path: Path) -> None:
    """COPY, RUN, ENV and ENTRYPOINT, with a virtual environment for the image's Python and a folder for its root."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    built, root = tmp_path / "dist", tmp_path / "root"
    build_wheels(built, name, clean)
    done(sys.executable, "-m", "venv", root / "venv", cwd=tmp_path, env=clean)
    env = clean | {"PATH": f"{root / 'venv' / 'bin'}{os.pathsep}{clean['PATH']}"}
    for word, rest in instructions(name):
        if word == "COPY":
            copy_wheels(built, rest, root)
        elif word == "ENV":
            pairs = dict(part.partition("=")[::2] for part in shlex.split(rest))
            # The image's folders are below the root.
            env |= {key: str(root / value.strip("/")) for key, value in pairs.items()}
        elif word == "RUN":
            # Of the image's absolute paths, only those of the wheels occur.
            done("sh", "-ec", rest.replace("/wheels", f"{root}/wheels"), cwd=tmp_path, env=env)
    assert not (root / "wheels").exists()
    entry = words(name, "ENTRYPOINT")
    assert done(*entry, *words(name, "CMD"), cwd=tmp_path, env=env)
    assert "ok" in done(*entry, "verify", GOLDEN / "tiny.edgetl", cwd=tmp_path, env=env)
    photo = GOLDEN / "photos" / "circle0.jpg"
    assert "circle 0." in done(*entry, "classify", GOLDEN / "tiny.edgetl", photo, cwd=tmp_path, env=env)


def fetch(house: Path, built: Path, name: str, machine: str, env: dict[str, str]) -> None:
    """Put what the wheels depend on into a folder, for Debian 12."""
    target = Target(machine, (3, 11), "2.36")
    if name.startswith("board"):
        house.mkdir()
        for wheel in fetch_wheels(target, device_wheel(), (), children=Children()):
            shutil.copy(wheel, house)
        return
    platforms = [word for tag in target.platforms() for word in ("--platform", tag)]
    (wheel,) = built.glob("edgetl-*.whl")
    options = ["--only-binary=:all:", "--python-version", "3.11", *platforms, "--find-links", built, "--dest", house]
    done(*PIP, "download", "--quiet", *options, f"{wheel}[train]", cwd=house.parent, env=env)


@pytest.mark.containers
@pytest.mark.parametrize(
    ("name", "architecture", "machine"),
    [
        ("board.Dockerfile", "amd64", "x86_64"),
        ("board.Dockerfile", "arm64", "aarch64"),
        ("workstation.Dockerfile", "amd64", "x86_64"),
    ],
)
def test_its_steps_work_in_a_clean_debian(name: str, architecture: str, machine: str, tmp_path: Path) -> None:
    """Every instruction but FROM, in a root that has nothing else, with its user and its folders.

    Debian's own Python stands for the image's, and a folder of wheels for the package index.
    """
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    built, root = tmp_path / "dist", tmp_path / "root"
    made = done(REPO / "tests" / "debian_root.sh", architecture, cwd=tmp_path, env=clean).strip()
    done("cp", "-a", made, root, cwd=tmp_path, env=clean)
    build_wheels(built, name, clean)
    fetch(root / "index", built, name, machine, clean)

    image = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    user, folder = "0:0", "/"

    def inside(*command: str, **more: str) -> str:
        # Its arguments: the root, the user, and what env gets, which is a folder, variables and a command.
        script = 'mount -t proc proc "$0/proc" && who=$1 && shift && exec chroot --userspec="$who" "$0" env -i -C "$@"'
        variables = [f"{key}={value}" for key, value in (image | more).items()]
        change_root = ("unshare", "--mount", "sh", "-c", script, root, user, folder, *variables)
        return done(*change_root, *command, cwd=tmp_path, env=clean)

    inside("python3", "-m", "venv", "/usr/local")
    for word, rest in instructions(name):
        if word == "COPY":
            copy_wheels(built, rest, root)
        elif word == "ENV":
            image |= dict(part.partition("=")[::2] for part in shlex.split(rest))
        elif word == "RUN":
            inside("sh", "-c", rest, PIP_NO_INDEX="1", PIP_FIND_LINKS="/index")
        elif word == "WORKDIR":
            (root / rest.strip("/")).mkdir(parents=True, exist_ok=True)
            folder = rest
        elif word == "USER":
            user = rest
    assert not (root / "wheels").exists()
    # What a user mounts.
    shutil.copytree(GOLDEN, root / folder.strip("/"), dirs_exist_ok=True)
    entry = words(name, "ENTRYPOINT")
    assert inside(*entry, *words(name, "CMD"))
    assert "ok" in inside(*entry, "verify", "tiny.edgetl")
    assert "circle 0." in inside(*entry, "classify", "tiny.edgetl", "photos/circle0.jpg")
    if name.startswith("workstation"):
        inside(*entry, "demo", "--out", "/tmp/demo", "--per-class", "20", "--duration", "0.3")
        assert list((root / "cache").iterdir())
