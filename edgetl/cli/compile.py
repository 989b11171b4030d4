"""``edgetl compile``: compile a bundle's int8 model for an accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo, word

from .json_output import JSON

if TYPE_CHECKING:
    from edgetl.export.edgetpu import CompileReport
    from edgetl_device._lib.documents import Unknown

_Bundle = typer.Argument(
    ..., help="A bundle folder, a run folder, or an .edgetl file.", readable=False, show_default=False
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("compile")(compile_)


def compile_(
    bundle: Path = _Bundle,
    edgetpu: bool = typer.Option(False, "--edgetpu", help="Compile for Coral's Edge TPU, with edgetpu_compiler."),
    variant: str = typer.Option("int8", help="Variant to compile."),
    min_mapped: float | None = typer.Option(
        None, metavar="PERCENT", help="Minimum share of operators on the Edge TPU; exit with 3 if fewer are mapped."
    ),
    min_runtime_version: int | None = typer.Option(
        None, metavar="N", help="Runtime version of a device whose libedgetpu is older than the compiler."
    ),
    prepare: Path | None = typer.Option(
        None, metavar="OUT", help="Only write the compiler's input file, to compile it elsewhere."
    ),
    compiled: Path | None = typer.Option(
        None, metavar="FILE", help="Add a file compiled elsewhere, with its .log beside it."
    ),
    json: bool = JSON,
) -> None:
    """Compile a bundle's int8 model for the Edge TPU and add it to the bundle as int8-edgetpu.

    Example: edgetl compile runs/parts/bundle --edgetpu --min-mapped 95
    """
    from edgetl.cli.console.edgetpu import print_prediction
    from edgetl.cli.console.output import note, print_json
    from edgetl.export.edgetpu import compile_bundle, report_path
    from edgetl.export.edgetpu import prepare as prepare_model
    from edgetl.inspection.edgetpu.compiler import HOW_TO_GET, find_compiler
    from edgetl_device._lib.files import write_bytes
    from edgetl_device.bundle import Bundle
    from edgetl_device.errors import InputError, Unavailable

    if not edgetpu:
        raise InputError("nothing to compile for", hint="Add --edgetpu.")
    opened = Bundle.open(bundle)
    if prepare is not None:
        model, prediction = prepare_model(opened, variant)
        write_bytes(prepare, model)
        note(f"{prepare}: predicted {prediction.mapped} of {prediction.total} operators on the Edge TPU")
        return
    if compiled is None:
        try:
            find_compiler()
        except Unavailable:
            _, prediction = prepare_model(opened, variant)
            if json:
                print_json(prediction)
            else:
                print_prediction(f"{opened.path}: {variant}", prediction, every=False)
            note(HOW_TO_GET)
            raise
    report = compile_bundle(
        opened,
        variant=variant,
        min_mapped_percent=min_mapped,
        compiled=compiled,
        min_runtime_version=min_runtime_version,
    )
    if json:
        print_json(report)
        return
    _print_report(report)
    echo(f"report    {report_path(opened)}")
    echo(f"next      edgetl bench {word(opened.path)} --variants {word(report.variant)} --delegate edgetpu, on a board")


def _print_report(report: CompileReport) -> None:
    from edgetl.cli.console.output import print_table
    from edgetl_device._lib.documents import Unknown

    if isinstance(report.operators, Unknown):
        echo(f"operators unknown: {report.operators.unknown}")
    elif report.operators:
        rows = [[row.name, str(row.count), row.status] for row in report.operators]
        print_table(("operator", "count", "status"), rows)
    echo(f"compiler  {_said(report.compiler)}")
    share = report.mapped_percent
    percent = "" if isinstance(share, Unknown) else f", {share:.1f}%"
    echo(f"mapped    {_said(report.mapped)} of {_said(report.total)} operators{percent}")
    echo(f"predicted {report.prediction.mapped} of {report.prediction.total}")
    echo(
        f"memory    {_size(report.on_chip_bytes)} on the chip, {_size(report.off_chip_bytes)} streamed for every photo"
    )
    echo(f"variant   {report.variant}, {report.compiled.bytes:,} bytes; not measured yet")


def _said(value: str | int | Unknown) -> str:
    return str(value) if isinstance(value, (str, int)) else "unknown"


def _size(value: int | Unknown) -> str:
    return f"{value / (1 << 20):.2f} MiB" if isinstance(value, int) else "unknown"
