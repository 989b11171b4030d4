"""Results of quantization, for the page of a run, from ``quantize.json`` and ``explain.json``."""

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
    """Variants against the float model, the candidates that were tried, and the layers that cost most.

    Attributes:
        photos: How many held-out photos the variants were scored on.
        split: Which ones.
        variants: As in ``quantize.json``.
        candidates: Likewise; empty where no bound was asked for.
        taken: Name of the candidate that was taken; None where none was.
        moved: Mean absolute change of a probability, all layers in int8; None without an explanation.
        layers: The layers that cost most.
        links: Files that say more.
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
    """Return what was found when the run was quantized; None where it was not.

    Args:
        run: The run directory.
        page: Where the page is written, which links are relative to.

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
