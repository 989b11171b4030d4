"""Results of quantization, for the report of a run, from ``quantize.json`` and ``explain.json``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edgetl.data import Split
from edgetl.runs import explain_report, quantize_report
from edgetl.runs.explain_report import ExplainReport
from edgetl.runs.quantize_report import Candidate, QuantizeReport, VariantScores
from edgetl_device import documents

_LAYERS = 8
# Plots of an explanation; edgetl.quantization.explain writes only those with something to show.
_PICTURES = ("explain/layers.png", "explain/costs_most.png", "explain/repaired.png", "explain/flips.png")


@dataclass(frozen=True)
class Layer:
    """Change of the probabilities when only this layer is int8; ``percent`` is relative to the worst."""

    name: str
    operator: str
    moves: float
    percent: float


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page: text and path."""

    name: str
    href: str


@dataclass(frozen=True)
class Int8:
    """Variants against the float model, the candidates that were tried, and the most expensive layers.

    Attributes:
        photos: Number of held-out photos that the variants were scored on.
        split: The split of these photos.
        variants: As in ``quantize.json``.
        candidates: Likewise; empty without a bound.
        taken: Name of the chosen candidate; None if there is none.
        moved: Mean absolute change of a probability with all layers in int8; None without an explanation.
        layers: The layers that cost most accuracy.
        links: Files with more detail.
    """

    photos: int
    split: Split
    variants: tuple[VariantScores, ...]
    candidates: tuple[Candidate, ...]
    taken: str | None
    moved: float | None
    layers: tuple[Layer, ...]
    links: tuple[Link, ...]


def read_int8(run: Path, page: Path) -> Int8 | None:
    """Return the results of quantizing the run; None if it was not quantized.

    Args:
        run: The run directory.
        page: Path of the page; links are relative to it.

    Raises:
        InputError: ``quantize.json`` or ``explain.json`` is damaged.
    """
    if not (run / quantize_report.DOCUMENT).is_file():
        return None
    report = documents.read(QuantizeReport, run / quantize_report.DOCUMENT)
    explained = None
    if (run / explain_report.DOCUMENT).is_file():
        explained = documents.read(ExplainReport, run / explain_report.DOCUMENT)
    return Int8(
        photos=report.held_out.photos,
        split=report.held_out.split,
        variants=report.variants,
        candidates=report.candidates.tried if report.candidates else (),
        taken=report.candidates.taken if report.candidates else None,
        moved=explained.answer_error if explained else None,
        layers=_layers(explained) if explained else (),
        links=_links(run, page) if explained else (),
    )


def _layers(explained: ExplainReport) -> tuple[Layer, ...]:
    rows = explained.costliest(_LAYERS)
    worst = max((moves for _, moves in rows), default=0.0) or 1.0
    return tuple(Layer(layer.name, layer.operator, moves, 100 * moves / worst) for layer, moves in rows)


def _links(run: Path, page: Path) -> tuple[Link, ...]:
    there = [name for name in _PICTURES if (run / name).is_file()]
    folder = page.resolve().parent
    return tuple(Link(name, quote(Path(os.path.relpath(run.resolve() / name, folder)).as_posix())) for name in there)
