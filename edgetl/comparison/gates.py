"""Gates on metrics, of a class too, and on codes of the verdict: ``--fail-if "int8.p95_ms>40"``.

One table of metrics serves every command with ``--fail-if``, and the CSV of ``edgetl bench`` and ``edgetl compare``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgetl_device._lib.documents import Unknown, optional
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.errors import GateFailed, InputError
from edgetl_device.reasons import VERDICT, Reason
from edgetl_device.text import closest, listed
from edgetl_device.truth import NOT_KNOWN, Truth

if TYPE_CHECKING:
    from edgetl.runs.metrics import ClassMetrics, Metrics
    from edgetl.runs.quantize_report import QuantizeReport

Value = float | Unknown
# A run of a result, or a comparison that has attributes of the same names.
Row = Any
Reader = Callable[[Row], Value]


@dataclass(frozen=True)
class Metric:
    """One named number.

    Attributes:
        name: Its name, with the unit.
        meaning: One-line description.
        value: Reads it from a row: a run of a result, or a comparison with attributes of the same names.
        timed: Whether it is a time, which an invalid measurement does not give.
        interval: Names of the metrics for the ends of its 95% interval, or None.
        paired: Whether it compares with another model's predictions for the same photos.
        of_class: Whether it is of one class, so that a gate names it: ``recall_pct[tulips]``.
        labelled: Whether it takes photos with labels, so that it is unknown of pictures that edgetl drew.
    """

    name: str
    meaning: str
    value: Reader
    timed: bool = False
    interval: tuple[str, str] | None = None
    paired: bool = False
    of_class: bool = False
    labelled: bool = False


_OLD = Unknown("written by an earlier edgetl, which did not measure it")


def _path(*names: str | int, times: float = 1.0, per: float = 1.0) -> Reader:
    """Return a function that follows attributes, or indices of a pair, to a number; unknown values stay unknown."""

    def read(row: Row) -> Value:
        value: Any = row
        for name in names:
            if isinstance(value, Unknown):
                return value
            if value is None:
                return _OLD
            value = value[name] if isinstance(name, int) else getattr(value, name)
        if value is None:
            return _OLD
        return value if isinstance(value, Unknown) else times * value / per

    return read


def _percentiles(prefix: str, stage: str, what: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            f"{prefix}p{rank}_ms", f"{what}, {rank}th percentile", _path("latency_ms", stage, f"p{rank}_ms"), timed=True
        )
        for rank in (50, 90, 95, 99)
    )


def _bounded(
    name: str,
    meaning: str,
    value: Reader,
    *ends: Reader,
    timed: bool = False,
    paired: bool = False,
    labelled: bool = False,
) -> tuple[Metric, ...]:
    """Return a metric and both ends of its 95% interval; the braces in ``name`` mark where their names differ."""
    low, high = (name.format(end) for end in ("_low", "_high"))
    return (
        Metric(name.format(""), meaning, value, timed, (low, high), paired, labelled=labelled),
        Metric(low, "low end of its 95% interval", ends[0], timed, paired=paired, labelled=labelled),
        Metric(high, "high end of its 95% interval", ends[1], timed, paired=paired, labelled=labelled),
    )


def _ends(*keys: str, times: float = 1.0) -> tuple[Reader, Reader]:
    return _path(*keys, 0, times=times), _path(*keys, 1, times=times)


def _ratio(prefix: str, what: str, whose: str) -> tuple[Metric, ...]:
    value, ends = _path("ratios", what, "ratio"), _ends("ratios", what, "ci95")
    return _bounded(prefix + "p50_ratio{}", f"median of {whose} over the baseline's", value, *ends, timed=True)


def _agreement_end(end: int) -> Reader:
    def read(row: Row) -> Value:
        found = row.agreement
        return found if isinstance(found, Unknown) else 100 * wilson95(found.agree, found.photos)[end]

    return read


_SIZE = Metric("size_mb", "the model's file, 1e6 bytes", _path("bytes", per=1e6))
_ACCURACY = (
    *_bounded(
        "accuracy{}_pct",
        "top-1 on the held-out photos",
        _path("accuracy", "top1", times=100),
        *_ends("accuracy", "ci95", times=100),
        labelled=True,
    ),
    *_bounded(
        "accuracy_drop{}_pp",
        "accuracy lost, percentage points",
        _path("agreement", "drop_pp"),
        *_ends("agreement", "drop_ci95_pp"),
        paired=True,
        labelled=True,
    ),
    Metric("mcnemar_p", "exact McNemar test of that loss", _path("agreement", "mcnemar_p"), paired=True, labelled=True),
    *_bounded(
        "agreement{}_pct",
        "photos with the same top-1",
        _path("agreement", "top1", times=100),
        _agreement_end(0),
        _agreement_end(1),
        paired=True,
    ),
)
_COST = (
    _SIZE,
    Metric("load_ms", "reading the model, creating the interpreter", _path("load_ms"), timed=True),
    Metric("first_inference_ms", "the first photo after loading", _path("first_inference_ms"), timed=True),
    *_percentiles("", "invoke", "the model alone"),
    *_percentiles("photo_", "total", "a photo, from a file's bytes to a label"),
    Metric("throughput_per_s", "photos per second, one batch after another", _path("throughput_per_s"), timed=True),
    Metric("peak_rss_mb", "peak memory of a process with this variant alone", _path("peak_rss_bytes", per=1e6)),
)

_CALIBRATION = (
    Metric("ece", "expected calibration error, 0 to 1", _path("calibration_error", "ece"), labelled=True),
    Metric(
        "ece_by_chance",
        "the error that chance alone would show",
        _path("calibration_error", "ece_by_chance"),
        labelled=True,
    ),
)
# Of one class; rows are edgetl.runs.metrics.ClassMetrics.
CLASS_METRICS = tuple(
    replace(metric, of_class=True, labelled=True)
    for metric in (
        *_bounded(
            "recall{}_pct",
            "photos of the class that are recognized",
            _path("recall", times=100),
            *_ends("recall_ci95", times=100),
        ),
        Metric("precision_pct", "predictions of the class that are right", _path("precision", times=100)),
        Metric("f1_pct", "harmonic mean of precision and recall", _path("f1", times=100)),
    )
)

# Metrics of a bench run; drop and agreement are against the reference of its photos.
RUN_METRICS = (
    *_COST,
    *_ACCURACY,
    Metric("mae", "mean absolute difference of probabilities", _path("agreement", "mae"), paired=True),
)
# Metrics of the baseline: those that need no other run.
BASELINE_METRICS = (*_COST, _ACCURACY[0])
# Metrics of a run compared with the baseline; drop, agreement and ratios are against the baseline.
COMPARISON_METRICS = (
    *_COST,
    *_ACCURACY,
    *_ratio("", "model", "the model alone"),
    *_ratio("photo_", "photo", "a photo"),
    Metric("size_ratio", "size over the baseline's", _path("ratios", "size")),
)
# Metrics of the gates of edgetl bench.
BENCH_METRICS = (*RUN_METRICS, *_CALIBRATION, *CLASS_METRICS)
# Metrics of classified photos (edgetl.runs.metrics.Metrics), for edgetl evaluate and edgetl train.
EVALUATION_METRICS = (
    *_ACCURACY[:3],
    Metric("macro_f1_pct", "mean F1 of the classes", _path("macro_f1", times=100)),
    *_CALIBRATION,
    *CLASS_METRICS,
)
# Metrics of a file that edgetl quantize wrote; drop and agreement are against the float model.
QUANTIZED_METRICS = (
    _SIZE,
    *_ACCURACY,
    Metric("mae", "mean absolute difference of probabilities", _path("agreement", "mae"), paired=True),
    *_CALIBRATION,
)
# Metrics of training runs that are compared, and of their baseline.
TRAINED_BASELINE_METRICS = (_SIZE, _ACCURACY[0])
TRAINED_METRICS = (_SIZE, *_ACCURACY)


_NO_LABELS = Unknown(NOT_KNOWN)


def values(metrics: Iterable[Metric], row: Row, truth: Truth = "labels") -> dict[str, Value]:
    """Return every metric of a row by its name; those of accuracy are unknown without labelled photos."""
    return {metric.name: _value(metric, row, truth) for metric in metrics if not metric.of_class}


def class_values(rows: Iterable[ClassMetrics], truth: Truth = "labels") -> dict[str, Value]:
    """Return the metrics of each class by their names, such as ``recall_pct[tulips]``."""
    return {_of(metric.name, row.label): _value(metric, row, truth) for row in rows for metric in CLASS_METRICS}


def _value(metric: Metric, row: Row, truth: Truth) -> Value:
    return _NO_LABELS if metric.labelled and truth == "model" else metric.value(row)


def _of(name: str, label: str) -> str:
    return f"{name}[{label}]"


@dataclass(frozen=True)
class Gate:
    """A bound: the gate fails if ``metric`` of ``variant`` (or of any) is ``sign`` ``bound``.

    Attributes:
        text: The gate as given.
        variant: The variant; None for any.
        metric: The metric.
        sign: ``>``, ``>=``, ``<`` or ``<=``.
        bound: The bound.
        label: The class, for a metric of one; ``*`` for each class.
    """

    text: str
    variant: str | None
    metric: Metric
    sign: str
    bound: float
    label: str | None = None

    def key(self, name: str) -> str:
        """Return the name of a metric of the gate's class."""
        return name if self.label is None else _of(name, self.label)


@dataclass(frozen=True)
class CodeGate:
    """A code: the gate fails if the verdict on ``variant`` (or on any) has ``code``."""

    text: str
    variant: str | None
    code: str


AnyGate = Gate | CodeGate


@dataclass(frozen=True)
class Subject:
    """A run or comparison that gates are checked on.

    Attributes:
        name: Name in messages.
        variant: The prefix by which a gate selects it.
        values: Value of every metric.
        invalid: Why its times are unusable, or empty.
        codes: Codes of the reasons in its verdict.
    """

    name: str
    variant: str
    values: Mapping[str, Value]
    invalid: str = ""
    codes: tuple[str, ...] | Unknown = ()


@dataclass(frozen=True)
class Judged:
    """The result of one gate on one subject, for documents.

    Attributes:
        gate: The gate as given.
        of: Name of the run or comparison.
        value: The number compared with the bound; for a code, whether the verdict has it.
        failed: Whether the gate failed.
        why: Why it failed, if the value alone does not show it.
    """

    gate: str
    of: str
    value: bool | float | Unknown
    failed: bool
    why: str | None = optional()


@dataclass(frozen=True)
class Outcome:
    """The result of one gate on one subject.

    Attributes:
        gate: The bound or the code.
        subject: The run or comparison.
        value: The number; for a code, whether the verdict has it.
        failed: Whether the gate failed.
        why: Why it failed, if the value alone does not show it.
    """

    gate: AnyGate
    subject: Subject
    value: bool | Value
    failed: bool
    why: str = ""

    def judged(self) -> Judged:
        """Return the result in its document form."""
        return Judged(self.gate.text, self.subject.name, self.value, self.failed, self.why or None)


_SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_GATE = re.compile(
    r"\s*(?:(?P<variant>[^\s\[]+)\.)?(?P<name>[A-Za-z]\w*)(?:\[(?P<label>.+)\])?\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>\S+)\s*"
)
EACH_CLASS = "*"
_CODE = re.compile(r"\s*(?:(?P<variant>[\w-]+)\.)?(?P<code>[a-z0-9]+(?:-[a-z0-9]+)*)\s*")
_EXAMPLE = 'Write it as "p95_ms>40" or "int8.accuracy_drop_pp>0.5".'


def parse_gates(
    texts: Iterable[str], metrics: Sequence[Metric], codes: Mapping[str, Reason] = VERDICT
) -> tuple[AnyGate, ...]:
    """Parse gates on metrics and on codes of verdicts.

    Args:
        texts: Such as ``int8.p95_ms>40``, and ``int8.noisy-latency`` or ``noisy-latency``.
        metrics: Known metrics.
        codes: Known codes; empty if there are no verdicts.

    Raises:
        InputError: A gate is malformed, or names an unknown metric or code; the message lists the known ones.
    """
    by_name = {metric.name: metric for metric in metrics}
    return tuple(parse_gate(text, by_name, codes) for text in texts)


def parse_gate(
    text: str,
    metrics: Mapping[str, Metric],
    codes: Mapping[str, Reason],
    *,
    flag: str = "--fail-if",
    example: str = _EXAMPLE,
) -> AnyGate:
    """Parse one gate, as :func:`parse_gates`; ``flag`` and ``example`` are for messages."""
    coded = _CODE.fullmatch(text)
    if coded is not None and codes:
        if coded["code"] in codes:
            return CodeGate(text.strip(), coded["variant"], coded["code"])
        raise InputError(
            f"{flag} {text!r}: neither a bound nor a code of a verdict",
            why=f"the codes are {', '.join(codes)}",
            hint=closest(coded["code"], codes, example),
        )
    match = _GATE.fullmatch(text)
    if match is None:
        raise InputError(f"{flag} {text!r}: not a name, a sign of > >= < <= and a number", hint=example)
    if match["name"] not in metrics:
        raise InputError(
            f"{flag} {text!r}: no metric is called {match['name']}",
            why=f"there are {', '.join(metrics)}",
            hint=closest(match["name"], metrics),
        )
    metric = metrics[match["name"]]
    if metric.of_class != (match["label"] is not None):
        why = "is of one class" if metric.of_class else "is of all classes together"
        hint = f"Name a class, or each: {metric.name}[*]." if metric.of_class else f"Leave [{match['label']}] out."
        raise InputError(f"{flag} {text!r}", why=f"{metric.name} {why}", hint=hint)
    try:
        bound = float(match["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise InputError(f"{flag} {text!r}: {match['bound']} is not a number", hint=example)
    return Gate(text.strip(), match["variant"], metric, match["sign"], bound, match["label"])


def check_variants(gates: Iterable[AnyGate], variants: Iterable[str]) -> None:
    """Raise InputError if a gate names a variant that is not among ``variants``."""
    known = list(dict.fromkeys(variants))
    for gate in gates:
        if gate.variant is not None and gate.variant not in known:
            raise InputError(
                f"--fail-if {gate.text!r}: there is no {gate.variant}",
                why=f"there are {', '.join(known)}",
                hint=closest(gate.variant, known),
            )


def check_labels(gates: Iterable[AnyGate], labels: Iterable[str]) -> None:
    """Raise InputError if a gate names a class that is not among ``labels``."""
    known = list(labels)
    for gate in gates:
        label = gate.label if isinstance(gate, Gate) else None
        if label is not None and label not in (*known, EACH_CLASS):
            raise InputError(
                f"--fail-if {gate.text!r}: no class is called {label}",
                why=f"there are {listed(known)}",
                hint=closest(label, known),
            )


def judge(gates: Iterable[AnyGate], subjects: Sequence[Subject]) -> tuple[Outcome, ...]:
    """Check gates. Unknown values fail, and so do times of an invalid measurement.

    Raises:
        InputError: A gate names a variant that no subject has.
    """
    gates = tuple(gates)
    check_variants(gates, (subject.variant for subject in subjects))
    return tuple(
        _judge(one, subject)
        for gate in gates
        for subject in subjects
        if gate.variant in (None, subject.variant)
        for one in _each_class(gate, subject)
    )


def _each_class(gate: AnyGate, subject: Subject) -> list[AnyGate]:
    """Return a gate on each class as one gate for each; any other gate alone."""
    if isinstance(gate, CodeGate) or gate.label != EACH_CLASS:
        return [gate]
    start = _of(gate.metric.name, "")[:-1]
    labels = [key[len(start) : -1] for key in subject.values if key.startswith(start)]
    each: list[AnyGate] = [replace(gate, label=label, text=gate.text.replace("[*]", f"[{label}]")) for label in labels]
    # Without photos it is unknown, and fails.
    return each or [gate]


_NO_PHOTOS = Unknown("there are no photos of this class")


def _judge(gate: AnyGate, subject: Subject) -> Outcome:
    if isinstance(gate, CodeGate):
        if isinstance(subject.codes, Unknown):
            return Outcome(gate, subject, subject.codes, True, f"unknown: {subject.codes.unknown}")
        given = gate.code in subject.codes
        return Outcome(gate, subject, given, given, VERDICT[gate.code].meaning.rstrip(".") if given else "")
    value = subject.values.get(gate.key(gate.metric.name), _NO_PHOTOS)
    if not isinstance(value, Unknown) and not math.isfinite(value):
        value = Unknown("it is not a finite number")  # no comparison with NaN is true
    if isinstance(value, Unknown):
        return Outcome(gate, subject, value, True, f"unknown: {value.unknown}")
    if gate.metric.timed and subject.invalid:
        return Outcome(gate, subject, value, True, f"the measurement is invalid: {subject.invalid}")
    return Outcome(gate, subject, value, bool(_SIGNS[gate.sign](value, gate.bound)))


def evaluation_subject(name: str, variant: str, metrics: Metrics | None) -> Subject:
    """Return classified photos as a subject.

    Args:
        name: Name in messages.
        variant: The prefix that selects it.
        metrics: Its metrics; None if there are no such photos, so that every gate fails.
    """
    if metrics is None:
        why = Unknown(f"there are no {name}")
        return Subject(name, variant, {metric.name: why for metric in EVALUATION_METRICS})
    numbers = values(EVALUATION_METRICS, metrics) | class_values(metrics.per_class)
    return Subject(name, variant, numbers)


def quantized_subjects(report: QuantizeReport) -> list[Subject]:
    """Return the files of a bundle as subjects."""
    # Under the names that the metrics read.
    rows = [SimpleNamespace(**vars(one), calibration_error=one.calibration) for one in report.variants]
    return [Subject(row.name, row.name, values(QUANTIZED_METRICS, row, report.truth)) for row in rows]


def outcome_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """Return one line of text for each gate on each subject."""
    return [f"gate {one.gate.text}: {'FAILED' if one.failed else 'passed'} by {_named(one)}" for one in outcomes]


def _named(outcome: Outcome) -> str:
    number = "" if isinstance(outcome.value, (bool, Unknown)) else f"{outcome.value:.4g}"
    parts = ", ".join(filter(None, (number, _interval(outcome), outcome.why)))
    return f"{outcome.subject.name} ({parts})" if parts else outcome.subject.name


def _interval(outcome: Outcome) -> str:
    if isinstance(outcome.gate, CodeGate):
        return ""
    gate = outcome.gate
    ends = [outcome.subject.values.get(gate.key(name), _NO_PHOTOS) for name in gate.metric.interval or ()]
    bounds = [end for end in ends if not isinstance(end, Unknown)]
    if isinstance(outcome.value, Unknown) or len(bounds) < 2:
        return ""
    return "95% CI {:.3g} to {:.3g}".format(*bounds)


def raise_failed(outcomes: Iterable[Outcome]) -> None:
    """Raise GateFailed with all failures. Call it after writing the report."""
    failed = [outcome for outcome in outcomes if outcome.failed]
    if failed:
        raise GateFailed(
            f"{len(failed)} gate{'s' if len(failed) > 1 else ''} failed",
            why="; ".join(f"{one.gate.text}: {_named(one)}" for one in failed),
        )
