"""Print predicted Edge TPU mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetl.cli.console.output import echo

if TYPE_CHECKING:
    from edgetl.inspection.edgetpu.predict import EdgeTpuPrediction

_MIB = 1 << 20


def print_prediction(name: str, prediction: EdgeTpuPrediction, *, every: bool) -> None:
    """Print a prediction: one line per operator (all, or only those on the CPU), then totals."""
    from edgetl_device._lib.documents import Unknown

    rows = [row for row in prediction.operators if every or row.on == "cpu"]
    echo(f"{name}: {'already compiled for' if prediction.compiled else 'predicted for'} the Edge TPU")
    if rows:
        widths = [max(len(text) for text in column) for column in zip(*((r.name, r.output) for r in rows), strict=True)]
        for row in rows:
            line = f"{row.index:>4}  {row.name:<{widths[0]}}  {row.output:<{widths[1]}}  {row.on:<7}  {row.reason}"
            echo(line.rstrip())
    total = prediction.total
    if prediction.compiled:
        left = total - sum(row.name == "edgetpu-custom-op" for row in prediction.operators)
        echo(f"compiled    {left} operator{'s' * (left != 1)} left on the CPU; run it with --delegate edgetpu")
        return
    share = prediction.mapped_percent
    percent = "" if isinstance(share, Unknown) else f", {share:.1f}%"
    echo(f"mapped      {prediction.mapped} of {total} operators" + percent)
    over = prediction.streamed_bytes_at_least
    fits = f"{over / _MIB:.1f} MiB are sent for every photo" if over else "fits"
    least, most = prediction.parameter_bytes / _MIB, prediction.on_chip_bytes / _MIB
    echo(f"parameters  {least:.2f} MiB at least, of {most:g} MiB on the chip: {fits}")
    if prediction.refused:
        echo(f"refused     {prediction.refused}")
    for risk in prediction.risks:
        echo(f"risk        {risk}")
