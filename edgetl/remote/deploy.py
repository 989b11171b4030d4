"""Deploy a bundle to boards, canaries first; show what is installed, or roll back."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

from edgetl import __version__
from edgetl.remote.board import PRINTED, Upload, ready_python, run_device, send_bundle
from edgetl.remote.connection import Children, Connection, Say, in_memory, ssh_command
from edgetl.remote.deploy_options import DeployOptions
from edgetl.remote.deployment import BoardOutcome, Deployment
from edgetl.remote.fleet import Board
from edgetl.remote.parallel import Outcome, on_boards
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Named
from edgetl_device.bundle import Bundle, BundleName
from edgetl_device.errors import EdgetlError, OptionError
from edgetl_device.options import arguments
from edgetl_device.signature import PublicKey, now, read_keys
from edgetl_device.slots import SlotsState
from edgetl_device.update.options import UpdateOptions
from edgetl_device.update.run import UpdateReport

T = TypeVar("T", UpdateReport, SlotsState)
Work = Callable[[Board, Children, Say], T]
Tell = Callable[[Board, str], None]
# Called whenever a board is done, with its outcome and the deployment so far.
Changed = Callable[[BoardOutcome, Deployment], None]


def deploy(
    bundle: Bundle,
    boards: Sequence[Board],
    options: DeployOptions,
    *,
    offline: bool = False,
    say: Tell,
    changed: Changed,
) -> Deployment:
    """Install a bundle on boards and switch them to it.

    Args:
        bundle: A folder or an ``.edgetl`` file.
        boards: The boards; the first ones are the canaries.
        options: The options.
        offline: Copy all wheels from this machine; pip on the boards uses no index.
        say: Called with a board and a line of progress, from several threads.
        changed: Called when a board is done.

    Returns:
        The outcome on each board; a board's failure is part of it, not raised.

    Raises:
        InputError: The request is wrong, or the bundle is not signed by a trusted key.
        KeyboardInterrupt: Raised after the boards have rolled back.
    """
    trust = read_keys(options.trust)
    if trust:
        bundle.check_signed(trust, at=now(), min_version=options.min_version)
    if options.variant is not None:
        bundle.variant(options.variant)
    places = {board.name: _places(board, options) for board in boards}
    ssh_command()  # raises if there is none
    with tempfile.TemporaryDirectory(prefix="edgetl-") as scratch:
        upload = Upload(bundle, Path(scratch))

        def work(board: Board, children: Children, say: Say) -> UpdateReport:
            return _deploy_board(board, upload, places[board.name], trust, offline=offline, children=children, say=say)

        versions = [one.version for one in bundle.signatures()]
        empty = _empty(BundleName(upload.name, bundle.digest), max(versions, default=None))
        return _in_waves(_waves(boards, options), work, empty, options.parallel, options.stop_after, say, changed)


def roll_back(
    boards: Sequence[Board],
    options: DeployOptions,
    *,
    offline: bool = False,
    say: Tell,
    changed: Changed,
) -> Deployment:
    """Roll boards back to their previous bundle; as :func:`deploy`, but all at once."""
    return _everywhere(boards, options, ("--rollback",), UpdateReport, offline, say, changed)


def status(
    boards: Sequence[Board],
    options: DeployOptions,
    *,
    offline: bool = False,
    say: Tell,
    changed: Changed,
) -> Deployment:
    """Read what is installed on boards; as :func:`deploy`, but all at once."""
    return _everywhere(boards, options, (), SlotsState, offline, say, changed)


def _everywhere(
    boards: Sequence[Board],
    options: DeployOptions,
    flags: Sequence[str],
    kind: type[T],
    offline: bool,
    say: Tell,
    changed: Changed,
) -> Deployment:
    places = {board.name: _places(board, options) for board in boards}
    ssh_command()

    def work(board: Board, children: Children, say: Say) -> T:
        say("connecting")
        with Connection(board.host, board.python or "python3", children=children, say=say) as link:
            link.lock()
            python = ready_python(link, board, (), offline, children=children, say=say)
            printed = run_device(link, python, ["slots", places[board.name].slots, *flags])
            return documents.parse(kind, printed, name=PRINTED)

    return _in_waves([boards], work, _empty(None, None), options.parallel, len(boards) + 1, say, changed)


def _deploy_board(
    board: Board,
    upload: Upload,
    options: DeployOptions,
    trust: Sequence[PublicKey],
    *,
    offline: bool,
    children: Children,
    say: Say,
) -> UpdateReport:
    extras: tuple[str, ...] = ()
    if options.variant is not None and upload.bundle.variant(options.variant).format == "onnx":
        extras = ("onnx",)
    say("connecting")
    with Connection(board.host, board.python or "python3", children=children, say=say) as link:
        link.lock()
        python = ready_python(link, board, extras, offline, children=children, say=say)
        bundle = send_bundle(link, upload, say)
        update = UpdateOptions(**{one.name: getattr(options, one.name) for one in fields(UpdateOptions)})
        if trust:
            keys = f"bundles/{upload.bundle.digest}/trust.pub"
            link.put(in_memory("".join(f"{key.line()}\n" for key in trust).encode()), keys)
            update = replace(update, trust=(keys,))
        say("updating")
        printed = run_device(link, python, ["update", bundle, options.slots, *arguments(update)])
        return documents.parse(UpdateReport, printed, name=PRINTED)


def _places(board: Board, options: DeployOptions) -> DeployOptions:
    """Return the options for a board, with its own slots folder if it has one."""
    if not (board.slots or options.slots).startswith(("/", "~/")):
        where = f"board {board.name}: slots = {board.slots!r}" if board.slots else "{slots=}"
        raise OptionError(f"{where}: must begin with / or ~/", why="it is a folder on the board", slots=options.slots)
    return replace(options, slots=board.slots) if board.slots else options


def _waves(boards: Sequence[Board], options: DeployOptions) -> list[Sequence[Board]]:
    first = math.ceil(options.canary * len(boards))
    return [part for part in (boards[:first], boards[first:]) if part]


def _in_waves(
    waves: Sequence[Sequence[Board]],
    work: Work[T],
    empty: Deployment,
    parallel: int,
    stop_after: int,
    say: Tell,
    changed: Changed,
) -> Deployment:
    """Do the work on one wave of boards after another, until too many have failed."""
    rows = {
        board.name: BoardOutcome(board.name, number, "not started", None, 0, 0.0, None)
        for number, wave in enumerate(waves)
        for board in wave
    }

    stopped = False

    def so_far() -> Deployment:
        return replace(empty, boards=tuple(rows.values()), stopped=stopped)

    def starting(board: Board) -> bool:
        nonlocal stopped
        stopped = sum(row.failed for row in rows.values()) >= stop_after
        if not stopped:
            rows[board.name] = replace(rows[board.name], outcome="unknown", why="no answer yet")
        return not stopped

    def finished(outcome: Outcome[T]) -> None:
        rows[outcome.board.name] = _row(rows[outcome.board.name], outcome)
        changed(rows[outcome.board.name], so_far())

    for wave in waves:
        if not stopped:
            on_boards(wave, work, say=say, finished=finished, parallel=parallel, starting=starting)
    return so_far()


def _row(row: BoardOutcome, outcome: Outcome[UpdateReport] | Outcome[SlotsState]) -> BoardOutcome:
    done = replace(row, elapsed_s=round(outcome.elapsed_s, 3), why=None)
    error, found = outcome.error, outcome.document
    if error is not None:
        why = "; ".join(filter(None, (error.what, error.why)))
        refused = error.exit_code in (2, EdgetlError.exit_code)
        return replace(done, outcome="refused" if refused else "unreachable", why=why, exit=error.exit_code)
    if isinstance(found, UpdateReport):
        return replace(done, outcome=found.outcome, why=found.why, exit=found.exit, slots=found.slots)
    return replace(done, outcome="read", slots=found)


def _empty(bundle: BundleName | None, version: int | None) -> Deployment:
    return Deployment(Named("edgetl", __version__), now().isoformat(), bundle, version, False, ())
