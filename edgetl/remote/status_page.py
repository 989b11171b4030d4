"""HTML page of a deployment."""

from __future__ import annotations

from edgetl.remote.deployment import BoardOutcome, Deployment
from edgetl.reports.html import fill

_CLASSES = {
    "installed": "valid",
    "unchanged": "valid",
    "read": "valid",
    "rolled back": "valid",
    "not started": "degraded",
}


def render(deployment: Deployment) -> str:
    """Return a deployment as a self-contained HTML page.

    Raises:
        Unavailable: Jinja2 is not installed.
    """
    running: dict[str, list[str]] = {}
    for board in deployment.boards:
        running.setdefault(_running(board), []).append(board.name)
    return fill(
        "deployment.html",
        deployment=deployment,
        headline=f"{len(deployment.boards)} boards: {deployment.counted()}",
        status=_status(deployment),
        rows=[(board, _CLASSES.get(board.outcome, "invalid"), _events(board)) for board in deployment.boards],
        running=sorted(running.items(), key=lambda item: -len(item[1])),
    )


def _status(deployment: Deployment) -> str:
    if any(board.failed for board in deployment.boards):
        return "invalid"
    return "degraded" if any(board.outcome in ("not started", "unknown") for board in deployment.boards) else "valid"


def _running(board: BoardOutcome) -> str:
    if board.slots is None:
        return "unknown"
    found = board.slots.confirmed
    if found is None:
        return "none"
    return f"{found.name}, {found.digest[:12]}" + ("" if found.version is None else f", version {found.version}")


def _events(board: BoardOutcome) -> list[str]:
    """Return the events of a board, newest first."""
    if board.slots is None:
        return []
    return [
        " ".join(filter(None, (one.time, one.what, (one.digest or "")[:12], f"({one.why})" if one.why else "")))
        for one in reversed(board.slots.events)
    ]
