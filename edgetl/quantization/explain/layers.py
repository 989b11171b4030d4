"""The error of each operator of an int8 TFLite file, measured against the float file of the same model.

The signal-to-quantization-noise ratio of an activation (:mod:`~edgetl.inspection.sqnr`) compares the float file's
values with the dequantized values of the int8 file, over all photos and elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.progress import track
from edgetl._lib.quiet import quietly
from edgetl._lib.threads import thread_pool
from edgetl.inspection.tflite.file import TFLiteModel, describe
from edgetl.inspection.tflite.tree import read_tree, to_real
from edgetl_device.errors import InputError
from edgetl_device.runtime.integer_grid import shifted

from .cut import after, separate
from .match import Matching, is_layer, match_activations
from .measure import Pair, measure
from .result import Explanation
from .run import Activations, activations, run_cut, to_grid
from .scaling import Affine

# A few tens of photos are enough, and the activations of all of them are held in memory.
_MAX_PHOTOS = 32
_BUDGET_BYTES = 512 * 1024**2

Pixels = npt.NDArray[np.uint8]


def explain(float_tflite: bytes, int8_tflite: bytes, pixels: Pixels) -> Explanation:
    """Measure the error of each operator of an int8 file against the float file of the same model.

    LiteRT runs both files as they are; then each int8 operator alone, on the float file's activations rounded to its
    input grid; then, for each operator, the rest of the float file on the output of that operator alone.

    Args:
        float_tflite: The float32 file of the same model, not repaired, but equalized if the int8 file is: activations
            are compared without rescaling.
        int8_tflite: The int8 file, repaired or not. Layers in it that stayed float are not measured.
        pixels: uint8 [n, H, W, C]; up to 32 photos, evenly spaced, are used, fewer if activations are large.

    Raises:
        InputError: A file is damaged or of the wrong type, the files are of different models, or the photos do not
            fit.
        Unavailable: ``ai-edge-litert`` is not installed.
    """
    float_, int8 = describe(float_tflite), describe(int8_tflite)
    _check_one_of_each(float_, "float")
    _check_photos(float_, pixels)
    count = _photos(float_, int8, len(pixels))
    chosen = pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)][:, None]
    with quietly():
        exact = activations(float_tflite, float_, chosen.astype(np.float32))
    matching = match_activations(int8, float_)
    _check(int8, matching)
    return _explain(
        Pair(float_, read_tree(float_tflite), exact, int8, read_tree(int8_tflite), matching), int8_tflite, chosen
    )


def _explain(pair: Pair, data: bytes, photos: Pixels) -> Explanation:
    int8, matching = pair.int8, pair.matching
    layers = [place for place in range(len(int8.operators)) if is_layer(int8, place, matching)]
    with quietly():
        found = activations(data, int8, _on_input(int8, photos))
        apart = separate(pair.int8_tree, int8)
        inputs = {
            index: to_grid(pair.counterpart(index), int8.tensors[index])
            if index in matching.pairs
            # Every input needs a value; results of this one are not used.
            else np.zeros_like(found[index])
            for index in apart.inputs
        }
        alone = run_cut(apart, inputs)
    errors = _answer_errors(pair, alone, layers)
    outputs = to_real(found[int8.outputs[0]], int8.tensors[int8.outputs[0]])
    return Explanation(
        photos=len(photos),
        layers=tuple(
            measure(pair, place, found=found[output], alone=alone[output], answer_error=error)
            for place, output, error in zip(layers, (int8.operators[i].outputs[0] for i in layers), errors, strict=True)
        ),
        unmatched=matching.unmatched,
        answer_error=float(np.abs(outputs - pair.exact[pair.float_.outputs[0]]).mean()),
    )


def _answer_errors(pair: Pair, alone: Activations, layers: list[int]) -> list[float | None]:
    """Return the mean absolute change of the probabilities when only one operator is int8, for each of ``layers``.

    None if an input of the operator has no counterpart in the float file.
    """
    final = pair.float_.outputs[0]

    def answer_error(place: int) -> float | None:
        operator = pair.int8.operators[place]
        if not pair.matching.covers(operator, pair.int8):
            return None
        index = operator.outputs[0]
        theirs = pair.matching.pairs[index]
        real = pair.moved.get(index, Affine()).back(to_real(alone[index], pair.int8.tensors[index]))
        if theirs != final:
            rest = after(pair.float_tree, pair.float_, theirs)
            real = run_cut(rest, pair.exact | {theirs: real}, delegate=True)[final]
        return float(np.abs(real - pair.exact[final]).mean())

    errors = []
    with track("Each layer alone in int8", len(layers), unit="layers") as advance, quietly(), thread_pool() as pool:
        for error in pool.map(answer_error, layers):
            errors.append(error)
            advance(1)
    return errors


def _on_input(int8: TFLiteModel, photos: Pixels) -> npt.NDArray[Any]:
    tensor = int8.tensors[int8.inputs[0]]
    return shifted(photos) if tensor.dtype == "int8" else photos.astype(tensor.dtype)


def _photos(float_: TFLiteModel, int8: TFLiteModel, available: int) -> int:
    """Return how many photos fit into memory, which holds each float activation once and each int8 one three times."""
    per_photo_bytes = 0
    for model, each_bytes in ((float_, 4), (int8, 3)):
        for operator in model.operators:
            per_photo_bytes += each_bytes * sum(int(np.prod(model.tensors[index].shape)) for index in operator.outputs)
    return max(1, min(_MAX_PHOTOS, available, _BUDGET_BYTES // per_photo_bytes))


def _check_photos(float_: TFLiteModel, pixels: Pixels) -> None:
    source = float_.tensors[float_.inputs[0]]
    if source.dtype != "float32":
        raise InputError(f"the float file takes {source.dtype}", why="the reference must be float32")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != source.shape[1:] or not len(pixels):
        raise InputError(
            f"photos of shape {list(pixels.shape)} and type {pixels.dtype}",
            why=f"the files need at least one photo, uint8 [n, {', '.join(map(str, source.shape[1:]))}]",
        )


def _check_one_of_each(model: TFLiteModel, what: str) -> None:
    # Outputs after the first are of features.
    if len(model.inputs) != 1 or not model.outputs:
        raise InputError(
            f"the {what} file has {len(model.inputs)} inputs and {len(model.outputs)} outputs",
            why="an image classifier has one input, and its probabilities as the first output",
        )


def _check(int8: TFLiteModel, matching: Matching) -> None:
    _check_one_of_each(int8, "int8")
    quantized = sum(bool(int8.tensors[operator.outputs[0]].scales) for operator in int8.operators)
    if not quantized:
        raise InputError("the int8 file computes in floats", why="none of its activations has a quantization scale")
    found = quantized - len(matching.unmatched)
    ends = (int8.inputs[0], int8.outputs[0])
    if any(index not in matching.pairs for index in ends) or 2 * found < quantized:
        names = ", ".join(name.split(";")[0] for name in matching.unmatched[:3])
        raise InputError(
            f"only {found} of {quantized} int8 activations are found in the float file",
            why="the files are of different models, or their layers have different names",
            hint=f"Not found: {names}" if names else "",
        )
