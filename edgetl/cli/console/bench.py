"""What ``edgetl bench`` prints about a result: tables, lines, and flat records for CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgetl.comparison.gates import RUN_METRICS, values
from edgetl.comparison.results import batch_of, run_name, thread_count
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.bench.reference import FLOAT_MODEL
from edgetl_device.bench.sweep import left_out

from .formats import Format, Table, print_report


def print_result(document: dict[str, Any], form: Format = Format.table, more: Sequence[str] = ()) -> None:
    """Print an ``edgetl.result/1``: a table for each way of running a model, verdicts, environment, more."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in document["runs"]:
        groups.setdefault(group_name(run, document["settings"]), []).append(run)
    bundle = document["bundle"]["name"]
    tables = [
        Table(f"{bundle}, {name}", ["", *(run["variant"] for run in runs)], table_rows(runs))
        for name, runs in groups.items()
    ]
    tables += overviews(groups)
    lines = [*about_lines(document), *verdict_lines(document), *environment_lines(document)]
    print_report(form, tables, [*lines, *more])


def records(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a flat record for each run, for CSV."""
    environment = document["environment"]
    return [
        {
            "created": document["created"],
            "bundle": document["bundle"]["name"],
            **{key: environment[key] for key in ("board", "cpu", "governor")},
            "runtime": f"{run['runtime']['name']} {run['runtime']['version']}",
            "variant": run["variant"],
            "threads": run["threads"],
            "delegate": run["delegate"],
            "batch": run.get("batch", 1),
            "photos": document["evalset"]["name"] if document["evalset"].get("source") == "folder" else "held-out",
            "samples": len(run["samples_ns"]["invoke"]),
            "verdict": run["verdict"]["status"],
            **values(RUN_METRICS, run),
        }
        for run in document["runs"]
    ]


def table_rows(runs: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of the table for runs of one group: a name, then one cell for each run."""
    batch = batch_of(runs[0])
    photo = "photo" if batch == 1 else f"{batch} photos"
    cells: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("size", lambda run: f"{run['bytes'] / 1e6:.2f} MB"),
        ("load", lambda run: f"{run['load_ms']:.1f} ms"),
        (f"first {photo}", lambda run: f"{run['first_inference_ms']:.2f} ms"),
        ("model p50", lambda run: _milliseconds(run["latency_ms"]["invoke"]["p50"])),
        ("  95% interval", lambda run: _of_latency(run, "p50")),
        ("model p90", lambda run: _milliseconds(run["latency_ms"]["invoke"]["p90"])),
        ("  95% interval", lambda run: _of_latency(run, "p90")),
        ("model p95", lambda run: _milliseconds(run["latency_ms"]["invoke"]["p95"])),
        ("model p99", lambda run: _milliseconds(run["latency_ms"]["invoke"]["p99"])),
        *([("model, photos a second", _photos_per_s)] if batch > 1 else []),
        ("model speed-up", lambda run: _speed_up(run, runs)),
        (f"{photo} p50", lambda run: _milliseconds(run["latency_ms"]["total"]["p50"])),
        (f"{photo} p95", lambda run: _milliseconds(run["latency_ms"]["total"]["p95"])),
        ("photos a second", lambda run: f"{run['throughput_per_s']:.0f}"),
        ("top-1", lambda run: f"{run['accuracy']['top1']:.1%}"),
        ("  95% interval", lambda run: _interval(run["accuracy"]["ci95"], scale=100, form=".1f", unit="%")),
        *([("top-5", _top5), ("  95% interval", _of_top5)] if any("top5" in run["accuracy"] for run in runs) else []),
        ("drop, pp", lambda run: _paired(run, lambda it: f"{it['drop_pp']:.2f}")),
        ("  95% interval", lambda run: _paired(run, lambda it: _interval(it["drop_ci95_pp"], scale=1, form="+.2f"))),
        ("agreement", lambda run: _paired(run, lambda it: f"{it['top1']:.1%}")),
        ("  95% interval", lambda run: _paired(run, _of_agreement)),
        ("peak memory", lambda run: _megabytes(run["peak_rss_bytes"])),
        *([("energy" if batch == 1 else f"energy, {photo}", _joules)] if any("energy" in run for run in runs) else []),
        ("samples", lambda run: f"{len(run['samples_ns']['invoke']):,}"),
        ("measurement", lambda run: run["verdict"]["status"]),
    ]
    return [[name, *(cell(run) for run in runs)] for name, cell in cells]


def verdict_lines(document: dict[str, Any]) -> list[str]:
    """Return why measurements are not valid, each reason once with its runs; advice; and what was left out."""
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
    return lines + [f"left out: {left_out(row)}: {row['why']}" for row in document["skipped"]]


def environment_lines(document: dict[str, Any]) -> list[str]:
    """Return where the result was measured, in lines for people; what could not be read is left to the JSON."""
    environment = document["environment"]
    after = environment["after"]
    runtimes = sorted({f"{run['runtime']['name']} {run['runtime']['version']}" for run in document["runs"]})
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
    return [*filter(None, lines), f"accuracy on {photos_text(document)}"]


def photos_text(document: dict[str, Any]) -> str:
    """Return which photos a result is about: ``200 held-out photos``, or those of a folder with the start of a hash."""
    found = document["evalset"]
    if found.get("source", "bundle") == "bundle":
        return f"{len(found['photos'])} held-out photos"
    return f"{len(found['photos'])} photos of the folder {found['name']} (content {found['digest'][:8]})"


def about_lines(document: dict[str, Any]) -> list[str]:
    """Return what the words of the tables mean."""
    found = document["evalset"]
    lines = ["model: pixels in, probabilities out; photo: from a file's bytes to a label; percentiles: nearest rank"]
    if any(batch_of(run) > 1 for run in document["runs"]):
        lines.append("with a batch, times are of one inference: all its photos together")
    if isinstance(found["reference"], dict):
        return [*lines, f"drop and agreement: unknown: {found['reference']['unknown']}"]
    return [*lines, f"drop and agreement: against {found.get('reference_name', FLOAT_MODEL)}"]


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
    of = "each model time" if all(batch_of(run) == 1 for run in document["runs"]) else "the model time of each photo"
    return f"the bench itself takes {p50_us:.1f} us of {of} (null runtime, p50); not subtracted"


def overviews(groups: Mapping[str, list[dict[str, Any]]]) -> list[Table]:
    """Return tables of all runs, where there are several groups: a row for each group, a column for each variant."""
    if len(groups) < 2:
        return []
    every = [run for runs in groups.values() for run in runs]
    variants = list(dict.fromkeys(run["variant"] for run in every))

    def table(title: str, cell: Callable[[dict[str, Any]], str]) -> Table:
        cells = {name: {run["variant"]: cell(run) for run in runs} for name, runs in groups.items()}
        rows = [[name, *(found.get(variant, "-") for variant in variants)] for name, found in cells.items()]
        return Table(title, ["", *variants], rows)

    found = [table("Model p50, ms", lambda run: f"{run['latency_ms']['invoke']['p50']:.2f}")]
    if any(batch_of(run) > 1 for run in every):
        found.append(table("Model, photos a second", _photos_per_s))
    return found


def group_name(run: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return which table of a bench a run is in: ``2 threads``, and what is not usual of its batch and delegate."""
    delegate = run["delegate"]
    name = thread_count(run["threads"]) + (f", batch {batch_of(run)}" if batch_of(run) > 1 else "")
    if delegate == "none":
        return f"{name}, no delegate"
    usual = not _known(delegate) or delegate == "xnnpack"
    return name + ("" if usual and len(settings.get("delegates", ())) < 2 else f", {_or(delegate)}")


def drop_with_interval(run: dict[str, Any]) -> str:
    """Return the drop in percentage points, or ``-`` where there is nothing that it could be against."""
    return _paired(run, lambda it: f"{it['drop_pp']:.2f} ({_interval(it['drop_ci95_pp'], scale=1, form='+.1f')})")


def _of_agreement(agreement: dict[str, Any]) -> str:
    bounds = list(wilson95(agreement["agree"], agreement["photos"]))
    return _interval(bounds, scale=100, form=".1f", unit="%")


def _paired(run: dict[str, Any], cell: Callable[[dict[str, Any]], str]) -> str:
    return "-" if "unknown" in run["agreement"] else cell(run["agreement"])


def _top5(run: dict[str, Any]) -> str:
    return f"{run['accuracy']['top5']['share']:.1%}"


def _of_top5(run: dict[str, Any]) -> str:
    return _interval(run["accuracy"]["top5"]["ci95"], scale=100, form=".1f", unit="%")


def _photos_per_s(run: dict[str, Any]) -> str:
    """Return the rate of the model alone over all samples: medians of short and long inferences meet other noise."""
    invoke_ns = run["samples_ns"]["invoke"]
    return f"{1e9 * batch_of(run) * len(invoke_ns) / sum(invoke_ns):.0f}"


def _loadgen_line(name: str, found: dict[str, Any]) -> str:
    value = found["value"]
    number = "no estimate" if not _known(value) else f"{value:.2f} ms at p90" if found["metric"] == "p90_ms" else ""
    number = number or f"{value:.0f} samples a second"
    return f"LoadGen, {found['scenario']}: {found['verdict']}, {number} ({name}); log: {found['log']}"


def _or(delegate: Any) -> str:
    return delegate if _known(delegate) else "ONNX Runtime"


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


def _megabytes(value: Any) -> str:
    return f"{value / 1e6:.0f} MB" if _known(value) else "unknown"


def _unit(value: Any, unit: str) -> str:
    return f"{value:g} {unit}" if _known(value) else ""


def _known(value: Any) -> bool:
    return not isinstance(value, dict)
