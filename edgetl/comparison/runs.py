"""Compare training runs photo by photo on the same held-out photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

from edgetl import __version__
from edgetl.comparison.gates import TRAINED_BASELINE_METRICS, TRAINED_METRICS, values
from edgetl.runs.directory import Run
from edgetl.runs.predictions import FILE, read_predictions
from edgetl_device._lib.documents import Named
from edgetl_device.errors import InputError
from edgetl_device.scores import Accuracy
from edgetl_device.text import listed

from .comparability import different_photos
from .document import Compared, Comparison, TrainedSide, TrainedSource, Warning
from .paired import PhotoPrediction, compare_predictions


@dataclass(frozen=True)
class _Tested:
    """A run, its name in the comparison, and its predictions on its held-out photos."""

    name: str
    run: Run
    predictions: tuple[PhotoPrediction, ...]

    @property
    def photos(self) -> list[tuple[str, str]]:
        return [(one.sha256, one.label) for one in self.predictions]


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Compare the float models of training runs with that of the first, on their common held-out photos.

    Args:
        folders: Run directories.

    Raises:
        InputError: A folder is not a run or has no predictions, or the runs were tested on different photos.
    """
    tested = [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    first = tested[0]
    for other in tested[1:]:
        _require_alike(first, other)
    return Comparison(
        producer=Named("edgetl", __version__),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        of="runs",
        sources=tuple(_describe(one) for one in tested),
        comparisons=tuple(_compare(first, other) for other in tested[1:]),
        unpaired=(),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _read(folder: Path, name: str) -> _Tested:
    run = Run.open(folder)
    split = run.held_out
    path = folder / FILE
    predictions = tuple(
        PhotoPrediction(one.path, one.sha256, one.label, one.predicted)
        for one in read_predictions(path)
        if one.split == split
    )
    if sorted((one.sha256, one.label) for one in predictions) != sorted(
        (one.sha256, one.label) for one in run.of(split)
    ):
        raise InputError(f"{path}: does not match the {split} photos of split.csv", hint="It is edited; train again.")
    correct = sum(one.predicted == one.label for one in predictions)
    if correct != run.metrics(split).accuracy.correct:
        raise InputError(f"{path}: does not match the accuracy in run.json", hint="It is edited; train again.")
    return _Tested(name, run, predictions)


def _require_alike(one: _Tested, two: _Tested) -> None:
    pair = f"{one.name} and {two.name} cannot be compared"
    if one.run.labels != two.run.labels:
        raise InputError(
            f"{pair}: different labels",
            why=f"{listed(one.run.labels)} / {listed(two.run.labels)}",
            hint="Compare models that were trained on the same classes.",
        )
    if sorted(one.photos) != sorted(two.photos):
        raise different_photos(
            pair, one.photos, two.photos, hint="Train both on the same folder, with the same --val, --test and --seed."
        )


def _describe(one: _Tested) -> TrainedSource:
    document = one.run.document
    return TrainedSource(
        name=one.name,
        path=str(one.run.folder),
        created=document.created,
        split=one.run.held_out,
        photos=len(one.predictions),
        config=document.config.by_name(),
        preprocess=one.run.preprocess,
        weights=document.weights,
        truth=one.run.truth,
    )


def _compare(old: _Tested, new: _Tested) -> Compared:
    agreement = compare_predictions(old.predictions, new.predictions)
    return Compared(
        baseline=TrainedSide(old.name),
        other=TrainedSide(new.name),
        agreement=agreement,
        warnings=tuple(_warnings(old, new)),
        baseline_metrics=values(TRAINED_BASELINE_METRICS, SimpleNamespace(**_scores(old)), old.run.truth),
        metrics=values(TRAINED_METRICS, SimpleNamespace(**_scores(new), agreement=agreement), new.run.truth),
    )


def _scores(one: _Tested) -> dict[str, int | Accuracy]:
    document = one.run.document
    return {"bytes": document.model.bytes, "accuracy": one.run.metrics(one.run.held_out).accuracy}


def _warnings(old: _Tested, new: _Tested) -> list[Warning]:
    warnings = []
    for one in (old, new):
        if one.run.held_out == "val":
            warnings.append(Warning(one.name, "has no test photos: validation photos also chose its best epoch"))
        if one.run.document.interrupted:
            warnings.append(Warning(one.name, "was interrupted"))
    before, after = (one.run.document.dataset.fingerprint for one in (old, new))
    if before != after:
        warnings.append(Warning(f"{old.name} / {new.name}", "different photos to train or validate on"))
    return warnings
