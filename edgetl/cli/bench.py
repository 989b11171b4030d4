"""``edgetl bench``: latency, memory, accuracy and agreement of a bundle's variants on this machine, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.formats import Format, print_csv, require_one_output

if TYPE_CHECKING:
    from edgetl.comparison.gates import Gate
    from edgetl_device.bundle import Bundle

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
    delegates: list[str] = typer.Option(
        [],
        "--delegates",
        "--delegate",
        help="none, xnnpack, edgetpu[:usb|:pci|:N], with commas; or PATH.so[:key=value,...]. May be repeated.",
        show_default=False,
    ),
    batch: str = typer.Option("1", help="Numbers of images in one inference with commas: 1,4,8. TFLite only."),
    data: str = typer.Option(
        "",
        metavar="DIR",
        help="Photos in DIR/<class>/ in the place of the bundle's own; drop and agreement against float32, run here.",
    ),
    duration: float = typer.Option(
        None, help="Seconds of sampling for each run: 10, with --quick 1. Never under 1,024 photos.", show_default=False
    ),
    quick: bool = typer.Option(False, "--quick", help="Be content with 130 photos; the verdict says so."),
    sustained: float = typer.Option(
        None, metavar="MINUTES", help="One run for so long, with times and heat by the second.", show_default=False
    ),
    profile: bool = typer.Option(False, "--profile", help="The time of each operator, where the runtime can tell."),
    scenario: str = typer.Option(
        None, metavar="NAME", help="MLPerf's LoadGen too: single-stream or offline.", show_default=False
    ),
    energy: bool = typer.Option(False, "--energy", help="Joules for each photo, where the board has a sensor."),
    fail_if: list[str] = typer.Option(
        [], metavar="EXPR", help='Exit with 3 if true: "int8.p95_ms>40". May be repeated.', show_default=False
    ),
    form: Format = typer.Option(Format.table, "--format", help="How to print the result."),
    json: str = typer.Option("", "--json", metavar="OUT", help="Write the result with its raw samples; - prints it."),
    on: list[str] = typer.Option(
        [], metavar="HOST", help="Bench on a board, through SSH: pi@host. May be repeated.", show_default=False
    ),
    fleet: str = typer.Option(
        "", metavar="FILE", help="Bench on all boards of a fleet.toml: docs/remote.md.", show_default=False
    ),
    out: str = typer.Option(
        "", metavar="DIR", help="With boards: write each one's result to DIR/NAME.json.", show_default=False
    ),
    offline: bool = typer.Option(False, "--offline", help="With boards: bring every wheel from here, over SSH."),
) -> None:
    """Measure a bundle, here or on boards: float and int8 side by side, with a verdict on the measurement.

    --fail-if also takes accuracy_drop_pp, size_mb, photo_p95_ms, ...; the result is written before it fails.

    Example: edgetl bench runs/parts/bundle --threads 1,2 --delegates none,xnnpack --json result.json

    Example: edgetl bench parts.edgetl --data field-photos --fail-if "int8.accuracy_drop_pp>1"
    """
    from edgetl.cli import bench_remote
    from edgetl.cli.console.bench import print_result, records
    from edgetl.cli.console.output import note, print_json
    from edgetl.comparison import gates
    from edgetl.comparison.results import gate_subjects
    from edgetl.remote.fleet import Settings
    from edgetl_device.bench.run import parse_counts, parse_variants, run_bench
    from edgetl_device.bundle import Bundle
    from edgetl_device.delegates.delegate import parse_delegates
    from edgetl_device.errors import InputError
    from edgetl_device.jsonfile import write_json

    require_one_output(form, json=json == "-")
    opened, chosen = Bundle.open(bundle), parse_variants(variants)
    # Whatever is wrong with a bound or forbids writing there is better known now than after the bench.
    wanted = gates.parse_gates(fail_if, gates.RUN_METRICS)
    gates.check_variants(wanted, chosen or [variant.name for variant in opened.variants])
    boards = bench_remote.chosen_boards(on, fleet)
    if data:
        require_reference(opened, wanted, here=not boards)
    if json not in ("", "-"):
        Path(json).parent.mkdir(parents=True, exist_ok=True)
    if boards:
        if scenario:
            raise InputError("--scenario is for this machine: LoadGen is not brought to boards", hint="Leave it out.")
        asked = {"--quick": quick, "--energy": energy, "--profile": profile}
        more = [option for option, wanted_there in asked.items() if wanted_there]
        if sustained is not None:
            more += ["--sustained", str(sustained)]
        settings = Settings(variants, threads, duration, ",".join(delegates), offline, batch, tuple(more))
        bench_remote.bench_boards(opened, data, boards, settings, wanted, bench_remote.Printing(form, json, out))
        return
    if out:
        raise InputError("--out is for boards", hint="Use --json OUT, or name boards with --on.")
    document = run_bench(
        opened,
        variants=chosen,
        threads=parse_counts("threads", threads),
        delegates=parse_delegates(delegates),
        batches=parse_counts("batch", batch),
        data=data or None,
        duration_s=duration,
        quick=quick,
        sustained_min=sustained,
        with_energy=energy,
        with_profile=profile,
        scenario=scenario,
        # LoadGen's log lies beside the result that tells of it.
        log=Path(json).with_suffix(".loadgen") if json not in ("", "-") else Path("loadgen"),
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


def require_reference(bundle: Bundle, wanted: Sequence[Gate], *, here: bool) -> None:
    """Refuse gates on what only a reference gives where a bundle has none for other photos than its own.

    Raises:
        InputError: The bundle has no float32 variant.
        Unavailable: It has, but this machine, which is to run it, lacks the runtime.
    """
    from edgetl.comparison import gates
    from edgetl_device.bench.reference import float_variant
    from edgetl_device.errors import EdgetlError, Unavailable

    paired = next((gate for gate in wanted if gates.is_paired(gate.metric)), None)
    if paired is None:
        return
    try:
        float_variant(bundle)
    except EdgetlError as error:
        if here or not isinstance(error, Unavailable):
            raise type(error)(
                f"--fail-if {paired.text!r} with --data: there is nothing that it could be against",
                why=f"{error.what}: {error.why}",
                hint=error.hint,
            ) from None
