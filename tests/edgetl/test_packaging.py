"""Both wheels: what is in them, and that they work where only they are installed."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from programs import cannot_run

REPO = Path(__file__).resolve().parent.parent.parent
GOLDEN = REPO / "tests" / "golden"


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=300, cwd=cwd)


def pip(python: object, *arguments: object) -> None:
    """Run pip; end the test when the package index cannot be reached, and fail on anything else."""
    done = run(python, "-m", "pip", "--disable-pip-version-check", *arguments)
    if done.returncode:
        words = ("No matching distribution found", "Connection", "Temporary failure in name resolution", "timed out")
        if any(word in done.stderr for word in words):
            cannot_run(f"no package index here: {done.stderr.strip().splitlines()[-1]}")
        pytest.fail(done.stderr)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, REPO, REPO / "device")
    return {path.name.split("-")[0]: path for path in folder.iterdir()}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


def test_two_wheels(wheels: dict[str, Path]) -> None:
    assert set(wheels) == {"edgetl", "edgetl_device"}


def test_the_embedded_weights_ship_with_card_and_licence(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["edgetl"]) as archive:
        for folder in ("mobilenet_v2", "efficientnet_lite0"):
            for name in ("weights.npz", "card.json", "CARD.md", "LICENSE"):
                here = (REPO / "models" / folder / name).read_bytes()
                assert archive.read(f"edgetl/_models/{folder}/{name}") == here
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names(wheels["edgetl"]))


def test_schema_and_templates_ship(wheels: dict[str, Path]) -> None:
    for wheel, root, name in (
        ("edgetl_device", REPO / "device", "edgetl_device/schemas/result-1.schema.json"),
        ("edgetl", REPO, "edgetl/report/templates/report.html"),
        ("edgetl", REPO, "edgetl/report/templates/style.css"),
    ):
        with zipfile.ZipFile(wheels[wheel]) as archive:
            assert archive.read(name) == (root / name).read_bytes()


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
        assert wheels[wheel].stat().st_size < 14_000_000


def test_what_the_wheels_ask_for(wheels: dict[str, Path]) -> None:
    plain = [
        line.removeprefix("Requires-Dist: ")
        for line in metadata(wheels["edgetl"]).splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    assert sorted(line.split(">")[0] for line in plain) == ["edgetl-device", "packaging", "rich", "tomli", "typer"]
    device = metadata(wheels["edgetl_device"])
    for heavy in ("tensorflow", "keras", "typer", "rich"):
        assert f"Requires-Dist: {heavy}" not in device


def test_installed_alone_they_work(wheels: dict[str, Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    pip(binaries / "python", "install", "--quiet", wheels["edgetl_device"], wheels["edgetl"])
    edgetl, tiny, photo = binaries / "edgetl", GOLDEN / "tiny.edgetl", GOLDEN / "photos" / "circle0.jpg"

    done = run(edgetl, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "bench" in done.stdout
    done = run(edgetl, "verify", tiny, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(edgetl, "classify", tiny, photo, "--json", cwd=tmp_path)
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

    done = run(edgetl, "train", GOLDEN / "photos", "--out", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.startswith("error: this command needs tensorflow")
    assert "pip install ./device '.[train]'" in done.stderr
    assert len(done.stderr.splitlines()) <= 3
