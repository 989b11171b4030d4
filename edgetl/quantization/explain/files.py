"""An explanation on disk: ``RUN/explain.json``, and pictures and a table of all channels in ``RUN/explain/``.

Not for: the measurements themselves.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
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
from edgetl.quantization.measurement import answers_of
from edgetl.runs.directory import Run
from edgetl.runs.held_out import Photos
from edgetl_device.files import atomic_path, sha256_bytes
from edgetl_device.jsonfile import write_json

from .layers import explain
from .plots import channels_of, error_by_layer, flipped_photos
from .predictions import Flip, drop_by_class, flips
from .result import Explanation, Layer

SCHEMA = "edgetl.explain/1"
DOCUMENT, FOLDER = "explain.json", "explain"
FILES = ("layers.png", "costs_most.png", "repaired.png", "flips.png", "channels.csv")


@dataclass(frozen=True, eq=False)
class Plain:
    """A Keras model with BatchNorm folded and nothing else done to it, and what calibrates it, uint8 [n, S, S, 3]."""

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
) -> dict[str, Any]:
    """Explain the int8 TFLite file of a run, and write the explanation beside the run's other files.

    Args:
        run: The run.
        reference: The Keras model whose activations int8 should have: BatchNorm folded, channels rescaled where repair
            does that, weights and biases not repaired.
        int8_tflite: What was exported from it after repair.
        photos: Held-out photos.
        expected: The run's probabilities for them, float32 [n, classes].
        plain: The same model without any repair, to tell what repair did; None where nothing was repaired.
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
) -> dict[str, Any]:
    """Explain an int8 file on held-out photos and write ``folder/explain.json`` and ``folder/explain/``.

    The layers are measured on a few tens of the photos, the answers on all of them.

    Args:
        folder: The run directory.
        float_tflite: As for :func:`edgetl.quantization.explain.explain`.
        int8_tflite: The int8 file.
        photos: Held-out photos.
        expected: The float model's probabilities for them, float32 [n, classes].
        labels: Class names in the order of the outputs.
        unrepaired: The float file and the int8 file before repair, to tell what repair did.

    Returns:
        The document (``edgetl.explain/1``); ``docs/guides/quantize.md`` says what is in it.

    Raises:
        InputError: As :func:`edgetl.quantization.explain.explain`.
    """
    explanation = explain(float_tflite, int8_tflite, photos.pixels)
    if unrepaired is not None:
        explanation = replace(explanation, unrepaired=explain(*unrepaired, photos.pixels))
    found, _ = answers_of(int8_tflite, "tflite", photos.pixels, description="Answers in int8")
    changed = flips(expected, found, photos.targets, labels, [sample.path for sample in photos.samples])
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "producer": f"edgetl {__version__}",
        "int8": {"sha256": sha256_bytes(int8_tflite), "bytes": len(int8_tflite)},
        **_summary(explanation),
        "classes": [asdict(drop) for drop in drop_by_class(expected, found, photos.targets, labels)],
        "flips": {"photos": len(photos.samples), "flipped": [flip.to_json() for flip in changed]},
        **explanation.to_json(),
    }
    with atomic_path(folder / FOLDER, directory=True, replaceable=check_explained) as target:
        _write_pictures(target, explanation, changed, photos.pixels)
        _write_channels(target / "channels.csv", explanation)
        document["files"] = sorted(f"{FOLDER}/{path.name}" for path in target.iterdir())
    write_json(folder / DOCUMENT, document)
    return document


def check_explained(folder: Path) -> None:
    """Refuse to replace ``RUN/explain`` when there is something else in it.

    Raises:
        InputError: There is.
    """
    check_replaceable(folder, Kind("an explanation", "", "", FILES))


def _summary(explanation: Explanation) -> dict[str, Any]:
    """Return which layer costs most now, and which did before repair and what became of it."""
    summary: dict[str, Any] = {}
    for layer in explanation.worst():
        summary["costs_most"] = {"name": layer.name, "operator": layer.operator, "answer_error": layer.answer_error}
    repaired = _repaired(explanation)
    if repaired is not None:
        before, after = repaired
        summary["repair"] = {
            "name": after.name,
            "operator": after.operator,
            "before": _costs(before),
            "after": _costs(after),
        }
        if after.kernel is not None:
            summary["repair"]["bias_shift"] = after.kernel.to_json()["bias_shift"]
    return summary


def _costs(layer: Layer) -> dict[str, Any]:
    row = layer.to_json()
    mean_error = float(np.abs(layer.channels.mean_error).mean())
    return {key: row[key] for key in ("answer_error", "alone_sqnr_db", "sqnr_db")} | {"mean_channel_error": mean_error}


def _repaired(explanation: Explanation) -> tuple[Layer, Layer] | None:
    """Return the layer that cost most before repair, before and after."""
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
