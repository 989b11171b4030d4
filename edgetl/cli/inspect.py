"""``edgetl inspect``: show the content of a model file or a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo
from edgetl_device.text import listed

from .json_output import JSON, OUT, check_out, deliver

if TYPE_CHECKING:
    from edgetl.inspection.contents import BundleContents
    from edgetl.inspection.description import ONNXDescription, TensorDescription, TFLiteDescription
    from edgetl.inspection.tflite.metadata import Metadata

# Some published models have a thousand.
_LABELS_SHOWN = 8
_Path = typer.Argument(..., help="A .tflite or .onnx file, a bundle folder, or an .edgetl file.", show_default=False)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("inspect")(inspect)


def inspect(
    path: Path = _Path,
    other: Path | None = typer.Argument(None, help="A second .tflite file to compare with.", show_default=False),
    json: bool = JSON,
    out: Path | None = OUT,
    tensors: bool = typer.Option(False, "--tensors", help="List every tensor: type, shape, scale, zero point, bytes."),
    edgetpu: bool = typer.Option(False, "--edgetpu", help="Predict which operators an Edge TPU will run, and why."),
) -> None:
    """Show operators, tensors, sizes and types of a model, and labels and variants of a bundle.

    With two .tflite files: show their differences, tensor by tensor.

    Example: edgetl inspect runs/parts/bundle
    """
    check_out(out)
    if other is not None:
        _compare(path, other, json=json, out=out, tensors=tensors, edgetpu=edgetpu)
        return
    if edgetpu:
        from edgetl.cli.console.edgetpu import print_prediction
        from edgetl.inspection.edgetpu.predict import predict_path

        name, prediction = predict_path(path)
        if not deliver(prediction, json=json, out=out):
            print_prediction(name, prediction, every=True)
        return
    from edgetl.inspection.contents import BundleContents, inspect_path

    contents = inspect_path(path, tensors=tensors)
    if deliver(contents, json=json, out=out):
        return
    if isinstance(contents, BundleContents):
        _print_bundle(contents)
    else:
        echo(f"{contents.path}: {contents.model.format}")
        _print_model(contents.model)


def _compare(first: Path, second: Path, *, json: bool, out: Path | None, tensors: bool, edgetpu: bool) -> None:
    from edgetl.inspection.difference import compare_files
    from edgetl_device.errors import InputError

    if edgetpu:
        raise InputError("--edgetpu with two files", why="the prediction is for one file")
    difference = compare_files(first, second)
    if deliver(difference, json=json, out=out):
        return
    from edgetl.cli.console.difference import print_difference

    print_difference(difference, everything=tensors)


def _print_bundle(bundle: BundleContents) -> None:
    from edgetl.cli.console.output import accuracy_text, agreement_interval
    from edgetl_device.scores import Agreement
    from edgetl_device.truth import NOT_KNOWN

    echo(f"{bundle.path}: bundle {bundle.digest[:12]}")
    echo(f"{len(bundle.labels)} labels: {listed(bundle.labels)}")
    echo("preprocess: " + bundle.preprocess.described())
    if bundle.truth == "model":
        echo(NOT_KNOWN)
    for variant in bundle.variants:
        echo()
        echo(f"{variant.name} ({variant.model.format})")
        _print_model(variant.model)
        if variant.accuracy:
            name = "accuracy" if bundle.truth == "labels" else "original"
            echo(f"  {name}    {accuracy_text(variant.accuracy, bundle.truth)}")
        if isinstance(found := variant.agreement, Agreement):
            same = f"{found.top1:.1%} (95% CI {agreement_interval(found)})"
            what = "top-1 with" if bundle.truth == "labels" else "of the answers like those of"
            echo(f"  agreement   {same} {what} the float reference, mean probability error {found.mae:.4f}")


def _print_model(model: TFLiteDescription | ONNXDescription) -> None:
    from edgetl.inspection.description import TFLiteDescription

    echo(f"  size        {model.bytes:,} bytes, of which {model.parameter_bytes:,} parameters")
    for side, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            echo(f"  {side:<11} {tensor.name} {_type(tensor)}")
    echo("  operators   " + _counts(model.operators))
    echo("  tensors     " + _counts(model.tensor_types))
    if isinstance(model, TFLiteDescription):
        echo("  metadata    " + _about(model.about))
    if model.tensors is not None:
        from edgetl.cli.console.output import print_table

        rows = [[tensor.name, _type(tensor), f"{tensor.bytes:,}"] for tensor in model.tensors]
        print_table(("tensor", "type", "bytes"), rows)


def _about(about: Metadata | None) -> str:
    if about is None:
        return "none, so other tools do not know its labels"
    labels = about.labels
    shown = ", ".join(labels[:_LABELS_SHOWN]) + (", ..." if len(labels) > _LABELS_SHOWN else "")
    return f"{about.name or 'no name'}, {len(labels)} labels" + (f": {shown}" if labels else "")


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.items())


def _type(tensor: TensorDescription) -> str:
    text = f"{tensor.dtype} {list(tensor.shape)}"
    if tensor.scale is not None:
        return f"{text} scale {tensor.scale:g} zero point {tensor.zero_point}"
    return text if tensor.scales is None else f"{text} {tensor.scales} scales along axis {tensor.axis}"
