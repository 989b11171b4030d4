"""Labels and file names with terminal control characters, or with markup of rich, Markdown, HTML, C or CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgetl import cli
from edgetl._lib.progress import note
from edgetl.cli.console.formats import Format, Table, print_csv, print_report
from edgetl.cli.console.output import echo, print_table, word
from edgetl_device._lib import jsonfile
from edgetl_device._lib.documents import parse
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.classifier import Predictions

GOLDEN = Path(__file__).parent.parent.parent / "golden"
PHOTO = GOLDEN / "photos" / "circle0.jpg"
EVIL = "\x1b]0;owned\x07[red]=1+1\u202e<b>|`"
STEERING = set("\x1b\x07\u202e")


def edgetl(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgetl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with another name for "circle"."""
    folder = tmp_path_factory.mktemp("evil") / "bundle"
    with zipfile.ZipFile(GOLDEN / "tiny.edgetl") as archive:
        archive.extractall(folder)
    document: dict[str, Any] = json.loads((folder / "bundle.json").read_text())
    document["labels"][document["labels"].index("circle")] = EVIL
    rows = list(csv.reader(io.StringIO((folder / "evalset" / "index.csv").read_text(), newline="")))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [[EVIL if cell == "circle" else cell for cell in row] for row in rows]
    )
    for name, data in (
        ("evalset/index.csv", text.getvalue().encode()),
        ("labels.txt", "".join(f"{label}\n" for label in document["labels"]).encode()),
    ):
        (folder / name).write_bytes(data)
        document["files"][name] = {"bytes": len(data), "sha256": sha256_bytes(data)}
    document["digest"] = jsonfile.digest(document)
    (folder / "bundle.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", PHOTO),
        ("classify", PHOTO, "--json"),
        ("classify", "--variant", EVIL, PHOTO),
        ("verify",),
        ("inspect",),
        ("bench", "--quick", "--duration", "0.05", "--variants", "int8"),
        ("bench", "--quick", "--duration", "0.05", "--variants", "int8", "--format", "markdown"),
        ("bench", "--quick", "--duration", "0.05", "--variants", "int8", "--format", "csv"),
        ("bench", "--quick", "--duration", "0.05", "--variants", "int8", "--json"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)).replace(str(PHOTO), "PHOTO").encode("ascii", "ignore").decode(),
)
def test_no_command_prints_it_raw(arguments: tuple[object, ...], evil: Path) -> None:
    done = edgetl(arguments[0], evil, *arguments[1:])
    assert done.returncode in (0, 2), done.stderr
    assert not STEERING & set(done.stdout + done.stderr)
    assert "Traceback" not in done.stderr
    if arguments == ("classify", PHOTO):
        assert "\\x1b]0;owned\\x07[red]=1+1\\u202e<b>|`" in done.stdout
    if "--json" in arguments:
        assert EVIL in json.dumps(json.loads(done.stdout), ensure_ascii=False).replace("\\u001b", "\x1b").replace(
            "\\u0007", "\x07"
        )


def test_every_answer_comes_when_it_is_there_and_a_bad_photo_ends_nothing() -> None:
    command = [sys.executable, "-m", "edgetl", "classify", GOLDEN / "tiny.edgetl", PHOTO, "-", PHOTO]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # The second photo is not there yet: it comes from here.
        first = process.stdout.readline()
        out, err = process.communicate("no photo", timeout=60)
    assert process.returncode == 2
    second, third = out.splitlines()
    assert first.strip() == third
    assert "circle 0." in first
    assert second.startswith("not read: ")
    assert "1 of 3 photos could not be classified" in err


@pytest.mark.parametrize(
    ("closed", "photo", "code", "out", "err"),
    [
        ("<&-", PHOTO, 0, "circle", ""),
        ("<&-", "-", 2, "standard input is closed", ""),
        (">&-", PHOTO, 4, "", "error: standard output is closed"),
        ("2>&-", PHOTO, 0, "circle", ""),
        ("2>&-", "missing.jpg", 2, "", ""),
        ("<&- >&- 2>&-", PHOTO, 4, "", ""),
    ],
)
def test_closed_standard_streams(closed: str, photo: object, code: int, out: str, err: str) -> None:
    words = [sys.executable, "-m", "edgetl", "classify", GOLDEN / "tiny.edgetl", photo]
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    assert out in done.stdout
    assert err in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_json_is_one_document_with_a_row_for_each_photo(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(PHOTO.read_bytes()[:200])
    names = [str(PHOTO), str(tmp_path / "cut.jpg"), str(PHOTO)]
    done = edgetl("classify", GOLDEN / "tiny.edgetl", *names, "--json")
    assert done.returncode == 2
    document = parse(Predictions, done.stdout.encode(), name="stdout")
    assert [row.photo for row in document.photos] == names
    assert [bool(row.error) for row in document.photos] == [False, True, False]
    assert document.photos[0] == document.photos[2]


def test_a_file_name_that_steers(tmp_path: Path) -> None:
    photo = tmp_path / "\x1b[2J\udce9\n.jpg"
    photo.write_bytes(PHOTO.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "edgetl", "classify", GOLDEN / "tiny.edgetl", photo, tmp_path / "\x1b[none.jpg", photo],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"1 of 3 photos could not be classified" in done.stderr
    assert [line.split(b":")[0].rpartition(b"/")[2] for line in done.stdout.splitlines()] == [
        rb"\x1b[2J\udce9\n.jpg",
        b"not read",
        rb"\x1b[2J\udce9\n.jpg",
    ]


def test_tables_lines_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["label", "n"], [[EVIL, "[bold]2"]], title=EVIL)
    echo(EVIL + "\nforged line")
    note(f"a board says {EVIL}\nand more")
    print_report(Format.markdown, [Table(EVIL, ["a", "b"], [[EVIL + "\n", EVIL]])], [EVIL])
    said = capsys.readouterr()
    assert not STEERING & set(said.out + said.err)
    assert "[red]" in said.out
    assert "[bold]2" in said.out
    assert "\\nforged line" in said.out
    assert said.err.splitlines()[1] == "and more"


def test_command_lines_to_copy_are_quoted() -> None:
    name = "my run; echo $(id) 'x'"
    said = subprocess.run(["sh", "-c", f"printf %s {word(name)}"], capture_output=True, text=True, check=True).stdout
    assert said == name
    printed = [
        line
        for module in Path(cli.__file__).parent.glob("*.py")
        for line in module.read_text().splitlines()
        if re.search("next +edgetl", line)
    ]
    places = [place for line in printed for place in re.findall(r"\{([^}]*)\}", line)]
    assert len(places) >= 5
    assert sorted(one for one in places if not one.startswith("word(")) == ["chosen.flags()", "grey", "size"]


def test_cells_of_csv(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([{"bundle": "=cmd|' /C calc'!A0", "drop_pp": -0.5, "text": "-0.5"}])
    _, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert row == ["'=cmd|' /C calc'!A0", "-0.5", "-0.5"]


def test_pages() -> None:
    pytest.importorskip("jinja2")
    from edgetl.reports.html import environment

    page = environment().from_string("{{ label }}{{ 3 }}").render(label=EVIL)
    assert page == "\\x1b]0;owned\\x07[red]=1+1\\u202e&lt;b&gt;|`3"


class Terminal(io.StringIO):
    """Takes what is printed, as a terminal does."""

    def isatty(self) -> bool:
        return True


def printed_on(width: int, columns: list[str], rows: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a terminal of so many columns gets to print as a table."""
    for name, value in (("TERM", "xterm-256color"), ("COLORTERM", ""), ("COLUMNS", str(width))):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with contextlib.redirect_stdout(Terminal()) as screen:
        print_table(columns, rows, title="of three")
    return screen.getvalue()


def test_no_cell_is_torn_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ["variant", *(f"column {at}" for at in range(9))]
    rows = [[name, *(f"{name} {at:08}" for at in range(9))] for name in ("one", "two")]
    for width in (40, 80, 200):
        text = re.sub("\x1b[^m]*m", "", printed_on(width, columns, rows, monkeypatch))
        assert max(map(len, text.splitlines())) <= width
        for cell in [*columns[1:], *(cell for row in rows for cell in row[1:])]:
            assert text.count(cell) == 1, (width, cell)
        # Columns that do not fit follow below, in their order, each block with the rows' names.
        blocks = text.count("variant")
        assert blocks == {40: 5, 80: 3, 200: 1}[width]
        order = [text.index(column) for column in columns[1:]]
        assert order == sorted(order)


def test_verdicts_are_coloured_on_a_terminal_only_and_not_against_the_users_wish(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [["one", "valid"], ["two", "degraded"], ["three", "invalid"]]
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = printed_on(80, ["run", "measurement"], rows, monkeypatch)
    for colour, verdict in (("32", "valid"), ("33", "degraded"), ("1;31", "invalid")):
        assert re.search(f"\x1b\\[{colour}m *{verdict}", coloured)
    # Classes and other names are no verdicts.
    named = printed_on(80, ["class", "photos"], [["valid", "no"], ["yes", "invalid"]], monkeypatch)
    assert not {"\x1b[32m", "\x1b[1;31m"} & set(re.findall("\x1b[^m]*m", named))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = printed_on(80, ["run", "measurement"], rows, monkeypatch)
    assert not {"\x1b[32m", "\x1b[33m", "\x1b[1;31m"} & set(re.findall("\x1b[^m]*m", plain))
    print_table(["run", "measurement"], rows)
    piped = capsys.readouterr().out
    assert "\x1b" not in piped
    assert all(line == line.rstrip() for line in piped.splitlines())


@pytest.mark.parametrize("command", [("models",), ("schema", "bundle"), ("inspect", GOLDEN / "tiny.edgetl")])
def test_a_reader_that_leaves_is_no_failure(command: tuple[object, ...]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        [sys.executable, "-m", "edgetl", *map(str, command)], stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    assert process.returncode == 141
    assert process.stderr == b""
