"""Fit a latency model to times of operators: a sum of non-negative costs for each kind of operators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgetl import __version__
from edgetl._lib.extras import require
from edgetl.inspection.tflite.file import describe
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Named, Unknown
from edgetl_device._lib.times import created
from edgetl_device.bench.operators import OperatorTimes, profile
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.machine import environment
from edgetl_device.runtime.installed import version

from .document import FittedOn, KindOfOperators, LatencyModel
from .features import CONVOLUTION, DEPTHWISE, MATMUL, Work, work_of

FEWEST = 6
# The profiler counts whole microseconds; shorter operators are as uncertain as this one.
_FLOOR_MS = 0.003
# Kernels of XNNPACK: what their names contain.
_DEPTHWISE, _MULTIPLIES = "DWConv", ("Fully Connected", "Convolution", "CONV_2D", "FULLY_CONNECTED")
_RUNTIME = "ai-edge-litert"


@dataclass(frozen=True)
class Profiled:
    """An architecture and its measured times.

    Attributes:
        name: Its name.
        group: Architectures that are left out together to estimate the error.
        work: Its operators.
        times: Their times.
    """

    name: str
    group: str
    work: tuple[Work, ...]
    times: OperatorTimes


def profiled(name: str, group: str, model: bytes, *, threads: int = 1) -> Profiled | Unknown:
    """Profile a model on this machine; unknown if that fails.

    Raises:
        InputError: It is not an int8 TFLite file.
        Unavailable: There is no profiler here.
    """
    work = tuple(work_of(describe(model), shown=name))
    times = profile(model, threads=threads)
    return times if isinstance(times, Unknown) else Profiled(name, group, work, times)


def fit(measured: Sequence[Profiled], *, threads: int) -> LatencyModel:
    """Fit a model to architectures that were profiled on this machine with ``threads`` threads.

    Its interval and error are from leaving out each group in turn.

    Raises:
        InputError: There are too few architectures.
        Unavailable: scikit-learn is missing.
    """
    if len(measured) < FEWEST:
        raise InputError(f"{len(measured)} architectures", why=f"a latency model needs at least {FEWEST}")
    solver = require("sklearn.linear_model").LinearRegression
    groups = sorted({one.group for one in measured})
    # With a single backbone, each architecture is a group of its own.
    key: Callable[[Profiled], str] = (lambda one: one.group) if len(groups) > 1 else (lambda one: one.name)
    held_out: dict[str, float] = {}
    for group in dict.fromkeys(map(key, measured)):
        kinds, factor = _fitted([one for one in measured if key(one) != group], solver)
        held_out |= {one.name: factor * sum_ms(kinds, one.work) for one in measured if key(one) == group}
    kinds, factor = _fitted(measured, solver)
    ratios = np.array([one.times.interpreter_ms / held_out[one.name] for one in measured])
    errors = np.abs(1 / ratios - 1)
    low, high = _interval(np.log(ratios))
    about = environment.describe()
    return documents.sealed(
        LatencyModel(
            producer=Named("edgetl", __version__),
            created=created(),
            board=about.board,
            cpu=about.cpu,
            runtime=Named(_RUNTIME, version(_RUNTIME)),
            threads=threads,
            kinds=tuple(kinds.values()),
            factor=factor,
            low=low,
            high=high,
            median_error=float(np.median(errors)),
            error95=float(np.percentile(errors, 95)),
            fitted_on=tuple(
                FittedOn(one.name, one.group, one.times.interpreter_ms, held_out[one.name]) for one in measured
            ),
        )
    )


def sum_ms(kinds: dict[str, KindOfOperators], work: Sequence[Work]) -> float:
    """Return the predicted sum of operators; a kind that was never seen costs what others do."""
    total = 0.0
    for one in work:
        kind = kinds.get(one.kind) or _nearest(kinds, one.kind)
        if kind is not None:
            costs = dict(zip(kind.features, kind.ms, strict=True))
            total += sum(costs.get(name, 0.0) * value for name, value in zip(one.names, one.values, strict=True))
    return max(total, 1e-6)


def _nearest(kinds: dict[str, KindOfOperators], kind: str) -> KindOfOperators | None:
    """Return the kind to predict an unseen one by: another kernel's size, or the operator of the middle cost."""
    family = kind.split()[0]
    alike = [one for one in kinds.values() if one.kind.split()[0] == family]
    if family == CONVOLUTION:
        alike = alike or [one for one in kinds.values() if one.kind == MATMUL]
    others = [one for one in kinds.values() if one.features == ("bytes", "call") and one.ms[0] > 0]
    found = sorted(alike or others, key=lambda one: one.ms[0])
    return found[(len(found) - 1) // 2] if found else None


def _fitted(measured: Sequence[Profiled], solver: Callable[..., object]) -> tuple[dict[str, KindOfOperators], float]:
    samples: dict[str, list[tuple[tuple[float, ...], float]]] = defaultdict(list)
    names: dict[str, tuple[str, ...]] = {}
    rest: list[tuple[dict[str, npt.NDArray[np.float64]], float]] = []
    for one in measured:
        multiplying, others, others_ms = _matched(one)
        for work, ms in multiplying:
            samples[work.kind].append((work.values, ms))
            names[work.kind] = work.names
        sums: dict[str, npt.NDArray[np.float64]] = {}
        for work in others:
            names[work.kind] = work.names
            sums[work.kind] = sums.get(work.kind, np.zeros(len(work.values))) + np.array(work.values)
        rest.append((sums, others_ms))
    kinds = {}
    for kind, rows in samples.items():
        values, times = np.array([row for row, _ in rows]), np.array([time for _, time in rows])
        kinds[kind] = KindOfOperators(kind, len(rows), names[kind], _solved(solver, values, times))
    # XNNPACK fuses and adds operators that do not multiply, so only their sum is known of each model.
    seen = sorted({kind for sums, _ in rest for kind in sums})
    if seen:
        table = np.array([np.concatenate([sums.get(kind, np.zeros(2)) for kind in seen]) for sums, _ in rest])
        found = _solved(solver, table, np.array([time for _, time in rest]))
        for place, kind in enumerate(seen):
            count = sum(1 for sums, _ in rest if kind in sums)
            kinds[kind] = KindOfOperators(kind, count, names[kind], found[2 * place : 2 * place + 2])
    predicted = np.array([sum_ms(kinds, one.work) for one in measured])
    whole = np.array([one.times.interpreter_ms for one in measured])
    return kinds, float(np.median(whole / predicted))


def _matched(one: Profiled) -> tuple[list[tuple[Work, float]], list[Work], float]:
    """Pair operators that multiply with their kernels, in order; return also the others and the sum of their times."""
    scale = one.times.interpreter_ms / max(one.times.total_ms, 1e-9)
    depthwise = [work for work in one.work if work.kind.startswith(DEPTHWISE)]
    others = [work for work in one.work if not work.kind.startswith((DEPTHWISE, MATMUL, CONVOLUTION))]
    dense = [work for work in one.work if work.kind in (MATMUL, CONVOLUTION)]
    ms_of: dict[str, list[float]] = {DEPTHWISE: [], MATMUL: []}
    others_ms = 0.0
    for operator in one.times.operators:
        ms = scale * operator.ms
        if _DEPTHWISE in operator.name or operator.name == "DEPTHWISE_CONV_2D":
            ms_of[DEPTHWISE].append(ms)
        elif operator.name.startswith(_MULTIPLIES):
            ms_of[MATMUL].append(ms)
        else:
            others_ms += ms
    if (len(depthwise), len(dense)) != (len(ms_of[DEPTHWISE]), len(ms_of[MATMUL])):
        raise Unavailable(
            f"{one.name}: {len(ms_of[DEPTHWISE])} depthwise and {len(ms_of[MATMUL])} other kernels were profiled, "
            f"but the file has {len(depthwise)} and {len(dense)}",
            why="this runtime computes its operators in another way, which edgetl cannot learn from",
        )
    pairs = [*zip(depthwise, ms_of[DEPTHWISE], strict=True), *zip(dense, ms_of[MATMUL], strict=True)]
    return pairs, others, others_ms


def _solved(
    solver: Callable[..., object], values: npt.NDArray[np.float64], ms: npt.NDArray[np.float64]
) -> tuple[float, ...]:
    """Return costs that are not negative, of the least squares of relative errors."""
    model: object = solver(positive=True, fit_intercept=False)
    fitted = model.fit(values, ms, sample_weight=1 / np.maximum(ms, _FLOOR_MS) ** 2)  # type: ignore[attr-defined]
    return tuple(float(value) for value in fitted.coef_)


def _interval(logs: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the factors around a prediction: where 95% of a Student t of the held-out errors are."""
    from scipy.stats import t

    spread = float(logs.std(ddof=1)) * np.sqrt(1 + 1 / len(logs))
    reach = float(t.ppf(0.975, len(logs) - 1)) * spread
    middle = float(logs.mean())
    return float(np.exp(middle - reach)), float(np.exp(middle + reach))
