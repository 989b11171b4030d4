"""``edgetl export``: write one model file of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import accuracy_text, echo, word

if TYPE_CHECKING:
    from edgetl.export.conversion import Layout


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(export)


def export(
    run: Path = typer.Argument(..., help="Run directory that edgetl train wrote.", readable=False, show_default=False),
    variant: str = typer.Option("float32", help="float32, float16, dynamic, int8 (TFLite), float32-onnx or int8-onnx."),
    out: Path | None = typer.Option(None, "--out", "-o", help="File to write.  [default: RUN/<variant>.<format>]"),
    target: str = typer.Option("generic", help="Target of int8: generic, coral, mcu or mediapipe."),
    layout: str = typer.Option("nhwc", help="ONNX only: nchw takes the photo as [1, C, H, W]."),
    c_array: bool = typer.Option(
        False, "--c-array", help="TFLite only: C source and header for microcontrollers.  [default: RUN/<run>.c]"
    ),
    to_saved_model: bool = typer.Option(
        False, "--to-saved-model", help="The float model as a folder for TensorFlow.  [default: RUN/saved_model]"
    ),
    data: Path | None = typer.Option(
        None, metavar="PHOTOS", help="Path of the run's photos, if they have moved.", show_default=False
    ),
) -> None:
    """Write a single model file: from the run's bundle if that has it with one output, else made now and not measured.

    Example: edgetl export runs/photos --variant int8 --target mcu --c-array -o firmware/photos.c
    """
    from edgetl.quantization.kept import bundled
    from edgetl.quantization.options import QuantizeOptions
    from edgetl.quantization.targets import TARGETS
    from edgetl.quantization.variants import (
        INT8_NAMES,
        ModelForms,
        calibration_of,
        check_name,
        float_variant,
        int8_variants,
        repaired,
    )
    from edgetl.runs.directory import Run
    from edgetl_device._lib.files import write_bytes

    check_name(variant)
    if to_saved_model:
        _write_saved_model(run, out or run / "saved_model", other=variant != "float32" or layout != "nhwc" or c_array)
        return
    options = QuantizeOptions(int8=True, target=target)
    chosen = _layout(layout, variant)
    file = out or run / (f"{run.resolve().name}.c" if c_array else _file_name(variant, chosen))
    if c_array:
        _check_c_array(variant, file)
    opened = Run.open(run)
    measured = bundled(opened, variant, target) if chosen == "nhwc" else None
    if measured is not None:
        made = measured
    elif variant in INT8_NAMES:
        model = opened.load_model()
        calibration = calibration_of(opened, options, data)
        recipe = repaired(ModelForms(model, calibration), TARGETS[target])
        (made,) = int8_variants(recipe, opened, calibration, (variant,), target=TARGETS[target], layout=chosen)
        if made.format == "tflite":
            TARGETS[target].check(made.data, variant)
    else:
        made = float_variant(opened.load_model(), variant, opened, layout=chosen)
    if c_array:
        _write_c_array(made.data, file, opened.labels)
    else:
        write_bytes(file, made.data)
        echo(f"{file}  {len(made.data) / 1e6:.2f} MB")
    if measured is None:
        echo(f"measured  no; edgetl quantize {word(run)} measures what it writes")
    else:
        scores = f", {accuracy_text(made.accuracy, opened.truth)}" if made.accuracy else ""
        echo(f"measured  {opened.folder / 'bundle'}: {variant}{scores}")


def _write_saved_model(run: Path, folder: Path, *, other: bool) -> None:
    from edgetl.export.saved_model import write_saved_model
    from edgetl.runs.directory import Run
    from edgetl_device.errors import InputError

    if other:
        raise InputError(
            "--to-saved-model with --variant, --layout or --c-array",
            why="a SavedModel has the float model, with the photo as [n, H, W, C]",
            hint="Export the variant by itself.",
        )
    write_saved_model(Run.open(run).load_model(), folder)
    echo(f"{folder}  {sum(one.stat().st_size for one in folder.rglob('*') if one.is_file()) / 1e6:.2f} MB")
    echo(f"measured  no; it is the model of {word(run)}, in TensorFlow")


def _layout(layout: str, variant: str) -> Layout:
    from edgetl_device.errors import InputError

    if layout == "nhwc":
        return "nhwc"
    if layout != "nchw":
        raise InputError(f"--layout {layout!r}", why="must be nhwc or nchw")
    if not variant.endswith("-onnx"):
        raise InputError(
            f"--layout nchw for {variant}", why="TFLite models take NHWC only", hint="Use an ONNX variant."
        )
    return "nchw"


def _file_name(variant: str, layout: Layout) -> str:
    name, _, format = variant.partition("-")
    return f"{name}{'-nchw' if layout == 'nchw' else ''}.{format or 'tflite'}"


def _check_c_array(variant: str, target: Path) -> None:
    """Refuse a variant that cannot become a C array, before spending minutes on it."""
    from edgetl.export.c_array import check_target
    from edgetl_device.errors import InputError

    if variant.endswith("-onnx"):
        raise InputError(f"--c-array for {variant}", why="microcontrollers run TFLite", hint="Use --variant int8.")
    check_target(target)


def _write_c_array(model: bytes, target: Path, labels: tuple[str, ...]) -> None:
    from edgetl._lib.progress import step
    from edgetl.export.c_array import c_array, write_c_array
    from edgetl.inspection.tflite.micro import measure_arena

    with step("Measuring the arena"):
        arena = measure_arena(model)
    array = c_array(model, name=target.stem, labels=labels, arena=arena)
    header = write_c_array(array, target)
    echo(f"{target}  {array.name}_model, {len(model):,} bytes in flash")
    echo(f"{header}  " + (f"not measured: {arena.why}" if arena.bytes is None else f"arena {arena.bytes:,} bytes"))
