"""Where and how a result was measured, for the page. Not for: the numbers themselves (``page``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .charts import Scale, Tick, line_path

Document = dict[str, Any]
Pairs = tuple[tuple[str, str], ...]

_OLD = {"unknown": "an earlier edgetl measured this, and did not look"}


@dataclass(frozen=True)
class Gauge:
    """One value of the board over the time of a bench."""

    name: str
    unit: str
    path: str
    ticks: list[Tick]
    seconds: float
    least: float
    most: float


def gauges(environment: Document) -> tuple[Gauge, ...]:
    """Return what is known of the board at two times or more: temperature and clock."""
    states = [environment["before"], *environment["during"], environment["after"]]
    found = []
    for key, name, unit in (("temperature_c", "Temperature", "°C"), ("frequency_mhz", "CPU clock", "MHz")):
        points = [(state["clock_s"], state[key]) for state in states if not isinstance(state[key], dict)]
        if len(points) < 2:
            continue
        start, values = points[0][0], [value for _, value in points]
        seconds = points[-1][0] - start
        y = Scale.around([*values, max(values) + 1], margin=0.1, log=False)
        path = line_path([(clock - start, value) for clock, value in points], Scale(0, seconds or 1.0), y)
        found.append(Gauge(name, unit, path, y.ticks(about=3), seconds, min(values), max(values)))
    return tuple(found)


def facts(document: Document) -> tuple[Pairs, Pairs]:
    """Return what is known about a bench, and what is not and why."""
    environment, settings, bundle = document["environment"], document["settings"], document["bundle"]
    after, spec = environment["after"], bundle["preprocess"]
    runtimes = sorted({f"{run['runtime']['name']} {run['runtime']['version']}" for run in document["runs"]})
    everything: list[tuple[str, Any]] = [
        ("Measured", document["created"].replace("T", " ").replace("+00:00", " UTC")),
        ("Board", environment["board"]),
        ("CPU", environment["cpu"]),
        ("Chip", environment.get("soc", _OLD)),
        ("Cores", environment["cores"]),
        *_clusters(environment.get("clusters", _OLD)),
        ("Processor type", environment["machine"]),
        ("Governor", environment["governor"]),
        ("Highest clock, MHz", environment["frequency_max_mhz"]),
        ("Memory, GB", _scaled(environment["memory_bytes"], 1e9)),
        ("Temperature at the end, °C", after["temperature_c"]),
        ("Throttling", _flags(after["throttled"])),
        ("Throttling since its start", _flags(after.get("throttled_since_boot", _OLD))),
        ("Load average before", environment["before"]["load_average_1m"]),
        ("System", environment["os"]),
        ("Kernel", environment["kernel"]),
        ("Python", environment["python"]),
        ("Runtime", ", ".join(runtimes)),
        ("Delegate", _delegate(environment["delegate"])),
        ("Threads", ", ".join(str(count) for count in settings["threads"])),
        *_batches(settings),
        *((name, version) for name, version in environment["packages"].items()),
        ("edgetl-device", document["producer"]["version"]),
        ("Bundle", f"{bundle['name']}, {bundle['digest'][:12]}"),
        ("Input", f"{spec['size']} px, {spec['fit']}, {spec['resample']}"),
        *_photos(document["evalset"]),
        ("Sampling", _sampling(settings)),
        ("The bench's own cost, us a photo", _own_cost(document)),
    ]
    known = tuple((name, _text(value)) for name, value in everything if not isinstance(value, dict))
    unknown = tuple((name, value["unknown"]) for name, value in everything if isinstance(value, dict))
    return known, unknown + tuple((f"Variant {row['variant']}", row["why"]) for row in document["skipped"])


def _batches(settings: Document) -> list[tuple[str, Any]]:
    """Return one row where there was more than one photo in an inference."""
    batches = settings.get("batches", [1])
    return [] if batches == [1] else [("Photos an inference", ", ".join(map(str, batches)))]


def _photos(evalset: Document) -> list[tuple[str, Any]]:
    if evalset.get("source", "bundle") == "bundle":
        return [("Held-out photos", len(evalset["photos"]))]
    folder = f"{len(evalset['photos'])}, content {evalset['digest'][:12]}"
    reference = evalset["reference"]
    against = reference if isinstance(reference, dict) else evalset["reference_name"]
    return [(f"Photos of the folder {evalset['name']}", folder), ("Drop and agreement against", against)]


def _flags(flags: Any) -> Any:
    return flags if isinstance(flags, dict) else ", ".join(flags) or "none"


def _clusters(clusters: Any) -> list[tuple[str, Any]]:
    """Return one row for each kind of core, where there are several."""
    if isinstance(clusters, dict) or len(clusters) < 2:
        return []
    return [
        (f"Cores {', '.join(map(str, one['cpus']))}", _cluster(one["core"], one["frequency_max_mhz"]))
        for one in clusters
    ]


def _cluster(core: Any, clock_mhz: Any) -> Any:
    return core if isinstance(core, dict) or isinstance(clock_mhz, dict) else f"{core}, up to {clock_mhz:g} MHz"


def _sampling(settings: Document) -> str:
    if settings.get("sustained"):
        return f"one run for {settings['duration_s'] / 60:g} minutes, in {settings['rounds']} windows"
    kind = " (quick)" if settings.get("quick") else ""
    return f"{settings['duration_s']:g} s a run{kind} in {settings['rounds']} rounds, runs taking turns"


def _own_cost(document: Document) -> Any:
    if "harness" not in document:
        return _OLD
    return 1000 * document["harness"]["latency_ms"]["invoke"]["p50"]


def _scaled(value: Any, per: float) -> Any:
    return value if isinstance(value, dict) else value / per


def _delegate(used: Any) -> str:
    return f"{used['name']} ({used['library']})" if isinstance(used, dict) else str(used)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
