"""``edgetl bench --on HOST``: bench on boards over SSH, with one table for all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetl.cli.console.formats import Format, print_csv, print_report
from edgetl.cli.console.output import note, print_json
from edgetl_device.errors import EdgetlError, InputError, Unavailable
from edgetl_device.truth import NOT_KNOWN

from .boards import BoardView, reason
from .gating import write_summary
from .json_output import check_out, deliver

if TYPE_CHECKING:
    from edgetl.comparison.gates import AnyGate
    from edgetl.remote.fleet import Board
    from edgetl.remote.parallel import Outcome
    from edgetl_device.bench.options import BenchOptions
    from edgetl_device.bench.result import Result
    from edgetl_device.bundle import Bundle


@dataclass(frozen=True)
class Printing:
    """How to print results, and where to write them.

    Attributes:
        form: Format of the tables.
        json: Print the result of a single board as JSON.
        summary: File for a summary in Markdown.
        out: A ``.json`` file for the result of a single board, or a folder for ``NAME.json`` of each; None for neither.
    """

    form: Format
    json: bool
    summary: Path | None
    out: Path | None

    def file(self, board: Board) -> Path | None:
        """Return the file for a board's result, or None."""
        if self.out is None or self.out.suffix == ".json":
            return self.out
        return self.out / f"{board.name}.json"


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
    from edgetl.cli.console.bench import print_result, records, short_table
    from edgetl.comparison.gates import judge, outcome_lines, raise_failed
    from edgetl.comparison.results import gate_subjects
    from edgetl.remote.board import Upload, bench_board
    from edgetl.remote.connection import ssh_command
    from edgetl.remote.parallel import on_boards
    from edgetl_device.bench.photoset import of_folder

    if len(boards) > 1:
        hint = "Name a folder with --out DIR: it gets NAME.json of each board."
        if printing.json:
            raise InputError(f"--json prints one result, but there are {len(boards)} boards", hint=hint)
        if printing.out is not None and printing.out.suffix == ".json":
            raise InputError(f"--out {printing.out}: one file, but there are {len(boards)} boards", hint=hint)
    if options.scenario is not None:
        raise InputError("--scenario works on this machine only: LoadGen is not sent to boards", hint="Leave it out.")
    ssh_command()  # raises if there is none
    for board in boards:
        _check(bundle, board.options(options))
    photos = of_folder(options.data, bundle) if options.data is not None else None
    for board in boards:
        check_out(printing.file(board))
    unwritten: list[EdgetlError] = []
    with tempfile.TemporaryDirectory(prefix="edgetl-") as scratch, BoardView(boards) as view:
        upload = Upload(bundle, Path(scratch), photos)

        def finished(outcome: Outcome[Result]) -> None:
            if outcome.document is not None:
                try:
                    deliver(outcome.document, json=False, out=printing.file(outcome.board))
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
    documents = {outcome.board.name: outcome.document for outcome in outcomes}
    table = short_table(f"{upload.name} on {len(boards)} board{'s' * (len(boards) > 1)}", documents, by="board")
    if len(boards) > 1 and printing.form is not Format.csv:
        print_report(printing.form, [table], [*_about(outcomes), *lines])
    elif not printing.json and printing.form is not Format.csv:
        for result in results.values():
            print_result(result, printing.form, lines)
    elif results:
        if printing.json:
            print_json(results[boards[0].name].to_json())
        else:
            print_csv([{"on": name, **row} for name, result in results.items() for row in records(result)])
        for line in lines:
            note(line)
    write_summary(printing.summary, f"edgetl bench {upload.name}", judged, [table], _about(outcomes))
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


def _about(outcomes: Sequence[Outcome[Result]]) -> list[str]:
    """Describe each board, or why it gave no result, and why its measurements are not valid."""
    from edgetl_device._lib.documents import Unknown

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
    if any(outcome.document is not None and outcome.document.evalset.truth == "model" for outcome in outcomes):
        lines.append(NOT_KNOWN)
    return lines
