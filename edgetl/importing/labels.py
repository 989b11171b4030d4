"""Labels of an imported model, and whether their order fits its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import require
from edgetl.runs.import_record import LabelOrder
from edgetl_device.bench.accuracy import mcnemar_exact, wilson95
from edgetl_device.errors import OptionError
from edgetl_device.text import normal_names

_MOST_BYTES = 1 << 20
_ALPHA = 0.01


@dataclass(frozen=True, eq=False)
class Order:
    """An order of outputs.

    Attributes:
        outputs: Output of each class, int64 [classes], each output once.
        correct: Photos whose most likely output is that of their class.
    """

    outputs: npt.NDArray[np.int64]
    correct: int


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a text file with a label a line; empty lines at its end do not count.

    Raises:
        InputError: The file is missing, not text, or has an empty line or a label twice.
    """
    if not path.is_file():
        raise OptionError("{labels=}: no such file", labels=str(path))
    if path.stat().st_size > _MOST_BYTES:
        raise OptionError("{labels=}: is over 1 MB", labels=str(path))
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise OptionError("{labels=}: is not UTF-8 text", why=str(error), labels=str(path)) from None
    return _checked(lines, "{labels=}", labels=str(path))


def _checked(lines: Sequence[str], shown: str, **given: str) -> tuple[str, ...]:
    hint = "Give a text file without it: {labels} FILE."
    labels = [line.strip() for line in lines]
    while labels and not labels[-1]:
        labels.pop()
    if "" in labels:
        raise OptionError(f"{shown}: line {labels.index('') + 1} is empty", hint=hint, **given)
    found = normal_names(labels)
    seen: set[str] = set()
    for label in found:
        if label in seen:
            raise OptionError(f"{shown}: {label} is there twice", hint=hint, **given)
        seen.add(label)
    return found


def resolved(
    file: str | None,
    of_photos: Sequence[str],
    *,
    of_model: Sequence[str] = (),
    outputs: int,
    shown: str,
    data: Path | None,
) -> tuple[str, ...]:
    """Return the labels of a model's outputs.

    Args:
        file: The user's file of labels; without it they are those of the model, or else of the photos, or else numbers.
        of_photos: Classes of the photos, sorted by name.
        of_model: The labels in the model's metadata; empty if it has none.
        outputs: Number of classes that the model tells apart.
        shown: Name of the model in messages.
        data: The photos; None without any.

    Raises:
        InputError: They are not as many as outputs, or photos have a class that is not among them.
    """
    if file is not None:
        labels, source = read_labels(Path(file)), f"{file} has"
    elif of_model:
        labels, source = _checked(of_model, f"{shown}: its labels"), "its metadata has"
    elif data is None:
        return tuple(map(str, range(outputs)))
    else:
        labels, source = tuple(of_photos), f"the photos in {data} have"
    if len(labels) != outputs:
        kinds = "labels" if file is not None or of_model else "classes"
        raise OptionError(
            f"{shown}: has {outputs} classes; {source} {len(labels)} {kinds}",
            hint="Give a text file with one label for each output: {labels} FILE.",
        )
    unknown = sorted(set(of_photos) - set(labels))
    if unknown:
        raise OptionError(
            f"{data}: has photos of {', '.join(unknown[:5])}, not among the labels",
            why=f"the labels are {', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}",
            hint="Rename the folders, or give other {labels}.",
        )
    return labels


def best_order(predicted: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], classes: int) -> Order:
    """Return the order of outputs with the most photos right: an assignment on the confusion matrix."""
    # Classes without photos whose output was never predicted stay where they are: the matrix grows with the photos.
    seen, places = np.unique(np.concatenate([targets, predicted]), return_inverse=True)
    confusion = np.zeros((len(seen), len(seen)), np.int64)
    np.add.at(confusion, (places[: len(targets)], places[len(targets) :]), 1)
    # Where several orders are as good, the given one: a class without photos stays where it is.
    scores = confusion * (len(seen) + 1) + np.eye(len(seen), dtype=np.int64)
    rows, columns = require("scipy.optimize").linear_sum_assignment(scores, maximize=True)
    outputs = np.arange(classes)
    outputs[seen[rows]] = seen[columns]
    return Order(outputs, int(confusion[rows, columns].sum()))


def looks_permuted(correct: int, assigned: int, photos: int) -> bool:
    """Return whether so many photos right in another order, found on the same photos, speak against the given one."""
    return wilson95(assigned, photos)[0] > wilson95(correct, photos)[1]


def check_order(
    found_on: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    judged_on: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    labels: Sequence[str],
) -> LabelOrder:
    """Find the order of labels that fits best on some photos, and judge it on others.

    Args:
        found_on: Predicted and true class indices of the photos used to choose, int64 [n].
        judged_on: The same for held-out photos.
        labels: Labels in the given order.
    """
    order = best_order(*found_on, len(labels))
    predicted, targets = judged_on
    correct, assigned = predicted == targets, predicted == order.outputs[targets]
    lost, gained = int((correct & ~assigned).sum()), int((assigned & ~correct).sum())
    names = [""] * len(labels)
    for label, output in zip(labels, order.outputs, strict=True):
        names[output] = label
    return LabelOrder(
        photos=len(targets),
        accuracy=float(correct.mean()),
        assigned_accuracy=float(assigned.mean()),
        permuted=gained > lost and mcnemar_exact(lost, gained) < _ALPHA,
        order=tuple(names),
    )
