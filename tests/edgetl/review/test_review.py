"""The page of ``edgetl review``: used with real keys in a browser; nobody else gets in; every decision is kept."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import resource
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import pytest
import small
from drawing import draw_photo
from reviewing import client, let_in, serving

from edgetl.data import load_dataset
from edgetl.review.app import application
from edgetl.review.decisions import Review, document_of
from edgetl.review.options import ReviewOptions
from edgetl.review.run import review as review_folder
from edgetl.review.suggestions import suggest
from edgetl.runs.directory import Run
from edgetl_device.errors import InputError, OptionError
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
    with serving(field, "--label", "cat") as (address, process):
        ask = client(address)
        state = ask("GET", "/state")
        # What was decided about a photo that is gone is kept, in case it comes back, and not counted.
        assert (state["labels"], state["left"], state["labelled"]) == (["cat", "dog", "bird"], 3, 1)
        assert ask("POST", "/undo", {})["left"] == 4
        assert ask("POST", "/undo", {})["left"] == 4
        assert table(tmp_path / "field.csv") == [("field/1.png", "bird")]
        ask("POST", "/done", {})
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        assert "absent    1 more that were decided about" in process.stdout.read()


def decided(field: Path, out: Path) -> tuple[bytes, bytes]:
    """Decide about three photos, and return the table and the document."""
    review = Review(field, out, ("0.png", "1.png", "2.png"), ())
    review.label("0.png", "cat")
    review.label("1.png", "dog")
    review.reject("2.png")
    return out.read_bytes(), document_of(out).read_bytes()


def test_decisions_about_photos_that_are_not_there_stay(
    field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.csv"
    files = decided(field, out)
    kept = field.rename(tmp_path / "kept")
    field.mkdir()
    draw_photo(7).save(field / "7.png")
    review = Review(field, out, ("7.png",), ())
    assert f"decided about, but are not in {field}: 3;" in capsys.readouterr().err
    assert review.counts == {"total": 1, "labelled": 0, "rejected": 0, "left": 1, "absent": 3}
    assert (out.read_bytes(), document_of(out).read_bytes()) == files
    review.label("7.png", "cat")
    assert table(out) == [("field/0.png", "cat"), ("field/1.png", "dog"), ("field/7.png", "cat")]
    # They come back, as after mounting their disk.
    for path in kept.iterdir():
        path.rename(field / path.name)
    again = Review(field, out, ("0.png", "1.png", "2.png", "3.png", "7.png"), ())
    assert again.counts == {"total": 5, "labelled": 3, "rejected": 1, "left": 1, "absent": 0}


def test_decisions_about_another_folder_are_left_alone(field: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    files = decided(field, out)
    other = Path(shutil.copytree(field, tmp_path / "other"))
    said = small.refused(small.edgetl("review", other, "--out", out))
    assert "is about photos in a folder field, not other" in said
    assert "--out" in said
    # Another one of the same name: its photos are elsewhere.
    (tmp_path / "b").mkdir()
    same = Path(shutil.copytree(field, tmp_path / "b" / "field"))
    with pytest.raises(InputError, match="is not the table of") as refused:
        Review(same, out, ("0.png", "1.png", "2.png"), ())
    assert "in another place than then" in refused.value.why
    assert (out.read_bytes(), document_of(out).read_bytes()) == files


def test_an_edited_table_is_left_alone(field: Path, tmp_path: Path) -> None:
    out = tmp_path / "field.csv"
    before, _ = decided(field, out)
    edited = before.replace(b"dog", b"wolf").replace(b"\n", b"\r\n")
    out.write_bytes(edited)
    said = small.refused(small.edgetl("review", field))
    assert "field.csv: is not the table of field.review.json" in said
    assert "Move it away" in said
    assert out.read_bytes() == edited
    out.rename(tmp_path / "mine.csv")
    Review(field, out, ("0.png", "1.png", "2.png"), ())
    assert out.read_bytes() == before


def test_a_table_that_a_killed_process_left_is_written_again(field: Path, tmp_path: Path) -> None:
    out = tmp_path / "field.csv"
    decided(field, out)
    for change in (lambda one: one.label("3.png", "cat"), lambda one: one.undo()):
        before = out.read_bytes()
        photos = ("0.png", "1.png", "2.png", "3.png")
        change(Review(field, out, photos, ()))
        after = out.read_bytes()
        assert after != before
        # The document is written first.
        out.write_bytes(before)
        Review(field, out, photos, ())
        assert out.read_bytes() == after


def test_a_photo_in_the_place_of_another_is_asked_for_again(
    field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, photos = tmp_path / "labels.csv", ("0.png", "1.png", "2.png")
    decided(field, out)
    (field / "1.png").write_bytes((field / "3.png").read_bytes())
    review = Review(field, out, photos, ())
    assert "which others have now: 1, such as 1.png" in capsys.readouterr().err
    assert review.current == "1.png"
    # The label of the old one is no longer trained on.
    assert table(out) == [("field/0.png", "cat")]
    review.label("1.png", "bird")
    assert Review(field, out, photos, ()).current is None
    # Documents of before do not know the photos, and what cannot be read now may be the same.
    document = json.loads(document_of(out).read_text())
    for one in document["decisions"][1:]:
        del one["sha256"]
    document_of(out).write_text(json.dumps(document))
    (field / "0.png").unlink()
    (field / "0.png").symlink_to("gone.png")
    (field / "2.png").write_bytes((field / "3.png").read_bytes())
    assert Review(field, out, photos, ()).current is None


@pytest.mark.parametrize("room", [0, 500])
def test_what_cannot_be_written_is_not_decided(tmp_path: Path, room: int) -> None:
    # With such a name the table is larger than the document beside it.
    field = tmp_path / "f" / ("a" * 200) / ("b" * 200) / ("c" * 200) / "field"
    field.mkdir(parents=True)
    for seed in range(3):
        draw_photo(seed).save(field / f"{seed}.png")
    out = tmp_path / "labels.csv"
    with serving(field, "--label", "cat", "--out", out) as (address, process):
        connection, cookie = let_in(address)

        def ask(path: str, body: Any) -> tuple[int, Any]:
            headers = {"Cookie": cookie, "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        asked = {"photo": 0, "what": "label", "label": "cat"}
        steps: list[tuple[str, Any]] = [("/decide", asked), ("/undo", {}), ("/decide", asked)]
        for path, body in steps:
            before = (out.exists() and out.read_bytes(), document_of(out).exists() and document_of(out).read_bytes())
            counts = client(address)("GET", "/state")["left"]
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            code, said = ask(path, body)
            # The table after undo is small.
            if (room, path) != (500, "/undo"):
                assert code == 507
                assert "nothing was changed" in said["error"]
                assert "Free some space" in said["error"]
                assert client(address)("GET", "/state")["left"] == counts
                assert before == (
                    out.exists() and out.read_bytes(),
                    document_of(out).exists() and document_of(out).read_bytes(),
                )
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            if code == 507:
                assert ask(path, body)[0] == 200
        assert [label for _, label in table(out)] == ["cat"]
    assert small.left_over(tmp_path) == []


def test_photos_with_names_that_no_table_can_have_are_left_out(field: Path, tmp_path: Path) -> None:
    for name in (b"\xff.jpg", b"a\nb.jpg"):
        shutil.copy(field / "0.png", field / os.fsdecode(name))
    notes: list[str] = []
    with serving(field, "--label", "cat", said=notes) as (address, _):
        assert "left out: 2 of its 7 photos have names" in notes[0]
        assert "such as a\\nb.jpg" in notes[0]
        ask = client(address)
        assert ask("GET", "/state")["left"] == 5
        assert "0.png" in ask("GET", "/state")["photo"]["path"]
        assert ask("POST", "/decide", {"photo": 0, "what": "label", "label": "cat"})["labelled"] == 1
    for name in ("0.png", "1.png", "2.png", "3.png", "4 broken.jpg"):
        (field / name).unlink()
    with pytest.raises(InputError, match="2 of its 2 photos have names") as refused:
        review_folder(field, ReviewOptions(out=str(tmp_path / "b.csv")), ready=pytest.fail)
    assert refused.value.why == "such as a\\nb.jpg"
    odd = tmp_path / os.fsdecode(b"\xfe")
    odd.mkdir()
    draw_photo(1).save(odd / "1.png")
    said = small.refused(small.edgetl("review", odd, "--out", tmp_path / "c.csv"))
    assert "cannot be written to a table" in said


def test_what_is_no_photo_neither_hangs_nor_ends_a_review(field: Path, tiny_run: Run, tmp_path: Path) -> None:
    os.mkfifo(field / "pipe.jpg")
    (field / "gone.jpg").symlink_to("nowhere")
    with open(field / "vast.jpg", "wb") as stream:
        stream.truncate(200 << 30)
    (field / "zero.jpg").symlink_to("/dev/zero")
    names = sorted(path.name for path in field.iterdir())
    with serving(field, "--run", tiny_run.folder, "--out", tmp_path / "a.csv") as (address, _):
        ask = client(address)
        assert ask("GET", "/state")["left"] == 9
        assert len(ask("GET", "/state")["photo"]["suggested"]) == 3
        for place, name in enumerate(names):
            code = ask("GET", f"/photos/{place}")
            assert code == (200 if name.endswith(".png") else 404), name
            assert ask("POST", "/decide", {"photo": place, "what": "reject"})["rejected"] == place + 1
    # Decided about, they are not read at the next start either.
    with serving(field, "--out", tmp_path / "a.csv") as (address, _):
        assert client(address)("GET", "/state")["rejected"] == 9


def test_photos_of_which_none_can_be_read_have_no_suggestions(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    assert list(suggest(tiny_run, tmp_path, ("gone.jpg",)).order()) == [0]


def test_training_photos_that_have_changed_are_not_shown(
    field: Path, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETL_CACHE", str(tmp_path / "cache"))
    photos = Path(shutil.copytree(tiny_run.data_root, tmp_path / "photos"))
    run = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    (run / "data_root.txt").write_text(str(photos))
    shutil.copy(field / "0.png", photos / Run.open(run).of("train")[0].path)
    found = suggest(Run.open(run), field, ("0.png", "1.png"))
    assert found.training == ()
    assert found.nearest.shape == (2, 0)


def test_two_reviews_on_one_machine(field: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(field, tmp_path / "other"))
    (other / "0.png").unlink()
    with serving(field, "--label", "a") as (one, _), serving(other, "--label", "b") as (two, _):
        cookies = [let_in(address)[1] for address in (one, two)]
        # A browser sends both to both.
        for address, left in ((one, 5), (two, 4)):
            assert client(address)("GET", "/state", Cookie="; ".join(cookies))["left"] == left


@pytest.mark.needs_program("chromium")
def test_who_is_not_let_in_any_more_is_told_what_to_do(field: Path, tmp_path: Path) -> None:
    with serving(field, "--label", "a") as (address, _), browser.tab(tmp_path / "profile") as tab:
        tab.open(address, width=1280)
        tab.wait_for(TEXT.format("progress"), lambda text: text.startswith("5 of 5 left"))
        tab.ask("Network.clearBrowserCookies")
        tab.press("x")
        assert tab.wait_for(TEXT.format("error")) == "Open the address that edgetl review has printed again."
        tab.value("document.getElementById('done').click()")
        assert tab.value(TEXT.format("result")) == ""
        # A failure is also seen on the last page.
        assert tab.value("document.getElementById('error').closest('main')") is None


def test_decisions_are_written_while_photos_are_sent(field: Path, tmp_path: Path) -> None:
    """They are written one after the other, by a thread."""
    sent, writing = threading.Event(), []

    class Slow(Review):
        def reject(self, path: str) -> None:
            writing.append(path)
            assert len(writing) == 1
            assert sent.wait(30)
            super().reject(path)
            writing.remove(path)

    photos = ("0.png", "1.png", "2.png")
    review = Slow(field, tmp_path / "a.csv", photos, ())
    app = application(review, photos, None, token="t", done=lambda: None)
    cookie = ""

    async def ask(method: str, path: str, body: bytes = b"") -> int:
        nonlocal cookie
        where, _, query = path.partition("?")
        headers = {"host": "127.0.0.1", "content-type": "application/json", "cookie": cookie}
        scope = {"type": "http", "method": method, "path": where, "query_string": query.encode(), "root_path": ""}
        scope |= {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
        found: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            found.append(message)

        await app(scope, receive, send)
        cookie = cookie or dict(found[0]["headers"])[b"set-cookie"].decode().partition(";")[0]
        return int(found[0]["status"])

    async def all_at_once() -> list[int]:
        assert await ask("GET", "/?token=t") == 303
        decisions = [
            asyncio.create_task(ask("POST", "/decide", json.dumps({"photo": place, "what": "reject"}).encode()))
            for place in range(3)
        ]
        while not writing:
            await asyncio.sleep(0.01)
        code = await ask("GET", "/photos/2")
        sent.set()
        return [code, *await asyncio.gather(*decisions)]

    assert asyncio.run(all_at_once()) == [200, 200, 200, 200]
    assert review.counts["rejected"] == 3


def test_nobody_else_gets_in(field: Path) -> None:
    with serving(field, "--label", "cat,dog") as (address, _):
        ask = client(address)
        assert ask("GET", "/state")["left"] == 5
        for path in ("/", "/state", "/photos/0", "/training/0", "/page/review.js"):
            assert ask("GET", path, Cookie=let_in(address)[1].partition("=")[0] + "=guessed") == 403, path
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
        ("a" * 201, "over 200"),
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


def test_classes_of_a_run_have_any_name_and_those_of_the_user_do_not(field: Path, tmp_path: Path) -> None:
    learned = "ga\u0308nse", "-1"
    review = Review(tmp_path, tmp_path / "a.csv", ("1.png", "2.png"), learned)
    review.label("1.png", "gänse")
    review.label("2.png", "-1")
    assert review.labels == learned
    assert table(tmp_path / "a.csv") == [("1.png", learned[0]), ("2.png", "-1")]
    for name, why in (("=1", "spreadsheets"), ("a\nb", "not shown"), ("x" * 201, "over 200")):
        with pytest.raises(
            OptionError, match=f"label='{re.escape(name.encode('unicode_escape').decode())}'"
        ) as refused:
            review_folder(field, ReviewOptions(label=("cat", name)), ready=pytest.fail)
        assert why in refused.value.why


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
