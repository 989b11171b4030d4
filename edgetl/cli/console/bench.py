"""Output of ``edgetl bench``: tables, lines, and flat records for CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from edgetl._lib.csv import Record
from edgetl.comparison.gates import RUN_METRICS, values
from edgetl.comparison.results import run_name, thread_count
from edgetl_device._lib.documents import Interval, Unknown
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.bench.loadgen import LoadgenRun
from edgetl_device.bench.operators import OperatorTimes
from edgetl_device.bench.reference import FLOAT_MODEL
from edgetl_device.bench.result import BenchEnvironment, Result, ResultRun, Settings
from edgetl_device.machine.environment import State
from edgetl_device.scores import Accuracy, Agreement
from edgetl_device.truth import NOT_KNOWN, SAME, Truth, photos_called, share_called

from .formats import Format, Table, print_report

# Operators of a run that are printed; all are in the document.
_OPERATORS = 20
T = TypeVar("T")
_KINDS: dict[Truth, str] = {"labels": "held-out", "model": "drawn"}


def print_result(result: Result, form: Format = Format.table, more: Sequence[str] = ()) -> None:
    """Print a result: one table per group of runs, then verdicts, environment and more."""
    groups: dict[str, list[ResultRun]] = {}
    for run in result.runs:
        groups.setdefault(group_name(run, result.settings), []).append(run)
    tables = [
        Table(
            f"{result.bundle.name}, {name}",
            ["", *(run.variant for run in runs)],
            table_rows(runs, result.evalset.truth),
        )
        for name, runs in groups.items()
    ]
    tables += overviews(groups)
    tables += [operators_table(run) for run in result.runs if isinstance(run.operators, OperatorTimes)]
    lines = [*about_lines(result), *verdict_lines(result), *environment_lines(result)]
    print_report(form, tables, [*lines, *more])


def operators_table(run: ResultRun) -> Table:
    """Return the operators of a run that take the most time, and what all others take."""
    assert isinstance(run.operators, OperatorTimes)
    found, total_ms = run.operators.operators, run.operators.total_ms
    order = sorted(range(len(found)), key=lambda place: -found[place].ms)
    rows = [(str(place + 1), found[place].name, found[place].ms) for place in order[:_OPERATORS]]
    if rest := order[_OPERATORS:]:
        rows.append(("", f"{len(rest)} others", sum(found[place].ms for place in rest)))
    rows.append(("", f"all {len(found)}", total_ms))
    cells = [[place, name, f"{ms:.4f}", f"{ms / total_ms:.1%}" if total_ms else "-"] for place, name, ms in rows]
    return Table(f"operators of {run_name(run)}", ["place", "operator", "ms", "share"], cells)


def short_table(title: str, results: Mapping[str, Result | None], *, by: str = "") -> Table:
    """Return a table with a row for each run of each result; ``by`` heads a first column with the results' names.

    Args:
        title: Title of the table.
        results: Results by name; None for one that is missing.
        by: What the results are of, such as ``board``.
    """
    pictures = any(result and result.evalset.truth == "model" for result in results.values())
    scores = ["as original (95%)", "agreement (95%)"] if pictures else ["top-1 (95%)", "drop, pp (95%)"]
    numbers = ["model p50", "model p95", "photo p95", *scores, "memory"]
    columns = [*([by] if by else []), "variant", "threads", *numbers, "verdict"]
    rows = []
    for name, result in results.items():
        named = [name] if by else []
        if result is None:
            rows.append([*named, *["-"] * (len(columns) - len(named) - 1), "no result"])
            continue
        rows += [
            [
                *named,
                run.variant + (f", batch {run.batch}" if run.batch > 1 else ""),
                str(run.threads),
                milliseconds(run.latency.p50_ms),
                milliseconds(run.latency.p95_ms),
                milliseconds(run.latency_ms.total.p95_ms),
                "{:.1%} ({:.1f}..{:.1f})".format(run.accuracy.top1, *(100 * bound for bound in run.accuracy.ci95)),
                agreement_with_interval(run) if pictures else drop_with_interval(run),
                megabytes(run.peak_rss_bytes),
                run.verdict.status,
            ]
            for run in result.runs
        ]
    return Table(title, columns, rows)


def records(result: Result) -> list[Record]:
    """Return a flat record for each run, for CSV."""
    environment, evalset = result.environment, result.evalset
    return [
        {
            "created": result.created,
            "bundle": result.bundle.name,
            "board": environment.board,
            "cpu": environment.cpu,
            "governor": environment.governor,
            "runtime": f"{run.runtime.name} {run.runtime.version}",
            "variant": run.variant,
            "threads": run.threads,
            "delegate": run.delegate,
            "batch": run.batch,
            "photos": evalset.name if evalset.source == "folder" else _KINDS[evalset.truth],
            "samples": len(run.samples_ns.invoke),
            "verdict": run.verdict.status,
            **values(RUN_METRICS, run, evalset.truth),
        }
        for run in result.runs
    ]


def table_rows(runs: list[ResultRun], truth: Truth = "labels") -> list[list[str]]:
    """Return the rows of the table for runs of one group: a name, then one cell for each run."""
    labelled = truth == "labels"
    batch = runs[0].batch
    photo = "photo" if batch == 1 else f"{batch} photos"
    cells: list[tuple[str, Callable[[ResultRun], str]]] = [
        ("size", lambda run: f"{run.bytes / 1e6:.2f} MB"),
        ("load", lambda run: f"{run.load_ms:.1f} ms"),
        (f"first {photo}", lambda run: f"{run.first_inference_ms:.2f} ms"),
        ("model p50", lambda run: milliseconds(run.latency_ms.invoke.p50_ms)),
        ("  95% interval", lambda run: _of_latency(run, 50)),
        ("model p90", lambda run: milliseconds(run.latency_ms.invoke.p90_ms)),
        ("  95% interval", lambda run: _of_latency(run, 90)),
        ("model p95", lambda run: milliseconds(run.latency_ms.invoke.p95_ms)),
        ("model p99", lambda run: milliseconds(run.latency_ms.invoke.p99_ms)),
        *([("model, photos a second", _photos_per_s)] if batch > 1 else []),
        ("model speed-up", lambda run: _speed_up(run, runs)),
        (f"{photo} p50", lambda run: milliseconds(run.latency_ms.total.p50_ms)),
        (f"{photo} p95", lambda run: milliseconds(run.latency_ms.total.p95_ms)),
        ("photos a second", lambda run: f"{run.throughput_per_s:.0f}"),
        (share_called(truth), lambda run: f"{run.accuracy.top1:.1%}"),
        ("  95% interval", lambda run: _interval(run.accuracy.ci95, scale=100, form=".1f", unit="%")),
        *(
            [("top-5", _top5), ("  95% interval", _of_top5)]
            if labelled and any(run.accuracy.top5 for run in runs)
            else []
        ),
        *(
            [("not unknown", _accepted), ("  top-1 among them", _among_accepted)]
            if any(run.among_accepted for run in runs)
            else []
        ),
        *([("drop, pp", _drop), ("  95% interval", _of_drop)] if labelled else []),
        ("agreement", lambda run: _paired(run, lambda it: f"{it.top1:.1%}")),
        ("  95% interval", lambda run: _paired(run, _of_agreement)),
        ("peak memory", lambda run: megabytes(run.peak_rss_bytes)),
        *([("energy" if batch == 1 else f"energy, {photo}", _joules)] if any(run.energy for run in runs) else []),
        ("samples", lambda run: f"{len(run.samples_ns.invoke):,}"),
        ("measurement", lambda run: run.verdict.status),
    ]
    return [[name, *(cell(run) for run in runs)] for name, cell in cells]


def verdict_lines(result: Result) -> list[str]:
    """Return why measurements are not valid, each reason once with its runs; advice; and what was left out."""
    about: dict[tuple[str, str], list[str]] = {}
    for run in result.runs:
        for reason in run.verdict.reasons:
            about.setdefault((run.verdict.status, reason), []).append(run_name(run))
    lines = [
        f"{status}: {reason} ({'all' if len(names) == len(result.runs) else '; '.join(names)})"
        for (status, reason), names in about.items()
    ]
    lines += [f"advice: {text}" for text in dict.fromkeys(text for run in result.runs for text in run.verdict.advice)]
    lines += [_loadgen_line(run_name(run), run.loadgen) for run in result.runs if run.loadgen]
    unprofiled = [run.operators.unknown for run in result.runs if isinstance(run.operators, Unknown)]
    lines += [f"time of each operator: unknown: {why}" for why in dict.fromkeys(unprofiled)]
    lines += [
        f"operators of {run_name(run)}: their sum is {run.operators.total_ms:.3f} ms, but an inference takes "
        f"{run.operators.interpreter_ms:.3f} ms: take their times as shares only"
        for run in result.runs
        if isinstance(run.operators, OperatorTimes) and not run.operators.consistent
    ]
    unmeasured = [run.energy.unknown for run in result.runs if isinstance(run.energy, Unknown)]
    lines += [f"energy: unknown: {why}" for why in dict.fromkeys(unmeasured)]
    return lines + [f"left out: {left}: {left.why}" for left in result.skipped]


def environment_lines(result: Result) -> list[str]:
    """Return lines about the machine; values that could not be read are only in the JSON."""
    environment = result.environment
    before, after = environment.before, environment.after
    runtimes = sorted({f"{run.runtime.name} {run.runtime.version}" for run in result.runs})
    where = [environment.board, environment.cpu, _unit(environment.cores, "cores"), environment.governor]
    load = before.load_average_1m
    state = [
        _unit(after.temperature_c, "C"),
        _unit(after.frequency_mhz, "MHz"),
        "" if isinstance(load, Unknown) else f"load average {load:.2f} before",
    ]
    system = [environment.os, f"Linux {environment.kernel}", f"Python {environment.python}", *runtimes]
    lines = [
        ", ".join(part for part in line if part and not isinstance(part, Unknown)) for line in (where, state, system)
    ]
    lines += [cores_line(environment), throttle_line(after), delegate_line(result), overhead_line(result)]
    return [*filter(None, lines), measured_on(result)]


def measured_on(result: Result) -> str:
    """Return what accuracy was measured on, or that it is not known."""
    if result.evalset.truth == "labels":
        return f"accuracy on {photos_text(result)}"
    return f"as original: {SAME}, {len(result.evalset.photos)} of them; {NOT_KNOWN}"


def photos_text(result: Result) -> str:
    """Return the photos of a result: ``200 held-out photos``, or those of a folder with the start of their digest."""
    found = result.evalset
    if found.source == "bundle":
        return f"{len(found.photos)} {photos_called(found.truth)}"
    return f"{len(found.photos)} photos of the folder {found.name} (content {found.digest[:8]})"


def about_lines(result: Result) -> list[str]:
    """Return the legend of the tables."""
    found = result.evalset
    paired = "drop and agreement" if found.truth == "labels" else "agreement"
    lines = ["model: pixels in, probabilities out; photo: from a file's bytes to a label; percentiles: nearest rank"]
    if any(run.batch > 1 for run in result.runs):
        lines.append("with a batch, times are per inference: all its photos together")
    if isinstance(found.reference, Unknown):
        return [*lines, f"{paired}: unknown: {found.reference.unknown}"]
    return [*lines, f"{paired}: against {found.reference_name or FLOAT_MODEL}"]


def delegate_line(result: Result) -> str:
    """Return the share of each variant that a delegate ran, or "" if none was requested."""
    used = result.environment.delegate
    if used == "none":
        return ""
    took = {run.variant: run.delegated for run in result.runs if run.delegate == used.name and run.delegated}
    shares = ", ".join(f"{share.operators} of {share.of} operators of {name}" for name, share in took.items())
    return f"delegate {used.name} ({_or(used.version, 'version unknown')}): {shares}"


def cores_line(environment: BenchEnvironment) -> str:
    """Return the kinds of cores of a chip that has more than one, fastest first, or ""."""
    clusters = environment.clusters
    if clusters is None or isinstance(clusters, Unknown) or len(clusters) < 2:
        return ""
    parts = []
    for one in clusters:
        clock = one.frequency_max_mhz
        upto = "" if isinstance(clock, Unknown) else f" up to {clock:g} MHz"
        parts.append(f"{len(one.cpus)} x {_or(one.core, 'unknown core')}{upto}")
    return f"cores: {', '.join(parts)}"


def throttle_line(after: State) -> str:
    """Return the board's power and heat problems since boot, or "" if there are none or they are unknown."""
    flags = after.throttled_since_boot
    return f"since the board started: {', '.join(flags)}" if flags and not isinstance(flags, Unknown) else ""


def overhead_line(result: Result) -> str:
    """Return the overhead of the bench in each model time."""
    if result.harness is None:
        return ""
    p50_us = 1000 * result.harness.latency_ms.invoke.p50_ms
    of = "each model time" if all(run.batch == 1 for run in result.runs) else "the model time of each photo"
    return f"the bench itself takes {p50_us:.1f} us of {of} (null runtime, p50); not subtracted"


def overviews(groups: Mapping[str, list[ResultRun]]) -> list[Table]:
    """Return tables of all runs, where there are several groups: a row for each group, a column for each variant."""
    if len(groups) < 2:
        return []
    every = [run for runs in groups.values() for run in runs]
    variants = list(dict.fromkeys(run.variant for run in every))

    def table(title: str, cell: Callable[[ResultRun], str]) -> Table:
        cells = {name: {run.variant: cell(run) for run in runs} for name, runs in groups.items()}
        rows = [[name, *(found.get(variant, "-") for variant in variants)] for name, found in cells.items()]
        return Table(title, ["", *variants], rows)

    found = [table("Model p50, ms", lambda run: milliseconds(run.latency.p50_ms).removesuffix(" ms"))]
    if any(run.batch > 1 for run in every):
        found.append(table("Model, photos a second", _photos_per_s))
    return found


def group_name(run: ResultRun, settings: Settings) -> str:
    """Return the table that a run belongs to: ``2 threads``, with batch and delegate if not the default."""
    delegate = run.delegate
    name = thread_count(run.threads) + (f", batch {run.batch}" if run.batch > 1 else "")
    if delegate == "none":
        return f"{name}, no delegate"
    usual = isinstance(delegate, Unknown) or delegate == "xnnpack"
    return name + ("" if usual and len(settings.delegates) < 2 else f", {_or(delegate, 'ONNX Runtime')}")


def drop_with_interval(run: ResultRun) -> str:
    """Return the drop in percentage points, or ``-`` without a reference."""
    return _paired(run, lambda it: f"{it.drop_pp:.2f} ({_interval(it.drop_ci95_pp, scale=1, form='+.1f')})")


def agreement_with_interval(run: ResultRun) -> str:
    """Return the share of answers like the reference's, or ``-`` without one."""
    return _paired(run, lambda it: f"{it.top1:.1%} ({_of_agreement(it)})")


def _drop(run: ResultRun) -> str:
    return _paired(run, lambda it: f"{it.drop_pp:.2f}")


def _of_drop(run: ResultRun) -> str:
    return _paired(run, lambda it: _interval(it.drop_ci95_pp, scale=1, form="+.2f"))


def _of_agreement(agreement: Agreement) -> str:
    return _interval(wilson95(agreement.agree, agreement.photos), scale=100, form=".1f", unit="%")


def _paired(run: ResultRun, cell: Callable[[Agreement], str]) -> str:
    return "-" if isinstance(run.agreement, Unknown) else cell(run.agreement)


def _top5(run: ResultRun) -> str:
    return f"{run.accuracy.top5.share:.1%}" if run.accuracy.top5 else "-"


def _of_top5(run: ResultRun) -> str:
    return _interval(run.accuracy.top5.ci95, scale=100, form=".1f", unit="%") if run.accuracy.top5 else "-"


def _accepted(run: ResultRun) -> str:
    return f"{run.among_accepted.share:.1%}" if run.among_accepted else "-"


def _among_accepted(run: ResultRun) -> str:
    found = run.among_accepted and run.among_accepted.accuracy
    return f"{found.top1:.1%}" if isinstance(found, Accuracy) else "-"


def _photos_per_s(run: ResultRun) -> str:
    """Return the model's mean rate over all samples: noise affects medians of short and long inferences differently."""
    invoke_ns = run.samples_ns.invoke
    return f"{1e9 * run.batch * len(invoke_ns) / sum(invoke_ns):.0f}"


def _loadgen_line(name: str, found: LoadgenRun) -> str:
    value = found.value
    if isinstance(value, Unknown):
        number = "no estimate"
    else:
        number = f"{value:.2f} ms at p90" if found.metric == "p90_ms" else f"{value:.0f} samples a second"
    return f"LoadGen, {found.scenario}: {found.verdict}, {number} ({name}); log: {found.log}"


def _or(value: T | Unknown, otherwise: T) -> T:
    return otherwise if isinstance(value, Unknown) else value


def milliseconds(value: float | Unknown) -> str:
    """Return a time with two decimals, or ``-`` where it is unknown."""
    return "-" if isinstance(value, Unknown) else f"{value:.2f} ms"


def _of_latency(run: ResultRun, percent: int) -> str:
    # Older results have none.
    if run.latency_ci95_ms is None:
        return "-"
    found = run.latency_ci95_ms.invoke
    bounds = found.p50_ms if percent == 50 else found.p90_ms
    return "-" if isinstance(bounds, Unknown) else _interval(bounds, scale=1, form=".2f")


def _joules(run: ResultRun) -> str:
    if run.energy is None or isinstance(run.energy, Unknown):
        return "unknown"
    return f"{1000 * run.energy.joules_per_inference_above_idle:.1f} mJ"


def _speed_up(run: ResultRun, runs: list[ResultRun]) -> str:
    """Compare with the float32 model of the same format, by the median time of the model alone."""
    for other in runs:
        if other.precision == "float32" and other.format == run.format:
            old, new = other.latency.p50_ms, run.latency.p50_ms
            return "-" if isinstance(old, Unknown) or isinstance(new, Unknown) else f"{old / new:.2f} x"
    return "-"


def _interval(bounds: Interval, *, scale: float, form: str, unit: str = "") -> str:
    low, high = (format(scale * bound, form) for bound in bounds)
    return f"{low}..{high}{unit}"


def megabytes(value: int | Unknown) -> str:
    """Return a size in 1e6 bytes."""
    return "unknown" if isinstance(value, Unknown) else f"{value / 1e6:.0f} MB"


def _unit(value: float | Unknown, unit: str) -> str:
    return "" if isinstance(value, Unknown) else f"{value:g} {unit}"
