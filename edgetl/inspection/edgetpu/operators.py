"""The TFLite operators that the Edge TPU compiler maps, with their limits: one row per operator.

``predict`` applies them to a graph: an operator that could be mapped stays on the CPU if it follows one that cannot.

Sources. The operators and most limits: Coral's "TensorFlow models on the Edge TPU", supported operations
(coral.ai/docs/edgetpu/models-intro). Versions: the highest that TFLite 2.5 reads, by ``runtime_version.cc`` of
TensorFlow, which is as old as the last compiler, 16.0.384591198 of 2021; an operator of a newer version makes it reject
the whole file (google-coral/edgetpu 631). "Pairs": Coral's published models and their compiled counterparts
(google-coral/test_data).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.inspection.tflite.file import Operator, Tensor

# The highest operator code of TFLite 2.5, HASHTABLE_SIZE. Higher ones fail with "Op builtin_code out of range".
LAST_CODE = 139

_NO_ACTIVATION = 0
_SOFTMAX_ELEMENTS = 16_000
_Z_MULTIPLE = 4


@dataclass(frozen=True)
class Node:
    """One operator of a graph, with everything that its limits depend on.

    Attributes:
        operator: The operator as described by the file.
        inputs: Input tensors, None for an absent optional one.
        outputs: Output tensors.
        options: Options by their names in TFLite's schema, such as ``fusedActivationFunction``.
        values: Returns the stored values of input i, or None.
    """

    operator: Operator
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]
    values: Callable[[int], npt.NDArray[Any] | None]


Limit = Callable[[Node], str]


@dataclass(frozen=True)
class Rule:
    """The constraints on one operator.

    Attributes:
        max_version: The highest version that the compiler reads.
        limits: Functions that return why a node is not mapped, or "".
        parameters: Inputs that must be stored in the file.
        unchecked: A limit that the documentation does not specify; only the compiler knows it.
    """

    max_version: int
    limits: tuple[Limit, ...] = ()
    parameters: tuple[int, ...] = ()
    unchecked: str = ""


def _no_fused_activation(node: Node) -> str:
    fused = node.options.get("fusedActivationFunction", _NO_ACTIVATION)
    return "has a fused activation, which is not mapped for this operator" if fused != _NO_ACTIVATION else ""


def _square_dilation(node: Node) -> str:
    height, width = node.options.get("dilationHFactor", 1), node.options.get("dilationWFactor", 1)
    return f"dilation {height} x {width}: must be the same in x and y" if height != width else ""


def _default_weights(node: Node) -> str:
    return "weights are not in the default format" if node.options.get("weightsFormat", 0) else ""


def _one_row(node: Node) -> str:
    rows = prod(node.outputs[0].shape[:-1])
    return f"output has {rows} rows: must be one-dimensional" if rows != 1 else ""


def _one_dimensional_softmax(node: Node) -> str:
    shape = node.outputs[0].shape
    if prod(shape[:-1]) != 1:
        return "input must be one-dimensional"
    return f"{shape[-1]} elements, over {_SOFTMAX_ELEMENTS}" if shape[-1] > _SOFTMAX_ELEMENTS else ""


def _zero_padding_concatenation(node: Node) -> str:
    stored = [index for index, tensor in enumerate(node.inputs) if tensor is not None and tensor.constant]
    if not stored:
        return ""
    values, tensor = node.values(stored[0]), node.inputs[stored[0]]
    zero = tensor.zero_points[0] if tensor is not None and tensor.zero_points else 0
    if len(node.inputs) == 2 and values is not None and bool((values == zero).all()):
        return ""
    return "a stored input must be all zeros, beside one other input"


def _not_the_batch(input: int) -> Limit:
    """Refuse an axis argument, stored in input ``input``, that names the first of the operator's dimensions."""

    def limit(node: Node) -> str:
        axes = node.values(input)
        data = next(tensor for index, tensor in enumerate(node.inputs) if index != input and tensor is not None)
        rank = len(data.shape)
        if axes is None:
            return "the axes are not stored in the file"
        batch = rank > 1 and any(int(axis) % rank == 0 for axis in np.ravel(axes))
        return "works along the batch dimension" if batch else ""

    return limit


def _depth_multiple(node: Node) -> str:
    axes, data = node.values(1), node.inputs[0]
    if axes is None or data is None:
        return ""
    rank, depth = len(data.shape), data.shape[-1]
    reduces_depth = any(int(axis) % rank == rank - 1 for axis in np.ravel(axes))
    return f"reduces a depth of {depth}: must be a multiple of 4" if reduces_depth and depth % _Z_MULTIPLE else ""


def _pack_not_the_batch(node: Node) -> str:
    return "packs along the batch dimension" if node.options.get("axis", 0) == 0 else ""


def _pad_not_the_batch(node: Node) -> str:
    paddings = node.values(1)
    if paddings is None:
        return "the paddings are not stored in the file"
    return "pads the batch dimension" if len(paddings) > 1 and bool(np.any(paddings[0])) else ""


def _vector_alpha(node: Node) -> str:
    alpha = node.inputs[1]
    shape = alpha.shape if alpha is not None else ()
    return f"alpha has shape {list(shape)}: only its last size may be over 1" if prod(shape[:-1]) != 1 else ""


def _same_or_double(node: Node) -> str:
    source, target = node.inputs[0], node.outputs[0]
    if source is None or len(source.shape) != 4:
        return "input must be [1, height, width, depth]"
    before, after = source.shape[1:3], target.shape[1:3]
    if before == after or (2 * before[0], 2 * before[1]) == after:
        return ""
    return f"from {before[0]} x {before[1]} to {after[0]} x {after[1]}: only the same size or twice is mapped"


def _leading_ones(node: Node) -> str:
    source = node.inputs[0]
    shape = source.shape if source is not None else ()
    dims = node.options.get("squeezeDims")
    squeezed = {axis for axis, size in enumerate(shape) if size == 1}
    if dims is not None and len(dims):
        squeezed = {int(axis) % len(shape) for axis in dims}
    first = next((axis for axis, size in enumerate(shape) if size > 1), len(shape))
    return "squeezes a size of 1 that is not leading" if any(axis > first for axis in squeezed) else ""


def _unit_strides(node: Node) -> str:
    strides = node.values(3)
    if strides is None or bool(np.any(strides != 1)):
        return "only strides of 1 are mapped"
    masks = node.options.get("ellipsisMask", 0) or node.options.get("newAxisMask", 0)
    return "ellipsis and new-axis masks are not mapped" if masks else ""


_REDUCE = (_not_the_batch(1),)

# Limits are from Coral's documentation unless a comment names another source.
RULES: Mapping[str, Rule] = {
    "ADD": Rule(3),
    "AVERAGE_POOL_2D": Rule(3, (_no_fused_activation,)),
    "CONCATENATION": Rule(3, (_no_fused_activation, _zero_padding_concatenation)),
    "CONV_2D": Rule(5, (_square_dilation,), parameters=(1, 2)),
    "DEPTHWISE_CONV_2D": Rule(6, (_square_dilation,), parameters=(1, 2)),
    "EXPAND_DIMS": Rule(1),
    "FULLY_CONNECTED": Rule(9, (_default_weights, _one_row), parameters=(1, 2)),
    "L2_NORMALIZATION": Rule(2),
    "LOGISTIC": Rule(3),
    "LSTM": Rule(4),
    "MAXIMUM": Rule(4),
    "MAX_POOL_2D": Rule(3, (_no_fused_activation,)),
    # A mean over 256 x 128 x 3 is known to stay on the CPU (google-coral/edgetpu 461).
    "MEAN": Rule(3, (*_REDUCE, _depth_multiple), unchecked="large inputs"),
    "MINIMUM": Rule(4),
    "MUL": Rule(4),
    "PACK": Rule(3, (_pack_not_the_batch,)),
    "PAD": Rule(3, (_pad_not_the_batch,)),
    "PRELU": Rule(1, (_vector_alpha,)),
    "QUANTIZE": Rule(2),
    "REDUCE_MAX": Rule(3, _REDUCE),
    "REDUCE_MIN": Rule(3, _REDUCE),
    "RELU": Rule(3),
    "RELU6": Rule(3),
    "RELU_N1_TO_1": Rule(1),
    "RESHAPE": Rule(1, unchecked="large tensors"),
    # Coral: "depending on input/output size, this operation might not be mapped to avoid loss in precision". Pairs: the
    # same size and twice are mapped, larger ratios are not.
    "RESIZE_BILINEAR": Rule(4, (_same_or_double,)),
    "RESIZE_NEAREST_NEIGHBOR": Rule(4, unchecked="ratios other than 2"),
    "RSQRT": Rule(2),
    "SLICE": Rule(5),
    "SOFTMAX": Rule(3, (_one_dimensional_softmax,)),
    "SPACE_TO_DEPTH": Rule(2),
    "SPLIT": Rule(4, (_not_the_batch(0),)),
    "SQUARED_DIFFERENCE": Rule(2),
    "SQUEEZE": Rule(2, (_leading_ones,)),
    "STRIDED_SLICE": Rule(5, (_unit_strides,)),
    "SUB": Rule(5),
    "SUM": Rule(2, _REDUCE),
    "TANH": Rule(3),
    # Not in Coral's list; mapped in a published pair.
    "TILE": Rule(2),
    # Compiler logs show both "mapped" and "otherwise supported, but not mapped" in one model.
    "TRANSPOSE": Rule(5, unchecked="some permutations"),
    "TRANSPOSE_CONV": Rule(3, parameters=(1,)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Rule(3),
}
