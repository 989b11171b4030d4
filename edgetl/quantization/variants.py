"""Export the variants of a bundle: prepare the model, pick the converter, add labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from edgetl import __version__
from edgetl._lib.progress import step
from edgetl.export import conversion
from edgetl.export.bundle import VariantFile
from edgetl.export.features_output import with_features
from edgetl.inspection.tflite.metadata import with_metadata
from edgetl.quantization.conversion.onnx import int8_onnx
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.preparation.bias_correction import correct_weights
from edgetl.quantization.preparation.clip_ranges import Range, clip_ranges
from edgetl.quantization.preparation.equalization import equalize_cross_layer
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.runs.directory import Run
from edgetl_device._lib.documents import to_json
from edgetl_device.errors import InputError

from .calibration_photos import Calibration, calibration_photos
from .options import QuantizeOptions
from .targets import TARGETS, Target

FLOAT_NAMES = ("float32", "float16", "dynamic", "float32-onnx")
INT8_NAMES = ("int8", "int8-onnx")


@dataclass(frozen=True, eq=False)
class ModelForms:
    """Forms of the float model that int8 conversion starts from, each computed once on first use.

    Attributes:
        model: The model as trained; the float reference.
        calibration: Calibration photos.
    """

    model: Any
    calibration: Calibration

    @cached_property
    def folded(self) -> Any:
        """Model with BatchNorm folded. TensorFlow's converter would fold anyway; ONNX Runtime's quantizer needs it."""
        with step("Folding BatchNorm"):
            return fold_batch_norm(self.model)

    @cached_property
    def equalized(self) -> Any:
        """Folded model after cross-layer equalization of the residual streams."""
        folded = self.folded
        with step("Cross-layer equalization"):
            return equalize_cross_layer(folded, self.calibration.pixels)


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A model ready for the int8 converters.

    Attributes:
        model: Folded model, repaired if the candidate asks for it.
        exact: Float reference of the int8 file, layer by layer: ``model`` before its weights were rounded.
        repair: Description of the repair steps.
        ranges: Fixed activation ranges (min, max) of some layers; calibration sets all others.
        keep_float: Names of layers that stay float in TFLite. Not for ONNX: when ONNX Runtime's quantizer excludes a
            layer, it gives the outputs around it their range before the activation.
    """

    model: Any
    exact: Any
    repair: str
    ranges: Mapping[str, Range] = field(default_factory=dict)
    keep_float: tuple[str, ...] = ()


def plain(forms: ModelForms) -> PreparedModel:
    """Return the model with only BatchNorm folded."""
    return PreparedModel(forms.folded, forms.folded, "none")


def repaired(forms: ModelForms, target: Target, keep_float: tuple[str, ...] = ()) -> PreparedModel:
    """Return the equalized model after :func:`corrected`."""
    return corrected(forms.equalized, "cross-layer equalization", forms.calibration, target, keep_float)


def corrected(
    exact: Any, before: str, calibration: Calibration, target: Target, keep_float: tuple[str, ...] = ()
) -> PreparedModel:
    """Apply GPTQ, bias correction and range clipping of residual streams to a folded model.

    Args:
        exact: The folded float model.
        before: Description of the steps applied since folding.
        calibration: Calibration photos.
        target: Target; decides how Dense weights are rounded.
        keep_float: Names of layers that stay float.
    """
    with step("Repairing for int8"):
        model = correct_weights(
            exact, calibration.pixels, per_tensor_dense=target.per_tensor_dense, keep_float=keep_float
        )
        ranges = clip_ranges(model, calibration.pixels)
    repair = f"{before}, GPTQ, bias correction, clipped ranges"
    return PreparedModel(model, exact, repair, ranges, keep_float)


def calibration_of(run: Run, options: QuantizeOptions, data: Path | None = None) -> Calibration:
    """Return the calibration photos chosen by ``options``."""
    folder = None if options.calibration_photos is None else Path(options.calibration_photos)
    return calibration_photos(run, count=options.calibration, seed=options.seed, folder=folder, data=data)


def float_variant(model: Any, name: str, run: Run, *, layout: conversion.Layout = "nhwc") -> VariantFile:
    """Export a variant in :data:`FLOAT_NAMES`, which needs no calibration. ``layout`` applies to ONNX only."""
    make: dict[str, tuple[Literal["tflite", "onnx"], str, Callable[[Any], bytes]]] = {
        "float32": ("tflite", "float32", conversion.float32_tflite),
        "float16": ("tflite", "float16", conversion.float16_tflite),
        "dynamic": ("tflite", "dynamic", conversion.dynamic_tflite),
        "float32-onnx": ("onnx", "float32", partial(conversion.float32_onnx, layout=layout)),
    }
    format, precision, function = make[name]
    with step(f"Exporting {name}"):
        return VariantFile(name, format, precision, _labelled(function(model), format, run))


def int8_variants(
    prepared: PreparedModel,
    run: Run,
    calibration: Calibration,
    names: tuple[str, ...] = INT8_NAMES,
    *,
    target: Target = TARGETS["generic"],
    layout: conversion.Layout = "nhwc",
) -> list[VariantFile]:
    """Export variants in :data:`INT8_NAMES` for a target, without checking that it can run them."""
    about = to_json(calibration.record_without_names) | {"repair": prepared.repair}
    variants = []
    for name in names:
        with step(f"Exporting {name}"):
            if name == "int8":
                exported = int8_tflite(
                    prepared.model,
                    calibration.pixels,
                    dtype=target.dtype,
                    per_tensor_dense=target.per_tensor_dense,
                    keep_float=prepared.keep_float,
                    ranges=prepared.ranges,
                )
                # The standard metadata describes uint8 and float pixels only, and would waste a microcontroller's
                # flash.
                if target.dtype == "uint8":
                    exported = _labelled(exported, "tflite", run)
                kept = {"float_layers": list(prepared.keep_float)}
                variants.append(VariantFile(name, "tflite", "int8", exported, about | kept))
            else:
                exported = int8_onnx(prepared.model, calibration.pixels, layout=layout, ranges=prepared.ranges)
                variants.append(VariantFile(name, "onnx", "int8", exported, about))
    return variants


def with_features_output(variant: VariantFile, run: Run) -> VariantFile:
    """Return a variant with outputs of features (:mod:`edgetl.export.features_output`).

    Raises:
        InputError: The model has no pooled features.
    """
    return replace(variant, data=_labelled(with_features(variant.data, variant.format), variant.format, run))


def check_name(name: str) -> None:
    """Raise InputError unless edgetl exports a variant of this name."""
    known = (*FLOAT_NAMES, *INT8_NAMES)
    if name not in known:
        raise InputError(f"unknown variant {name!r}", why=f"edgetl exports {', '.join(known)}")


def _labelled(exported: bytes, format: str, run: Run) -> bytes:
    """Add standard metadata with the labels to a TFLite file; return ONNX unchanged."""
    if format != "tflite":
        return exported
    spec = run.preprocess
    grey = "grey " if spec.size.channels == 1 else ""
    described = f"{grey}photos fitted to {spec.size.width} x {spec.size.height} pixels"
    return with_metadata(
        exported,
        name=run.document.config.backbone,
        labels=run.labels,
        description=f"Image classifier by edgetl {__version__}, for {described} by {spec.fit}.",
    )
