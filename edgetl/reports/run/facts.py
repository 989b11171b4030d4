"""Provenance of a run, for its report: durations, settings, versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from edgetl.runs.document import RunDocument

Pairs = tuple[tuple[str, str], ...]


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
    """Return the settings as resolved."""
    return tuple((name.replace("_", " "), _text(value)) for name, value in document.config.by_name().items())


def reasons(document: RunDocument) -> tuple[str, ...]:
    """Return why these layers are trained, if edgetl decided it."""
    return document.strategy.reasons


def provenance(document: RunDocument) -> Pairs:
    """Return the provenance of the model: files, hashes, versions."""
    model, weights, dataset = document.model, document.weights, document.dataset
    everything = [
        ("Written", document.created.replace("T", " ").replace("Z", " UTC")),
        ("By", document.producer),
        ("Model", f"{model.file}, {model.bytes / 1e6:.2f} MB, {model.parameters:,} parameters"),
        ("SHA-256 of the model", model.sha256),
        ("Trained after layer", model.cut_layer or "none: all layers are trained"),
        ("Weights", " ".join(str(part) for part in (weights.source, weights.file) if part)),
        ("SHA-256 of the weights", weights.sha256 or "-"),
        ("Licence of the weights", weights.licence or "-"),
        ("Photos", _text(dataset.root)),
        ("Fingerprint of the data set", dataset.fingerprint),
        ("Input", document.preprocess.described()),
        *_imported(document),
        *document.versions.items(),
    ]
    return tuple((name, str(value)) for name, value in everything)


def _imported(document: RunDocument) -> Pairs:
    """Return where an imported model comes from, and how its input was found."""
    record = document.imported
    if record is None:
        return ()
    found, same = record.input, record.agreement
    how = {"user": "given by the user", "model": "the model scales pixels itself", "photos": "found on photos"}
    undecided = f"; these photos cannot tell it from {', '.join(found.undecided)}" if found.undecided else ""
    return (
        ("Imported from", f"{record.name} ({record.format}{f', {record.producer}' if record.producer else ''})"),
        ("Input of the original", f"{found.name}, {found.fit}: {how[found.chosen_by]}{undecided}"),
        ("Against the original", f"{same.agree} of {same.photos} photos alike, outputs differ by {same.max_abs:.1e}"),
        ("Held out of its training", "the user says so" if record.held_out == "user" else "not known"),
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
