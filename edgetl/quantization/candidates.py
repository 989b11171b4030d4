"""int8 by the cheapest means that loses little enough: rung after rung, judged on validation photos.

Plain conversion, then repair, then the worst layers in float, then distillation. The first rung that passes is taken;
the test photos see only what was taken. Not for: how a rung makes its files.
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
from edgetl_device.bench.accuracy import score
from edgetl_device.documents import to_json
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
# Photos that distillation learns from, and augmented views of each; more take longer and change little.
_TEACHING_PHOTOS = 1000
_TEACHING_VIEWS = 2
_VIEW_BATCH = 32


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Where the ladder ended.

    Attributes:
        recipe: What that rung converted.
        variants: int8 files of the rung that passed, or of the last one.
        rungs: What each rung gave, as JSON objects.
        taken: Name of the rung that passed; None where none did.
        misfit: What keeps the int8 TFLite file from running on the target, or None.
    """

    prepared: PreparedModel
    variants: list[VariantFile]
    candidates: list[dict[str, Any]]
    taken: str | None
    incompatibility: str | None


def int8_names(target: Target) -> tuple[str, ...]:
    """Return the int8 variants that are of use on a target."""
    return INT8_NAMES if target.onnx else ("int8",)


def search(forms: ModelForms, run: Run, options: QuantizeOptions, *, data: Path | None) -> SearchResult:
    """Try one rung after the other until all int8 files of one are within the bounds of ``options``.

    Args:
        floats: The float model, the reference, and the photos that calibrate.
        run: Its run.
        options: Bounds and target. ``repair=False`` leaves the plain rung alone.
        data: The data set's folder, where it has moved since training.

    Raises:
        InputError: The run has no validation photos.
    """
    samples = run.of("val")
    if not samples:
        raise InputError(
            "a bound on what int8 may lose needs validation photos, and the run has none",
            why="the test photos give the final number only",
            hint="Train with --val 0.15.",
        )
    target = TARGETS[options.target]
    against = expected(forms.model, find_photos(run, samples, data=data), description="Float reference, validation")
    candidates: list[dict[str, Any]] = []
    variants: list[VariantFile] = []
    for name, prepare in _candidates(forms, run, options, against, data):
        started = time.perf_counter()
        prepared, about = prepare(variants)
        # ONNX cannot leave layers out (:class:`PreparedModel`), so its file stays the one of the rung before.
        earlier = [variant for variant in variants if variant.format == "onnx"] if prepared.keep_float else []
        names = ("int8",) if prepared.keep_float else int8_names(target)
        variants = [*int8_variants(prepared, run, forms.calibration, names, target=target), *earlier]
        complaint = incompatibility(variants, target)
        rows, passed = [], complaint is None
        for variant in variants:
            scored, latency_ms = measured(variant, against, run.labels)
            passed = passed and within(scored, options)
            rows.append(
                {
                    "name": variant.name,
                    "bytes": len(variant.data),
                    "latency_ms": latency_ms,
                    "accuracy": to_json(scored.accuracy),
                    "agreement": to_json(scored.agreement),
                }
            )
        candidates.append(
            {"name": name, "repair": prepared.repair, "float_layers": list(prepared.keep_float), **about}
            | {"passed": passed, "seconds": round(time.perf_counter() - started, 3), "variants": rows}
        )
        # A file that does not fit the target has the same operators on every rung.
        if passed or complaint is not None:
            return SearchResult(prepared, variants, candidates, name if passed else None, complaint)
    return SearchResult(prepared, variants, candidates, None, None)


def incompatibility(variants: list[VariantFile], target: Target) -> str | None:
    """Return what keeps the int8 TFLite file among ``variants`` from running on a target, or None."""
    (int8,) = (variant.data for variant in variants if variant.name == "int8")
    return target.complaint(int8)


def within(variant: VariantFile, options: QuantizeOptions) -> bool:
    """Whether a measured variant loses no more than the bounds allow."""
    agreement = variant.agreement
    if not isinstance(agreement, Agreement):
        raise TypeError(f"{variant.name} was not measured")
    drop_fits = options.max_drop is None or agreement.drop_pp <= options.max_drop
    return drop_fits and (options.min_agreement is None or agreement.top1 >= options.min_agreement)


# Makes a rung's recipe, and what else is to be reported of it, from the files of the rung before.
_Prepare = Callable[[list[VariantFile]], tuple[PreparedModel, dict[str, Any]]]


def _candidates(
    forms: ModelForms, run: Run, options: QuantizeOptions, against: Expected, data: Path | None
) -> Iterator[tuple[str, _Prepare]]:
    target = TARGETS[options.target]
    yield "plain", lambda _: (plain(forms), {})
    if not options.repair:
        return
    yield "repair", lambda _: (repaired(forms, target), {})
    if target.float_layers:
        yield "float layers", lambda before: (repaired(forms, target, _worst(forms, before, against)), {})
    yield "distillation", lambda _: _distilled(forms, run, options, against, data)


def _worst(forms: ModelForms, repaired: list[VariantFile], against: Expected) -> tuple[str, ...]:
    """Return the convolutions whose int8 form moves the answers most, in the repaired file."""
    (int8,) = (variant.data for variant in repaired if variant.name == "int8")
    explanation = explain(float32_tflite(forms.equalized), int8, against.photos.pixels)
    costly = [layer.name for layer in explanation.worst(len(explanation.layers)) if layer.operator in _CONVOLUTIONS]
    return tuple(costly[:_KEEP_FLOAT])


def _distilled(
    forms: ModelForms, run: Run, options: QuantizeOptions, against: Expected, data: Path | None
) -> tuple[PreparedModel, dict[str, Any]]:
    """Distill the layers that training trained, with and without rounding, and repair the one with it."""
    names = {layer.name for layer in forms.model.layers if layer.trainable and layer.weights}
    trained = frozenset(names | {f"{name}_depthwise" for name in names})
    photos = find_photos(run, stratified_sample(run.of("train"), count=_TEACHING_PHOTOS, seed=options.seed), data=data)
    preset, size = run.document["config"]["augment"], run.preprocess.size
    views = _TEACHING_VIEWS if preset != "none" else 0
    batches = np.array_split(photos.pixels, math.ceil(len(photos.pixels) / _VIEW_BATCH))
    with step("Augmented views"):
        draw = augmenter(preset, size=size, seed=options.seed)
        pixels = np.concatenate([photos.pixels, *(draw(batch) for _ in range(views) for batch in batches)])
    rows = np.arange(len(pixels))
    answers = float_model.softmax(float_model.logits(forms.model, pixels, rows, description="Float answers to learn"))
    teaching = Teaching(pixels, answers, forms.calibration.pixels)
    control = distill(forms.equalized, trained, teaching, rounded=False, seed=options.seed)
    found = float_model.softmax(
        float_model.logits(
            control, against.photos.pixels, np.arange(len(against.photos.targets)), description="Control"
        )
    )
    scores = score(found, against.photos.targets, against.probabilities, names=run.labels)
    student = distill(forms.equalized, trained, teaching, rounded=True, seed=options.seed)
    about = {
        # The same training without rounding: what of the result is more training and not better quantization.
        "float_control": {"accuracy": to_json(scores.accuracy), "agreement": to_json(scores.agreement)},
        "photos": len(photos.targets),
        "views": views,
    }
    return corrected(student, "distilled through rounding", forms.calibration, TARGETS[options.target]), about
