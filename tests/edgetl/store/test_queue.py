"""Documents that wait for their store: nothing is lost, and nothing is removed before the store has it."""

from __future__ import annotations

import json
from pathlib import Path

import postgres
import pytest

from edgetl.store import open_store
from edgetl.store.content import add, body_of, find
from edgetl.store.engine import Store
from edgetl.store.filters import Filters
from edgetl.store.queue import Added, add_records, push
from edgetl.store.records import Record, Skipped, read_records
from edgetl_device._lib.files import write_text
from edgetl_device.errors import InputError, Unavailable

AWAY = "postgresql://me:hunter2@127.0.0.1:1/db"


def queued(folder: Path, queue: Path, **how: str) -> Added:
    return add_records(read_records([folder], **how), lambda: open_store(AWAY, create=True), queue, skipped=refuse)


def refuse(one: Skipped) -> None:
    raise one.error


def test_what_waits_arrives_as_it_was(url: str, filled: Path, tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    done = queued(filled, queue, commit="4b825dc6")
    assert (done.new, done.known, done.queued) == (0, 0, 5)
    assert done.why is not None
    assert "127.0.0.1" in str(done.why)
    assert "hunter2" not in str(done.why)
    # Once more: each waits once.
    assert queued(filled, queue, commit="4b825dc6").queued == 5
    assert len(list(queue.iterdir())) == 5
    direct = [one for one in read_records([filled], commit="4b825dc6") if isinstance(one, Record)]
    store = open_store(url, create=True)
    assert push(store, queue, skipped=refuse) == Added(new=5)
    assert list(queue.iterdir()) == []
    assert add(store, direct) == 0
    for one in direct:
        assert body_of(store, one.digest)[1] == one.body
    rows, _ = find(store, Filters())
    assert {row.commit for row in rows} == {"4b825dc6"}
    assert {row.measurement.board for row in rows if row.kind == "field"} == {"shelf-1"}
    # What the store has already leaves the queue, too.
    queued(filled, queue)
    assert push(store, queue, skipped=refuse) == Added(known=5)
    assert list(queue.iterdir()) == []


def test_without_a_queue_it_is_an_error(filled: Path) -> None:
    with pytest.raises(Unavailable, match="port 1"):
        add_records(read_records([filled]), lambda: open_store(AWAY), None, skipped=refuse)


def test_without_a_store_everything_waits(filled: Path, tmp_path: Path) -> None:
    done = add_records(read_records([filled]), None, tmp_path / "queue", skipped=refuse)
    assert (done.queued, done.why) == (5, None)


def test_a_database_that_goes_away_meanwhile(server: postgres.Server, filled: Path, tmp_path: Path) -> None:
    name = server.new()
    store = open_store(server.url(name), create=True)
    server.run(f"DROP DATABASE {name} WITH (FORCE)")
    done = add_records(read_records([filled]), lambda: store, tmp_path / "queue", skipped=refuse)
    assert (done.new, done.queued) == (0, 5)
    before = sorted(path.name for path in (tmp_path / "queue").iterdir())
    with pytest.raises(Unavailable):
        push(store, tmp_path / "queue", skipped=refuse)
    assert sorted(path.name for path in (tmp_path / "queue").iterdir()) == before


def test_what_is_damaged_stays_and_the_others_go(filled: Path, tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    queued(filled, queue)
    first, second, *_ = sorted(queue.iterdir())
    first.write_text(first.read_text()[:-30])
    document = json.loads(second.read_text())
    write_text(second, json.dumps(document | {"body": document["body"][:-30]}))
    left: list[Skipped] = []
    store = open_store(str(tmp_path / "a.db"), create=True)
    assert push(store, queue, skipped=left.append) == Added(new=3, skipped=2)
    assert sorted(queue.iterdir()) == [first, second]
    assert all(path.name in str(one.error) for path, one in zip((first, second), left, strict=True))
    with pytest.raises(InputError, match="no such folder"):
        push(store, tmp_path / "none", skipped=refuse)


def test_a_full_disk_loses_nothing(filled: Path, tmp_path: Path) -> None:
    """SQLite's own limit stands for the disk."""
    path = tmp_path / "a.db"
    store = open_store(str(path), create=True)
    records = [one for one in read_records([filled]) if isinstance(one, Record)]
    field = [one for one in records if one.kind == "field"]
    assert add(store, field) == 3
    full = limited(open_store(str(path)))
    with pytest.raises(Unavailable) as caught:
        add(full, records)
    assert "full" in str(caught.value)
    assert "Free some space" in str(caught.value)
    assert find(store, Filters())[1] == 3
    assert add(store, records) == 2
    # And with a queue they wait.
    done = add_records(read_records([filled]), lambda: limited(open_store(str(path))), tmp_path / "q", skipped=refuse)
    assert done.queued + done.known == 5


def limited(store: Store) -> Store:
    """Let the file grow no more."""
    from sqlalchemy import event

    @event.listens_for(store.engine, "connect")
    def limit(connection, _) -> None:  # type: ignore[no-untyped-def]
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    return store
