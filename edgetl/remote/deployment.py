"""The document of a deployment: what happened on each board, and what runs there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgetl_device import documents
from edgetl_device.bundle import BundleName
from edgetl_device.documents import Count, Json, Named, Seconds, Text, Time
from edgetl_device.errors import EdgetlError, GateFailed, InputError, Unavailable
from edgetl_device.signature import Version
from edgetl_device.slots import SlotsState

Outcome = Literal[
    "installed", "unchanged", "rolled back", "read", "refused", "undone", "unreachable", "unknown", "not started"
]


@dataclass(frozen=True)
class BoardOutcome:
    """What happened on a board.

    Attributes:
        name: Its name.
        wave: 0 for the boards that came first; later ones were started when those before had succeeded.
        outcome: ``installed``, ``unchanged`` (it runs already), ``rolled back``, ``read`` (status only), ``refused``
            (by a check before the switch), ``undone`` (by one after it), ``unreachable``, ``unknown`` (interrupted), or
            ``not started``.
        why: The reason, if it is no success.
        exit: Exit code of this board: 0 done, or not started.
        elapsed_s: How long it took.
        slots: What is installed there, as far as it is known.
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
    """What a deployment did, or what the boards said.

    Attributes:
        producer: The program that wrote it.
        created: Time in UTC, ISO 8601.
        bundle: The bundle; null if none was deployed.
        version: The version that its signatures state, the highest; null if it is not signed.
        stopped: Whether boards were not started, because others had failed.
        boards: The boards, in the order in which they were given.
    """

    SCHEMA: ClassVar[str] = "edgetl.deployment/1"

    producer: Named
    created: Time
    bundle: BundleName | None
    version: Version | None
    stopped: bool
    boards: tuple[BoardOutcome, ...]

    def to_json(self) -> Json:
        """Return the document that ``edgetl deploy --json`` writes."""
        return documents.to_json(self)

    def counted(self) -> str:
        """Return how many boards had which outcome, in words."""
        names = [board.outcome for board in self.boards]
        return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))


def read(path: str | os.PathLike[str]) -> Deployment:
    """Read a deployment that ``edgetl deploy --json`` wrote.

    Raises:
        InputError: It is missing or damaged, or something else.
    """
    return documents.read(Deployment, path)


def raise_failures(deployment: Deployment) -> None:
    """Raise an error if a board failed.

    Raises:
        GateFailed: A board went back because a check failed after the switch.
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
        hint=f"Boards not started: {left}; they run what they ran before." if left else "",
    )
