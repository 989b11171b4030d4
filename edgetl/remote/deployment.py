"""The document of a deployment: the outcome on each board, and what runs there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgetl_device._lib import documents
from edgetl_device._lib.documents import Count, Json, Named, Seconds, Text, Time
from edgetl_device.bundle import BundleName
from edgetl_device.errors import EdgetlError, GateFailed, InputError, Unavailable
from edgetl_device.signature import Version
from edgetl_device.slots import SlotsState

Outcome = Literal[
    "installed", "unchanged", "rolled back", "read", "refused", "undone", "unreachable", "unknown", "not started"
]


@dataclass(frozen=True)
class BoardOutcome:
    """The outcome on a board.

    Attributes:
        name: Name of the board.
        wave: 0 for the canaries, 1 for the others, which started after the canaries had succeeded.
        outcome: ``installed``, ``unchanged`` (it was running already), ``rolled back``, ``read`` (status only),
            ``refused`` (a check before the switch failed), ``undone`` (a check after it failed), ``unreachable``,
            ``unknown`` (interrupted), or ``not started``.
        why: The reason; null for a success.
        exit: Exit code for this board; 0 if done or not started.
        elapsed_s: Time that it took.
        slots: What is installed there, if known.
    """

    name: Text
    wave: Count
    outcome: Outcome
    why: str | None
    exit: Count
    elapsed_s: Seconds
    slots: SlotsState | None

    @property
    def failed(self) -> bool:
        """Whether it counts as a failure."""
        return self.exit != 0


@dataclass(frozen=True)
class Deployment:
    """A deployment, or the status of boards.

    Attributes:
        producer: The program that wrote it.
        created: Time in UTC, ISO 8601.
        bundle: The bundle; null if none was deployed.
        version: Highest version in its signatures; null if it is not signed.
        stopped: Whether boards were not started because others had failed.
        boards: The boards, in the order given.
    """

    SCHEMA: ClassVar[str] = "edgetl.deployment/1"

    producer: Named
    created: Time
    bundle: BundleName | None
    version: Version | None
    stopped: bool
    boards: tuple[BoardOutcome, ...]

    def to_json(self) -> Json:
        """Return the document that ``edgetl deploy --json`` prints."""
        return documents.to_json(self)

    def counted(self) -> str:
        """Return the number of boards for each outcome, as text."""
        names = [board.outcome for board in self.boards]
        return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))


def read(path: str | os.PathLike[str]) -> Deployment:
    """Read a deployment that ``edgetl deploy --out`` wrote.

    Raises:
        InputError: It is missing, damaged, or another document.
    """
    return documents.read(Deployment, path)


def raise_failures(deployment: Deployment) -> None:
    """Raise an error if a board failed.

    Raises:
        GateFailed: A board rolled back because a check failed after the switch.
        InputError: A board refused the bundle.
        Unavailable: A board could not be reached, or lacks something.
    """
    failed = [board for board in deployment.boards if board.failed]
    if not failed:
        return
    codes = {board.exit for board in failed}
    kinds: tuple[type[EdgetlError], ...] = (EdgetlError, GateFailed, InputError, Unavailable)
    kind = next((one for one in kinds if one.exit_code in codes), Unavailable)
    first = next((board for board in failed if board.exit == kind.exit_code), failed[0])
    if len(deployment.boards) == 1:
        raise kind(f"{first.name}: {first.outcome}", why=first.why or "")
    left = sum(board.outcome == "not started" for board in deployment.boards)
    raise kind(
        f"{len(failed)} of {len(deployment.boards)} boards failed: {', '.join(board.name for board in failed)}",
        why=f"{first.name}: {first.outcome}: {first.why}",
        hint=f"Boards not started: {left}; they still run their previous bundle." if left else "",
    )
