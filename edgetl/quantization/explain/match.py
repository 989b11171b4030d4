"""Pair the activations of an int8 TFLite file with those of the float file of the same model."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl.inspection.tflite.file import Operator, Tensor, TFLiteModel
from edgetl.inspection.tflite.names import pair_by_name


@dataclass(frozen=True)
class Matching:
    """Corresponding activations of the two files.

    Attributes:
        pairs: Maps the index of an activation in the int8 file to its index in the float file.
        unmatched: Names of the int8 file's activations that have no counterpart.
    """

    pairs: dict[int, int]
    unmatched: tuple[str, ...]

    def covers(self, operator: Operator, int8: TFLiteModel) -> bool:
        """Whether every activation that an operator of the int8 file reads has a counterpart."""
        read = [index for index in operator.inputs if index >= 0 and not int8.tensors[index].constant]
        return all(index in self.pairs for index in read)


def match_activations(int8: TFLiteModel, float_: TFLiteModel) -> Matching:
    """Pair the activations of two files of one model.

    Inputs and outputs are paired by position, other tensors by name
    (:func:`~edgetl.inspection.tflite.names.pair_by_name`). Input and output of a QUANTIZE or
    DEQUANTIZE, which only change the type, have the same counterpart.
    """
    pairs = {
        ours: theirs
        for ours, theirs in [*zip(int8.inputs, float_.inputs), *zip(int8.outputs, float_.outputs)]  # noqa: B905
        if int8.tensors[ours].shape == float_.tensors[theirs].shape
    }
    wanted, taken = _activations(int8), set(pairs.values())
    left = [index for index in wanted if index not in pairs]
    pairs |= pair_by_name(int8, float_, left, [index for index in _activations(float_) if index not in taken])
    for operator in (*int8.operators, *reversed(int8.operators)):
        if operator.name in ("QUANTIZE", "DEQUANTIZE"):
            source, made = operator.inputs[0], operator.outputs[0]
            if source in pairs:
                pairs.setdefault(made, pairs[source])
            elif made in pairs:
                pairs[source] = pairs[made]
    return Matching(pairs, tuple(int8.tensors[index].name for index in wanted if index not in pairs))


def is_layer(int8: TFLiteModel, place: int, matching: Matching) -> bool:
    """Whether operator ``place`` computes integers that have a counterpart, and does more than change their type."""
    operator = int8.operators[place]
    made = int8.tensors[operator.outputs[0]]
    if operator.outputs[0] not in matching.pairs or len(made.scales) != 1:
        return False
    return operator.name != "QUANTIZE" or not _same_grid(int8.tensors[operator.inputs[0]], made)


def _activations(model: TFLiteModel) -> list[int]:
    written = [index for operator in model.operators for index in operator.outputs]
    return [*model.inputs, *written]


def _same_grid(before: Tensor, after: Tensor) -> bool:
    """Whether two int8 or uint8 grids represent the same values."""
    offset = {"int8": -128, "uint8": 0}
    if not {before.dtype, after.dtype} <= offset.keys() or before.scales != after.scales:
        return False
    first, second = (
        [zero_point - offset[tensor.dtype] for zero_point in tensor.zero_points] for tensor in (before, after)
    )
    return first == second
