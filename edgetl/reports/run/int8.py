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
from edgetl_device._lib import documents
from edgetl_device.bundle import Bundle
from edgetl_device.truth import Truth
from edgetl_device.unknown import UnknownVariant

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
        candidates: As in ``quantize.json``; empty without a bound.
        taken: Name of the chosen candidate; None if there is none.
        moved: Mean absolute change of a probability with all layers in int8; None without an explanation.
        layers: The layers that cost most accuracy.
        links: Files with more detail.
        bundle: Whether these files are in ``RUN/bundle``, in one sentence.
        explained: Hash of the int8 file that ``layers`` and ``links`` describe, and whether it is in the table or in
            the bundle; empty without an explanation.
        refused: Why quantize wrote no int8 file; empty if it did.
        warnings: What readers must know before they use these numbers.
        command: The command that quantized the run; None in reports of earlier versions.
        unknown: How the variants tell unknown photos, of those that can.
        truth: What the photos are held against: their labels, or the answers of the original model.
    """

    photos: int
    split: Split
    variants: tuple[VariantScores, ...]
    candidates: tuple[Candidate, ...]
    taken: str | None
    moved: float | None
    layers: tuple[Layer, ...]
    links: tuple[Link, ...]
    bundle: str
    explained: str
    refused: str
    warnings: tuple[str, ...]
    command: str | None
    unknown: tuple[UnknownVariant, ...]
    truth: Truth

    @property
    def int8(self) -> VariantScores | None:
        """The int8 variant of the report, TFLite first; None if it has none."""
        return next((one for one in self.variants if one.name.startswith("int8")), None)


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
    in_bundle = _in_bundle(run)
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
        bundle=_bundle_text(report, in_bundle),
        explained=_explained_text(explained, report, in_bundle) if explained else "",
        refused=_refused(report),
        warnings=_warnings(report, in_bundle, explained),
        command=report.command,
        unknown=report.unknown,
        truth=report.truth,
    )


def _in_bundle(run: Path) -> dict[str, str] | None:
    """Return the hash of each file in ``RUN/bundle`` by variant; None if there is no bundle."""
    if not (run / "bundle").is_dir():
        return None
    return {variant.name: variant.sha256 for variant in Bundle.open(run / "bundle").variants}


def _refused(report: QuantizeReport) -> str:
    """Return why quantize made no int8 file; empty if it did."""
    if report.target.incompatibility is not None:
        return report.target.incompatibility
    return "no int8 candidate is within the bounds" if report.candidates and report.candidates.taken is None else ""


def _is_earlier(report: QuantizeReport, in_bundle: dict[str, str]) -> bool:
    """Whether the bundle has other files than the report."""
    return bool(_refused(report)) or any(one.sha256 not in (None, in_bundle.get(one.name)) for one in report.variants)


def _bundle_text(report: QuantizeReport, in_bundle: dict[str, str] | None) -> str:
    refused = _refused(report)
    why = f"quantize was refused: {refused}" if refused else ""
    if in_bundle is None:
        return f"There is no bundle{': ' + why if why else ''}."
    if _is_earlier(report, in_bundle):
        held = ", ".join(f"{name} {sha256[:12]}" for name, sha256 in in_bundle.items())
        return f"The bundle is of an earlier quantize ({held}){'; the last ' + why if why else ''}."
    return "The bundle contains these files."


def _warnings(
    report: QuantizeReport, in_bundle: dict[str, str] | None, explained: ExplainReport | None
) -> tuple[str, ...]:
    found = [one.message for one in report.warnings]
    if _refused(report) or in_bundle is None or _is_earlier(report, in_bundle):
        found.append(_bundle_text(report, in_bundle))
    if explained is not None and explained.int8.sha256 not in (in_bundle or {}).values():
        found.append(f"The errors by layer are of {_explained_text(explained, report, in_bundle)}.")
    audit = report.calibration.audit.findings if report.calibration else ()
    return (*found, *(f"Calibration photos: {one.message}" for one in audit if one.severity != "info"))


def _explained_text(explained: ExplainReport, report: QuantizeReport, in_bundle: dict[str, str] | None) -> str:
    sha256 = explained.int8.sha256
    if sha256 in (in_bundle or {}).values():
        where = "the int8 file of the bundle"
    elif sha256 in {one.sha256 for one in report.variants}:
        where = "the int8 file of the table"
    else:
        where = "an earlier int8 file, or one that was refused, and not of the bundle"
    return f"{sha256[:12]}, {where}"


def _layers(explained: ExplainReport) -> tuple[Layer, ...]:
    rows = explained.costliest(_LAYERS)
    worst = max((moves for _, moves in rows), default=0.0) or 1.0
    return tuple(Layer(layer.name, layer.operator, moves, 100 * moves / worst) for layer, moves in rows)


def _links(run: Path, page: Path) -> tuple[Link, ...]:
    there = [name for name in _PICTURES if (run / name).is_file()]
    folder = page.resolve().parent
    return tuple(Link(name, quote(Path(os.path.relpath(run.resolve() / name, folder)).as_posix())) for name in there)
