"""The photos of a run together with more of them: no label is replaced, no photo is missing."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from drawing import draw_photo

from edgetl.data import load_dataset
from edgetl.runs.directory import Run
from edgetl.training.more_photos import with_more_photos
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover


@pytest.fixture
def run(short_run: Run, tmp_path: Path) -> Run:
    """A copy of a run, with its photos."""
    folder = Path(shutil.copytree(short_run.folder, tmp_path / "run"))
    photos = shutil.copytree(short_run.data_root, tmp_path / "photos")
    (folder / "data_root.txt").write_text(str(photos))
    return Run.open(folder)


def more(folder: Path, *rows: tuple[str, str]) -> Path:
    """Write a table of labels."""
    with open(folder / "more.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("path", "label"), *rows])
    return folder / "more.csv"


def test_a_label_of_the_run_is_not_replaced(run: Run, tmp_path: Path) -> None:
    one, other = run.samples[0], next(one for one in run.samples if one.label != run.samples[0].label)
    table = tmp_path / "new.csv"
    wrong = more(tmp_path, (f"photos/{one.path}", other.label))
    with pytest.raises(InputError, match=f"is {one.label} and {other.label}") as refused:
        with_more_photos(run, wrong, table)
    assert one.path in refused.value.what
    assert f"Correct {wrong}" in refused.value.hint
    assert not table.exists()
    # Said twice, it counts once.
    assert with_more_photos(run, more(tmp_path, (f"photos/{one.path}", one.label)), table) == table
    assert len(table.read_text().splitlines()) == 1 + len(run.samples)


def test_the_same_photo_under_another_name_and_label_is_found_by_the_check_of_data(run: Run, tmp_path: Path) -> None:
    one, other = run.samples[0], next(one for one in run.samples if one.label != run.samples[0].label)
    shutil.copy(tmp_path / "photos" / one.path, tmp_path / "copy.png")
    table = with_more_photos(run, more(tmp_path, ("copy.png", other.label)), tmp_path / "new.csv")
    with pytest.raises(InputError, match="label"):
        load_dataset(table, run.preprocess)


def test_photos_of_the_run_that_are_missing_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos" / run.samples[1].path).unlink()
    (tmp_path / "photos" / run.samples[4].path).unlink()
    draw_photo(5).save(tmp_path / "5.png")
    table = tmp_path / "new.csv"
    with pytest.raises(InputError, match=f"2 of the {len(run.samples)} photos") as refused:
        with_more_photos(run, more(tmp_path, ("5.png", "bolt")), table)
    assert run.samples[1].path in refused.value.why
    assert "Put them back" in refused.value.hint
    assert not table.exists()
