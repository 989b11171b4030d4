"""Compare two TFLite files tensor by tensor: presence, types, quantization, and values of constants.

To find out which of two is better, use ``edgetl bench`` or ``edgetl quantize --explain``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from edgetl.inspection.contents import grid_of
from edgetl.inspection.sqnr import decibels, sqnr_db
from edgetl.inspection.tflite.file import TFLiteModel, describe
from edgetl.inspection.tflite.names import pair_by_name
from edgetl.inspection.tflite.tree import constant, read_tree, to_real
from edgetl_device._lib.documents import Unknown, optional
from edgetl_device.errors import InputError


@dataclass(frozen=True)
class ComparedFile:
    """One of the two files.

    Attributes:
        path: Path of the file.
        bytes: Size of the file.
        operators: Number of operators.
    """

    path: str
    bytes: int
    operators: int


@dataclass(frozen=True)
class OperatorCount:
    """A type of operator, and its number in each file."""

    operator: str
    first: int
    second: int


@dataclass(frozen=True)
class Stretch:
    """Consecutive operators: index of the first one, and types of all."""

    at: int
    operators: tuple[str, ...]


@dataclass(frozen=True)
class OperatorChange:
    """Corresponding parts of the two lists of operators, which differ."""

    first: Stretch
    second: Stretch


@dataclass(frozen=True)
class OperatorDifference:
    """Differences between the operators.

    Attributes:
        counts: Operator types whose numbers differ.
        changes: Differing parts, in the order of the files.
    """

    counts: tuple[OperatorCount, ...]
    changes: tuple[OperatorChange, ...]


@dataclass(frozen=True, kw_only=True)
class TensorType:
    """Dtype and quantization of a tensor, as in :class:`edgetl.inspection.description.Grid`."""

    dtype: str
    scale: float | None = optional()
    zero_point: int | None = optional()
    scales: int | None = optional()
    axis: int | None = optional()


@dataclass(frozen=True)
class ValueDifference:
    """Difference between the values of a constant in the second and in the first file, both dequantized.

    Attributes:
        max_abs: Largest absolute difference.
        sqnr_db: Signal-to-quantization-noise ratio in dB.
    """

    max_abs: float
    sqnr_db: float | Unknown


@dataclass(frozen=True, kw_only=True)
class ChangedTensor:
    """A tensor of both files that differs.

    Attributes:
        name: Name in the first file.
        shape: Shape in both files.
        first: Type in the first file.
        second: Type in the second file.
        second_name: Name in the second file, if it is a different one.
        difference: Difference of the values, for a constant.
        differs: What differs: ``dtype``, ``quantization``, ``values``.
    """

    name: str
    shape: tuple[int, ...]
    first: TensorType
    second: TensorType
    second_name: str | None = optional()
    difference: ValueDifference | Unknown | None = optional()
    differs: tuple[Literal["dtype", "quantization", "values"], ...]


@dataclass(frozen=True)
class _NameAndShape:
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class UnpairedTensor(TensorType, _NameAndShape):
    """A tensor that only one of the files has."""


@dataclass(frozen=True)
class TensorDifference:
    """Differences between the tensors.

    Attributes:
        equal: Number of equal tensors.
        changed: Tensors of both files that differ.
        only_first: Tensors of the first file only.
        only_second: Tensors of the second file only.
    """

    equal: int
    changed: tuple[ChangedTensor, ...]
    only_first: tuple[UnpairedTensor, ...]
    only_second: tuple[UnpairedTensor, ...]


@dataclass(frozen=True)
class FileDifference:
    """Two TFLite files, compared.

    Attributes:
        files: The two files.
        operators: Differences between the operators.
        tensors: Differences between the tensors.
    """

    SCHEMA: ClassVar[str] = "edgetl.inspection.difference/1"

    files: tuple[ComparedFile, ComparedFile]
    operators: OperatorDifference
    tensors: TensorDifference


@dataclass(frozen=True)
class _File:
    """One of the two files: its description and its object tree."""

    path: Path
    model: TFLiteModel
    tree: Any

    def values(self, index: int) -> npt.NDArray[np.float32] | None:
        """Return a stored tensor as real values; None if it is not stored, or is an integer tensor without a scale."""
        tensor = self.model.tensors[index]
        if not tensor.constant or not (tensor.scales or tensor.dtype.startswith("float")):
            return None
        stored = constant(self.tree, index, tensor)
        return None if stored is None else to_real(stored, tensor)

    def described(self) -> ComparedFile:
        """Return path, size and number of operators."""
        return ComparedFile(str(self.path), self.model.bytes, len(self.model.operators))


def compare_files(first: Path, second: Path) -> FileDifference:
    """Compare two TFLite files, usually of one model.

    Tensors are paired by name (:func:`edgetl.inspection.tflite.names.pair_by_name`) where their shapes are equal.

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
    return FileDifference(
        files=(ours.described(), theirs.described()),
        operators=_operators(ours.model, theirs.model),
        tensors=TensorDifference(
            equal, tuple(changed), _only(ours.model, set(pairs)), _only(theirs.model, set(pairs.values()))
        ),
    )


def _opened(path: Path) -> _File:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what}", hint="Give two .tflite files.")
    data = path.read_bytes()
    try:
        return _File(path, describe(data), read_tree(data))
    except InputError as error:
        hint = error.hint or "Only .tflite files can be compared."
        raise InputError(f"{path}: {error.what}", why=error.why, hint=hint) from None


def _used(model: TFLiteModel) -> list[int]:
    """Return the tensors that operators use, in order of first use."""
    touched = (index for operator in model.operators for index in (*operator.inputs, *operator.outputs))
    return [index for index in dict.fromkeys((*model.inputs, *touched)) if index >= 0]


def _changed(ours: _File, theirs: _File, index: int, other: int) -> ChangedTensor | None:
    """Return the difference between two paired tensors; None if they are equal."""
    before, after = ours.model.tensors[index], theirs.model.tensors[other]
    differs: list[Literal["dtype", "quantization", "values"]] = []
    if before.dtype != after.dtype:
        differs.append("dtype")
    if (before.scales, before.zero_points) != (after.scales, after.zero_points):
        differs.append("quantization")
    difference: ValueDifference | Unknown | None = None
    if before.constant or after.constant:
        exact, found = ours.values(index), theirs.values(other)
        if exact is None or found is None:
            stored = [constant(file.tree, at, file.model.tensors[at]) for file, at in ((ours, index), (theirs, other))]
            same = stored[0] is not None and stored[1] is not None and np.array_equal(stored[0], stored[1])
            difference = Unknown("not floats or quantized values in both files")
        else:
            same = np.array_equal(exact, found)
            largest = float(np.abs(found - exact).max())
            difference = ValueDifference(largest, decibels(sqnr_db(exact, found)))
        if not same:
            differs.append("values")
    if not differs:
        return None
    return ChangedTensor(
        name=before.name,
        shape=before.shape,
        first=TensorType(dtype=before.dtype, **grid_of(before)),
        second=TensorType(dtype=after.dtype, **grid_of(after)),
        second_name=None if after.name == before.name else after.name,
        difference=difference,
        differs=tuple(differs),
    )


def _only(model: TFLiteModel, paired: set[int]) -> tuple[UnpairedTensor, ...]:
    unpaired = (model.tensors[index] for index in _used(model) if index not in paired)
    return tuple(
        UnpairedTensor(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, **grid_of(tensor))
        for tensor in unpaired
    )


def _operators(first: TFLiteModel, second: TFLiteModel) -> OperatorDifference:
    ours, theirs = (tuple(operator.name for operator in model.operators) for model in (first, second))
    before, after = Counter(ours), Counter(theirs)
    # Without autojunk=False, types that make up over 1% of a long list are ignored.
    stretches = SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    return OperatorDifference(
        counts=tuple(
            OperatorCount(name, before[name], after[name])
            for name in sorted(before | after)
            if before[name] != after[name]
        ),
        changes=tuple(
            OperatorChange(Stretch(i, ours[i:j]), Stretch(k, theirs[k:m]))
            for kind, i, j, k, m in stretches
            if kind != "equal"
        ),
    )
