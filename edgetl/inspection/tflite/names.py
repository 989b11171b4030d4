"""Pair the tensors of two TFLite files of one model by name, and find the Keras layer behind a name.

TensorFlow's converter names a tensor after its Keras layers, in the same way in all files of a model:
``model/Conv1_relu/Relu6;model/Conv1/convolution``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable

from .file import Operator, TFLiteModel

# Operations that the converter fuses into a layer. If BatchNorm was folded beforehand, names differ only in these.
_FOLDED = re.compile(r"/(?:BiasAdd|Squeeze|batchnorm/\w+)\d*$")
# When a model is called a second time, Keras appends the same number to the names of all its layers.
_NUMBERED = re.compile(r"_\d+$")
_NEARLY_ALL = 0.8


def pair_by_name(
    first: TFLiteModel, second: TFLiteModel, of_first: Iterable[int], of_second: Iterable[int]
) -> dict[int, int]:
    """Map tensors of ``first`` to tensors of ``second`` with the same name and shape.

    Equal names are paired first, then names made of the same layers: files may name their model differently, number its
    calls, or have had BatchNorm folded before conversion. Names that several tensors of a file share are not paired.

    Args:
        first: First file.
        second: Second file.
        of_first: Indices of the tensors to pair.
        of_second: Indices of their candidates.
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
    """Return the Keras layer that an operator computes, such as ``Conv1``, or the operator's name if no layer is named.

    Uses the name of the weights first: outputs are named after the fused activation.
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
    # The converter appends a digit to a duplicate name; a layer's own digits come before the last slash.
    parts = {part.rstrip("0123456789") for part in _parts(name, number)}
    return frozenset(part for part in parts if not _FOLDED.search(part)) or frozenset(parts)


def _parts(name: str, number: str) -> list[str]:
    """Return the parts of a name as ``layer/operation``, without the model's name and the number of the call."""
    found = []
    for part in name.split(";"):
        model, *rest = part.split("/")
        found.append("/".join([rest[0].removesuffix(number), *rest[1:]]) if rest else model)
    return found


def _call_number(model: TFLiteModel) -> str:
    """Return the suffix of nearly all layers in a model that was called before, such as ``_1``, or an empty string.

    Operations that are not layers have no suffix.
    """
    pieces = [part.split("/") for tensor in model.tensors for part in tensor.name.split(";")]
    layers = {piece[1] for piece in pieces if len(piece) > 2}
    endings = Counter(match.group(0) for layer in layers if (match := _NUMBERED.search(layer)))
    ending, count = endings.most_common(1)[0] if endings else ("", 0)
    return ending if count > _NEARLY_ALL * len(layers) else ""
