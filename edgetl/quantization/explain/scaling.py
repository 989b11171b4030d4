"""Account for a moved input scaling: p / 127.5 - 1 in one file may be p - 128 in the other, without an error.

Repair may replace the scaling by an integer zero point and move its factor into the next kernel. The activations in
between then differ by a known factor and summand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetl.inspection.tflite.file import Operator, TFLiteModel
from edgetl.inspection.tflite.tree import constant, to_real

from .match import Matching


@dataclass(frozen=True)
class Affine:
    """``factor`` * x + ``summand``."""

    factor: float = 1.0
    summand: float = 0.0

    def of(self, values: Any) -> Any:
        """Apply the map to values."""
        return values * np.float32(self.factor) + np.float32(self.summand)

    def back(self, values: Any) -> Any:
        """Apply the inverse map to values."""
        return (values - np.float32(self.summand)) / np.float32(self.factor)


def moved_scalings(
    int8: TFLiteModel, int8_tree: Any, float_: TFLiteModel, float_tree: Any, matching: Matching
) -> dict[int, Affine]:
    """Return the map from float values to int8 values, by index of the int8 tensor.

    Covers the tensors that both files compute from the pixels by adding and multiplying scalars.
    """
    ours, theirs = _from_pixels(int8, int8_tree), _from_pixels(float_, float_tree)
    moved = {}
    for index, here in ours.items():
        there = theirs.get(matching.pairs.get(index, -1))
        if there is not None and there.factor:
            factor = here.factor / there.factor
            moved[index] = Affine(factor, here.summand - factor * there.summand)
    return moved


def _from_pixels(model: TFLiteModel, tree: Any) -> dict[int, Affine]:
    found = {model.inputs[0]: Affine()}
    for place, operator in enumerate(model.operators):
        known = [index for index in operator.inputs if index in found]
        if len(known) != 1:
            continue
        before = found[known[0]]
        if operator.name in ("QUANTIZE", "DEQUANTIZE"):
            found[operator.outputs[0]] = before
        elif operator.name in ("ADD", "SUB", "MUL") and not _activation(tree, place):
            number = _number(model, tree, operator)
            if number is not None:
                found[operator.outputs[0]] = _after(operator, known[0], before, number)
    return found


def _after(operator: Operator, known: int, before: Affine, number: float) -> Affine:
    if operator.name == "MUL":
        return Affine(before.factor * number, before.summand * number)
    if operator.name == "ADD":
        return Affine(before.factor, before.summand + number)
    if operator.inputs[0] == known:
        return Affine(before.factor, before.summand - number)
    return Affine(-before.factor, number - before.summand)


def _number(model: TFLiteModel, tree: Any, operator: Operator) -> float | None:
    """Return the scalar constant of an operator; None if it has none."""
    stored = [index for index in operator.inputs if model.tensors[index].constant]
    if len(stored) != 1 or np.prod(model.tensors[stored[0]].shape) != 1:
        return None
    values = constant(tree, stored[0], model.tensors[stored[0]])
    return None if values is None else float(to_real(values, model.tensors[stored[0]]).item())


def _activation(tree: Any, place: int) -> bool:
    """Whether an activation function is fused into an operator."""
    return bool(getattr(tree.subgraphs[0].operators[place].builtinOptions, "fusedActivationFunction", 0))
