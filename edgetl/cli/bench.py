"""``edgetl bench``: latency, memory, accuracy and agreement of a bundle's variants on this machine, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.formats import Format, print_csv, require_one_output
from edgetl.cli.console.output import note, print_json
from edgetl_device.bench.options import BenchOptions
from edgetl_device.errors import InputError

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
    fail_if: list[str] = typer.Option(
        [], metavar="EXPR", help='Exit with 3 if true: "int8.p95_ms>40". May be repeated.', show_default=False
    ),
    form: Format = typer.Option(Format.table, "--format", help="How to print the result."),
    json: str = typer.Option("", "--json", metavar="OUT", help="Write the result with its raw samples; - prints it."),
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
        help="Bench on all boards of a fleet.toml: docs/guides/fleet.md.",
        show_default=False,
        rich_help_panel=_BOARDS,
    ),
    out: str = typer.Option(
        "",
        metavar="DIR",
        help="Write each board's result to DIR/NAME.json.",
        show_default=False,
        rich_help_panel=_BOARDS,
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Send all wheels from this machine over SSH.", rich_help_panel=_BOARDS
    ),
) -> None:
    """Measure a bundle, here or on boards: float and int8 side by side, with a verdict on the measurement.

    --fail-if also takes accuracy_drop_pp, size_mb, photo_p95_ms, ... and codes of the verdict, such as noisy-latency.
    The result is written in any case.

    Example: edgetl bench runs/parts/bundle --threads 1,2 --delegates none,xnnpack --json result.json

    Example: edgetl bench parts.edgetl --data field-photos --fail-if "int8.accuracy_drop_pp>1"
    """
    from edgetl.cli import bench_remote
    from edgetl.comparison import gates
    from edgetl_device.bundle import Bundle
    from edgetl_device.files import check_writable

    require_one_output(form, json=json == "-")
    opened, options = Bundle.open(bundle), asked.options
    # Check gates and output paths before the bench, not after.
    wanted = gates.parse_gates(fail_if, gates.RUN_METRICS)
    gates.check_variants(wanted, options.named_variants or [variant.name for variant in opened.variants])
    boards = bench_remote.chosen_boards(on, fleet)
    if options.data is not None:
        require_reference(opened, wanted, here=not boards)
    if json not in ("", "-"):
        check_writable(json)
    if boards:
        printing = bench_remote.Printing(form, json, out)
        bench_remote.bench_boards(opened, boards, options, wanted, printing, offline=offline)
        return
    if out:
        raise InputError("--out is for boards", hint="Use --json OUT, or name boards with --on.")
    _bench_here(opened, options, wanted, form, json)


def _bench_here(bundle: Bundle, options: BenchOptions, wanted: Sequence[AnyGate], form: Format, json: str) -> None:
    """Bench on this machine, write the result, print it, and check the gates."""
    from edgetl.cli.console.bench import print_result, records
    from edgetl.comparison import gates
    from edgetl.comparison.results import gate_subjects
    from edgetl_device.bench.run import run_bench
    from edgetl_device.documents import write_or_keep

    # LoadGen's log goes beside the result that refers to it.
    log = Path(json).with_suffix(".loadgen") if json not in ("", "-") else Path("loadgen")
    result = run_bench(bundle, options, log=log, say=note)
    if json not in ("", "-"):
        write_or_keep(json, result)
    outcomes = gates.judge(wanted, gate_subjects(result))
    gate_lines = gates.outcome_lines(outcomes)
    if json == "-" or form is Format.csv:
        if json == "-":
            print_json(result.to_json())
        else:
            print_csv(records(result))
        for line in gate_lines:
            note(line)
    else:
        print_result(result, form, gate_lines)
    if json not in ("", "-"):
        note(f"written: {json}")
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
