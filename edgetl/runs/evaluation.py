"""Evaluate a run or a bundle's variant on a labelled folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from edgetl._lib.progress import track
from edgetl.data import SPLITS, Dataset, Sample, Split, load_dataset, targets_of
from edgetl.runs import float_model
from edgetl.runs.confusion import Confusion, confusion_of
from edgetl.runs.directory import Run
from edgetl.runs.metrics import Metrics, classification_report
from edgetl_device._lib.documents import Count, Sha256, Unknown, optional
from edgetl_device.bench.accuracy import among_accepted
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError
from edgetl_device.preprocess import Preprocess
from edgetl_device.runtime import Predicted
from edgetl_device.scores import AmongAccepted
from edgetl_device.text import listed, normal_names

# The variant of a bundle that is scored by default.
_OF_A_BUNDLE = "int8"


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on labelled photos.

    Attributes:
        data: Path of the photos as given by the user.
        split: Evaluated split: ``train``, ``val``, ``test`` or ``all``.
        fingerprint: Hash over path, label, split and content of every photo.
        trained_on: Number of photos that were in the training set; unknown for a bundle.
        metrics: Metrics on these photos.
        confusion: Confusion matrix, without its zeros.
        model: Path of the model as given by the user.
        variant: Variant of the bundle; absent for the float model of a run.
        among_accepted: Accuracy among the photos that are not unknown; null if the model cannot tell.
    """

    SCHEMA: ClassVar[str] = "edgetl.evaluation/2"

    data: str
    split: Split | Literal["all"]
    fingerprint: Sha256
    trained_on: Count | Unknown
    metrics: Metrics
    confusion: Confusion
    model: str
    variant: str | None = optional()
    among_accepted: AmongAccepted | None = optional()


def evaluate(target: Path, data: Path, *, variant: str | None = None, split: str | None = None) -> Evaluation:
    """Evaluate a run's float model, or a variant of a bundle, on a labelled folder.

    Args:
        target: A run directory, a bundle folder or an ``.edgetl`` file.
        data: The folder, in any layout that training accepts; its classes must be among the model's.
        variant: Variant of the bundle or of the run's bundle. None: int8 of a bundle, the float model of a run.
        split: Split of the folder to evaluate. None: test, else validation, else all photos.

    Raises:
        InputError: The folder has unknown classes or no photos of that split, or there is no such variant.
    """
    if not (target / "run.json").is_file():
        return _score_bundle(target, data, variant or _OF_A_BUNDLE, split, None)
    run = Run.open(target)
    trained = {sample.sha256 for sample in run.of("train")}
    if variant is None:
        return _score(target, None, data, run.preprocess, run.labels, _run_scorer(run), split, trained)
    if not (target / "bundle").is_dir():
        raise InputError(
            f"{target}: has no variants yet",
            hint="Make them with edgetl quantize, or leave --variant out to score the float model.",
        )
    return _score_bundle(target / "bundle", data, variant, split, trained)


def scored_variant(target: Path, variant: str | None) -> str | None:
    """Return the variant that :func:`evaluate` scores; None for the float model of a run."""
    return variant or (None if (target / "run.json").is_file() else _OF_A_BUNDLE)


def labels_of(target: Path) -> tuple[str, ...]:
    """Return the classes of a run or a bundle.

    Raises:
        InputError: It is neither.
    """
    labels = Run.open(target).labels if (target / "run.json").is_file() else Bundle.open(target).labels
    return normal_names(labels)


def _score_bundle(target: Path, data: Path, variant: str, split: str | None, trained: set[str] | None) -> Evaluation:
    bundle = Bundle.open(target)
    with Classifier(bundle, variant) as classifier:
        scorer = _bundle_scorer(classifier)
        return _score(target, variant, data, bundle.preprocess, bundle.labels, scorer, split, trained)


_Scorer = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], Predicted]


def _run_scorer(run: Run) -> _Scorer:
    model = run.load_model()
    return lambda pixels, rows: Predicted(
        float_model.softmax(float_model.logits(model, pixels, rows, description="Evaluating")), ()
    )


def _bundle_scorer(classifier: Classifier) -> _Scorer:
    def score(pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Predicted:
        with track("Evaluating", len(rows)) as advance:
            return classifier.predict((np.asarray(pixels[row]) for row in rows), advance=advance)

    return score


def _score(
    target: Path,
    variant: str | None,
    data: Path,
    spec: Preprocess,
    labels: tuple[str, ...],
    scorer: _Scorer,
    split: str | None,
    trained: set[str] | None,
) -> Evaluation:
    labels = normal_names(labels)
    dataset = load_dataset(data, spec, val=0.0, test=0.0)
    unknown = sorted(set(dataset.labels) - set(labels))
    if unknown:
        raise InputError(
            f"{data}: has classes that the model does not know: {listed(unknown)}",
            why=f"the model knows {listed(labels)}",
        )
    name, samples = _samples(dataset, split)
    targets = targets_of(samples, labels)
    found = scorer(dataset.pixels.array, dataset.pixels.rows(samples))
    probabilities, unknown_scores = found.probabilities, found.unknown_scores
    return Evaluation(
        data=str(data),
        split=name,
        fingerprint=dataset.fingerprint,
        trained_on=Unknown("a bundle does not record its training photos")
        if trained is None
        else sum(sample.sha256 in trained for sample in samples),
        metrics=classification_report(probabilities, targets, labels),
        confusion=confusion_of(
            ((labels[true], labels[said]) for true, said in zip(targets, probabilities.argmax(axis=1), strict=True)),
            labels,
        ),
        model=str(target),
        variant=variant,
        among_accepted=None
        if unknown_scores is None
        else among_accepted(unknown_scores, probabilities.argmax(axis=1) == targets),
    )


def _samples(dataset: Dataset, split: str | None) -> tuple[Split | Literal["all"], tuple[Sample, ...]]:
    """Return the name of the evaluated split and its samples; unsplit photos all count as ``train``."""
    by_name = {name: dataset.of(name) for name in SPLITS}
    if split is None:
        found: Split | None = "test" if by_name["test"] else "val" if by_name["val"] else None
        return ("all", dataset.samples) if found is None else (found, by_name[found])
    if split == "all":
        return "all", dataset.samples
    for name, samples in by_name.items():
        if name == split and samples:
            return name, samples
    if split not in SPLITS:
        raise InputError(f"--split {split!r}", why=f"must be all, {', '.join(SPLITS)}")
    raise InputError(f"{dataset.root}: has no {split} photos", hint="Leave --split out to score all of them.")
