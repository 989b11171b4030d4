"""Compare two TFLite files tensor by tensor: what only one has, types, quantization, and differences of constants.

To find out which of them is better, use ``edgetl bench`` or ``edgetl quantize --explain``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgetl.inspection.contents import grid_of
from edgetl.inspection.sqnr import decibels, sqnr_db
from edgetl.inspection.tflite.file import TFLiteModel, describe
from edgetl.inspection.tflite.names import pair_by_name
from edgetl.inspection.tflite.tree import constant, read_tree, to_real
from edgetl_device.documents import Unknown, optional
from edgetl_device.errors import InputError


@dataclass(frozen=True)
class ComparedFile:
    """One of the two files.

    Attributes:
        path: Of the file.
        bytes: Its size.
        operators: How many it has.
    """

    path: str
    bytes: int
    operators: int


@dataclass(frozen=True)
class OperatorCount:
    """A type of operator, and how many of it each file has."""

    operator: str
    first: int
    second: int


@dataclass(frozen=True)
class Stretch:
    """Operators that follow each other: the place of the first one, and the types of all."""

    at: int
    operators: tuple[str, ...]


@dataclass(frozen=True)
class OperatorChange:
    """Stretches of the two lists of operators that differ."""

    first: Stretch
    second: Stretch


@dataclass(frozen=True)
class OperatorDifference:
    """How the operators differ.

    Attributes:
        counts: Types that differ in number.
        changes: In the order of the files.
    """

    counts: tuple[OperatorCount, ...]
    changes: tuple[OperatorChange, ...]


@dataclass(frozen=True, kw_only=True)
class TensorType:
    """The dtype of a tensor and its grid, as in :class:`edgetl.inspection.contents.Grid`."""

    dtype: str
    scale: float | None = optional()
    zero_point: int | None = optional()
    scales: int | None = optional()
    axis: int | None = optional()


@dataclass(frozen=True)
class ValueDifference:
    """The second file's values of a constant against the first's, both as real numbers.

    Attributes:
        max_abs: The largest absolute difference.
        sqnr_db: The signal-to-quantization-noise ratio.
    """

    max_abs: float
    sqnr_db: float | Unknown


@dataclass(frozen=True, kw_only=True)
class ChangedTensor:
    """A tensor of both files that differs.

    Attributes:
        name: In the first file.
        shape: In both.
        first: In the first file.
        second: In the second.
        second_name: In the second file, where it is another.
        difference: Of its values, where it is a constant.
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
    """How the tensors differ.

    Attributes:
        equal: How many do not.
        changed: Those of both files that do.
        only_first: Those that only the first file has.
        only_second: Those that only the second file has.
    """

    equal: int
    changed: tuple[ChangedTensor, ...]
    only_first: tuple[UnpairedTensor, ...]
    only_second: tuple[UnpairedTensor, ...]


@dataclass(frozen=True)
class FileDifference:
    """Two TFLite files, compared.

    Attributes:
        kind: Apart from what one file's contents are.
        files: The two.
        operators: How they differ.
        tensors: How they differ.
    """

    kind: Literal["comparison"]
    files: tuple[ComparedFile, ComparedFile]
    operators: OperatorDifference
    tensors: TensorDifference


@dataclass(frozen=True)
class _File:
    """One of the two files, as its description and as its object tree."""

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
        """Return which file it is."""
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
        kind="comparison",
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
        hint = error.hint or "Two files can be compared when both are .tflite."
        raise InputError(f"{path}: {error.what}", why=error.why, hint=hint) from None


def _used(model: TFLiteModel) -> list[int]:
    """Return the tensors that operators use, in the order of first use."""
    touched = (index for operator in model.operators for index in (*operator.inputs, *operator.outputs))
    return [index for index in dict.fromkeys((*model.inputs, *touched)) if index >= 0]


def _changed(ours: _File, theirs: _File, index: int, other: int) -> ChangedTensor | None:
    """Return how two paired tensors differ; None if they do not."""
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
            difference = Unknown("not numbers with a scale in both files")
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
