"""Accuracy of a run or of a bundle's variant on a labelled folder. Not for: latency (``edgetl_device.bench.run``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.progress import track
from edgetl.data import SPLITS, Dataset, Sample, load_dataset, targets_of
from edgetl.runs import float_model
from edgetl.runs.directory import Run
from edgetl.runs.metrics import classification_report
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError
from edgetl_device.preprocess import Preprocess

SCHEMA = "edgetl.evaluation/1"


def evaluate(target: Path, data: Path, *, variant: str | None = None, split: str | None = None) -> dict[str, Any]:
    """Score a run's float model, or a variant of a bundle, on a labelled folder.

    Args:
        target: A run directory, a bundle folder or an ``.edgetl`` file.
        data: The folder, in any layout that training takes; its classes must be among the model's.
        variant: Which variant of a bundle or of a run's bundle. None: int8 of a bundle, the float model of a run.
        split: Which photos of a folder that is split; by default its test photos, else its validation photos, else all.

    Returns:
        ``edgetl.evaluation/1``: what was scored, on which photos, and
        :func:`edgetl.runs.metrics.classification_report`.

    Raises:
        InputError: The folder has other classes or no photos of that split, or there is no such variant.
    """
    if not (target / "run.json").is_file():
        return _score_bundle(target, data, variant or "int8", split, set())
    run = Run.open(target)
    trained = {sample.sha256 for sample in run.of("train")}
    if variant is None:
        return _score(data, run.preprocess, run.labels, _run_scorer(run), split, trained) | {"model": str(target)}
    if not (target / "bundle").is_dir():
        raise InputError(
            f"{target}: has no variants yet",
            hint="Make them with edgetl quantize, or leave --variant out to score the float model.",
        )
    return _score_bundle(target / "bundle", data, variant, split, trained)


def _score_bundle(target: Path, data: Path, variant: str, split: str | None, trained: set[str]) -> dict[str, Any]:
    bundle = Bundle.open(target)
    with Classifier(bundle, variant) as classifier:
        return _score(data, bundle.preprocess, bundle.labels, _bundle_scorer(classifier), split, trained) | {
            "model": str(target),
            "variant": variant,
        }


_Scorer = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], npt.NDArray[np.float32]]


def _run_scorer(run: Run) -> _Scorer:
    model = run.load_model()
    return lambda pixels, rows: float_model.softmax(float_model.logits(model, pixels, rows, description="Evaluating"))


def _bundle_scorer(classifier: Classifier) -> _Scorer:
    def score(pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        answers = []
        with track("Evaluating", len(rows)) as advance:
            for row in rows:
                answers.append(classifier.run(np.asarray(pixels[row])))
                advance(1)
        return np.stack(answers)

    return score


def _score(
    data: Path, spec: Preprocess, labels: tuple[str, ...], scorer: _Scorer, split: str | None, trained: set[str]
) -> dict[str, Any]:
    dataset = load_dataset(data, spec, val=0.0, test=0.0)
    unknown = sorted(set(dataset.labels) - set(labels))
    if unknown:
        raise InputError(
            f"{data}: has classes that the model does not know: {', '.join(unknown)}",
            why=f"the model knows {', '.join(labels)}",
        )
    name, samples = _samples(dataset, split)
    targets = targets_of(samples, labels)
    probabilities = scorer(dataset.pixels.array, dataset.pixels.rows(samples))
    return {
        "schema": SCHEMA,
        "data": str(data),
        "split": name,
        "fingerprint": dataset.fingerprint,
        "trained_on": sum(sample.sha256 in trained for sample in samples),
        "metrics": classification_report(probabilities, targets, labels),
    }


def _samples(dataset: Dataset, split: str | None) -> tuple[str, tuple[Sample, ...]]:
    """Return which photos are scored and what they are called; a flat folder's photos all count as ``train``."""
    if split is None:
        name = next((name for name in ("test", "val") if dataset.of(name)), "all")  # type: ignore[arg-type]
        return name, dataset.samples if name == "all" else dataset.of(name)  # type: ignore[arg-type]
    if split == "all":
        return split, dataset.samples
    if split not in SPLITS:
        raise InputError(f"--split {split!r}", why=f"must be all, {', '.join(SPLITS)}")
    if not dataset.of(split):
        raise InputError(f"{dataset.root}: has no {split} photos", hint="Leave --split out to score all of them.")
    return split, dataset.of(split)
