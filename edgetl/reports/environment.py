"""The environment of a measurement, for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.predictions import Evalset
from edgetl_device.bench.reference import FLOAT_MODEL
from edgetl_device.bench.result import BenchEnvironment, Result, Settings
from edgetl_device.delegates.share import External
from edgetl_device.machine.cores import Cluster
from edgetl_device.truth import photos_called

from .charts import Scale, line_path

T = TypeVar("T")
Pairs = tuple[tuple[str, str], ...]

_OLD = Unknown("not recorded by the edgetl that measured this")


@dataclass(frozen=True)
class Gauge:
    """One value of the board over the course of a bench."""

    name: str
    unit: str
    path: str
    scale: Scale
    seconds: float
    least: float
    most: float


def gauges(environment: BenchEnvironment) -> tuple[Gauge, ...]:
    """Return temperature and clock over time, if known at two times or more."""
    temperatures = [(state.clock_s, state.temperature_c) for state in environment.states]
    clocks = [(state.clock_s, state.frequency_mhz) for state in environment.states]
    found = []
    for name, unit, readings in (("Temperature", "°C", temperatures), ("CPU clock", "MHz", clocks)):
        points = [(clock_s, value) for clock_s, value in readings if not isinstance(value, Unknown)]
        if len(points) < 2:
            continue
        start, values = points[0][0], [value for _, value in points]
        seconds = points[-1][0] - start
        y = Scale.around([*values, max(values) + 1], margin=0.1, log=False)
        path = line_path([(clock - start, value) for clock, value in points], Scale(0, seconds or 1.0), y)
        found.append(Gauge(name, unit, path, y, seconds, min(values), max(values)))
    return tuple(found)


def facts(result: Result) -> tuple[Pairs, Pairs]:
    """Return the facts of a bench, and for unknown ones the reason."""
    environment, settings, bundle = result.environment, result.settings, result.bundle
    after, spec = environment.after, bundle.preprocess
    runtimes = sorted({f"{run.runtime.name} {run.runtime.version}" for run in result.runs})
    everything: list[tuple[str, str | float | Unknown]] = [
        ("Measured", result.created.replace("T", " ").replace("+00:00", " UTC")),
        ("Board", environment.board),
        ("CPU", environment.cpu),
        ("Chip", _looked(environment.soc)),
        ("Cores", environment.cores),
        *_clusters(environment),
        ("Processor type", environment.machine),
        ("Governor", environment.governor),
        ("Highest clock, MHz", environment.frequency_max_mhz),
        ("Memory, GB", _scaled(environment.memory_bytes, 1e9)),
        ("Temperature at the end, °C", after.temperature_c),
        ("Throttling", _flags(after.throttled)),
        ("Throttling since boot", _flags(_looked(after.throttled_since_boot))),
        ("Load average before", environment.before.load_average_1m),
        ("System", environment.os),
        ("Kernel", environment.kernel),
        ("Python", environment.python),
        ("Runtime", ", ".join(runtimes)),
        ("Delegate", _delegate(environment.delegate)),
        ("Threads", ", ".join(str(count) for count in settings.threads)),
        *_batches(settings),
        *((name, version) for name, version in environment.packages.items()),
        ("edgetl-device", result.producer.version),
        ("Bundle", f"{bundle.name}, {bundle.digest[:12]}"),
        ("Input", f"{spec.size.px}, {spec.fit}, {spec.resample}"),
        *_photos(result.evalset),
        ("Sampling", _sampling(settings)),
        ("Overhead of the bench, us per photo", _own_cost(result)),
    ]
    known = tuple((name, _text(value)) for name, value in everything if not isinstance(value, Unknown))
    unknown = tuple((name, value.unknown) for name, value in everything if isinstance(value, Unknown))
    return known, unknown + tuple((f"Variant {left.variant}", left.why) for left in result.skipped)


def _looked(value: T | None) -> T | Unknown:
    return _OLD if value is None else value


def _batches(settings: Settings) -> list[tuple[str, str]]:
    """Return one row if inferences had more than one photo."""
    return [] if settings.batches == (1,) else [("Photos per inference", ", ".join(map(str, settings.batches)))]


def _photos(evalset: Evalset) -> list[tuple[str, str | float | Unknown]]:
    if evalset.source == "bundle":
        return [(photos_called(evalset.truth).capitalize(), len(evalset.photos))]
    folder = f"{len(evalset.photos)}, content {evalset.digest[:12]}"
    reference = evalset.reference
    against = reference if isinstance(reference, Unknown) else evalset.reference_name or FLOAT_MODEL
    return [(f"Photos of the folder {evalset.name}", folder), ("Drop and agreement against", against)]


def _flags(flags: tuple[str, ...] | Unknown) -> str | Unknown:
    return flags if isinstance(flags, Unknown) else ", ".join(flags) or "none"


def _clusters(environment: BenchEnvironment) -> list[tuple[str, str | Unknown]]:
    """Return one row for each kind of core, where there are several."""
    clusters = environment.clusters
    if clusters is None or isinstance(clusters, Unknown) or len(clusters) < 2:
        return []
    return [(f"Cores {', '.join(map(str, one.cpus))}", _cluster(one)) for one in clusters]


def _cluster(one: Cluster) -> str | Unknown:
    core, clock_mhz = one.core, one.frequency_max_mhz
    return core if isinstance(core, Unknown) or isinstance(clock_mhz, Unknown) else f"{core}, up to {clock_mhz:g} MHz"


def _sampling(settings: Settings) -> str:
    if settings.sustained:
        return f"one run for {settings.duration_s / 60:g} minutes, in {settings.rounds} windows"
    kind = " (quick)" if settings.quick else ""
    return f"{settings.duration_s:g} s per run{kind} in {settings.rounds} rounds, runs interleaved"


def _own_cost(result: Result) -> float | Unknown:
    return _OLD if result.harness is None else 1000 * result.harness.latency_ms.invoke.p50_ms


def _scaled(value: float | Unknown, per: float) -> float | Unknown:
    return value if isinstance(value, Unknown) else value / per


def _delegate(used: External | Literal["none"]) -> str:
    return "none" if used == "none" else f"{used.name} ({used.library})"


def _text(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
