"""``edgetl bench --on HOST``: bench on boards over SSH, with one table for all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetl.cli.console.formats import Format, Table, print_csv, print_report
from edgetl.cli.console.output import note, print_json
from edgetl_device.errors import EdgetlError, InputError, Unavailable

from .boards import BoardView, reason

if TYPE_CHECKING:
    from edgetl.comparison.gates import AnyGate
    from edgetl.remote.fleet import Board
    from edgetl.remote.parallel import Outcome
    from edgetl_device.bench.options import BenchOptions
    from edgetl_device.bench.result import Result
    from edgetl_device.bundle import Bundle


@dataclass(frozen=True)
class Printing:
    """How to print results, and where to write them (empty: nowhere; -: stdout)."""

    form: Format
    json: str
    out: str


def chosen_boards(on: Sequence[str], fleet: str) -> tuple[Board, ...]:
    """Return the boards of ``--on`` or ``--fleet``; none if neither is given.

    Raises:
        InputError: Both are given, or one is invalid.
    """
    from edgetl.remote.fleet import from_hosts, read_fleet

    if on and fleet:
        raise InputError("--on and --fleet cannot be combined", hint="Add the hosts to the fleet file.")
    return read_fleet(fleet) if fleet else from_hosts(on)


def bench_boards(
    bundle: Bundle,
    boards: Sequence[Board],
    options: BenchOptions,
    gates: Sequence[AnyGate],
    printing: Printing,
    *,
    offline: bool = False,
) -> None:
    """Bench on all boards, write each result as it arrives, print them, and check the gates.

    A folder of labelled photos in the options is sent to the boards; with ``offline``, all wheels are too.

    Raises:
        InputError: The request is invalid for every board.
        Unavailable: A board gave no result; the results of the others have been written and printed.
        GateFailed: All boards gave a result, but a gate failed.
    """
    from edgetl.cli.console.bench import print_result, records
    from edgetl.comparison.gates import judge, outcome_lines, raise_failed
    from edgetl.comparison.results import gate_subjects
    from edgetl.remote.board import Upload, bench_board
    from edgetl.remote.connection import ssh_command
    from edgetl.remote.parallel import on_boards
    from edgetl_device.bench.photoset import of_folder
    from edgetl_device.files import check_writable

    if printing.json and len(boards) > 1:
        raise InputError(f"--json writes one result, but there are {len(boards)} boards", hint="Use --out DIR.")
    if options.scenario is not None:
        raise InputError("--scenario works on this machine only: LoadGen is not sent to boards", hint="Leave it out.")
    ssh_command()  # raises if there is none
    for board in boards:
        _check(bundle, board.options(options))
    photos = of_folder(options.data, bundle) if options.data is not None else None
    if printing.out:
        for board in boards:
            check_writable(_file(printing.out, board))
    unwritten: list[EdgetlError] = []
    with tempfile.TemporaryDirectory(prefix="edgetl-") as scratch, BoardView(boards) as view:
        upload = Upload(bundle, Path(scratch), photos)

        def finished(outcome: Outcome[Result]) -> None:
            if outcome.document is not None:
                try:
                    _write(outcome.document, outcome.board, printing)
                except EdgetlError as error:
                    # The others are still running.
                    unwritten.append(error)
                    note(f"error: {error.for_command_line()}")
            view.finished(outcome)

        outcomes = on_boards(
            boards,
            lambda board, children, say: bench_board(
                board, upload, board.options(options), offline=offline, children=children, say=say
            ),
            say=view.say,
            finished=finished,
        )
    results = {outcome.board.name: outcome.document for outcome in outcomes if outcome.document is not None}
    subjects = [
        replace(subject, name=f"{name}: {subject.name}")
        for name, result in results.items()
        for subject in gate_subjects(result)
    ]
    judged = judge(gates, subjects) if results else ()
    lines = outcome_lines(judged)
    if len(boards) > 1 and printing.form is not Format.csv:
        print_report(printing.form, [_summary(upload.name, outcomes)], [*_about(outcomes), *lines])
    elif printing.json != "-" and printing.form is not Format.csv:
        for result in results.values():
            print_result(result, printing.form, lines)
    elif results:
        if printing.json == "-":
            print_json(results[boards[0].name].to_json())
        else:
            print_csv([{"on": name, **row} for name, result in results.items() for row in records(result)])
        for line in lines:
            note(line)
    raise_failures(outcomes)
    if unwritten:
        raise unwritten[0]
    raise_failed(judged)


def _check(bundle: Bundle, options: BenchOptions) -> None:
    """Refuse a request that every board would refuse."""
    for name in options.named_variants or ():
        bundle.variant(name)


def raise_failures(outcomes: Sequence[Outcome[Any]]) -> None:
    """Raise an error if a board gave no result.

    Raises:
        EdgetlError: A defect in edgetl made one board fail.
        Unavailable: A board gave no result. The error of a single board is raised unchanged.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return
    for outcome in failed:
        if outcome.error is not None and outcome.error.exit_code == EdgetlError.exit_code:
            raise outcome.error
    first = failed[0].error
    assert first is not None
    if len(outcomes) == 1:
        raise Unavailable(f"{failed[0].board.name}: {first.what}", why=first.why, hint=first.hint)
    raise Unavailable(
        f"{len(failed)} of {len(outcomes)} boards gave no result: {', '.join(one.board.name for one in failed)}",
        why=f"{failed[0].board.name}: {reason(failed[0])}",
    )


def _write(result: Result, board: Board, printing: Printing) -> None:
    from edgetl_device.documents import write_or_keep

    if printing.json not in ("", "-"):
        write_or_keep(printing.json, result)
        note(f"written: {printing.json}")
    if printing.out:
        path = _file(printing.out, board)
        write_or_keep(path, result)
        note(f"written: {path}")


def _file(folder: str, board: Board) -> Path:
    return Path(folder) / f"{board.name}.json"


def _summary(bundle: str, outcomes: Sequence[Outcome[Result]]) -> Table:
    from edgetl.cli.console.bench import drop_with_interval, megabytes, milliseconds

    numbers = ["model p50", "model p95", "photo p95", "top-1 (95%)", "drop, pp (95%)", "memory"]
    columns = ["board", "variant", "threads", *numbers, "verdict"]
    rows = []
    for outcome in outcomes:
        if outcome.document is None:
            rows.append([outcome.board.name, *["-"] * (len(columns) - 2), "no result"])
            continue
        rows += [
            [
                outcome.board.name,
                run.variant + (f", batch {run.batch}" if run.batch > 1 else ""),
                str(run.threads),
                milliseconds(run.latency.p50_ms),
                milliseconds(run.latency.p95_ms),
                milliseconds(run.latency_ms.total.p95_ms),
                "{:.1%} ({:.1f}..{:.1f})".format(run.accuracy.top1, *(100 * bound for bound in run.accuracy.ci95)),
                drop_with_interval(run),
                megabytes(run.peak_rss_bytes),
                run.verdict.status,
            ]
            for run in outcome.document.runs
        ]
    return Table(f"{bundle} on {len(outcomes)} boards", columns, rows)


def _about(outcomes: Sequence[Outcome[Result]]) -> list[str]:
    """Describe each board, or why it gave no result, and why its measurements are not valid."""
    from edgetl_device.documents import Unknown

    lines = []
    for outcome in outcomes:
        name = outcome.board.name
        if outcome.document is None:
            lines.append(f"{name}: no result: {reason(outcome)}")
            continue
        environment = outcome.document.environment
        where = [value for value in (environment.board, environment.cpu) if not isinstance(value, Unknown)]
        lines.append(f"{name}: {', '.join([*where, environment.machine])}")
        why = {f"{name}: {run.verdict.status}: {text}" for run in outcome.document.runs for text in run.verdict.reasons}
        lines += sorted(why)
        lines += [f"{name}: left out: {left}: {left.why}" for left in outcome.document.skipped]
    return lines
