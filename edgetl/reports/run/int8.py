"""What quantizing a run gave, for its page, from ``quantize.json`` and ``explain.json``. Not for: measuring it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgetl_device.jsonfile import read_json

Document = dict[str, Any]

_LAYERS = 8
# Of an explanation; edgetl.quantization.explain writes those that there is something to show in.
_PICTURES = ("explain/layers.png", "explain/costs_most.png", "explain/repaired.png", "explain/flips.png")


@dataclass(frozen=True)
class Layer:
    """How far probabilities move when this layer alone is int8; ``percent`` is relative to the worst."""

    name: str
    operator: str
    moves: float
    percent: float


@dataclass(frozen=True)
class Link:
    """A file beside the page: what it is called and where it is."""

    name: str
    href: str


@dataclass(frozen=True)
class Int8:
    """Variants against the float model, the ladder that was climbed, and the layers that cost most.

    Attributes:
        photos: How many held-out photos the variants were scored on.
        split: Which ones.
        variants: As in ``quantize.json``.
        rungs: Likewise; empty where no bound was asked for.
        taken: Name of the rung that was taken; None where none was.
        moved: Mean absolute change of a probability, all layers in int8; None without an explanation.
        layers: The layers that cost most.
        links: Files that say more.
    """

    photos: int
    split: str
    variants: tuple[Document, ...]
    rungs: tuple[Document, ...]
    taken: str | None
    moved: float | None
    layers: tuple[Layer, ...]
    links: tuple[Link, ...]


def read_int8(run: Path, page: Path) -> Int8 | None:
    """Return what was found when the run was quantized; None where it was not.

    Args:
        run: The run directory.
        page: Where the page is written, which links are relative to.

    Raises:
        InputError: ``quantize.json`` or ``explain.json`` is damaged.
    """
    if not (run / "quantize.json").is_file():
        return None
    document = read_json(run / "quantize.json", "edgetl.quantize/1")
    ladder = document["ladder"] or {"rungs": [], "taken": None}
    explained = read_json(run / "explain.json", "edgetl.explain/1") if (run / "explain.json").is_file() else None
    return Int8(
        photos=document["held_out"]["photos"],
        split=document["held_out"]["split"],
        variants=tuple(document["variants"]),
        rungs=tuple(ladder["rungs"]),
        taken=ladder["taken"],
        moved=explained["answer_error"] if explained else None,
        layers=_layers(explained["layers"]) if explained else (),
        links=_links(run, page) if explained else (),
    )


def _layers(rows: list[Document]) -> tuple[Layer, ...]:
    measured = sorted(
        (row for row in rows if isinstance(row["answer_error"], float)), key=lambda row: -float(row["answer_error"])
    )[:_LAYERS]
    worst = max((row["answer_error"] for row in measured), default=0.0) or 1.0
    return tuple(
        Layer(row["name"], row["operator"], row["answer_error"], 100 * row["answer_error"] / worst) for row in measured
    )


def _links(run: Path, page: Path) -> tuple[Link, ...]:
    there = [name for name in _PICTURES if (run / name).is_file()]
    folder = page.resolve().parent
    return tuple(Link(name, quote(Path(os.path.relpath(run.resolve() / name, folder)).as_posix())) for name in there)
