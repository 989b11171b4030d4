"""Write an explanation to disk: ``RUN/explain.json``, and plots and a table of all channels in ``RUN/explain/``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl import __version__
from edgetl._lib.csv import write_table
from edgetl._lib.owned import Kind, check_replaceable
from edgetl._lib.progress import step
from edgetl.export.conversion import float32_tflite
from edgetl.quantization.conversion.tflite import int8_tflite as convert_int8
from edgetl.quantization.measurement import predict_file
from edgetl.runs.directory import Run
from edgetl.runs.explain_report import (
    DOCUMENT,
    ExplainReport,
    Flip,
    Flips,
    Int8File,
    LayerCost,
    RepairedLayerErrors,
    RepairEffect,
    Unrepaired,
)
from edgetl.runs.held_out import Photos
from edgetl_device._lib import documents
from edgetl_device._lib.files import atomic_path, sha256_bytes

from .layers import explain
from .plots import channels_of, error_by_layer, flipped_photos
from .predictions import drop_by_class, flips
from .result import Explanation, Layer

FOLDER = "explain"
FILES = ("layers.png", "costs_most.png", "repaired.png", "flips.png", "channels.csv")


@dataclass(frozen=True, eq=False)
class Plain:
    """A Keras model with BatchNorm folded but not repaired, and its calibration photos, uint8 [n, H, W, C]."""

    folded: Any
    calibration: npt.NDArray[np.uint8]


def explain_export(
    run: Run,
    reference: Any,
    int8_tflite: bytes,
    photos: Photos,
    expected: npt.NDArray[np.float32],
    *,
    plain: Plain | None = None,
) -> ExplainReport:
    """Explain the int8 TFLite file of a run, and write the explanation to the run directory.

    Args:
        run: The run.
        reference: The Keras model whose activations int8 is compared with: BatchNorm folded, channels equalized if
            repair equalizes them, weights and biases not repaired.
        int8_tflite: The int8 file exported after repair.
        photos: Held-out photos.
        expected: The run's probabilities for them, float32 [n, classes].
        plain: The same model without repair, to show the effect of repair; None if int8 was not repaired.
    """
    with step("Float and plain int8 files"):
        float_tflite = float32_tflite(reference)
        unrepaired = None
        if plain is not None:
            same = plain.folded is reference
            unrepaired = (
                float_tflite if same else float32_tflite(plain.folded),
                convert_int8(plain.folded, plain.calibration),
            )
    return explain_run(
        run.folder,
        float_tflite=float_tflite,
        int8_tflite=int8_tflite,
        photos=photos,
        expected=expected,
        labels=run.labels,
        unrepaired=unrepaired,
    )


def explain_run(
    folder: Path,
    *,
    float_tflite: bytes,
    int8_tflite: bytes,
    photos: Photos,
    expected: npt.NDArray[np.float32],
    labels: tuple[str, ...],
    unrepaired: tuple[bytes, bytes] | None = None,
) -> ExplainReport:
    """Explain an int8 file on held-out photos and write ``folder/explain.json`` and ``folder/explain/``.

    The layers are measured on a few tens of the photos, the predictions on all of them.

    Args:
        folder: The run directory.
        float_tflite: As for :func:`edgetl.quantization.explain.explain`.
        int8_tflite: The int8 file.
        photos: Held-out photos.
        expected: The float model's probabilities for them, float32 [n, classes].
        labels: Class names in the order of the outputs.
        unrepaired: The float file and the int8 file before repair, to show the effect of repair.

    Raises:
        InputError: As :func:`edgetl.quantization.explain.explain`.
    """
    explanation = explain(float_tflite, int8_tflite, photos.pixels)
    if unrepaired is not None:
        explanation = replace(explanation, unrepaired=explain(*unrepaired, photos.pixels))
    found, _ = predict_file(int8_tflite, "tflite", photos.pixels, description="int8 predictions")
    changed = flips(expected, found, photos.targets, labels, [sample.path for sample in photos.samples])
    with atomic_path(folder / FOLDER, directory=True, replaceable=check_explained) as target:
        _write_pictures(target, explanation, changed, photos.pixels)
        _write_channels(target / "channels.csv", explanation)
        files = tuple(sorted(f"{FOLDER}/{path.name}" for path in target.iterdir()))
    before = explanation.unrepaired
    worst = explanation.worst()
    document = ExplainReport(
        producer=f"edgetl {__version__}",
        int8=Int8File(sha256_bytes(int8_tflite), len(int8_tflite)),
        costs_most=LayerCost(worst[0].name, worst[0].operator, worst[0].answer_error or 0.0) if worst else None,
        repair=_repair_effect(explanation),
        classes=drop_by_class(expected, found, photos.targets, labels),
        flips=Flips(len(photos.samples), changed),
        photos=explanation.photos,
        answer_error=explanation.answer_error,
        layers=tuple(layer.explained(explanation.unrepaired_layer(layer)) for layer in explanation.layers),
        unmatched=explanation.unmatched,
        unrepaired=Unrepaired(before.answer_error) if before is not None else None,
        files=files,
    )
    documents.write(folder / DOCUMENT, document)
    return document


def check_explained(folder: Path) -> None:
    """Check that ``RUN/explain`` has no foreign files, so that it may be replaced.

    Raises:
        InputError: It has foreign files.
    """
    check_replaceable(folder, Kind("an explanation", "", "", FILES))


def _repair_effect(explanation: Explanation) -> RepairEffect | None:
    repaired = _repaired(explanation)
    if repaired is None:
        return None
    before, after = repaired
    shift = after.kernel.summary.bias_shift if after.kernel is not None else None
    return RepairEffect(after.name, after.operator, _errors(before), _errors(after), shift)


def _errors(layer: Layer) -> RepairedLayerErrors:
    mean_error = float(np.abs(layer.channels.mean_error).mean())
    return RepairedLayerErrors(**vars(layer.errors), mean_channel_error=mean_error)


def _repaired(explanation: Explanation) -> tuple[Layer, Layer] | None:
    """Return the layer with the largest error before repair, as it was before and as it is after."""
    for before in explanation.unrepaired.worst() if explanation.unrepaired else ():
        for after in explanation.layers:
            if after.float_tensor == before.float_tensor:
                return before, after
    return None


def _write_pictures(
    target: Path, explanation: Explanation, changed: tuple[Flip, ...], pixels: npt.NDArray[np.uint8]
) -> None:
    error_by_layer(explanation, target / "layers.png")
    repaired = _repaired(explanation)
    for layer in explanation.worst():
        channels_of(layer, explanation.unrepaired_layer(layer), target / "costs_most.png")
    if repaired is not None:
        channels_of(repaired[1], repaired[0], target / "repaired.png")
    if changed:
        flipped_photos(changed, [pixels[flip.row] for flip in changed], target / "flips.png")


def _write_channels(target: Path, explanation: Explanation) -> None:
    rows = list(explanation.channel_rows())
    write_table(target, list(rows[0]), (row.values() for row in rows))
