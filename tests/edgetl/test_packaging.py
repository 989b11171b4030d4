"""Both distributions, as wheels and as source: their content, and that they work in a clean environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from programs import cannot_run

import edgetl
import edgetl_device

pytestmark = pytest.mark.no_cover

REPO = Path(__file__).resolve().parent.parent.parent
GOLDEN = REPO / "tests" / "golden"
DISTRIBUTIONS = {"edgetl": REPO, "edgetl_device": REPO / "device"}


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # Use the installed packages, not a checkout on the path.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, cwd=cwd, env=env)


def pip(python: object, *arguments: object) -> None:
    """Run pip; end the test if the package index is unreachable, and fail on any other error."""
    checked(run(python, "-m", "pip", "--disable-pip-version-check", *arguments))


def checked(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        said = done.stdout + done.stderr
        words = ("No matching distribution found", "Connection", "Temporary failure in name resolution", "timed out")
        # A mismatch between our own packages is not the index's fault.
        if any(word in said for word in words) and "No matching distribution found for edgetl" not in said:
            cannot_run(f"no package index here: {said.strip().splitlines()[-1]}")
        pytest.fail(said)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, *DISTRIBUTIONS.values())
    return {path.name.split("-")[0]: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    for root in DISTRIBUTIONS.values():
        checked(run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, root))
    return {path.name.split("-")[0]: path for path in folder.iterdir()}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def requirements(wheel: Path) -> list[Requirement]:
    return [Requirement(line) for line in metadata(wheel).get_all("Requires-Dist", [])]


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_two_distributions_of_one_version(wheels: dict[str, Path], sources: dict[str, Path]) -> None:
    assert set(wheels) == set(sources) == set(DISTRIBUTIONS)
    assert edgetl.__version__ == edgetl_device.__version__
    assert {metadata(wheel)["Version"] for wheel in wheels.values()} == {edgetl.__version__}
    (device,) = (one for one in requirements(wheels["edgetl"]) if one.name == "edgetl-device" and not one.marker)
    assert str(device.specifier) == f"=={edgetl_device.__version__}"


def test_both_say_where_they_come_from_and_that_they_are_typed(wheels: dict[str, Path]) -> None:
    urls = [metadata(wheel).get_all("Project-URL") for wheel in wheels.values()]
    assert urls[0] == urls[1]
    assert [line.split(",")[0] for line in urls[0] or []] == ["Source", "Documentation", "Changelog", "Issues"]
    for name, wheel in wheels.items():
        assert f"{name}/py.typed" in names(wheel)
        (licence,) = (data for file, data in contents(wheel).items() if file.endswith(".dist-info/licenses/LICENSE"))
        assert licence == (REPO / "LICENSE").read_bytes()


def test_the_sources_hold_what_their_wheel_needs_and_no_more(sources: dict[str, Path]) -> None:
    for name, wanted in (
        ("edgetl", {"edgetl", "models", "README.md", "LICENSE", "CHANGELOG.md"}),
        ("edgetl_device", {"edgetl_device", "README.md", "LICENSE"}),
    ):
        with tarfile.open(sources[name]) as archive:
            found = [file.name.split("/") for file in archive.getmembers()]
        assert {parts[1] for parts in found} == wanted | {"pyproject.toml", "PKG-INFO", ".gitignore"}
        assert "tests" not in {part for parts in found for part in parts}


def test_a_wheel_made_from_the_source_is_the_same(
    wheels: dict[str, Path], sources: dict[str, Path], tmp_path: Path
) -> None:
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", tmp_path, *sources.values())
    for wheel in wheels.values():
        assert contents(tmp_path / wheel.name) == contents(wheel)


def test_the_embedded_weights_ship_with_card_and_licence(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["edgetl"]) as archive:
        for folder in ("mobilenet_v2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
            # Those of Lite2 are in another package.
            weights = "places.csv" if folder == "efficientnet_lite2" else "weights.npz"
            for name in (weights, "card.json", "CARD.md", "LICENSE"):
                here = (REPO / "models" / folder / name).read_bytes()
                assert archive.read(f"edgetl/_models/{folder}/{name}") == here
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names(wheels["edgetl"]))


def test_data_and_templates_ship(wheels: dict[str, Path]) -> None:
    for package, root in DISTRIBUTIONS.items():
        shipped = contents(wheels[package])
        files = [path for path in (root / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        data = [path for path in files if path.suffix != ".py"]
        assert data
        for path in data:
            assert shipped[path.relative_to(root).as_posix()] == path.read_bytes()


def test_every_module_ships_and_nothing_else(wheels: dict[str, Path]) -> None:
    for wheel, package, root in (
        ("edgetl", "edgetl", REPO),
        ("edgetl_device", "edgetl_device", REPO / "device"),
    ):
        found = names(wheels[wheel])
        modules = {path.relative_to(root).as_posix() for path in (root / package).rglob("*.py")}
        assert modules <= found
        for name in found:
            assert name.startswith((f"{package}/", f"{package}-")), name
            assert "__pycache__" not in name
            assert "test" not in name.lower()
        assert wheels[wheel].stat().st_size < 22_000_000


def test_what_the_wheels_ask_for(wheels: dict[str, Path]) -> None:
    plain = {one.name for one in requirements(wheels["edgetl"]) if "extra" not in str(one.marker)}
    assert plain == {"edgetl-device", "packaging", "rich", "tomli", "typer"}
    assert not {"tensorflow", "keras", "typer", "rich"} & {one.name for one in requirements(wheels["edgetl_device"])}


# pip builds a wheel from the source first; the test above shows that it is the same wheel.
@pytest.mark.parametrize("form", ["wheels", pytest.param("sources", marks=pytest.mark.slow)])
def test_installed_alone_they_work(form: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    files: dict[str, Path] = request.getfixturevalue(form)
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    pip(binaries / "python", "install", "--quiet", *files.values())
    command, tiny, photo = binaries / "edgetl", GOLDEN / "tiny.edgetl", GOLDEN / "photos" / "circle0.jpg"

    done = run(command, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "bench" in done.stdout
    done = run(command, "verify", tiny, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(command, "classify", tiny, photo, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["photos"][0]["predictions"][0]["label"] == "circle", done.stderr
    done = run(binaries / "python", "-m", "edgetl_device", "classify", tiny, photo, cwd=tmp_path)
    assert json.loads(done.stdout)["photos"][0]["predictions"][0]["label"] == "circle", done.stderr

    done = run(
        binaries / "python", "-c",
        "from edgetl.backbones import resolve_weights as r; w = r('mobilenet_v2', width=1.0); print(w.source, w.path)",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.startswith("embedded "), done.stderr
    assert str(tmp_path) in done.stdout

    done = run(command, "train", GOLDEN / "photos", "--out", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.startswith("error: this command needs tensorflow")
    assert "pip install 'edgetl[train]'" in done.stderr
    assert len(done.stderr.splitlines()) <= 3
