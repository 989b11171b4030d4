"""``edgetl results``: a store of runs, benches and records of the field, which a team can query."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.compare import BASELINE, FAIL_IF, present
from edgetl.cli.console.formats import Format
from edgetl.cli.console.output import echo, note, print_table, word
from edgetl.cli.groups import command_group
from edgetl_device.errors import InputError

from .json_output import JSON, OUT, check_out, deliver

if TYPE_CHECKING:
    from edgetl.store.document import StoredRow, StoredRows
    from edgetl.store.engine import Store
    from edgetl.store.queue import Added
    from edgetl.store.records import Skipped

_STORE: str = typer.Option(
    "",
    "--store",
    metavar="URL",
    envvar="EDGETL_STORE",
    help="postgresql://USER@HOST/NAME, or a file that ends in .db.  [default: $EDGETL_STORE]",
    show_default=False,
    show_envvar=False,
)
_FILTERS: list[str] = typer.Argument(
    None,
    metavar="KEY=VALUE",
    help="kind, board, variant, threads, bundle, commit, since, until: board=pi5 since=2026-01.",
    show_default=False,
)


class _Export(str, Enum):
    """Formats of an export."""

    csv = "csv"
    markdown = "markdown"
    json = "json"


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = command_group("Keep runs, benches and records of the field in a store that a team can query.")
    for command in (add, push, list_, show, export, compare):
        group.command(command.__name__.rstrip("_"))(command)
    app.add_typer(group, name="results")


def _opened(url: str, *, create: bool = False) -> Store:
    from edgetl.store import open_store

    if not url:
        raise InputError("no store", hint="Name it: --store results.db, --store postgresql://..., or $EDGETL_STORE.")
    return open_store(url, create=create)


def add(
    paths: list[Path] = typer.Argument(
        ...,
        metavar="PATH...",
        help="run.json, quantize.json, results of bench and compare, records of the field, or folders of such.",
        readable=False,
        show_default=False,
    ),
    store: str = _STORE,
    queue: Path | None = typer.Option(
        None,
        metavar="DIR",
        help="Keep the documents here if the store cannot be reached, or none is given.",
        show_default=False,
    ),
    commit: str | None = typer.Option(
        None, metavar="SHA", help="The commit that the documents are for.", show_default=False
    ),
) -> None:
    """Add documents to a store, each once; a file of SQLite is made if it is not there.

    Documents are kept whole. In folders, other files are passed over; damaged documents are named, and the exit code
    is 2.

    Example: edgetl results add runs/ field/ --store results.db
    """
    from edgetl.store.queue import add_records
    from edgetl.store.records import read_records

    if commit is not None and not (0 < len(commit) <= 100 and commit.isprintable()):
        raise InputError("--commit: must be one line of at most 100 characters")
    target = (lambda: _opened(store, create=True)) if store or queue is None else None
    done = add_records(read_records(paths, commit=commit), target, queue, skipped=_say)
    if done.why is not None:
        note(f"not reached: {done.why.what}")
    if done.queued:
        echo(f"queued    {done.queued} in {queue}")
        echo(f"next      edgetl results push --queue {word(queue)}")
    _finish(done)


def push(
    queue: Path = typer.Option(..., metavar="DIR", help="Folder of edgetl results add --queue.", show_default=False),
    store: str = _STORE,
) -> None:
    """Add the documents of a queue to a store; each is removed from the queue once the store has it.

    Example: edgetl results push --queue queue/ --store postgresql://team@db/results
    """
    from edgetl.store.queue import push as run_push

    _finish(run_push(_opened(store, create=True), queue, skipped=_say))


def _say(one: Skipped) -> None:
    note(f"skipped: {one.error.what}" + (f" ({one.error.why})" if one.error.why else ""))


def _finish(done: Added) -> None:
    if done.new or done.known or not done.queued:
        echo(f"added     {done.new}; {done.known} the store had already")
    if done.skipped:
        count = f"{done.skipped} document{'s were' if done.skipped > 1 else ' was'} skipped"
        raise InputError(f"{count}, all others are kept", hint="The lines above name them.")


def list_(
    filters: list[str] = _FILTERS,
    store: str = _STORE,
    last: int = typer.Option(50, min=1, max=1_000_000, metavar="N", help="Show the newest N."),
    json: bool = JSON,
    out: Path | None = OUT,
) -> None:
    """List measurements, the newest last.

    Example: edgetl results list board=pi5 variant=int8 since=2026-01 --store results.db
    """
    from edgetl.cli.console.stored import COLUMNS, cells

    check_out(out)
    rows, count = _found(filters, store, last)
    if not deliver(_document(rows), json=json, out=out):
        print_table(COLUMNS, cells(rows))
    if count > len(rows):
        note(f"the newest {len(rows):,} of {count:,}; more: --last {count}")


def show(
    digest: str = typer.Argument(..., help="Digest of a document, or its beginning.", show_default=False),
    store: str = _STORE,
    out: Path | None = typer.Option(
        None, "--out", "-o", metavar="FILE", help="Write the document to a file, as it was added.", show_default=False
    ),
) -> None:
    """Print a document whole.

    Example: edgetl results show 1f0c5a7be2d4 --store results.db > result.json
    """
    import json

    from edgetl_device._lib.files import write_text
    from edgetl_device._lib.jsonfile import dumps

    check_out(out)
    opened = _opened(store)
    from edgetl.store.content import body_of

    _, body = body_of(opened, digest)
    if out is None:
        sys.stdout.write(dumps(json.loads(body)))
    else:
        write_text(out, body)
        note(f"written: {out}")


def export(
    filters: list[str] = _FILTERS,
    store: str = _STORE,
    form: _Export = typer.Option(_Export.csv, "--format", help="CSV and JSON have every column."),
    out: Path | None = typer.Option(
        None, "--out", "-o", metavar="FILE", help="Write to a file.  [default: stdout]", show_default=False
    ),
) -> None:
    """Write measurements as CSV, Markdown or JSON, the newest last.

    Example: edgetl results export kind=bench --format csv --out results.csv --store results.db
    """
    from edgetl._lib.csv import table_text
    from edgetl.cli.console.formats import Table, markdown
    from edgetl.cli.console.stored import COLUMNS, cells, column_names, records
    from edgetl_device._lib.documents import dumps
    from edgetl_device._lib.files import write_text

    check_out(out)
    rows, _ = _found(filters, store)
    if form is _Export.csv:
        text = table_text(column_names(), (record.values() for record in records(rows)))
    elif form is _Export.markdown:
        text = markdown([Table(" ".join(["Results", *filters]), COLUMNS, cells(rows))], ())
    else:
        text = dumps(_document(rows))
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        note(f"written: {out}")


def compare(
    digests: list[str] = typer.Argument(
        ..., metavar="DIGEST...", help="Bench results: their digests, or the beginnings of them.", show_default=False
    ),
    store: str = _STORE,
    baseline: str | None = BASELINE,
    fail_if: list[str] = FAIL_IF,
    form: Format = typer.Option(Format.table, "--format", help="How to print the report."),
    json: bool = JSON,
    out: Path | None = OUT,
) -> None:
    """Compare bench results of a store with the first, as edgetl compare does with files.

    Incomparable measurements are refused.

    Example: edgetl results compare 1f0c5a7be2d4 88a1c09d3b7e --store results.db --fail-if "accuracy_drop_pp>0.5"
    """
    from edgetl.cli.console.formats import require_one_output
    from edgetl.comparison import gates
    from edgetl_device.reasons import VERDICT

    require_one_output(form, json=json)
    check_out(out)
    wanted = gates.parse_gates(fail_if, gates.COMPARISON_METRICS, VERDICT)
    opened = _opened(store)
    from edgetl.store.comparing import compare_stored

    present(compare_stored(opened, digests, baseline=baseline), wanted, form, json=json, out=out)


def _found(filters: list[str], url: str, last: int | None = None) -> tuple[tuple[StoredRow, ...], int]:
    from edgetl.store.filters import parse_filters

    wanted = parse_filters(filters or ())
    store = _opened(url)
    from edgetl.store.content import find

    return find(store, wanted, last=last)


def _document(rows: tuple[StoredRow, ...]) -> StoredRows:
    from edgetl import __version__
    from edgetl.store.document import StoredRows
    from edgetl_device._lib.documents import Named

    return StoredRows(Named("edgetl", __version__), rows)
