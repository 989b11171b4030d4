"""Input scalings of two files: p / 127.5 - 1 in one may be p - 128 in the other, which is no error.

Repair may move the scaling to a whole zero point and its factor into the next kernel. In between, the files mean the
same by values that differ by a known factor and summand.
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
        """Return the map of values, in their float type."""
        return values * np.float32(self.factor) + np.float32(self.summand)

    def back(self, values: Any) -> Any:
        """Return what is mapped to ``values``."""
        return (values - np.float32(self.summand)) / np.float32(self.factor)


def moved_scalings(
    int8: TFLiteModel, int8_tree: Any, float_: TFLiteModel, float_tree: Any, matching: Matching
) -> dict[int, Affine]:
    """Return how values of the float file become those of the int8 file, by the index of its tensor.

    Only for tensors that both files compute from the pixels by adding and multiplying single numbers.
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
    """Return the one number that an operator takes beside an activation; None where it takes something else."""
    stored = [index for index in operator.inputs if model.tensors[index].constant]
    if len(stored) != 1 or np.prod(model.tensors[stored[0]].shape) != 1:
        return None
    values = constant(tree, stored[0], model.tensors[stored[0]])
    return None if values is None else float(to_real(values, model.tensors[stored[0]]).item())


def _activation(tree: Any, place: int) -> bool:
    """Whether an activation function is fused into an operator."""
    return bool(getattr(tree.subgraphs[0].operators[place].builtinOptions, "fusedActivationFunction", 0))
