"""Compare bench results or training runs, and check gates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgetl_device.errors import InputError

from .document import Comparison
from .results import compare_results, run_name
from .runs import compare_runs

__all__ = ["Comparison", "compare", "compare_results", "compare_runs", "run_name"]


def compare(paths: Sequence[Path], *, baseline: str | None = None) -> Comparison:
    """Compare bench results, or training runs, with the first of them.

    Args:
        paths: Files written by ``edgetl bench --out``, or folders written by ``edgetl train``.
        baseline: For results: compare every run with this variant of the first result.

    Raises:
        InputError: They cannot be compared; the message says which, why, and what to do.
    """
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return compare_results(paths, baseline=baseline)
    if len(folders) < len(paths):
        file = next(path for path in paths if path not in folders)
        raise InputError(
            f"{file} is a result and {folders[0]} is a folder",
            why="results are compared with results, and training runs with training runs",
        )
    if baseline is not None:
        raise InputError("--baseline is for results", why=f"{folders[0]} is a folder; the first run is the baseline")
    if len(paths) < 2:
        raise InputError(f"{paths[0]}: there is no other run to compare it with", hint="Give two run directories.")
    return compare_runs(paths)
