"""Tensors of two TFLite files paired by name, and the Keras layer that a name comes from.

TensorFlow's converter names a tensor after the Keras layers it comes from, in all files of one model alike:
``model/Conv1_relu/Relu6;model/Conv1/convolution``. Not for: files of different models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable

from .file import Operator, TFLiteModel

# What the converter folds into a layer: with BatchNorm folded before or by the converter, only these differ.
_FOLDED = re.compile(r"/(?:BiasAdd|Squeeze|batchnorm/\w+)\d*$")
# Keras numbers the scopes of a model that is called a second time; then the names of all layers end with one number.
_NUMBERED = re.compile(r"_\d+$")
_NEARLY_ALL = 0.8


def pair_by_name(
    first: TFLiteModel, second: TFLiteModel, of_first: Iterable[int], of_second: Iterable[int]
) -> dict[int, int]:
    """Return tensors of ``second`` by the tensor of ``first`` that has the same name and shape.

    Equal names first; then, of what is left, names made of the same layers, where the files call their model
    differently, number its calls, or where only one had its BatchNorm folded before conversion. What several tensors
    of one file share pairs nothing.

    Args:
        first: One file.
        second: The other.
        of_first: Indices of the tensors to pair.
        of_second: Indices of those that they may be paired with.
    """
    pairs: dict[int, int] = {}
    of_first, of_second = list(of_first), list(of_second)
    for key_of in (_full_name, _layers_named):
        taken = set(pairs.values())
        ours = _by_key(first, key_of, (index for index in of_first if index not in pairs))
        theirs = _by_key(second, key_of, (index for index in of_second if index not in taken))
        pairs |= {index: theirs[key] for key, index in ours.items() if key in theirs}
    return pairs


def layer_of(model: TFLiteModel, operator: Operator) -> str:
    """Return the Keras layer that an operator computes, such as ``Conv1``; the operator where no layer is named.

    The weights say it best: an output is named after the activation that was fused into the operator.
    """
    stored = [model.tensors[index] for index in operator.inputs[1:] if index >= 0 and model.tensors[index].constant]
    weights = next((tensor for tensor in stored if len(tensor.shape) > 1), None)
    name = (weights or model.tensors[operator.outputs[0]]).name
    layer, slash, _ = _parts(name, _call_number(model))[0].partition("/")
    return layer if slash else operator.name.lower()


def _by_key(model: TFLiteModel, key_of: Callable[[str, str], Hashable], indices: Iterable[int]) -> dict[Hashable, int]:
    number = _call_number(model)
    keys = {index: (key_of(model.tensors[index].name, number), model.tensors[index].shape) for index in indices}
    count = Counter(keys.values())
    return {key: index for index, key in keys.items() if count[key] == 1}


def _full_name(name: str, _: str) -> Hashable:
    return name


def _layers_named(name: str, number: str) -> Hashable:
    # The converter puts a digit behind a name that is taken; a layer's own digits come before the last slash.
    parts = {part.rstrip("0123456789") for part in _parts(name, number)}
    return frozenset(part for part in parts if not _FOLDED.search(part)) or frozenset(parts)


def _parts(name: str, number: str) -> list[str]:
    """Return what a name is made of as ``layer/operation``, without the model's name and the number of the call."""
    found = []
    for part in name.split(";"):
        model, *rest = part.split("/")
        found.append("/".join([rest[0].removesuffix(number), *rest[1:]]) if rest else model)
    return found


def _call_number(model: TFLiteModel) -> str:
    """Return the ending that nearly all layers share because the model was called before, such as ``_1``; or nothing.

    Operations that are no layers of their own have none.
    """
    pieces = [part.split("/") for tensor in model.tensors for part in tensor.name.split(";")]
    layers = {piece[1] for piece in pieces if len(piece) > 2}
    endings = Counter(match.group(0) for layer in layers if (match := _NUMBERED.search(layer)))
    ending, count = endings.most_common(1)[0] if endings else ("", 0)
    return ending if count > _NEARLY_ALL * len(layers) else ""
