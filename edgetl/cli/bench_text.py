"""What ``edgetl bench`` prints about a result: cells of its tables, and lines. Not for: printing (``bench``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def table_rows(runs: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of the table for runs with the same number of threads: a name, then one cell for each run."""
    cells: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("size", lambda run: f"{run['bytes'] / 1e6:.2f} MB"),
        ("load", lambda run: f"{run['load_ms']:.1f} ms"),
        ("first photo", lambda run: f"{run['first_inference_ms']:.2f} ms"),
        ("model p50", lambda run: _milliseconds(run["latency_ms"]["invoke"]["p50"])),
        ("  95% interval", lambda run: _of_latency(run, "p50")),
        ("model p90", lambda run: _milliseconds(run["latency_ms"]["invoke"]["p90"])),
        ("  95% interval", lambda run: _of_latency(run, "p90")),
        ("model p95", lambda run: _milliseconds(run["latency_ms"]["invoke"]["p95"])),
        ("model p99", lambda run: _milliseconds(run["latency_ms"]["invoke"]["p99"])),
        ("model speed-up", lambda run: _speed_up(run, runs)),
        ("photo p50", lambda run: _milliseconds(run["latency_ms"]["total"]["p50"])),
        ("photo p95", lambda run: _milliseconds(run["latency_ms"]["total"]["p95"])),
        ("photos a second", lambda run: f"{run['throughput_per_s']:.0f}"),
        ("top-1", lambda run: f"{run['accuracy']['top1']:.1%}"),
        ("  95% interval", lambda run: _interval(run["accuracy"]["ci95"], scale=100, form=".1f", unit="%")),
        ("drop, pp", lambda run: f"{run['agreement']['drop_pp']:.2f}"),
        ("  95% interval", lambda run: _interval(run["agreement"]["drop_ci95_pp"], scale=1, form="+.2f")),
        ("agreement", lambda run: f"{run['agreement']['top1']:.1%}"),
        ("peak memory", lambda run: _megabytes(run["peak_rss_bytes"])),
        *([("energy", _joules)] if any("energy" in run for run in runs) else []),
        ("samples", lambda run: f"{len(run['samples_ns']['invoke']):,}"),
        ("measurement", lambda run: run["verdict"]["status"]),
    ]
    return [[name, *(cell(run) for run in runs)] for name, cell in cells]


def verdict_lines(document: dict[str, Any]) -> list[str]:
    """Return why measurements are not valid, each reason once with its runs; advice; and what was left out."""
    from edgetl.compare.results import run_name

    about: dict[tuple[str, str], list[str]] = {}
    for run in document["runs"]:
        for reason in run["verdict"]["reasons"]:
            key = (run["verdict"]["status"], reason)
            about.setdefault(key, []).append(run_name(run))
    lines = [
        f"{status}: {reason} ({'all' if len(names) == len(document['runs']) else '; '.join(names)})"
        for (status, reason), names in about.items()
    ]
    advice = dict.fromkeys(text for run in document["runs"] for text in run["verdict"].get("advice", ()))
    lines += [f"advice: {text}" for text in advice]
    lines += [_loadgen_line(run_name(run), run["loadgen"]) for run in document["runs"] if "loadgen" in run]
    unknown = {run["operators"]["unknown"] for run in document["runs"] if "operators" in run}
    lines += [f"time of each operator: unknown: {why}" for why in unknown]
    unmeasured = [run.get("energy", {}).get("unknown", "") for run in document["runs"]]
    lines += [f"energy: unknown: {why}" for why in dict.fromkeys(filter(None, unmeasured))]
    return lines + [f"left out: {_left_out(row)}: {row['why']}" for row in document["skipped"]]


def environment_lines(document: dict[str, Any]) -> list[str]:
    """Return where the result was measured, in lines for people; what could not be read is left to the JSON."""
    environment = document["environment"]
    after = environment["after"]
    runtimes = sorted({f"{run['runtime']['name']} {run['runtime']['version']}" for run in document["runs"]})
    photos = document["runs"][0]["accuracy"]["photos"]
    where = [environment["board"], environment["cpu"], _unit(environment["cores"], "cores"), environment["governor"]]
    state = [
        _unit(after["temperature_c"], "C"),
        _unit(after["frequency_mhz"], "MHz"),
        f"load average {environment['before']['load_average_1m']:.2f} before"
        if _known(environment["before"]["load_average_1m"])
        else "",
    ]
    system = [environment["os"], f"Linux {environment['kernel']}", f"Python {environment['python']}", *runtimes]
    lines = [", ".join(str(part) for part in line if part and _known(part)) for line in (where, state, system)]
    lines += [cores_line(environment), throttle_line(after), delegate_line(document), harness_line(document)]
    return [*filter(None, lines), f"accuracy on {photos} held-out photos"]


def delegate_line(document: dict[str, Any]) -> str:
    """Return which delegate ran how much of each variant, or "" where none was asked for."""
    used = document["environment"].get("delegate", "none")
    if used == "none":
        return ""
    took = {run["variant"]: run["delegated"] for run in document["runs"] if run["delegate"] == used["name"]}
    shares = ", ".join(f"{share['operators']} of {share['of']} operators of {name}" for name, share in took.items())
    version = used["version"] if _known(used["version"]) else "version unknown"
    return f"delegate {used['name']} ({version}): {shares}"


def cores_line(environment: dict[str, Any]) -> str:
    """Return the kinds of cores of a chip that has more than one, fastest first, or ""."""
    clusters = environment.get("clusters", {})
    if isinstance(clusters, dict) or len(clusters) < 2:
        return ""
    parts = []
    for one in clusters:
        core = one["core"] if _known(one["core"]) else "unknown core"
        clock = one["frequency_max_mhz"]
        parts.append(f"{len(one['cpus'])} x {core}" + (f" up to {clock:g} MHz" if _known(clock) else ""))
    return f"cores: {', '.join(parts)}"


def throttle_line(after: dict[str, Any]) -> str:
    """Return what the board did about power or heat since it started, or "" where that is nothing or unknown."""
    flags = after.get("throttled_since_boot", ())
    return f"since the board started: {', '.join(flags)}" if _known(flags) and flags else ""


def harness_line(document: dict[str, Any]) -> str:
    """Return what the bench itself takes of each run of the model."""
    if "harness" not in document:
        return ""
    p50_us = 1000 * document["harness"]["latency_ms"]["invoke"]["p50"]
    return f"the bench itself takes {p50_us:.1f} us of each model time (null runtime, p50); not subtracted"


def overview(groups: Mapping[str, list[dict[str, Any]]]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of one table with all runs: a row for each group, a column for each variant."""
    variants = list(dict.fromkeys(run["variant"] for runs in groups.values() for run in runs))
    rows = []
    for name, runs in groups.items():
        p50 = {run["variant"]: run["latency_ms"]["invoke"]["p50"] for run in runs}
        rows.append([name, *(f"{p50[variant]:.2f}" if variant in p50 else "-" for variant in variants)])
    return ["", *variants], rows


def group_name(run: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return which table of a bench a run is in: ``2 threads``, and the delegate where it is not the usual one."""
    delegate = run["delegate"]
    if delegate == "none":
        return f"{_threads(run['threads'])}, no delegate"
    usual = not _known(delegate) or delegate == "xnnpack"
    return _threads(run["threads"]) + ("" if usual and len(settings.get("delegates", ())) < 2 else f", {_or(delegate)}")


def _loadgen_line(name: str, found: dict[str, Any]) -> str:
    value = found["value"]
    number = "no estimate" if not _known(value) else f"{value:.2f} ms at p90" if found["metric"] == "p90_ms" else ""
    number = number or f"{value:.0f} samples a second"
    return f"LoadGen, {found['scenario']}: {found['verdict']}, {number} ({name}); log: {found['log']}"


def _or(delegate: Any) -> str:
    return delegate if _known(delegate) else "ONNX Runtime"


def _left_out(row: dict[str, str]) -> str:
    return f"{row['variant']} on {row['delegate']}" if "delegate" in row else row["variant"]


def _milliseconds(value: Any) -> str:
    return f"{value:.2f} ms" if _known(value) else "-"


def _of_latency(run: dict[str, Any], rank: str) -> str:
    bounds = run.get("latency_ci95_ms", {}).get("invoke", {}).get(rank, {})
    return _interval(bounds, scale=1, form=".2f") if isinstance(bounds, list) else "-"


def _joules(run: dict[str, Any]) -> str:
    used = run.get("energy", {"unknown": ""})
    if "unknown" in used:
        return "unknown"
    return f"{1000 * used['joules_per_inference_above_idle']:.1f} mJ"


def _speed_up(run: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Compare with the float32 model of the same format, by the median time of the model alone."""
    for other in runs:
        if other["precision"] == "float32" and other["format"] == run["format"]:
            return f"{other['latency_ms']['invoke']['p50'] / run['latency_ms']['invoke']['p50']:.2f} x"
    return "-"


def _interval(bounds: list[float], *, scale: float, form: str, unit: str = "") -> str:
    low, high = (format(scale * bound, form) for bound in bounds)
    return f"{low}..{high}{unit}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _megabytes(value: Any) -> str:
    return f"{value / 1e6:.0f} MB" if _known(value) else "unknown"


def _unit(value: Any, unit: str) -> str:
    return f"{value:g} {unit}" if _known(value) else ""


def _known(value: Any) -> bool:
    return not isinstance(value, dict)
