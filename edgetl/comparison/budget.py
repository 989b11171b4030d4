"""Budgets: bounds that a model must keep, in the words of gates: ``p95_ms<8, mb<3, drop_pp<0.5``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from edgetl_device._lib.documents import Unknown
from edgetl_device.errors import InputError

from .gates import RUN_METRICS, Gate, Subject, Value, judge, parse_gate, values

# Less is better in each. None depends on the size of the photos' files, so pictures of any size measure it.
COST_METRICS = tuple(
    metric for metric in RUN_METRICS if metric.name in ("size_mb", "p50_ms", "p90_ms", "p95_ms", "peak_rss_mb")
)
DROP_METRIC = next(metric for metric in RUN_METRICS if metric.name == "accuracy_drop_pp")
_SHORT = {"mb": "size_mb", "drop_pp": DROP_METRIC.name}
_EXAMPLE = 'Write it as "p95_ms<8, mb<3, drop_pp<0.5".'
# The sign of a bound, and that of the gate that fails where it is not kept.
_BROKEN_BY = {"<": ">=", "<=": ">"}


def parse_budget(texts: Iterable[str]) -> tuple[Gate, ...]:
    """Parse the bounds of a budget; the gate of each fails where its bound is not kept.

    Raises:
        InputError: A bound is malformed, names a metric that budgets do not have, bounds it from below or by no number
            over 0, or is the second of a metric.
    """
    by_name = {metric.name: metric for metric in (*COST_METRICS, DROP_METRIC)}
    by_name |= {short: by_name[name] for short, name in _SHORT.items()}
    found: dict[str, Gate] = {}
    for text in texts:
        gate = parse_gate(text, by_name, {}, flag="--budget", example=_EXAMPLE)
        assert isinstance(gate, Gate)
        name = gate.metric.name
        if gate.sign not in _BROKEN_BY:
            raise InputError(f"--budget {text!r}: {name} has no upper bound", hint=_EXAMPLE)
        if gate.variant is not None:
            raise InputError(f"--budget {text!r}: names a variant", why="a budget is for the int8 model", hint=_EXAMPLE)
        if gate.bound <= 0 and name != DROP_METRIC.name:
            raise InputError(f"--budget {text!r}: no model costs so little", hint="Give a number over 0.")
        if name in found:
            raise InputError(f"--budget {text!r}: {name} is bounded twice", hint="Leave one of them out.")
        found[name] = replace(gate, sign=_BROKEN_BY[gate.sign])
    if not found:
        raise InputError("--budget is empty: there is nothing to keep", hint=_EXAMPLE)
    return tuple(found.values())


def drop_bound(budget: Sequence[Gate]) -> float | None:
    """Return the bound on the accuracy that int8 may lose, in percentage points; None without one."""
    return next((gate.bound for gate in budget if gate.metric is DROP_METRIC), None)


def broken(budget: Sequence[Gate], name: str, row: Any, *, invalid: str = "") -> tuple[str, ...]:
    """Return the bounds on costs that a row does not keep, each as ``p95_ms<8 (9.1)``.

    Args:
        budget: From :func:`parse_budget`. The bound on the drop is left out: it is not measured with the costs.
        name: Name of the row.
        row: A run of a result, or an object with attributes of the same names.
        invalid: Why its times are unusable, or empty.
    """
    subject = Subject(name, "int8", values(COST_METRICS, row), invalid)
    outcomes = judge([gate for gate in budget if gate.metric is not DROP_METRIC], [subject])
    return tuple(
        f"{one.gate.text} ({_said(one.value)}{f', {one.why}' if one.why else ''})" for one in outcomes if one.failed
    )


def excess(budget: Sequence[Gate], row: Any) -> float:
    """Return the largest ratio of a cost to its bound, over 1 where a budget is broken; infinite if one is unknown."""
    costs = values(COST_METRICS, row)
    ratios = [_ratio(costs[gate.metric.name], gate.bound) for gate in budget if gate.metric is not DROP_METRIC]
    return max(ratios, default=0.0)


def _ratio(value: Value, bound: float) -> float:
    return float("inf") if isinstance(value, Unknown) else value / bound


def _said(value: bool | Value) -> str:
    return "unknown" if isinstance(value, Unknown) else f"{value:.3g}"
