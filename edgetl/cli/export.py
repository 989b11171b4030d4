"""``edgetl export``: one model file out of a run."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(export)


def export(
    run: Path = typer.Argument(..., help="Run directory that edgetl train wrote.", readable=False, show_default=False),
    variant: str = typer.Option("float32", help="float32, float16, int8 (TFLite), float32-onnx or int8-onnx."),
    out: Path | None = typer.Option(None, "--out", "-o", help="File to write.  [default: RUN/<variant>.<format>]"),
    data: Path | None = typer.Option(None, help="Folder of the photos, if they have moved.", show_default=False),
) -> None:
    """Write a single model file. For files with proof, measured on held-out photos, use `edgetl quantize`.

    Example: edgetl export runs/photos --variant float16 -o photos.tflite
    """
    from edgetl.quantize.pipeline import QuantizeConfig, check_names, float_variant, int8_variants
    from edgetl.run import Run
    from edgetl_device.files import write_bytes

    check_names((variant,))
    opened = Run.open(run)
    model = opened.load_model()
    if variant.startswith("int8"):
        (made,) = int8_variants(model, opened, QuantizeConfig(), (variant,), data=data)
    else:
        made = float_variant(model, variant, opened)
    target = out or run / f"{variant.split('-')[0]}.{made.format}"
    write_bytes(target, made.data)
    print(f"{target}  {len(made.data) / 1e6:.2f} MB")
