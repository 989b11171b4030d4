"""A run to a bundle: the float model and its int8 versions, each measured on the held-out photos, behind a gate.

Not for: how models are folded, corrected and converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl import __version__, export, reference
from edgetl.bundling import EvalPhoto, ReferenceArrays, VariantFile, write_bundle
from edgetl.heldout import Photos, find_photos, held_out
from edgetl.progress import step, track
from edgetl.quiet import quietly
from edgetl.run import Run
from edgetl.tflite_metadata import with_metadata
from edgetl_device.accuracy import score
from edgetl_device.errors import GateFailed, InputError
from edgetl_device.jsonfile import write_json
from edgetl_device.runtime import open_runtime

from .calibration import choose_calibration
from .correct import correct_biases
from .fold import fold_batch_norm
from .onnx import int8_onnx
from .tflite import int8_tflite

SCHEMA = "edgetl.quantize/1"
# A float export computes the same numbers in another order. More than this is another model.
FLOAT_TOLERANCE = 1e-4
_EVALSET_MAX = 1000


@dataclass(frozen=True)
class QuantizeConfig:
    """What to write.

    Attributes:
        int8: Write int8 variants.
        float16: Write TFLite with float16 weights.
        repair: Correct biases before int8; False shows the plain result.
        calibration: How many training photos set the activation ranges.
        max_drop_pp: Refuse int8 files that lose more accuracy than this, in percentage points.
        seed: Of the choice of calibration photos.
    """

    int8: bool = True
    float16: bool = False
    repair: bool = True
    calibration: int = 100
    max_drop_pp: float | None = None
    seed: int = 0


def quantize(run: Run, config: QuantizeConfig, *, data: Path | None = None) -> dict[str, Any]:
    """Export a run, measure every file on the held-out photos and write ``RUN/bundle``.

    ``RUN/quantize.json`` is written first and says what was measured, also when a gate then refuses the bundle; an
    earlier bundle stays as it was.

    Args:
        run: A finished run.
        config: What to write.
        data: The data set's folder, where it has moved since training.

    Returns:
        The report (``edgetl.quantize/1``).

    Raises:
        InputError: The run, its model or its photos are not as they were after training.
        GateFailed: A float export differs from the model, or int8 loses more than ``max_drop_pp``.
    """
    model = run.load_model()
    photos = find_photos(run, held_out(run, most=_EVALSET_MAX), data=data)
    scores = reference.logits(model, photos.pixels, np.arange(len(photos.targets)), description="Float reference")
    expected = reference.softmax(scores)
    exports = _exports(model, run, config, data)
    variants = [_measured(variant, photos, expected, run.labels) for variant in exports]
    report = {
        "schema": SCHEMA,
        "producer": f"edgetl {__version__}",
        "config": asdict(config),
        "held_out": {"split": run.held_out, "photos": len(photos.targets)},
        "reference": score(expected, photos.targets, None)["accuracy"],
        "variants": [_row(variant) for variant in variants],
    }
    write_json(run.folder / "quantize.json", report)
    _gate(variants, config, run)
    with step("Writing the bundle"):
        write_bundle(
            run.folder / "bundle",
            labels=run.labels,
            preprocess=run.preprocess,
            variants=variants,
            evalset=[
                EvalPhoto(path, sample.label, sample.sha256)
                for path, sample in zip(photos.paths, photos.samples, strict=True)
            ],
            reference=ReferenceArrays(probabilities=expected, logits=scores),
            provenance=_provenance(run, config),
        )
    return report


def float_variant(model: Any, name: str, run: Run) -> VariantFile:
    """Export one float variant of a run's model: ``float32``, ``float16`` or ``float32-onnx``."""
    make: dict[str, tuple[str, Callable[[Any], bytes]]] = {
        "float32": ("tflite", export.float32_tflite),
        "float16": ("tflite", export.float16_tflite),
        "float32-onnx": ("onnx", export.float32_onnx),
    }
    format, function = make[name]
    with _exporting(name):
        return VariantFile(name, format, name.split("-")[0], _labelled(function(model), format, run))


def int8_variants(
    model: Any, run: Run, config: QuantizeConfig, names: tuple[str, ...], *, data: Path | None = None
) -> list[VariantFile]:
    """Calibrate on training photos, repair the model unless told not to, and export int8 variants of it."""
    chosen = choose_calibration(run.samples, count=config.calibration, seed=config.seed)
    photos = find_photos(run, chosen, data=data)
    calibration = {
        "split": "train",
        "photos": len(chosen),
        "repair": "bias correction" if config.repair else "none",
        "files": [{"path": sample.path, "sha256": sample.sha256} for sample in chosen],
    }
    with step("Repairing for int8" if config.repair else "Folding BatchNorm"):
        # Folded in any case: TensorFlow's converter would do it anyway, and ONNX Runtime's quantizer needs it done.
        model = fold_batch_norm(model)
        if config.repair:
            model = correct_biases(model, photos.pixels)
    make: dict[str, tuple[str, Callable[[Any, npt.NDArray[np.uint8]], bytes]]] = {
        "int8": ("tflite", int8_tflite),
        "int8-onnx": ("onnx", int8_onnx),
    }
    variants = []
    for name in names:
        format, function = make[name]
        with _exporting(name):
            exported = _labelled(function(model, photos.pixels), format, run)
            variants.append(VariantFile(name, format, "int8", exported, calibration))
    return variants


def _labelled(exported: bytes, format: str, run: Run) -> bytes:
    """Put the standard metadata with the labels into a TFLite file; ONNX has none."""
    if format != "tflite":
        return exported
    size, fit = run.preprocess.size, run.preprocess.fit
    return with_metadata(
        exported,
        name=run.document["config"]["backbone"],
        labels=run.labels,
        description=f"Image classifier by edgetl {__version__}, for photos brought to {size} x {size} pixels by {fit}.",
    )


def _exports(model: Any, run: Run, config: QuantizeConfig, data: Path | None) -> list[VariantFile]:
    names = ["float32", "float32-onnx", *(["float16"] if config.float16 else [])]
    variants = [float_variant(model, name, run) for name in names]
    if config.int8:
        variants += int8_variants(model, run, config, ("int8", "int8-onnx"), data=data)
    return variants


def _measured(
    variant: VariantFile, photos: Photos, expected: npt.NDArray[np.float32], labels: tuple[str, ...]
) -> VariantFile:
    """Run a variant on the held-out photos and attach its accuracy and its agreement with the float model."""
    with quietly():
        runtime = open_runtime(variant.data, variant.format)
    answers = np.empty_like(expected)
    with track(f"Measuring {variant.name}", len(answers)) as advance:
        for row, pixels in enumerate(photos.pixels):
            runtime.feed(pixels)
            runtime.invoke()
            answers[row] = runtime.probabilities()
            advance(1)
    runtime.close()
    result = score(answers, photos.targets, expected, names=labels)
    return VariantFile(
        variant.name,
        variant.format,
        variant.precision,
        variant.data,
        variant.calibration,
        accuracy=result["accuracy"],
        agreement=result["agreement"],
    )


def _gate(variants: list[VariantFile], config: QuantizeConfig, run: Run) -> None:
    report = f"The report is in {run.folder / 'quantize.json'}; no bundle was written."
    for variant in variants:
        agreement = variant.agreement or {}
        if variant.precision == "float32" and agreement["max_abs"] > FLOAT_TOLERANCE:
            raise GateFailed(
                f"{variant.name} differs from model.keras by {agreement['max_abs']:.1e} in probability",
                why=f"a float export must agree within {FLOAT_TOLERANCE:g}",
                hint=report,
            )
        if variant.precision == "int8" and config.max_drop_pp is not None and agreement["drop_pp"] > config.max_drop_pp:
            raise GateFailed(
                f"{variant.name} loses {agreement['drop_pp']:.2f} pp against the float model",
                why=f"--max-drop allows {config.max_drop_pp:g} pp",
                hint=report,
            )


def _row(variant: VariantFile) -> dict[str, Any]:
    return {
        "name": variant.name,
        "format": variant.format,
        "bytes": len(variant.data),
        "accuracy": variant.accuracy,
        "agreement": variant.agreement,
    }


def _provenance(run: Run, config: QuantizeConfig) -> dict[str, Any]:
    document = run.document
    return {
        "run": {"model_sha256": document["model"]["sha256"], "created": document["created"]},
        "dataset_fingerprint": document["dataset"]["fingerprint"],
        "held_out": run.held_out,
        "backbone": {key: document["config"][key] for key in ("backbone", "width", "size")},
        "weights": document["weights"],
        "quantize": asdict(config),
        "versions": document["versions"],
    }


@contextmanager
def _exporting(name: str) -> Iterator[None]:
    with step(f"Exporting {name}"):
        yield


def check_names(names: tuple[str, ...]) -> None:
    """Raise InputError for a variant that edgetl does not export."""
    known = ("float32", "float16", "int8", "float32-onnx", "int8-onnx")
    for name in names:
        if name not in known:
            raise InputError(f"unknown variant {name!r}", why=f"edgetl exports {', '.join(known)}")
