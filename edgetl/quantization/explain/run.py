"""Run TFLite files and keep all activations, with LiteRT's built-in kernels: a delegate would fuse operators.

XNNPACK, which edgetl uses elsewhere, may round a value to the neighbouring step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl.inspection.tflite.file import Tensor, TFLiteModel
from edgetl_device.errors import InputError

from .cut import Cut

# Values of tensors, [n, 1, ...] with the file's batch of 1, by the tensor's index.
Activations = dict[int, npt.NDArray[Any]]


def activations(model: bytes, described: TFLiteModel, inputs: npt.NDArray[Any]) -> Activations:
    """Return every activation of a file for each photo, its input included.

    Args:
        model: The file's bytes.
        described: The same file, read.
        inputs: [n, 1, ...] in the input's type.

    Raises:
        InputError: LiteRT cannot run the file.
    """
    source = described.inputs[0]
    wanted = [index for operator in described.operators for index in operator.outputs]
    return _run(_interpreter(model, keep=True), {source: source}, {source: inputs}, wanted) | {source: inputs}


def run_cut(cut: Cut, inputs: Mapping[int, npt.NDArray[Any]], *, delegate: bool = False) -> Activations:
    """Run a part of a file on each photo and return its outputs.

    Args:
        cut: The part.
        inputs: Values [n, 1, ...] of each tensor in ``cut.inputs``, by its index in the whole file.
        delegate: Let XNNPACK run it.
    """
    return _run(_interpreter(cut.model, keep=False, delegate=delegate), cut.inputs, inputs, cut.outputs)


def to_grid(values: npt.NDArray[np.float32], tensor: Tensor) -> npt.NDArray[Any]:
    """Quantize real values as a tensor does, with saturation; only cast them if it is not quantized."""
    if not tensor.scales:
        return values.astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(values / np.float32(tensor.scales[0])) + (tensor.zero_points or (0,))[0]
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(tensor.dtype))


def _run(
    interpreter: Any, places: Mapping[int, int], inputs: Mapping[int, npt.NDArray[Any]], wanted: Sequence[int]
) -> Activations:
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    count = len(next(iter(inputs.values())))
    found = {index: np.empty((count, *details[index]["shape"]), details[index]["dtype"]) for index in wanted}
    for row in range(count):
        for index, place in places.items():
            interpreter.set_tensor(place, inputs[index][row])
        interpreter.invoke()
        for index, values in found.items():
            values[row] = interpreter.get_tensor(index)
    return found


def _interpreter(model: bytes, *, keep: bool, delegate: bool = False) -> Any:
    litert = extras.require("ai_edge_litert.interpreter")
    plain, default = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, litert.OpResolverType.AUTO
    try:
        interpreter = litert.Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=default if delegate else plain,
            experimental_preserve_all_tensors=keep,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError("LiteRT cannot run the file", why=str(error)[:300]) from None
    return interpreter
