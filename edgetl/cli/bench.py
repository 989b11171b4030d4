"""``edgetl bench``: latency, memory, accuracy and agreement of a bundle's variants on this machine, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.formats import Format, print_csv, require_one_output
from edgetl.cli.console.output import note
from edgetl_device.bench.options import BenchOptions
from edgetl_device.text import GUIDES

from .gating import FAIL_IF, SUMMARY, write_summary
from .json_output import JSON, check_out, deliver
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl.comparison.gates import AnyGate
    from edgetl_device.bundle import Bundle

_BOARDS = "Boards"
_Bundle = typer.Argument(
    ..., help="A bundle folder, a run folder, or an .edgetl file.", readable=False, show_default=False
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add_command(app, "bench", BenchOptions, bench)


def bench(
    asked: Asked[BenchOptions],
    bundle: Path = _Bundle,
    fail_if: list[str] = FAIL_IF,
    summary: Path | None = SUMMARY,
    form: Format = typer.Option(Format.table, "--format", help="How to print the result."),
    json: bool = JSON,
    out: Path | None = typer.Option(
        None,
        "--out",
        "-o",
        help="Write the result with its raw samples: FILE.json; with boards also a folder, for NAME.json of each.",
        show_default=False,
    ),
    on: list[str] = typer.Option(
        [],
        metavar="HOST",
        help="Bench on a board, through SSH: pi@host. May be repeated.",
        show_default=False,
        rich_help_panel=_BOARDS,
    ),
    fleet: str = typer.Option(
        "",
        metavar="FILE",
        help=f"Bench on all boards of a fleet.toml: {GUIDES}/fleet.md.",
        show_default=False,
        rich_help_panel=_BOARDS,
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Send all wheels from this machine over SSH.", rich_help_panel=_BOARDS
    ),
) -> None:
    """Measure a bundle, here or on boards: float and int8 side by side, with a verdict on the measurement.

    --fail-if also takes accuracy_drop_pp, ece, recall_pct[tulips], size_mb, ... and codes of the verdict, such as
    noisy-latency; "int8.p95_ms>40" is for one variant. The result is written in any case.

    Example: edgetl bench runs/parts/bundle --threads 1,2 --delegates none,xnnpack --out result.json

    Example: edgetl bench parts.edgetl --data field-photos --fail-if "int8.accuracy_drop_pp>1"
    """
    from edgetl.cli import bench_remote
    from edgetl.comparison import gates
    from edgetl_device.bundle import Bundle

    require_one_output(form, json=json)
    # Check gates and output paths before the bench, not after.
    wanted = gates.parse_gates(fail_if, gates.BENCH_METRICS)
    opened, options = Bundle.open(bundle), asked.options
    gates.check_labels(wanted, opened.labels)
    gates.check_variants(wanted, options.named_variants or [variant.name for variant in opened.variants])
    boards = bench_remote.chosen_boards(on, fleet)
    if options.data is not None:
        require_reference(opened, wanted, here=not boards)
    check_out(summary)
    if boards:
        printing = bench_remote.Printing(form, json, summary, out)
        bench_remote.bench_boards(opened, boards, options, wanted, printing, offline=offline)
        return
    check_out(out)
    _bench_here(opened, options, wanted, form, json=json, out=out, summary=summary)


def _bench_here(
    bundle: Bundle,
    options: BenchOptions,
    wanted: Sequence[AnyGate],
    form: Format,
    *,
    json: bool,
    out: Path | None,
    summary: Path | None,
) -> None:
    """Bench on this machine, write the result, print it, and check the gates."""
    from edgetl.cli.console.bench import measured_on, print_result, records, short_table, verdict_lines
    from edgetl.comparison import gates
    from edgetl.comparison.results import gate_subjects
    from edgetl_device.bench.run import run_bench

    # LoadGen's log goes beside the result that refers to it.
    log = out.with_suffix(".loadgen") if out is not None else Path("loadgen")
    result = run_bench(bundle, options, log=log, say=note)
    printed = deliver(result, json=json, out=out)
    outcomes = gates.judge(wanted, gate_subjects(result))
    gate_lines = gates.outcome_lines(outcomes)
    table = short_table("On this machine", {"": result})
    about = [*verdict_lines(result), measured_on(result)]
    if printed or form is Format.csv:
        if not printed:
            print_csv(records(result))
        for line in gate_lines:
            note(line)
    else:
        print_result(result, form, gate_lines)
    write_summary(summary, f"edgetl bench {result.bundle.name}", outcomes, [table], about)
    gates.raise_failed(outcomes)


def require_reference(bundle: Bundle, wanted: Sequence[AnyGate], *, here: bool) -> None:
    """Refuse gates that need a reference if the bundle has none for these photos.

    Raises:
        InputError: The bundle has no float32 variant.
        Unavailable: This machine lacks the runtime for it.
    """
    from edgetl.comparison import gates
    from edgetl_device.bench.reference import float_variant
    from edgetl_device.errors import EdgetlError, Unavailable

    paired = next((gate for gate in wanted if isinstance(gate, gates.Gate) and gate.metric.paired), None)
    if paired is None:
        return
    try:
        float_variant(bundle)
    except EdgetlError as error:
        if here or not isinstance(error, Unavailable):
            raise type(error)(
                f"--fail-if {paired.text!r} with --data: there is no reference",
                why=f"{error.what}: {error.why}",
                hint=error.hint,
            ) from None
