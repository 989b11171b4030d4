"""Output of ``edgetl inspect A B``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetl.cli.console.output import echo

if TYPE_CHECKING:
    from edgetl.inspection.difference import ChangedTensor, FileDifference, OperatorDifference, TensorType

# Rows to print; --tensors prints all, and --json contains all.
_ROWS_SHOWN = 20
_ONLY_SHOWN = 5


def print_difference(difference: FileDifference, *, everything: bool) -> None:
    """Print the differences between two files; ``everything`` lists every tensor."""
    for letter, file in zip("AB", difference.files, strict=True):
        echo(f"{letter} {file.path}: {file.bytes:,} bytes, {file.operators} operators")
    _print_operators(difference.operators)
    tensors = difference.tensors
    echo(f"  tensors     {tensors.equal} equal, {len(tensors.changed)} differ ({_kinds(tensors.changed)})")
    for letter, unpaired in (("A", tensors.only_first), ("B", tensors.only_second)):
        only = [_short(tensor.name) for tensor in unpaired]
        more = f", and {len(only) - _ONLY_SHOWN} more" if len(only) > _ONLY_SHOWN and not everything else ""
        listed = ", ".join(only if everything else only[:_ONLY_SHOWN])
        echo(f"  only in {letter}   {listed or 'nothing'}{more}")
    rows = sorted((row for row in tensors.changed if everything or _is_constant(row)), key=_error, reverse=True)
    if not rows:
        return
    from edgetl.cli.console.output import print_table

    shown = rows if everything else rows[:_ROWS_SHOWN]
    what = (
        "Tensors that differ"
        if everything
        else f"Constants that differ: the {len(shown)} most different of {len(rows)} (* one scale per channel)"
    )
    columns = ("tensor", "shape", "A", "B", "max abs", "SQNR dB")
    print_table(columns, [_row(row) for row in shown], title=what)


def _print_operators(operators: OperatorDifference) -> None:
    if not operators.changes:
        echo("  operators   the same, in the same order")
    for change in operators.changes:
        ours, theirs = change.first.operators, change.second.operators
        what = " ".join([f"- {', '.join(ours)}" if ours else "", f"+ {', '.join(theirs)}" if theirs else ""]).strip()
        echo(f"  operators   at {change.first.at}: {what}")


def _kinds(changed: tuple[ChangedTensor, ...]) -> str:
    kinds = ("dtype", "quantization", "values")
    return ", ".join(f"{sum(kind in row.differs for row in changed)} in {kind}" for kind in kinds)


def _is_constant(row: ChangedTensor) -> bool:
    return row.difference is not None and "values" in row.differs


def _row(row: ChangedTensor) -> tuple[str, ...]:
    from edgetl.inspection.difference import ValueDifference

    difference, decibels = row.difference, _decibels(row)
    return (
        _short(row.name),
        "x".join(map(str, row.shape)),
        _type(row.first),
        _type(row.second),
        f"{difference.max_abs:.3g}" if isinstance(difference, ValueDifference) else "",
        "" if decibels is None else f"{decibels:.1f}",
    )


def _type(spec: TensorType) -> str:
    if spec.scale is not None:
        return f"{spec.dtype} {spec.scale:.3g} @ {spec.zero_point}"
    return f"{spec.dtype}*" if spec.scales is not None else spec.dtype


def _short(name: str) -> str:
    """Return the first of the operations that a tensor is named after, without the model's name."""
    return name.split(";")[0].partition("/")[2] or name


def _error(row: ChangedTensor) -> float:
    decibels = _decibels(row)
    return -1e9 if decibels is None else -decibels


def _decibels(row: ChangedTensor) -> float | None:
    from edgetl.inspection.difference import ValueDifference

    decibels = row.difference.sqnr_db if isinstance(row.difference, ValueDifference) else None
    return decibels if isinstance(decibels, float) else None
