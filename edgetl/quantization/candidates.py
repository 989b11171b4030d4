"""Search for the cheapest int8 candidate within the bounds, on the validation photos.

Candidates in order: plain conversion, repair, worst layers in float, distillation. Only the chosen one is scored on
the test photos.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetl._lib.progress import step
from edgetl.data import stratified_sample
from edgetl.export.bundle import VariantFile
from edgetl.export.conversion import float32_tflite
from edgetl.features.augment import augmenter
from edgetl.runs import float_model
from edgetl.runs.directory import Run
from edgetl.runs.held_out import find_photos
from edgetl.runs.quantize_report import Candidate, CandidateVariant, FloatControl
from edgetl_device.errors import InputError
from edgetl_device.scores import Agreement

from .distillation import Teaching, distill
from .explain import explain
from .measurement import Expected, expected, measured
from .options import QuantizeOptions
from .targets import TARGETS, Target
from .variants import INT8_NAMES, ModelForms, PreparedModel, corrected, int8_variants, plain, repaired

_KEEP_FLOAT = 4
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Photos for distillation, and augmented views of each. More take longer and change little.
_TEACHING_PHOTOS = 1000
_TEACHING_VIEWS = 2
_VIEW_BATCH = 32


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The result of the search.

    Attributes:
        prepared: The model that the last candidate converted; None for an int8 file of the user.
        variants: int8 files of the candidate that passed, else of the last one.
        candidates: Result of each candidate tried.
        taken: Name of the candidate that passed; None if none did.
        incompatibility: Why the int8 TFLite file cannot run on the target; None if it can.
    """

    prepared: PreparedModel | None
    variants: list[VariantFile]
    candidates: tuple[Candidate, ...]
    taken: str | None
    incompatibility: str | None


def int8_names(target: Target) -> tuple[str, ...]:
    """Return the names of the int8 variants that a target supports."""
    return INT8_NAMES if target.onnx else ("int8",)


def search(forms: ModelForms, run: Run, options: QuantizeOptions, *, data: Path | None) -> SearchResult:
    """Try candidates in order until all int8 files of one are within the bounds of ``options``.

    Args:
        forms: The float model and the calibration photos.
        run: The run of the model.
        options: Bounds and target. ``repair=False`` tries plain conversion only.
        data: The data set's folder if it has moved since training.

    Raises:
        InputError: The run has no validation photos.
    """
    target = TARGETS[options.target]
    against = _validation(forms.model, run, data)
    candidates: list[Candidate] = []
    variants: list[VariantFile] = []
    for name, prepare in _candidates(forms, run, options, against, data):
        started = time.perf_counter()
        prepared, distillation = prepare(variants)
        # ONNX cannot keep layers in float (see PreparedModel): reuse the previous candidate's file.
        earlier = [variant for variant in variants if variant.format == "onnx"] if prepared.keep_float else []
        names = ("int8",) if prepared.keep_float else int8_names(target)
        variants = [*int8_variants(prepared, run, forms.calibration, names, target=target), *earlier]
        complaint = incompatibility(variants, target)
        rows = _rows(variants, against, run)
        candidates.append(
            Candidate(
                name=name,
                repair=prepared.repair,
                float_layers=prepared.keep_float,
                float_control=distillation.control if distillation else None,
                photos=distillation.photos if distillation else None,
                views=distillation.views if distillation else None,
                passed=complaint is None and all(within(row.agreement, options) for row in rows),
                seconds=round(time.perf_counter() - started, 3),
                variants=rows,
            )
        )
        # All candidates have the same operators, so an incompatible one ends the search.
        if candidates[-1].passed or complaint is not None:
            taken = name if candidates[-1].passed else None
            return SearchResult(prepared, variants, tuple(candidates), taken, complaint)
    return SearchResult(prepared, variants, tuple(candidates), None, None)


def judge_file(
    variant: VariantFile, name: str, model: Any, run: Run, options: QuantizeOptions, *, data: Path | None
) -> SearchResult:
    """Hold an int8 file of the user, the only candidate, against the target and the bounds.

    Args:
        variant: The file.
        name: Its name.
        model: The float model.
        run: The run of the model.
        options: Bounds and target.
        data: The data set's folder if it has moved since training.

    Raises:
        InputError: There is a bound, and the run has no validation photos.
    """
    complaint = incompatibility([variant], TARGETS[options.target])
    if not options.gated:
        return SearchResult(None, [variant], (), name, complaint)
    started = time.perf_counter()
    rows = _rows([variant], _validation(model, run, data), run)
    passed = complaint is None and all(within(row.agreement, options) for row in rows)
    seconds = round(time.perf_counter() - started, 3)
    candidate = Candidate(name=name, repair="none", float_layers=(), passed=passed, seconds=seconds, variants=rows)
    return SearchResult(None, [variant], (candidate,), name if passed else None, complaint)


def _validation(model: Any, run: Run, data: Path | None) -> Expected:
    samples = run.of("val")
    if not samples:
        raise InputError(
            "a bound on the int8 loss needs validation photos, and the run has none",
            why="test photos are for the final number only",
            hint="Train with --val 0.15.",
        )
    return expected(model, find_photos(run, samples, data=data), description="Float reference, validation")


def _rows(variants: list[VariantFile], against: Expected, run: Run) -> tuple[CandidateVariant, ...]:
    scored = [measured(variant, against, run.labels) for variant in variants]
    return tuple(
        CandidateVariant(one.variant.name, len(one.variant.data), one.latency_ms, one.accuracy, one.agreement)
        for one in scored
    )


def incompatibility(variants: list[VariantFile], target: Target) -> str | None:
    """Return why the int8 TFLite file in ``variants`` cannot run on a target, or None if it can."""
    (int8,) = (variant.data for variant in variants if variant.name == "int8")
    return target.complaint(int8)


def within(agreement: Agreement, options: QuantizeOptions) -> bool:
    """Return whether a variant is within the bounds."""
    drop_fits = options.max_drop is None or agreement.drop_pp <= options.max_drop
    return drop_fits and (options.min_agreement is None or agreement.top1 >= options.min_agreement)


@dataclass(frozen=True)
class _Distillation:
    """Distillation details for the report: control without rounding, number of photos, views per photo."""

    control: FloatControl
    photos: int
    views: int


# Prepares a candidate's model, given the files of the previous candidate.
_Prepare = Callable[[list[VariantFile]], tuple[PreparedModel, _Distillation | None]]


def _candidates(
    forms: ModelForms, run: Run, options: QuantizeOptions, against: Expected, data: Path | None
) -> Iterator[tuple[str, _Prepare]]:
    target = TARGETS[options.target]
    yield "plain", lambda _: (plain(forms), None)
    if not options.repair:
        return
    yield "repair", lambda _: (repaired(forms, target), None)
    if target.float_layers:
        yield "float layers", lambda before: (repaired(forms, target, _worst(forms, before, against)), None)
    yield "distillation", lambda _: _distilled(forms, run, options, against, data)


def _worst(forms: ModelForms, repaired: list[VariantFile], against: Expected) -> tuple[str, ...]:
    """Return the names of the convolutions whose quantization changes the predictions most."""
    (int8,) = (variant.data for variant in repaired if variant.name == "int8")
    explanation = explain(float32_tflite(forms.equalized), int8, against.photos.pixels)
    costly = [layer.name for layer in explanation.worst(len(explanation.layers)) if layer.operator in _CONVOLUTIONS]
    return tuple(costly[:_KEEP_FLOAT])


def _distilled(
    forms: ModelForms, run: Run, options: QuantizeOptions, against: Expected, data: Path | None
) -> tuple[PreparedModel, _Distillation]:
    """Distill the trained layers with rounding (then repair) and without rounding (control)."""
    names = {layer.name for layer in forms.model.layers if layer.trainable and layer.weights}
    trained = frozenset(names | {f"{name}_depthwise" for name in names})
    photos = find_photos(run, stratified_sample(run.of("train"), count=_TEACHING_PHOTOS, seed=options.seed), data=data)
    preset, size = run.document.config.augment, run.preprocess.size
    views = _TEACHING_VIEWS if preset != "none" else 0
    batches = np.array_split(photos.pixels, math.ceil(len(photos.pixels) / _VIEW_BATCH))
    with step("Augmented views"):
        draw = augmenter(preset, size=size, seed=options.seed)
        pixels = np.concatenate([photos.pixels, *(draw(batch) for _ in range(views) for batch in batches)])
    rows = np.arange(len(pixels))
    predictions = float_model.softmax(float_model.logits(forms.model, pixels, rows, description="Float predictions"))
    teaching = Teaching(pixels, predictions, forms.calibration.pixels)
    control = distill(forms.equalized, trained, teaching, rounded=False, seed=options.seed)
    found = float_model.softmax(
        float_model.logits(
            control, against.photos.pixels, np.arange(len(against.photos.targets)), description="Control"
        )
    )
    # The control shows how much of the gain is just more training.
    about = _Distillation(FloatControl(*against.scores(found, run.labels)), len(photos.targets), views)
    student = distill(forms.equalized, trained, teaching, rounded=True, seed=options.seed)
    return corrected(student, "distilled through rounding", forms.calibration, TARGETS[options.target]), about
