"""``edgetl results``: commands as they are typed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import benched
import pytest
import small
from typer.testing import CliRunner, Result

from edgetl.cli import app
from edgetl_device.errors import EdgetlError, GateFailed, InputError, Unavailable


def run(*words: object, store: object = "", code: int = 0) -> Result:
    env = {"EDGETL_STORE": str(store)} if store else {"EDGETL_STORE": None}
    done = CliRunner().invoke(app, ["results", *map(str, words)], env=env)
    found = done.exception.exit_code if isinstance(done.exception, EdgetlError) else done.exit_code
    assert found == code, (done.output, done.exception)
    return done


@pytest.fixture
def store(tmp_path: Path, filled: Path) -> Path:
    path = tmp_path / "results.db"
    done = run("add", filled, "--store", path, "--commit", "4b825dc642cb")
    assert done.stdout == "added     5; 0 the store had already\n"
    return path


def test_add_twice_list_and_export(store: Path, filled: Path, tmp_path: Path) -> None:
    assert run("add", filled, store=store).stdout == "added     0; 5 the store had already\n"
    done = run("list", "board=pi5", "variant=int8", store=store)
    (row,) = [line for line in done.stdout.splitlines() if "bench" in line]
    assert "Raspberry Pi 5 Model B Rev 1.0" in row
    assert "2026-01-31 23:59" in row
    assert "4b825dc642cb" in row
    newest = run("list", "--last", 2, store=store)
    assert len(re.findall("shelf-1", newest.stdout)) == 2
    assert "the newest 2 of 7; more: --last 7" in newest.stderr
    text = run("export", "kind=bench", store=store).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["variant"] for row in rows] == ["float32", "int8"] * 2
    listed = json.loads(run("list", "kind=bench", "--json", store=store).stdout)
    assert [row["digest"] for row in rows] == [row["digest"] for row in listed["rows"]]
    assert float(rows[1]["p50_ms"]) == listed["rows"][1]["measurement"]["p50_ms"]
    file = tmp_path / "out.md"
    run("export", "kind=field", "--format", "markdown", "--out", file, store=store)
    lines = file.read_text().splitlines()
    assert lines[0] == "### Results kind=field"
    assert sum("shelf-1" in line for line in lines) == 3
    assert json.loads(run("export", "--format", "json", "kind=bench", store=store).stdout) == listed


def test_show_gives_the_document_back(store: Path, filled: Path, tmp_path: Path) -> None:
    source = (filled / "ci" / "before.json").read_text()
    digest = json.loads(source)["digest"]
    assert json.loads(run("show", digest[:12], store=store).stdout) == json.loads(source)
    run("show", digest, "--out", tmp_path / "again.json", store=store)
    assert (tmp_path / "again.json").read_text() == source
    assert "too short" in str(run("show", digest[:4], store=store, code=2).exception)
    assert "no such document" in str(run("show", "0" * 12, store=store, code=2).exception)


def test_compare_as_with_files(tmp_path: Path) -> None:
    files = benched.pair(tmp_path, lambda document: benched.set_wrong(document, "int8", [0, 3]))
    other = benched.save(
        tmp_path / "other.json", lambda document: document["evalset"]["photos"][0].update(sha256="0" * 64)
    )
    store = tmp_path / "results.db"
    run("add", *files, other, "--store", store)
    before, after, unlike = (json.loads(file.read_text())["digest"] for file in (*files, other))
    document = json.loads(run("compare", before[:12], after[:12], "--json", store=store).stdout)
    assert [one["digest"] for one in document["sources"]] == [before, after]
    assert [one["path"] for one in document["sources"]] == [before, after]
    direct = json.loads(CliRunner().invoke(app, ["compare", *map(str, files), "--json"]).stdout)
    assert [one["metrics"] for one in document["comparisons"]] == [one["metrics"] for one in direct["comparisons"]]
    gate = ("--fail-if", "int8.accuracy_drop_pp>0.5")
    assert isinstance(run("compare", before, after, *gate, store=store, code=3).exception, GateFailed)
    # Unlike results are never held against each other.
    assert "different held-out photos" in str(run("compare", before, unlike, store=store, code=2).exception)


def test_only_results_are_compared(store: Path) -> None:
    rows = json.loads(run("list", "kind=field", "--json", store=store).stdout)["rows"]
    said = str(run("compare", rows[0]["digest"], rows[1]["digest"], store=store, code=2).exception)
    assert "edgetl.monitor/1" in said


def test_skipped_documents_are_named_and_the_code_is_2(store: Path, filled: Path, tmp_path: Path) -> None:
    (filled / "ci" / "torn.json").write_text('{"schema": "edgetl.result/1",')
    benched.save(filled / "ci" / "z.json", benched.environment(board="Coral"))
    done = run("add", filled, store=store, code=2)
    assert "torn.json: is not valid JSON" in done.stderr
    assert done.stdout == "added     1; 5 the store had already\n"
    assert isinstance(done.exception, InputError)


def test_a_store_that_is_away(filled: Path, tmp_path: Path) -> None:
    away = "postgresql://me:hunter2@127.0.0.1:1/db"
    done = run("add", filled, store=away, code=4)
    assert isinstance(done.exception, Unavailable)
    assert "--queue DIR" in str(done.exception)
    done = run("add", filled, "--queue", tmp_path / "queue", store=away)
    assert done.stdout.splitlines()[0] == f"queued    5 in {tmp_path / 'queue'}"
    assert "not reached: postgresql://me@127.0.0.1:1/db" in done.stderr
    assert "hunter2" not in done.output
    run("push", "--queue", tmp_path / "queue", store=away, code=4)
    done = run("push", "--queue", tmp_path / "queue", "--store", tmp_path / "a.db")
    assert done.stdout == "added     5; 0 the store had already\n"


def test_without_a_store(filled: Path, tmp_path: Path) -> None:
    for words in (("add", filled), ("list",), ("show", "0" * 12), ("push", "--queue", tmp_path)):
        assert "no store" in str(run(*words, code=2).exception)
    assert "no such store" in str(run("list", "--store", tmp_path / "none.db", code=2).exception)
    assert run("add", filled, "--queue", tmp_path / "q").stdout.startswith("queued    5 in")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_file(store: Path, filled: Path) -> None:
    store.chmod(0o400)
    benched.save(filled / "more.json", benched.environment(board="Coral"))
    assert "readonly" in str(run("add", filled, store=store, code=2).exception)
    run("list", store=store)


def test_without_its_packages_the_extra_is_named(tmp_path: Path) -> None:
    """As where nothing is installed but edgetl."""
    for hidden, url, extra in (
        ("sqlalchemy", tmp_path / "a.db", "store"),
        ("alembic", tmp_path / "a.db", "store"),
        ("psycopg", "postgresql://me@127.0.0.1:1/db", "postgres"),
    ):
        script = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {hidden!r} else find(name, *rest)
from edgetl.cli import main
sys.argv = ["edgetl", "results", "list", "--store", {str(url)!r}]
main()
"""
        said = small.refused(small.python(script), 4)
        assert hidden in said
        assert f"[{extra}]" in said


def test_help_loads_no_database() -> None:
    script = """
import sys
from edgetl.cli import main
sys.argv = ["edgetl", "results", "list", "--help"]
try:
    main()
finally:
    assert not {"sqlalchemy", "alembic", "psycopg", "numpy"} & set(sys.modules)
"""
    assert small.python(script).returncode == 0
