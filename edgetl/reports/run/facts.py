"""Provenance of a run, for its report: durations, settings, versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from edgetl.runs.document import RunDocument
from edgetl_device.truth import photos_called

Pairs = tuple[tuple[str, str], ...]
_NOT_OF_IMPORTS = ("backbone", "width", "augment")
_OF_PHOTOS = ("temperature", "held_out", "val", "test", "on_conflict", "seed")


@dataclass(frozen=True)
class Stage:
    """One stage of training: its seconds, and its share of the longest, in percent."""

    name: str
    seconds: float
    percent: float


def stages(document: RunDocument) -> tuple[Stage, ...]:
    """Return the duration of each stage."""
    longest = max((stage.seconds for stage in document.stages), default=0) or 1.0
    return tuple(Stage(one.name, one.seconds, 100 * one.seconds / longest) for one in document.stages)


def configuration(document: RunDocument) -> Pairs:
    """Return the settings as resolved, without those that are not used."""
    unused = {*(_NOT_OF_IMPORTS if document.imported else ())}
    if document.dataset.truth == "model":
        unused |= {*_OF_PHOTOS}
    settings = document.config.by_name().items()
    return tuple(
        (name.replace("_", " "), _text(value)) for name, value in settings if value is not None and name not in unused
    )


def reasons(document: RunDocument) -> tuple[str, ...]:
    """Return why these layers are trained, if edgetl decided it."""
    return document.strategy.reasons


def provenance(document: RunDocument) -> Pairs:
    """Return the provenance of the model: files, hashes, versions."""
    model, dataset = document.model, document.dataset
    everything = [
        ("Written", document.created.replace("T", " ").replace("Z", " UTC")),
        ("By", document.producer),
        ("Model", f"{model.file}, {model.bytes / 1e6:.2f} MB, {model.parameters:,} parameters"),
        ("SHA-256 of the model", model.sha256),
        *_origin(document),
        ("Photos", _text(dataset.root) if dataset.truth == "labels" else "none; pictures drawn by edgetl"),
        ("Fingerprint of the data set", dataset.fingerprint),
        ("Input", document.preprocess.described()),
        *_imported(document),
        *document.versions.items(),
    ]
    return tuple((name, str(value)) for name, value in everything)


def _origin(document: RunDocument) -> Pairs:
    """Return what training began with; nothing for an imported model, which edgetl did not train."""
    if document.imported:
        return ()
    weights = document.weights
    found = [
        ("Trained after layer", document.model.cut_layer or "none: all layers are trained"),
        ("Weights", " ".join(str(part) for part in (weights.source, weights.file) if part)),
        *_start(document),
    ]
    found += [("SHA-256 of the weights", weights.sha256)] if weights.sha256 else []
    return (*found, *((("Licence of the weights", weights.licence),) if weights.licence else ()))


def _start(document: RunDocument) -> Pairs:
    """Return what training kept of the run that it began with."""
    start = document.started_from
    if start is None:
        return ()
    origin = ", which goes back to an imported model" if start.origin == "imported" else ""
    head = "its head kept" if start.head == "kept" else "a new head"
    return (("Trained further", f"run {start.name}{origin}; {head}; {start.kept.all:,} photos kept in its splits"),)


def licences(document: RunDocument) -> tuple[str, ...]:
    """Return what is known about the licence of what the model is made of."""
    weights = document.weights
    if document.imported:
        return (f"Model {document.imported.name}: licence not known, it was imported",)
    if weights.source == "none":
        return ("Weights: trained from scratch, from no others",)
    source = " ".join(part for part in (weights.source, weights.file) if part)
    return (f"Weights that training began with ({source}): {weights.licence or 'not known'}",)


def _imported(document: RunDocument) -> Pairs:
    """Return where an imported model comes from, and how its input was found."""
    record = document.imported
    if record is None:
        return ()
    found, same = record.input, record.agreement
    how = {"user": "given by the user", "model": "the model scales pixels itself", "photos": "found on photos"}
    alike = f"{same.agree} of {same.photos} {photos_called(document.dataset.truth, 'photos')}"
    held_out = "the user says so" if record.held_out == "user" else "not known"
    undecided = f"; these photos cannot tell it from {', '.join(found.undecided)}" if found.undecided else ""
    return (
        ("Imported from", f"{record.name} ({record.format}{f', {record.producer}' if record.producer else ''})"),
        ("Input of the original", f"{found.name}, {found.fit}: {how[found.chosen_by]}{undecided}"),
        ("SHA-256 of the original", record.sha256),
        (
            "Against the original",
            f"{alike} alike, outputs differ by {same.max_abs:.1e}",
        ),
        *(() if record.label_order is None else (("Held out of its training", held_out),)),
    )


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    # Reports are shared: of a path (weights, a teacher) they show only the last part.
    return PurePath(value).name if isinstance(value, str) and "/" in value else str(value)


def harder(document: RunDocument) -> str:
    """Return what makes training photos harder than validation photos; empty if nothing does."""
    augment, smoothing = document.config.augment, document.config.by_name().get("label_smoothing")
    found = [f"augmentation ({augment})"] if augment != "none" else []
    found += [f"label smoothing ({smoothing:g})"] if isinstance(smoothing, float) and smoothing > 0 else []
    return " and ".join(found)
