"""Artifacts that are shared contain no absolute path, user name or position: bundle, .edgetl, report.html, result."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import small
from PIL import Image

from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.reports.run.write import write_run_report
from edgetl.runs.directory import DATA_ROOT, Run
from edgetl_device.packing import pack

pytestmark = pytest.mark.no_cover

USER = "anna.example"


@pytest.fixture(scope="module")
def run(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in a home directory, on phone photos with GPS positions."""
    from edgetl.training import train

    home = tmp_path_factory.mktemp("home") / USER
    photos = Path(shutil.copytree(tiny_photos, home / "photos"))
    tags = Image.Exif()
    tags[0x013B] = USER
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 15.0)})
    for path in photos.rglob("*.*"):
        with Image.open(path) as image:
            image.load()
        image.save(path, exif=tags)
    run = train(photos, home / "run", small.short())
    own = home / "own"
    own.mkdir()
    for number, sample in enumerate(run.of("train")[:12]):
        shutil.copy(photos / sample.path, own / f"{USER} {number}{Path(sample.path).suffix}")
    quantize(run, QuantizeOptions(int8=True, calibration=12, calibration_photos=str(own)))
    write_run_report(run, run.folder / "report.html")
    return run


def test_run_json_names_the_data_set_and_a_local_file_says_where_it_is(run: Run, tmp_path: Path) -> None:
    document = json.loads((run.folder / "run.json").read_text())
    assert document["dataset"]["root"] == "photos"
    assert USER not in (run.folder / "run.json").read_text()
    assert (run.folder / DATA_ROOT).read_text() == str(run.data_root)
    moved = Run.open(Path(shutil.copytree(run.folder, tmp_path / "run")))
    assert moved.data_root == run.data_root == run.folder.parent / "photos"


def test_the_settings_of_run_json_name_no_folder(run: Run, tmp_path: Path) -> None:
    from edgetl.training.run_files import settings_of

    plan = small.plan(weights=str(tmp_path / "own.h5"), teacher=str(run.folder))
    settings = settings_of(plan).by_name()
    assert (settings["weights"], settings["teacher"]) == ("own.h5", "run")
    assert settings_of(small.plan()).by_name()["weights"] == "auto"


def test_nothing_personal_is_in_a_bundle(run: Run, tmp_path: Path) -> None:
    packed = pack(run.folder / "bundle", tmp_path / "one.edgetl")
    with zipfile.ZipFile(packed) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    for name, data in contents.items():
        assert USER.encode() not in data, name
        if name.startswith("evalset/") and name != "evalset/index.csv":
            with Image.open(io.BytesIO(data)) as image:
                assert not image.getexif(), name
    document = json.loads(contents["bundle.json"])
    assert not re.findall(r'"/[^"]*"', json.dumps(document))
    (int8,) = (row for row in document["variants"] if row["name"] == "int8")
    assert int8["calibration"]["folder"] == "own"
    assert len(int8["calibration"]["sha256"]) == 12
    assert document["provenance"]["quantize"]["calibration_photos"] == "own"
    names = json.loads((run.folder / "quantize.json").read_text())["calibration"]["files"]
    assert {row["path"].startswith(USER) for row in names} == {True}


@pytest.mark.parametrize("name", ["report.html", "MODEL_CARD.md"])
def test_nothing_personal_is_in_a_report(run: Run, name: str) -> None:
    page = (run.folder / name).read_text()
    assert "edgetl train photos --size" in page
    assert USER not in page
    assert str(run.folder.parent.parent) not in page


def test_nothing_personal_is_in_a_result(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    done = small.edgetl("bench", run.folder, "--quick", "--duration", "0.05", "--variants", "int8", "--out", out)
    assert done.returncode == 0, done.stderr
    assert USER not in out.read_text()
    done = small.edgetl(
        "bench", run.folder, "--quick", "--duration", "0.05", "--variants", "int8",
        "--data", run.data_root, "--out", tmp_path / "folder.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert USER not in (tmp_path / "folder.json").read_text()
