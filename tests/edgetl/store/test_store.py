"""A store of documents: what it keeps, finds and refuses, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import benched
import fleet_records
import postgres
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from stored_documents import fill

from edgetl.comparison import compare
from edgetl.store import open_store
from edgetl.store.content import add, body_of, find
from edgetl.store.engine import Store
from edgetl.store.filters import Filters, is_board, parse_filters
from edgetl.store.records import Record, Skipped, read_records
from edgetl.store.tables import METADATA, VERSION, VERSION_TABLE
from edgetl_device._lib import documents, jsonfile
from edgetl_device.errors import InputError, Unavailable


def good(*paths: Path, commit: str | None = None) -> list[Record]:
    found = list(read_records(paths, commit=commit))
    assert [one for one in found if isinstance(one, Skipped)] == []
    return [one for one in found if isinstance(one, Record)]


def listed(store: Store, *words: str) -> list[str]:
    """Return kind, board and variant of what passes filters."""
    rows, count = find(store, parse_filters(words))
    assert count == len(rows)
    return [f"{one.kind} {one.measurement.board} {one.measurement.variant}" for one in rows]


def test_each_document_once_and_whole(url: str, filled: Path) -> None:
    store, records = open_store(url, create=True), good(filled)
    # Two results and 3 records of the field; not the notes.
    assert sorted(one.kind for one in records) == ["bench"] * 2 + ["field"] * 3
    assert add(store, records) == 5
    assert add(store, records) == 0
    assert add(open_store(url), good(filled, commit="later")) == 0
    for one in records:
        assert body_of(store, one.digest) == (one.digest, one.body)
        assert body_of(store, one.digest[:12].upper()) == (one.digest, one.body)
    result = json.loads((filled / "ci" / "before.json").read_text())
    assert body_of(store, result["digest"])[1] == (filled / "ci" / "before.json").read_text()
    lines = (filled / "field" / "shelf-1" / "2027-01-15.jsonl").read_text().splitlines()
    assert lines[0] in [one.body for one in records]
    # The first commit stands.
    assert {row.commit for row in find(store, Filters())[0]} == {None}


def test_the_columns_are_those_of_the_document(url: str, filled: Path) -> None:
    store = open_store(url, create=True)
    add(store, good(filled / "ci" / "before.json", commit="4b825dc6"))
    result = benched.typed()
    rows, _ = find(store, Filters())
    assert [row.measurement.variant for row in rows] == [run.variant for run in result.runs] == ["float32", "int8"]
    for row, run in zip(rows, result.runs, strict=True):
        assert (row.kind, row.document, row.created) == ("bench", "edgetl.result/1", "2026-01-31T23:59:30+00:00")
        assert row.commit == "4b825dc6"
        found = row.measurement
        assert (found.board, found.threads, found.batch) == ("Raspberry Pi 5 Model B Rev 1.0", run.threads, 1)
        assert (found.bundle, found.bundle_name) == (result.bundle.digest, "tiny.edgetl")
        assert found.p50_ms == run.latency_ms.invoke.p50_ms
        assert found.photo_p50_ms == run.latency_ms.total.p50_ms
        assert (found.top1, found.photos) == (run.accuracy.top1, run.accuracy.photos)
        assert found.bytes == run.bytes
        assert found.ram_bytes == (run.peak_rss_bytes if isinstance(run.peak_rss_bytes, int) else None)
        assert found.verdict == "valid"


def test_a_board_without_a_name_is_its_cpu(tmp_path: Path) -> None:
    nameless = benched.environment(board={"unknown": "no device tree"}, cpu="AMD EPYC")
    (one,) = good(benched.save(tmp_path / "a.json", nameless))
    assert {row.board for row in one.measurements} == {"AMD EPYC"}


def test_times_of_an_invalid_measurement_are_none(tmp_path: Path) -> None:
    verdict = {"status": "invalid", "reasons": ["throttled"], "advice": [], "codes": ["throttled"]}
    (one,) = good(benched.save(tmp_path / "a.json", benched.first_run(verdict=verdict)))
    first, second = one.measurements
    assert (first.verdict, first.p50_ms, first.p95_ms, first.photo_p50_ms) == ("invalid", None, None, None)
    assert first.top1 is not None
    assert second.p50_ms is not None


def test_a_run_and_its_quantization(tiny_bundle: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "a.db"), create=True)
    run = tiny_bundle.parent
    assert add(store, good(run)) == 2
    (trained,) = find(store, parse_filters(["kind=run"]))[0]
    document = json.loads((run / "run.json").read_text())
    assert trained.measurement.model == document["model"]["sha256"]
    assert trained.measurement.top1 == document["metrics"]["test"]["accuracy"]["top1"]
    assert trained.created[:16] == document["created"][:16]
    variants = {row.measurement.variant: row.measurement for row in find(store, parse_filters(["kind=quantize"]))[0]}
    report = json.loads((run / "quantize.json").read_text())
    for one in report["variants"]:
        found = variants.pop(one["name"])
        assert (found.drop_pp, found.agreement) == (one["agreement"]["drop_pp"], one["agreement"]["top1"])
        assert found.model == one["sha256"]
    assert variants == {}


def test_a_comparison(tmp_path: Path) -> None:
    files = benched.pair(tmp_path, lambda document: benched.set_wrong(document, "int8", [0, 3]))
    document = compare(files)
    documents.write(tmp_path / "comparison.json", document)
    (one,) = good(tmp_path / "comparison.json")
    assert [row.variant for row in one.measurements] == ["float32", "int8"]
    agreement = document.comparisons[1].agreement
    assert (one.measurements[1].drop_pp, one.measurements[1].agreement) == (agreement.drop_pp, agreement.top1)


def test_the_same_record_of_two_boards_is_two_records(tmp_path: Path) -> None:
    for name in ("shelf-1", "shelf-2"):
        fleet_records.write_board(tmp_path / name, hours=1)
    records = good(tmp_path)
    assert [one.board for one in records] == ["shelf-1", "shelf-2"]
    assert records[0].body == records[1].body
    assert add(open_store(str(tmp_path / "a.db"), create=True), records) == 2


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    board = fleet_records.write_board(tmp_path / "shelf-1", hours=12)
    (file,) = board.iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:-10])
    assert len(good(board)) == 1
    file.write_bytes(data)
    assert len(good(board)) == 2


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), 7),
        (("kind=field",), 3),
        (("kind=bench", "variant=int8"), 2),
        (("board=pi5",), 2),
        (("board=raspberry pi 5",), 2),
        (("board=RASPBERRY",), 4),
        (("board=shelf-1", "variant=int8"), 3),
        (("board=pi4",), 0),
        (("board=%",), 0),
        (("bundle=tiny.edgetl",), 4),
        (("bundle=abab",), 3),
        (("bundle=%",), 0),
        (("commit=a1",), 7),
        (("commit=_1",), 0),
        (("since=2026-02",), 5),
        (("until=2026-01",), 2),
        (("since=2026-01-31", "until=2026-02-01"), 4),
        (("since=2026-02-01T00:30", "until=2026-02-01T00:30"), 2),
        (("since=2027",), 3),
        (("threads=63",), 0),
        (("variant=int8' OR '1'='1",), 0),
    ],
)
def test_filters(words: tuple[str, ...], found: int, store_of_filled: Store) -> None:
    assert len(listed(store_of_filled, *words)) == found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store_of_filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("filled")
    url = str(folder / "a.db")
    if request.param == "postgresql":
        server: postgres.Server = request.getfixturevalue("server")
        url = server.url(server.new())
    store = open_store(url, create=True)
    add(store, good(fill(folder / "documents"), commit="a1b2"))
    return store


def test_the_newest_last_and_the_rest_counted(store_of_filled: Store) -> None:
    rows, count = find(store_of_filled, Filters(), last=2)
    assert count == 7
    assert [row.created for row in rows] == ["2027-01-15T14:00:00+00:00", "2027-01-15T20:00:00+00:00"]
    every, _ = find(store_of_filled, Filters())
    assert sorted(row.created for row in every) == [row.created for row in every]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("colour=red", "kind, board, variant, threads, bundle, commit, since, until"),
        ("boards=pi5", "Did you mean board?"),
        ("board", "Write board=VALUE"),
        ("kind=benches", "Did you mean bench?"),
        ("threads=two", "must be a number"),
        ("since=yesterday", "2026-01-15T08:30"),
        ("since=2026-13", "is no time"),
        ("until=9999", "is no time"),
    ],
)
def test_wrong_filters(word: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_filters([word])
    assert said in str(caught.value)
    with pytest.raises(InputError, match="given twice"):
        parse_filters(["board=a", "board=b"])


def test_names_of_boards() -> None:
    assert is_board("Raspberry Pi 5 Model B Rev 1.0", "pi5")
    assert is_board("Raspberry Pi 5 Model B Rev 1.0", "Pi 5 Model B")
    assert not is_board("Raspberry Pi 500", "pi5")
    assert is_board("Raspberry Pi 500", "pi500")
    assert not is_board("Coral Dev Board", "-")


WRITER = """
import sys
from pathlib import Path
from edgetl.store import open_store
from edgetl.store.content import add
from edgetl.store.records import read_records

url, *paths = sys.argv[1:]
store = open_store(url, create=True)
print(sum(add(store, [one]) for path in paths for one in read_records([Path(path)])))
"""


def test_eight_writers_at_once(url: str, tmp_path: Path) -> None:
    """All make the tables, all add the same documents, in different orders, and each one of its own."""
    common = fleet_records.write_board(tmp_path / "common", hours=30)
    writers = []
    for number in range(8):
        (line,) = fleet_records.write_board(tmp_path / f"own-{number}", hours=1).iterdir()
        paths = [common, line] if number % 2 else [line, common]
        command = [sys.executable, "-c", WRITER, url, *map(str, paths)]
        writers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    done = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8, done
    assert sum(int(said) for said, _ in done) == 5 + 8
    store = open_store(url)
    assert listed(store, "board=common") == ["field common int8"] * 5
    assert len(listed(store)) == 13


def test_all_of_a_batch_or_nothing(url: str, filled: Path) -> None:
    store, records = open_store(url, create=True), good(filled)
    with store.writing() as connection:
        connection.execute(text("ALTER TABLE edgetl_measurements RENAME COLUMN board TO wrong"))
    with pytest.raises(Exception, match="board"):
        add(store, records)
    with store.writing() as connection:
        connection.execute(text("ALTER TABLE edgetl_measurements RENAME COLUMN wrong TO board"))
    assert listed(store) == []
    assert add(store, records) == 5


def test_the_migrations_make_the_tables_of_the_code(url: str) -> None:
    store = open_store(url, create=True)
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert context.get_current_revision() == VERSION
        assert compare_metadata(context, METADATA) == []


def test_a_store_of_a_newer_edgetl_is_left_alone(url: str, filled: Path) -> None:
    store = open_store(url, create=True)
    add(store, good(filled))
    with store.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0099'"))
    for create in (True, False):
        with pytest.raises(InputError) as caught:
            open_store(url, create=create)
        assert "newer edgetl" in str(caught.value)
        assert "Update edgetl" in str(caught.value)
    with store.writing() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == "0099"


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at\n" * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")
    connection.close()
    (tmp_path / "folder.db").mkdir()
    before = other.read_bytes()
    for url, said in (
        (tmp_path / "text.db", "not a database"),
        (other, "another program"),
        (tmp_path / "folder.db", "is a folder"),
        (tmp_path / "text.db" / "a.db", "text.db"),
        ("/proc/a.db", "unable to open"),
        ("results", "neither a URL nor a file"),
        ("sqlite://", "names no file"),
        ("mysql://me:secret@host/db", "no such kind of store"),
        ("postgresql://me:secret@host:port/db", "cannot be read"),
    ):
        with pytest.raises((InputError, OSError)) as caught:
            open_store(str(url), create=True)
        assert said in str(caught.value), url
        assert "secret" not in str(caught.value)
    assert other.read_bytes() == before
    # One that only reads makes none.
    with pytest.raises(InputError, match="no such store"):
        open_store(str(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()


def test_an_empty_database_has_nothing_to_read(server: postgres.Server) -> None:
    url = server.url(server.new())
    with pytest.raises(InputError, match="has nothing of edgetl yet"):
        open_store(url)


def test_a_database_is_shared_with_other_programs(server: postgres.Server, filled: Path) -> None:
    name = server.new()
    server.run("CREATE TABLE alembic_version (version_num text)", name)
    server.run("INSERT INTO alembic_version VALUES ('theirs')", name)
    store = open_store(server.url(name), create=True)
    assert add(store, good(filled)) == 5
    assert server.run("SELECT * FROM alembic_version", name) == [("theirs",)]
    # As a team asks it, without edgetl.
    query = "SELECT count(*) FROM edgetl_documents JOIN edgetl_measurements USING (digest) WHERE variant = 'int8'"
    assert server.run(query, name) == [(5,)]


def test_no_message_has_a_password(server: postgres.Server) -> None:
    name = server.new()
    server.run("CREATE ROLE reader LOGIN", name)
    for url, kind in (
        ("postgresql://me:hunter2@127.0.0.1:1/db", Unavailable),
        ("postgresql://me@127.0.0.1:1/db?password=hunter2", Unavailable),
        ("postgresql://me:hunter2@host.invalid/db", Unavailable),
        (server.url("nothing", password="hunter2"), Unavailable),
        (server.url(name, user="nobody_here", password="hunter2"), Unavailable),
        (server.url(name, user="reader", password="hunter2"), InputError),
    ):
        with pytest.raises(kind) as caught:
            open_store(url, create=True)
        assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
        assert "postgresql://" in str(caught.value)
        assert str(caught.value).count("\n") <= 2
    store = open_store(server.url(name, password="hunter2"), create=True)
    assert "hunter2" not in repr(store.name)


def test_damaged_documents_are_named_and_the_others_kept(tmp_path: Path) -> None:
    file = benched.save(tmp_path / "a.json")
    (tmp_path / "edited.json").write_text(file.read_text().replace('"int8"', '"int9"'))
    (tmp_path / "torn.json").write_text(file.read_text()[:-20])
    (tmp_path / "latin.json").write_bytes(b'{"schema": "edgetl.result/1", "name": "\xe9"}')
    newer = benched.result() | {"schema": "edgetl.result/9"}
    jsonfile.write_json(tmp_path / "newer.json", newer | {"digest": jsonfile.digest(newer)})
    early = benched.result(lambda document: document.update(created="long ago"))
    jsonfile.write_json(tmp_path / "early.json", early)
    found = list(read_records([tmp_path]))
    assert sum(isinstance(one, Record) for one in found) == 1
    said = "\n".join(str(one.error) for one in found if isinstance(one, Skipped))
    for words in ("edited.json: does not match", "torn.json: is not valid JSON", "latin.json: is not valid JSON",
                  "newer.json: schema edgetl.result/9", "early.json: its time is 'long ago'"):  # fmt: skip
        assert words in said
    # Named by the user, another program's file is wrong.
    (tmp_path / "other.json").write_text("[1]")
    (one,) = read_records([tmp_path / "other.json"])
    assert isinstance(one, Skipped)
    assert "no document for a store" in str(one.error)
    with pytest.raises(InputError, match="no such file"):
        list(read_records([tmp_path / "none.json"]))


def test_the_largest_numbers_and_strange_names(url: str, tmp_path: Path) -> None:
    def change(document: benched.Document) -> None:
        document["environment"]["board"] = "a\x00b\x1b[31m"
        document["runs"][0].update(peak_rss_bytes=2**63 - 1, threads=2**40)

    records = good(benched.save(tmp_path / "a.json", change))
    store = open_store(url, create=True)
    assert add(store, records) == 1
    first = find(store, Filters())[0][0].measurement
    assert (first.ram_bytes, first.threads, first.board) == (2**63 - 1, 2**40, "a\\x00b\\x1b[31m")
    assert body_of(store, records[0].digest)[1] == records[0].body
