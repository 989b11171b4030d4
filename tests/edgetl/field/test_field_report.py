"""What boards saw, summed up and shown: who drifts, who is unlike the others, and what cannot be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fleet_records
import pytest
import small

from edgetl.field.page import render
from edgetl.field.summary import BoardInField, summarize
from edgetl_device.errors import InputError


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fleet_records.write_fleet(tmp_path_factory.mktemp("fleet") / "field")


def board(folder: Path, name: str) -> BoardInField:
    return next(one for one in summarize(folder).boards if one.name == name)


def test_counts_are_those_of_the_records(fleet: Path) -> None:
    one = board(fleet, "shelf-0")
    assert (one.photos, one.failed, one.unknown, one.told) == (4800, 12, 36, 4800)
    assert (one.first, one.last) == ("2027-01-15T08:00:00+00:00", "2027-01-18T02:00:00+00:00")
    assert one.seconds == 12 * 3600
    assert [day.photos for day in one.days] == [1200, 1600, 1600, 400]
    assert one.measures["unknown share"] == pytest.approx(3 / 400)
    assert one.measures["brightness"] == 118
    assert one.bundles == ("parts abababababab",)


def test_more_alarms_than_false_ones_are_drift(fleet: Path) -> None:
    one, other = board(fleet, "shelf-0"), board(fleet, "shelf-5")
    assert (one.windows, one.alarms, one.drifts, one.shift) == (48, 0, False, None)
    assert (other.windows, other.alarms, other.drifts) == (48, 18, True)
    assert other.shift is not None
    assert other.shift.feature == "brightness"
    # One false alarm in a thousand windows is what is to be expected.
    assert not fleet_records_with_alarms(fleet.parent / "one", 1, hours=6 * 250).drifts


def fleet_records_with_alarms(folder: Path, alarms: int, *, hours: int) -> BoardInField:
    left = [alarms]

    def change(hour: int) -> fleet_records.MonitorRecord:
        now, left[0] = left[0], 0
        return fleet_records.record(hour, alarms=now)

    return board(fleet_records.write_board(folder, change, hours=hours), folder.name)


def test_a_board_unlike_the_others_is_named_with_what_is_usual(fleet: Path, tmp_path: Path) -> None:
    found = {one.name: one for one in summarize(fleet).boards}
    assert {one.measure for one in found["shelf-5"].differs} == {"brightness", "unknown share"}
    (dark,) = (one for one in found["shelf-5"].differs if one.measure == "brightness")
    assert dark.score < -3.5
    assert dark.median == pytest.approx(119.5)
    assert all(one.differs == () for name, one in found.items() if name != "shelf-5")
    # Of four boards nobody knows what is usual.
    assert all(one.differs == () for one in summarize(fleet_records.write_fleet(tmp_path / "few", 4)).boards)


def test_a_bundle_that_cannot_tell_has_no_shares(tmp_path: Path) -> None:
    fleet_records.write_board(tmp_path / "a", lambda hour: fleet_records.quiet(fleet_records.record(hour)))
    (one,) = summarize(tmp_path / "a").boards
    assert (one.told, one.windows, one.false_alarm_rate, one.drifts) == (0, 0, None, False)
    assert "unknown share" not in one.measures
    page = render(summarize(tmp_path / "a"), tmp_path / "a")
    assert "no drift beyond false alarms" in page


def test_lines_that_cannot_be_read_are_shown_and_escaped(fleet: Path, tmp_path: Path) -> None:
    folder = fleet_records.write_fleet(tmp_path / "<b>field", 2)
    (day, *_) = sorted((folder / "shelf-0").glob("*.jsonl"))
    with open(day, "ab") as stream:
        stream.write(b'{"schema": "edgetl.monitor/1"}\n' + b"[" * 5000 + b"\n")
    (folder / "empty").mkdir()
    (folder / "empty" / "2027-01-15.jsonl").write_bytes(b"no record\n")
    (folder / "shelf-1" / "photos.json").write_text("[")
    found = summarize(folder)
    assert found.empty == ("empty",)
    assert len(next(one for one in found.boards if one.name == "shelf-0").problems) == 2
    page = render(found, folder)
    assert "Lines that cannot be read" in page
    assert "<b>field" not in page
    del fleet


def test_photos_are_shown_unknown_ones_first(fleet: Path) -> None:
    page = render(summarize(fleet), fleet)
    assert page.count('src="data:image/jpeg') == 3
    assert page.index("unknown, on shelf-5") < page.index("uncertain, on shelf-5") < page.index("random, on shelf-5")


def test_a_kept_photo_that_is_none_any_more_is_said(fleet: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(fleet, tmp_path / "field"))
    photo = min((here / "shelf-5" / "photos").iterdir())
    with open(photo, "r+b") as stream:
        stream.truncate(200 << 30)
    page = render(summarize(here), here)
    assert page.count('src="data:image/jpeg') == 2
    assert "cannot be read" in page


def test_the_command_writes_the_page_and_names_who_drifts(fleet: Path, tmp_path: Path) -> None:
    done = small.edgetl("field", "report", fleet, "-o", tmp_path / "field.html")
    assert done.returncode == 0, done.stderr
    assert "shelf-5: photos no longer look like" in done.stdout
    assert "18 of 48" in done.stdout
    assert (tmp_path / "field.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    done = small.edgetl("field", "report", fleet, "-o", tmp_path / "field.html", "--json")
    assert json.loads(done.stdout)["schema"] == "edgetl.field/1"


def test_folders_without_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        summarize(tmp_path / "none")
    with pytest.raises(InputError, match="has no records"):
        summarize(tmp_path)
    (tmp_path / "2027-01-15.jsonl").write_bytes(b"{}\n")
    assert "has no records" in small.refused(small.edgetl("field", "report", tmp_path))
