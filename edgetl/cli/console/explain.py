"""What ``edgetl quantize --explain`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from .output import print_table

_LAYERS_SHOWN = 10
_FLIPS_SHOWN = 5


def print_explanation(run: Path) -> None:
    """Print the layers that cost most, the classes that lost, and the photos whose answer changed."""
    from edgetl.quantization.explain.files import DOCUMENT, SCHEMA
    from edgetl_device.jsonfile import read_json

    document = read_json(run / DOCUMENT, SCHEMA)
    repaired = "unrepaired" in document
    rows = [row for row in document["layers"] if isinstance(row["answer_error"], float)]
    rows = sorted(rows, key=lambda row: -float(row["answer_error"]))[:_LAYERS_SHOWN]
    before = f", {document['unrepaired']['answer_error']:.4f} before repair" if repaired else ""
    title = (
        f"What int8 costs, on {document['photos']} photos: probabilities move by {document['answer_error']:.4f} "
        f"on average{before}.\nThe {len(rows)} layers of {len(document['layers'])} that move them most when they alone "
        "are int8:"
    )
    columns = ["layer", "operator", "moves", "before", "alone dB", "file dB", "clipped", "dead"]
    if not repaired:
        columns.remove("before")
    print_table(columns, [_layer(row, repaired) for row in rows], title=title)
    if "repair" in document:
        _print_repair(document["repair"])
    if document["unmatched"]:
        typer.echo(f"not found in the float file, so not measured: {', '.join(document['unmatched'])}")
    _print_answers(document)
    typer.echo(f"explain   {run / DOCUMENT}")


def _layer(row: dict[str, Any], repaired: bool) -> tuple[str, ...]:
    before = (_number(row.get("unrepaired", {}).get("answer_error"), "{:.4f}"),) if repaired else ()
    return (
        row["name"],
        row["operator"],
        f"{row['answer_error']:.4f}",
        *before,
        _number(row["alone_sqnr_db"], "{:.1f}"),
        _number(row["sqnr_db"], "{:.1f}"),
        f"{row['clipped']['share']:.2%}",
        f"{row['channels']['dead']} of {row['channels']['count']}",
    )


def _number(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, float) else "-"


def _print_repair(repair: dict[str, Any]) -> None:
    before, after = repair["before"], repair["after"]
    shift = repair.get("bias_shift")
    biases = f", biases shifted by up to {abs(shift['largest']):.3g}" if shift else ""
    typer.echo(
        f"repair    {repair['name']} cost most before: {before['answer_error']:.4f}, now {after['answer_error']:.4f}; "
        f"mean error of a channel {before['mean_channel_error']:.2g}, now {after['mean_channel_error']:.2g}{biases}"
    )


def _print_answers(document: dict[str, Any]) -> None:
    classes = ", ".join(
        "{} {:+.1f} ({:+.1f}..{:+.1f})".format(row["label"], row["drop_pp"], *row["drop_ci95_pp"])
        for row in document["classes"]
        if row["drop_pp"]
    )
    typer.echo(f"drop pp   {classes or 'none in any class'}")
    flips = document["flips"]
    typer.echo(f"flipped   {len(flips['flipped'])} of {flips['photos']} answers")
    for flip in flips["flipped"][:_FLIPS_SHOWN]:
        tie = ", tied" if flip["tied"] else ""
        typer.echo(
            f"          {flip['path']}: {flip['float_answer']} {flip['float_probability']:.2f} -> "
            f"{flip['int8_answer']} {flip['int8_probability']:.2f}{tie} ({flip['label']})"
        )
