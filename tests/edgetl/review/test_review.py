"""The page of ``edgetl review``: used with real keys in a browser; nobody else gets in; every decision is kept."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import pytest
import small
from drawing import draw_photo
from reviewing import client, serving

from edgetl.data import load_dataset
from edgetl.review.decisions import Review, document_of
from edgetl.runs.directory import Run
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

ARTIFACTS = Path(os.environ.get("EDGETL_TEST_ARTIFACTS") or Path(tempfile.gettempdir()) / "edgetl-pages")
TEXT = "document.getElementById('{}')?.textContent || ''"


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """Five photos from the field, one of which cannot be read."""
    folder = tmp_path / "field"
    folder.mkdir()
    for seed in range(4):
        draw_photo(900 + seed).save(folder / f"{seed}.png")
    (folder / "4 broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    return folder


def table(path: Path) -> list[tuple[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return [(row["path"], row["label"]) for row in csv.DictReader(stream)]


@pytest.mark.needs_program("chromium")
def test_photos_are_labelled_with_the_keyboard(field: Path, tiny_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with (
        serving(field, "--run", tiny_run.folder, "--out", out) as (address, process),
        browser.tab(tmp_path / "profile") as tab,
    ):
        tab.open(address, width=1280)
        progress = TEXT.format("progress")
        tab.wait_for(progress, lambda text: text == "5 of 5 left, 0 labelled, 0 left out")
        # The secret does not stay in the address.
        assert "token" not in tab.value("location.href")
        shown = tab.value(TEXT.format("path"))
        assert (
            len(tab.value("[...document.querySelectorAll('#neighbours figcaption')].map(one => one.textContent)")) == 4
        )
        suggested = tab.value("document.querySelector('.suggested').firstChild.textContent").strip()
        assert suggested in small.LABELS
        tab.wait_for("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        tab.photograph(ARTIFACTS / "review-wide.png")

        tab.press("Enter")
        tab.wait_for(progress, lambda text: text.startswith("4 of 5 left, 1 labelled"))
        assert table(out) == [(f"field/{shown}", suggested)]
        second = tab.value(TEXT.format("path"))
        tab.press("2")
        tab.wait_for(progress, lambda text: text.startswith("3 of 5 left, 2 labelled"))
        assert table(out)[1] == (f"field/{second}", small.LABELS[1])
        tab.press("u")
        tab.wait_for(progress, lambda text: text.startswith("4 of 5 left, 1 labelled"))
        assert tab.value(TEXT.format("path")) == second
        assert len(table(out)) == 1
        tab.press("x")
        tab.wait_for(progress, lambda text: text == "3 of 5 left, 1 labelled, 1 left out")
        # Later: the last one comes before it again.
        third = tab.value(TEXT.format("path"))
        tab.press("s")
        tab.wait_for(TEXT.format("path"), lambda text: text != third)
        fourth = tab.value(TEXT.format("path"))
        # A new class, typed; 2 and s are letters there.
        tab.press("n", *"s2", "Enter")
        tab.wait_for(progress, lambda text: text.startswith("2 of 5 left, 2 labelled"))
        assert table(out)[-1] == (f"field/{fourth}", "s2")
        assert tab.value("[...document.querySelectorAll('#labels kbd')].length") == 4
        # What cannot be a class is said, and nothing is decided.
        tab.press("n", *"=1", "Enter")
        assert "spreadsheets" in tab.wait_for(TEXT.format("error"))

        tab.open(address, width=360, dark=True)
        tab.wait_for(progress, lambda text: text.startswith("2 of 5 left"))
        assert tab.value("document.documentElement.scrollWidth") <= 360
        tab.photograph(ARTIFACTS / "review-phone-dark.png")
        # The photo that cannot be read comes after the others, with nothing suggested.
        assert tab.value(TEXT.format("path")) == "4 broken.jpg"
        assert tab.wait_for(TEXT.format("broken")) == "cannot be read"
        assert tab.value("document.querySelectorAll('.suggested').length") == 0
        tab.press("x")
        tab.wait_for(progress, lambda text: text.startswith("1 of 5 left"))
        assert tab.value(TEXT.format("path")) == third
        tab.press("1")
        tab.wait_for(TEXT.format("result"), lambda text: "3 labelled, 2 left out" in text)
        tab.photograph(ARTIFACTS / "review-end.png")
        # What was answered with an error on purpose: a photo that cannot be read, a name that no class can have.
        assert [one for one in tab.messages if not re.search(r"/photos/\d+\"|/decide\"", one)] == []
        tab.value("document.getElementById('done').click()")
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        assert "labelled  3 of 5 photos; 2 left out, 0 not decided about" in process.stdout.read()
    found = load_dataset(out, Preprocess(size=square(32)), val=0.0, test=0.0)
    assert {one.label for one in found.samples} <= {*small.LABELS, "s2"}
    assert len(found.samples) == 3
    assert shown in {Path(one.path).name for one in found.samples}


def test_ctrl_c_keeps_what_was_decided_and_the_next_start_goes_on(field: Path, tmp_path: Path) -> None:
    with serving(field, "--label", "cat,dog") as (address, process):
        ask = client(address)
        state = ask("GET", "/state")
        assert (state["labels"], state["left"]) == (["cat", "dog"], 5)
        for label in ("dog", "bird"):
            place = ask("GET", "/state")["photo"]["place"]
            ask("POST", "/decide", {"photo": place, "what": "label", "label": label})
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        assert "3 not decided about" in process.stdout.read()
    assert [label for _, label in table(tmp_path / "field.csv")] == ["dog", "bird"]
    (field / "1.png").unlink()
    with serving(field, "--label", "cat") as (address, _):
        ask = client(address)
        state = ask("GET", "/state")
        # What was decided about a photo that is gone went with it.
        assert (state["labels"], state["left"], state["labelled"]) == (["cat", "dog"], 3, 1)
        assert ask("POST", "/undo", {})["left"] == 4


def test_nobody_else_gets_in(field: Path) -> None:
    with serving(field, "--label", "cat,dog") as (address, _):
        ask = client(address)
        assert ask("GET", "/state")["left"] == 5
        for path in ("/", "/state", "/photos/0", "/training/0", "/page/review.js"):
            assert ask("GET", path, Cookie="edgetl-review=guessed") == 403, path
        for path in ("/decide", "/undo", "/done"):
            assert ask("POST", path, {}, Cookie="") == 403, path
            # A form of another page can send text only.
            assert ask("POST", path, b"{}", **{"Content-Type": "text/plain"}) == 415, path
        assert ask("GET", "/?token=guessed", Cookie="") == 403
        # Another name that leads here.
        assert ask("GET", "/state", Host="evil.example") == 400
        assert ask("GET", "/page/../run.py") in (403, 404)
        assert ask("GET", "/page/index.html") == 404
        assert ask("GET", "/photos/9") == 404
        assert ask("GET", "/training/0") == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[]",
        b"null",
        b'{"photo": "0"}',
        b'{"photo": 99, "what": "skip"}',
        b'{"photo": {}}',
        b"[" * 2000,
        b" " * 9999,
    ],
)
def test_what_is_no_decision_changes_nothing(field: Path, served: Callable[..., Any], body: bytes) -> None:
    assert served("POST", "/decide", body) == 400
    assert served("GET", "/state")["left"] == 5


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    folder = tmp_path_factory.mktemp("review") / "photos"
    folder.mkdir()
    for seed in range(5):
        draw_photo(seed).save(folder / f"{seed}.png")
    with serving(folder, "--label", "cat,dog") as (address, _):
        yield client(address)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a" * 101, "over 100"),
        ("a\nb", "not shown"),
        ("\u202ecat", "not shown"),
        ("@x", "spread"),
    ],
)
def test_names_that_a_class_cannot_have(tmp_path: Path, label: str, why: str) -> None:
    review = Review(tmp_path, tmp_path / "a.csv", ("1.png",), ())
    with pytest.raises(InputError, match="cannot have this name") as refused:
        review.label("1.png", label)
    assert why in str(refused.value)
    assert review.current == "1.png"
    assert not (tmp_path / "a.csv").exists()


def test_equal_names_are_one_class(tmp_path: Path) -> None:
    review = Review(tmp_path, tmp_path / "a.csv", ("1.png", "2.png"), ("gänseblume",))
    review.label("1.png", " ga\u0308nseblume ")
    assert review.labels == ("gänseblume",)
    with pytest.raises(InputError, match=r"1\.png: is not waiting"):
        review.reject("1.png")


def test_a_table_of_somebody_else_is_left_alone(field: Path, tmp_path: Path) -> None:
    out = tmp_path / "field.csv"
    out.write_text("mine\n")
    assert "field.review.json does not" in small.refused(small.edgetl("review", field))
    assert out.read_text() == "mine\n"
    document_of(out).write_text('{"schema": "edgetl.review/1", "decisions": [{"path": 1}]}')
    assert "field.review.json" in small.refused(small.edgetl("review", field))
    assert out.read_text() == "mine\n"


def test_two_reviews_of_one_table_are_refused(field: Path) -> None:
    with serving(field, "--label", "a"):
        assert "is being reviewed by process" in small.refused(small.edgetl("review", field))


def test_requests_that_cannot_be_met(field: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "contains no photos" in small.refused(small.edgetl("review", tmp_path / "empty"))
    assert "no such folder" in small.refused(small.edgetl("review", tmp_path / "none"))
    assert "must end in .csv" in small.refused(small.edgetl("review", field, "--out", tmp_path / "a.json"))
    assert "no such run" in small.refused(small.edgetl("review", field, "--run", tmp_path / "none"))


def test_training_photos_that_are_gone_are_said(field: Path, tiny_run: Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    (run / "data_root.txt").write_text(str(tmp_path / "gone"))
    with serving(field, "--run", run) as (address, _):
        photo = client(address)("GET", "/state")["photo"]
        assert photo["suggested"][0]["label"] in small.LABELS
        assert photo["neighbours"] == []
