"""``edgetl bench``: latency, memory, accuracy and agreement of a bundle's variants on this machine, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .formats import Format, Table, print_csv, print_report, require_one_output

if TYPE_CHECKING:
    from edgetl.gates import Subject

_Bundle = typer.Argument(
    ..., help="A bundle folder, a run folder, or an .edgetl file.", readable=False, show_default=False
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("bench")(bench)


def bench(
    bundle: Path = _Bundle,
    variants: str = typer.Option("all", help="all, or names with commas: int8,float32."),
    threads: str = typer.Option("1", help="Numbers of CPU threads with commas: 1,2."),
    duration: float = typer.Option(10.0, help="Seconds of sampling for each variant and number of threads."),
    delegate: str = typer.Option("", help="edgetpu[:usb|:pci|:N], or PATH.so[:key=value,...].", show_default=False),
    fail_if: list[str] = typer.Option(
        [], metavar="EXPR", help='Exit with 3 if true: "int8.p95_ms>40". May be repeated.', show_default=False
    ),
    form: Format = typer.Option(Format.table, "--format", help="How to print the result."),
    json: str = typer.Option("", "--json", metavar="OUT", help="Write the result with its raw samples; - prints it."),
) -> None:
    """Measure a bundle on this machine: float and int8 side by side, with a verdict on the measurement.

    --fail-if also takes accuracy_drop_pp, size_mb, photo_p95_ms, ...; the result is written before it fails.

    Example: edgetl bench runs/parts/bundle --threads 1,2 --json result.json
    """
    from edgetl import gates
    from edgetl.cli.output import note, print_json
    from edgetl_device.bench import parse_threads, parse_variants, run_bench
    from edgetl_device.bundle import Bundle
    from edgetl_device.delegate import parse_delegate
    from edgetl_device.jsonfile import write_json

    require_one_output(form, json=json == "-")
    opened, chosen = Bundle.open(bundle), parse_variants(variants)
    # Whatever is wrong with a bound or forbids writing there is better known now than after the bench.
    wanted = gates.parse_gates(fail_if, gates.RUN_METRICS)
    gates.check_variants(wanted, chosen or [variant.name for variant in opened.variants])
    if json not in ("", "-"):
        Path(json).parent.mkdir(parents=True, exist_ok=True)
    document = run_bench(
        opened,
        variants=chosen,
        threads=parse_threads(threads),
        duration_s=duration,
        delegate=parse_delegate(delegate) if delegate else None,
        say=note,
    )
    if json not in ("", "-"):
        write_json(json, document)
    outcomes = gates.judge(wanted, gate_subjects(document))
    gate_lines = gates.outcome_lines(outcomes)
    if json == "-" or form is Format.csv:
        if json == "-":
            print_json(document)
        else:
            print_csv(records(document))
        for line in gate_lines:
            note(line)
    else:
        print_result(document, form, gate_lines)
    if json not in ("", "-"):
        note(f"written: {json}")
    gates.raise_failed(outcomes)


def print_result(document: dict[str, Any], form: Format = Format.table, more: Sequence[str] = ()) -> None:
    """Print an ``edgetl.result/1``: one table for each number of threads, verdicts, environment, then more lines."""
    tables = []
    for threads in document["settings"]["threads"]:
        runs = [run for run in document["runs"] if run["threads"] == threads]
        title = f"{document['bundle']['name']}, {_threads(threads)}"
        tables.append(Table(title, ["", *(run["variant"] for run in runs)], table_rows(runs)))
    about = [
        "model: pixels in, probabilities out; photo: from a file's bytes to a label; percentiles: nearest rank",
        "drop and agreement: against the float model that the bundle was made from",
    ]
    print_report(form, tables, [*about, *verdict_lines(document), *environment_lines(document), *more])


def records(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a flat record for each run, for CSV."""
    from edgetl.gates import RUN_METRICS, values

    environment = document["environment"]
    return [
        {
            "created": document["created"],
            "bundle": document["bundle"]["name"],
            **{key: environment[key] for key in ("board", "cpu", "governor")},
            "runtime": f"{run['runtime']['name']} {run['runtime']['version']}",
            "variant": run["variant"],
            "threads": run["threads"],
            "samples": len(run["samples_ns"]["invoke"]),
            "verdict": run["verdict"]["status"],
            **values(RUN_METRICS, run),
        }
        for run in document["runs"]
    ]


def gate_subjects(document: dict[str, Any]) -> list[Subject]:
    """Return what gates look at; a variant that could not run here has no numbers, so its gates fail."""
    from edgetl.gates import RUN_METRICS, Subject, values

    found = []
    for run in document["runs"]:
        invalid = "; ".join(run["verdict"]["reasons"]) if run["verdict"]["status"] == "invalid" else ""
        name = f"{run['variant']}, {_threads(run['threads'])}"
        found.append(Subject(name, run["variant"], values(RUN_METRICS, run), invalid))
    for row in document["skipped"]:
        unknown = {metric.name: {"unknown": row["why"]} for metric in RUN_METRICS}
        found.append(Subject(row["variant"], row["variant"], unknown))
    return found


def table_rows(runs: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of the table for runs with the same number of threads: a name, then one cell for each run."""
    cells: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("size", lambda run: f"{run['bytes'] / 1e6:.2f} MB"),
        ("load", lambda run: f"{run['load_ms']:.1f} ms"),
        ("first photo", lambda run: f"{run['first_inference_ms']:.2f} ms"),
        ("model p50", lambda run: f"{run['latency_ms']['invoke']['p50']:.2f} ms"),
        ("model p90", lambda run: f"{run['latency_ms']['invoke']['p90']:.2f} ms"),
        ("model p95", lambda run: f"{run['latency_ms']['invoke']['p95']:.2f} ms"),
        ("model p99", lambda run: f"{run['latency_ms']['invoke']['p99']:.2f} ms"),
        ("model speed-up", lambda run: _speed_up(run, runs)),
        ("photo p50", lambda run: f"{run['latency_ms']['total']['p50']:.2f} ms"),
        ("photo p95", lambda run: f"{run['latency_ms']['total']['p95']:.2f} ms"),
        ("photos a second", lambda run: f"{run['throughput_per_s']:.0f}"),
        ("top-1", lambda run: f"{run['accuracy']['top1']:.1%}"),
        ("  95% interval", lambda run: _interval(run["accuracy"]["ci95"], scale=100, form=".1f", unit="%")),
        ("drop, pp", lambda run: f"{run['agreement']['drop_pp']:.2f}"),
        ("  95% interval", lambda run: _interval(run["agreement"]["drop_ci95_pp"], scale=1, form="+.2f")),
        ("agreement", lambda run: f"{run['agreement']['top1']:.1%}"),
        ("peak memory", lambda run: _megabytes(run["peak_rss_bytes"])),
        ("samples", lambda run: f"{len(run['samples_ns']['invoke']):,}"),
        ("measurement", lambda run: run["verdict"]["status"]),
    ]
    return [[name, *(cell(run) for run in runs)] for name, cell in cells]


def verdict_lines(document: dict[str, Any]) -> list[str]:
    """Return why measurements are not valid, each reason once with the runs it is about, and what was left out."""
    about: dict[tuple[str, str], list[str]] = {}
    for run in document["runs"]:
        for reason in run["verdict"]["reasons"]:
            key = (run["verdict"]["status"], reason)
            about.setdefault(key, []).append(f"{run['variant']} on {_threads(run['threads'])}")
    lines = [
        f"{status}: {reason} ({'all' if len(names) == len(document['runs']) else '; '.join(names)})"
        for (status, reason), names in about.items()
    ]
    return lines + [f"left out: {row['variant']}: {row['why']}" for row in document["skipped"]]


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
    lines += [delegate_line(document)]
    return [*filter(None, lines), f"accuracy on {photos} held-out photos"]


def delegate_line(document: dict[str, Any]) -> str:
    """Return which delegate ran how much of each variant, or "" where none was asked for."""
    used = document["environment"].get("delegate", "none")
    if used == "none":
        return ""
    took = {run["variant"]: run["delegated"] for run in document["runs"]}
    shares = ", ".join(f"{share['operators']} of {share['of']} operators of {name}" for name, share in took.items())
    version = used["version"] if _known(used["version"]) else "version unknown"
    return f"delegate {used['name']} ({version}): {shares}"


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
