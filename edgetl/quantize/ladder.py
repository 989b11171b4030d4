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

from edgetl import reference
from edgetl.augment import augmenter
from edgetl.bundling import VariantFile
from edgetl.export import float32_tflite
from edgetl.heldout import find_photos
from edgetl.run import Run
from edgetl.train.network import tail
from edgetl_device.accuracy import score
from edgetl_device.errors import InputError

from .calibration import Calibration, take_turns
from .config import QuantizeConfig
from .correct import correct_weights
from .distill import Teaching, distill
from .equalize import equalize_streams
from .explain import explain
from .fold import fold_batch_norm
from .graph import Keras
from .measure import Expected, expected, measured
from .targets import TARGETS, Target
from .tflite import int8_tflite
from .variants import INT8_NAMES, Recipe, int8_variants, plain, repaired

_KEEP_FLOAT = 4
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Photos that distillation learns from, and augmented views of each; more take longer and change little.
_TEACHING_PHOTOS = 1000
_TEACHING_VIEWS = 2
_VIEW_BATCH = 32


@dataclass(frozen=True, eq=False)
class Climb:
    """Where the ladder ended.

    Attributes:
        variants: int8 files of the rung that passed, or of the last one.
        rungs: What each rung gave, as JSON objects.
        taken: Name of the rung that passed; None where none did.
    """

    variants: list[VariantFile]
    rungs: list[dict[str, Any]]
    taken: str | None


def int8_names(target: Target) -> tuple[str, ...]:
    """Return the int8 variants that are of use on a target."""
    return INT8_NAMES if target.onnx else ("int8",)


def climb(model: Keras, run: Run, calibration: Calibration, config: QuantizeConfig, *, data: Path | None) -> Climb:
    """Try one rung after the other until all int8 files of one are within the bounds of ``config``.

    Args:
        model: The float model, the reference.
        run: Its run.
        calibration: Photos that set ranges.
        config: Bounds and target. ``repair=False`` leaves the plain rung alone.
        data: The data set's folder, where it has moved since training.

    Raises:
        InputError: The run has no validation photos.
        GateFailed: The target cannot run what a rung made.
    """
    samples = run.of("val")
    if not samples:
        raise InputError(
            "a bound on what int8 may lose needs validation photos, and the run has none",
            why="the test photos give the final number only",
            hint="Train with --val 0.15.",
        )
    target = TARGETS[config.target]
    against = expected(model, find_photos(run, samples, data=data), description="Float reference, validation")
    rungs: list[dict[str, Any]] = []
    variants: list[VariantFile] = []
    for name, prepare in _rungs(model, run, calibration, config, against, data):
        started = time.perf_counter()
        recipe, about = prepare()
        # ONNX cannot leave layers out (:class:`Recipe`), so its file stays the one of the rung before.
        earlier = [variant for variant in variants if variant.format == "onnx"] if recipe.keep_float else []
        names = ("int8",) if recipe.keep_float else int8_names(target)
        variants = [*int8_variants(recipe, run, calibration, names, target=target), *earlier]
        rows, passed = [], True
        for variant in variants:
            scored, latency_ms = measured(variant, against, run.labels)
            passed = passed and within(scored, config)
            rows.append(
                {
                    "name": variant.name,
                    "bytes": len(variant.data),
                    "latency_ms": latency_ms,
                    "accuracy": scored.accuracy,
                    "agreement": scored.agreement,
                }
            )
        rungs.append(
            {"name": name, "repair": recipe.repair, "float_layers": list(recipe.keep_float), **about}
            | {"passed": passed, "seconds": round(time.perf_counter() - started, 3), "variants": rows}
        )
        if passed:
            return Climb(variants, rungs, name)
    return Climb(variants, rungs, None)


def within(variant: VariantFile, config: QuantizeConfig) -> bool:
    """Whether a measured variant loses no more than the bounds allow."""
    agreement = variant.agreement or {}
    drop_fits = config.max_drop_pp is None or agreement["drop_pp"] <= config.max_drop_pp
    return drop_fits and (config.min_agreement is None or agreement["top1"] >= config.min_agreement)


def _rungs(
    model: Keras, run: Run, calibration: Calibration, config: QuantizeConfig, against: Expected, data: Path | None
) -> Iterator[tuple[str, Callable[[], tuple[Recipe, dict[str, Any]]]]]:
    target = TARGETS[config.target]
    yield "plain", lambda: (plain(model), {})
    if not config.repair:
        return
    yield "repair", lambda: (repaired(model, calibration, target), {})
    if target.float_layers:

        def keep_worst() -> tuple[Recipe, dict[str, Any]]:
            return repaired(model, calibration, target, _worst(model, calibration, against)), {}

        yield "float layers", keep_worst
    yield "distillation", lambda: _distilled(model, run, calibration, config, against, data)


def _worst(model: Keras, calibration: Calibration, against: Expected) -> tuple[str, ...]:
    """Return the convolutions whose int8 form moves the answers most, in the repaired model."""
    equalized = equalize_streams(fold_batch_norm(model), calibration.pixels)
    int8 = int8_tflite(correct_weights(equalized, calibration.pixels), calibration.pixels)
    explanation = explain(float32_tflite(equalized), int8, against.photos.pixels)
    costly = [layer.name for layer in explanation.worst(len(explanation.layers)) if layer.operator in _CONVOLUTIONS]
    return tuple(costly[:_KEEP_FLOAT])


def _distilled(
    model: Keras, run: Run, calibration: Calibration, config: QuantizeConfig, against: Expected, data: Path | None
) -> tuple[Recipe, dict[str, Any]]:
    """Distill the layers that training trained, with and without rounding, and repair the one with it."""
    target = TARGETS[config.target]
    cut = run.document["model"]["cut_layer"]
    names = {layer.name for layer in tail(model, cut).layers}
    trained = frozenset(names | {f"{name}_depthwise" for name in names})
    photos = find_photos(run, take_turns(run.of("train"), count=_TEACHING_PHOTOS, seed=config.seed), data=data)
    preset, size = run.document["config"]["augment"], run.preprocess.size
    draw = augmenter(preset, size=size, seed=config.seed)
    views = _TEACHING_VIEWS if preset != "none" else 0
    batches = np.array_split(photos.pixels, math.ceil(len(photos.pixels) / _VIEW_BATCH))
    pixels = np.concatenate([photos.pixels, *(draw(batch) for _ in range(views) for batch in batches)])
    rows = np.arange(len(pixels))
    answers = reference.softmax(reference.logits(model, pixels, rows, description="Float answers to learn"))
    teaching = Teaching(pixels, answers, calibration.pixels)
    equalized = equalize_streams(fold_batch_norm(model), calibration.pixels)
    control = distill(equalized, trained, teaching, rounded=False, seed=config.seed)
    found = reference.softmax(
        reference.logits(control, against.photos.pixels, np.arange(len(against.photos.targets)), description="Control")
    )
    scores = score(found, against.photos.targets, against.probabilities, names=run.labels)
    student = distill(equalized, trained, teaching, rounded=True, seed=config.seed)
    corrected = correct_weights(student, calibration.pixels, per_tensor_dense=target.per_tensor_dense)
    about = {
        # The same training without rounding: what of the result is more training and not better quantization.
        "float_control": {"accuracy": scores["accuracy"], "agreement": scores["agreement"]},
        "photos": len(photos.targets),
        "views": views,
    }
    return Recipe(corrected, "distilled through rounding, rounded weights, corrected biases"), about
