"""``edgetl inspect``: what is inside a model file or a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edgetl.cli.console.output import echo

# Some published models have a thousand.
_LABELS_SHOWN = 8
_Path = typer.Argument(..., help="A .tflite or .onnx file, a bundle folder, or an .edgetl file.", show_default=False)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("inspect")(inspect)


def inspect(
    path: Path = _Path,
    other: Path | None = typer.Argument(None, help="A second .tflite file to compare with.", show_default=False),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
    tensors: bool = typer.Option(False, "--tensors", help="List every tensor: type, shape, scale, zero point, bytes."),
    edgetpu: bool = typer.Option(False, "--edgetpu", help="Predict which operators an Edge TPU will run, and why."),
) -> None:
    """Show operators, tensors, sizes and types of a model, and labels and variants of a bundle.

    With two .tflite files: what differs between them, tensor by tensor.

    Example: edgetl inspect runs/parts/bundle
    """
    if other is not None:
        _compare(path, other, json=json, tensors=tensors, edgetpu=edgetpu)
        return
    if edgetpu:
        from edgetl.cli.console.edgetpu import show

        show(path, json=json)
        return
    from edgetl.inspection.contents import inspect_path

    document = inspect_path(path, tensors=tensors)
    if json:
        from edgetl.cli.console.output import print_json

        print_json(document)
    elif document["kind"] == "bundle":
        _print_bundle(document)
    else:
        echo(f"{document['path']}: {document['kind']}")
        _print_model(document)


def _compare(first: Path, second: Path, *, json: bool, tensors: bool, edgetpu: bool) -> None:
    from edgetl.cli.console.output import print_json
    from edgetl.inspection.difference import compare_files
    from edgetl_device.errors import InputError

    if edgetpu:
        raise InputError("--edgetpu with two files", why="it predicts for one file at a time")
    document = compare_files(first, second)
    if json:
        print_json(document)
        return
    from edgetl.cli.console.difference import print_comparison

    print_comparison(document, everything=tensors)


def _print_bundle(document: dict[str, Any]) -> None:
    from edgetl.cli.console.output import accuracy_text, agreement_interval
    from edgetl_device.documents import of_json
    from edgetl_device.scores import Accuracy, Agreement

    labels, preprocess = document["labels"], document["preprocess"]
    echo(f"{document['path']}: bundle {document['digest'][:12]}")
    echo(f"{len(labels)} labels: {', '.join(labels)}")
    echo("preprocess: " + ", ".join(f"{key} {value}" for key, value in preprocess.items()))
    for variant in document["variants"]:
        echo()
        echo(f"{variant['name']} ({variant['format']})")
        _print_model(variant)
        accuracy, agreement = variant["accuracy"], variant["agreement"]
        if accuracy:
            echo(f"  accuracy    {accuracy_text(of_json(Accuracy, accuracy, name='accuracy'))}")
        if agreement:
            found = of_json(Agreement, agreement, name="agreement")
            same = f"{found.top1:.1%} (95% CI {agreement_interval(found)})"
            echo(f"  agreement   {same} top-1 with the float reference, mean probability error {found.mae:.4f}")


def _print_model(model: dict[str, Any]) -> None:
    echo(f"  size        {model['bytes']:,} bytes, of which {model['parameter_bytes']:,} parameters")
    for side in ("inputs", "outputs"):
        for tensor in model[side]:
            echo(f"  {side[:-1]:<11} {_spec(tensor)}")
    echo("  operators   " + _counts(model["operators"]))
    echo("  tensors     " + _counts(model["tensor_types"]))
    if "about" in model:
        echo("  metadata    " + _about(model["about"]))
    if "tensors" in model:
        rows = [[tensor["name"], _spec(tensor, named=False), f"{tensor['bytes']:,}"] for tensor in model["tensors"]]
        from edgetl.cli.console.output import print_table

        print_table(("tensor", "type", "bytes"), rows)


def _about(about: dict[str, Any] | None) -> str:
    if about is None:
        return "none, so other tools do not know its labels"
    labels = about["labels"]
    shown = ", ".join(labels[:_LABELS_SHOWN]) + (", ..." if len(labels) > _LABELS_SHOWN else "")
    return f"{about['name'] or 'no name'}, {len(labels)} labels" + (f": {shown}" if labels else "")


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.items())


def _spec(tensor: dict[str, Any], *, named: bool = True) -> str:
    text = f"{tensor['dtype']} {tensor['shape']}"
    if "scale" in tensor:
        text += f" scale {tensor['scale']:g} zero point {tensor['zero_point']}"
    elif "scales" in tensor:
        text += f" {tensor['scales']} scales along axis {tensor['axis']}"
    return f"{tensor['name']} {text}" if named else text
