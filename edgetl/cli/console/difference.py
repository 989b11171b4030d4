"""What ``edgetl inspect A B`` prints."""

from __future__ import annotations

from typing import Any

from edgetl.cli.console.output import echo

# The others are in --json, and all with --tensors.
_ROWS_SHOWN = 20
_ONLY_SHOWN = 5


def print_comparison(document: dict[str, Any], *, everything: bool) -> None:
    """Print a document of :func:`edgetl.inspection.difference.compare_files`; ``everything`` lists every tensor."""
    for letter, file in zip("AB", document["files"], strict=True):
        echo(f"{letter} {file['path']}: {file['bytes']:,} bytes, {file['operators']} operators")
    _print_operators(document["operators"])
    tensors = document["tensors"]
    echo(f"  tensors     {tensors['equal']} equal, {len(tensors['changed'])} differ ({_kinds(tensors['changed'])})")
    for letter, side in (("A", "only_first"), ("B", "only_second")):
        only = [_short(tensor["name"]) for tensor in tensors[side]]
        more = f", and {len(only) - _ONLY_SHOWN} more" if len(only) > _ONLY_SHOWN and not everything else ""
        listed = ", ".join(only if everything else only[:_ONLY_SHOWN])
        echo(f"  only in {letter}   {listed or 'nothing'}{more}")
    rows = sorted((row for row in tensors["changed"] if everything or _is_constant(row)), key=_error, reverse=True)
    if not rows:
        return
    from edgetl.cli.console.output import print_table

    shown = rows if everything else rows[:_ROWS_SHOWN]
    what = (
        "Tensors that differ"
        if everything
        else f"Constants that differ, the {len(shown)} least alike of {len(rows)} (* one scale a channel)"
    )
    columns = ("tensor", "shape", "A", "B", "max abs", "SQNR dB")
    print_table(columns, [_row(row) for row in shown], title=what)


def _print_operators(operators: dict[str, Any]) -> None:
    if not operators["changes"]:
        echo("  operators   the same, in the same order")
    for change in operators["changes"]:
        ours, theirs = change["first"]["operators"], change["second"]["operators"]
        what = " ".join([f"- {', '.join(ours)}" if ours else "", f"+ {', '.join(theirs)}" if theirs else ""]).strip()
        echo(f"  operators   at {change['first']['at']}: {what}")


def _kinds(changed: list[dict[str, Any]]) -> str:
    found = [
        f"{sum(kind in row['differs'] for row in changed)} in {kind}" for kind in ("dtype", "quantization", "values")
    ]
    return ", ".join(found)


def _is_constant(row: dict[str, Any]) -> bool:
    return "difference" in row and "values" in row["differs"]


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    difference = row.get("difference", {})
    largest, decibels = difference.get("max_abs"), difference.get("sqnr_db")
    return (
        _short(row["name"]),
        "x".join(map(str, row["shape"])),
        _type(row["first"]),
        _type(row["second"]),
        "" if largest is None else f"{largest:.3g}",
        f"{decibels:.1f}" if isinstance(decibels, float) else "",
    )


def _type(spec: dict[str, Any]) -> str:
    if "scale" in spec:
        return f"{spec['dtype']} {spec['scale']:.3g} @ {spec['zero_point']}"
    return f"{spec['dtype']}*" if "scales" in spec else spec["dtype"]


def _short(name: str) -> str:
    """Return the first of the operations that a tensor is named after, without the model's name."""
    return name.split(";")[0].partition("/")[2] or name


def _error(row: dict[str, Any]) -> float:
    decibels = row.get("difference", {}).get("sqnr_db")
    return -decibels if isinstance(decibels, float) else -1e9
