"""Two TFLite files tensor by tensor: what only one has, how types and grids differ, how far the constants are apart.

Not for: which of them is better (``edgetl bench``, ``edgetl quantize --explain``), and ONNX files.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.inspection.sqnr import decibels, sqnr_db
from edgetl.inspection.tflite.file import Tensor, TFLiteModel, describe
from edgetl.inspection.tflite.names import pair_by_name
from edgetl.inspection.tflite.tree import constant, read_tree, to_real
from edgetl_device.documents import to_json
from edgetl_device.errors import InputError


@dataclass(frozen=True)
class _File:
    """One of the two files, read in both ways."""

    path: Path
    model: TFLiteModel
    tree: Any

    def values(self, index: int) -> npt.NDArray[np.float32] | None:
        """Return a stored tensor in real values; None for what is not stored, and for integers without a scale."""
        tensor = self.model.tensors[index]
        if not tensor.constant or not (tensor.scales or tensor.dtype.startswith("float")):
            return None
        stored = constant(self.tree, index, tensor)
        return None if stored is None else to_real(stored, tensor)


def compare_files(first: Path, second: Path) -> dict[str, Any]:
    """Compare two TFLite files, usually of one model.

    Tensors are paired by name (:func:`edgetl.inspection.tflite.names.pair_by_name`) where their shapes are equal.

    Returns:
        ``kind`` ``comparison``; ``files`` (path, bytes, operators) of both; ``operators``: ``counts`` of the types that
        differ in number, and ``changes``, the stretches of the two lists that differ, in order; ``tensors``: ``equal``
        (a count), ``changed`` (``name`` and, where it is another, ``second_name``; ``first`` and ``second`` with dtype,
        scale and zero point; ``differs``; and for constants ``difference``: ``max_abs`` and ``sqnr_db`` of the second's
        real values against the first's), ``only_first`` and ``only_second``.

    Raises:
        InputError: A file is missing, damaged, or not TFLite.
        Unavailable: ``ai-edge-litert`` is not installed.
    """
    ours, theirs = _opened(first), _opened(second)
    pairs = pair_by_name(ours.model, theirs.model, _used(ours.model), _used(theirs.model))
    equal, changed = 0, []
    for index, other in sorted(pairs.items()):
        row = _changed(ours, theirs, index, other)
        if row is None:
            equal += 1
        else:
            changed.append(row)
    return {
        "kind": "comparison",
        "files": [
            {"path": str(file.path), "bytes": file.model.bytes, "operators": len(file.model.operators)}
            for file in (ours, theirs)
        ],
        "operators": _operators(ours.model, theirs.model),
        "tensors": {
            "equal": equal,
            "changed": changed,
            "only_first": _only(ours.model, set(pairs)),
            "only_second": _only(theirs.model, set(pairs.values())),
        },
    }


def _opened(path: Path) -> _File:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what}", hint="Give two .tflite files.")
    data = path.read_bytes()
    try:
        return _File(path, describe(data), read_tree(data))
    except InputError as error:
        hint = error.hint or "Two files can be compared when both are .tflite."
        raise InputError(f"{path}: {error.what}", why=error.why, hint=hint) from None


def _used(model: TFLiteModel) -> list[int]:
    """Return the tensors that take part, in the order in which the operators touch them."""
    touched = (index for operator in model.operators for index in (*operator.inputs, *operator.outputs))
    return [index for index in dict.fromkeys((*model.inputs, *touched)) if index >= 0]


def _changed(ours: _File, theirs: _File, index: int, other: int) -> dict[str, Any] | None:
    """Return how two paired tensors differ; None if they do not."""
    before, after = ours.model.tensors[index], theirs.model.tensors[other]
    differs = []
    if before.dtype != after.dtype:
        differs.append("dtype")
    if (before.scales, before.zero_points) != (after.scales, after.zero_points):
        differs.append("quantization")
    row = {"name": before.name, "shape": list(before.shape), "first": _spec(before), "second": _spec(after)}
    if before.name != after.name:
        row["second_name"] = after.name
    if before.constant or after.constant:
        exact, found = ours.values(index), theirs.values(other)
        if exact is None or found is None:
            stored = [constant(file.tree, at, file.model.tensors[at]) for file, at in ((ours, index), (theirs, other))]
            same = stored[0] is not None and stored[1] is not None and np.array_equal(stored[0], stored[1])
            row["difference"] = {"unknown": "not numbers with a scale in both files"}
        else:
            same = np.array_equal(exact, found)
            largest = float(np.abs(found - exact).max())
            row["difference"] = {"max_abs": largest, "sqnr_db": to_json(decibels(sqnr_db(exact, found)))}
        if not same:
            differs.append("values")
    return row | {"differs": differs} if differs else None


def _spec(tensor: Tensor) -> dict[str, Any]:
    spec: dict[str, Any] = {"dtype": tensor.dtype}
    if len(tensor.scales) == 1:
        spec |= {"scale": tensor.scales[0], "zero_point": tensor.zero_points[0] if tensor.zero_points else 0}
    elif tensor.scales:
        spec |= {"scales": len(tensor.scales), "axis": tensor.axis}
    return spec


def _only(model: TFLiteModel, paired: set[int]) -> list[dict[str, Any]]:
    rest = (model.tensors[index] for index in _used(model) if index not in paired)
    return [{"name": tensor.name, "shape": list(tensor.shape), **_spec(tensor)} for tensor in rest]


def _operators(first: TFLiteModel, second: TFLiteModel) -> dict[str, Any]:
    ours, theirs = ([operator.name for operator in model.operators] for model in (first, second))
    before, after = Counter(ours), Counter(theirs)
    # Without autojunk=False, types that make up over 1% of a long list are passed over.
    stretches = SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    return {
        "counts": [
            {"operator": name, "first": before[name], "second": after[name]}
            for name in sorted(before | after)
            if before[name] != after[name]
        ],
        "changes": [
            {"first": {"at": i, "operators": ours[i:j]}, "second": {"at": k, "operators": theirs[k:m]}}
            for kind, i, j, k, m in stretches
            if kind != "equal"
        ],
    }
