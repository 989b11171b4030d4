"""Accuracy of a run, for its report: ``run.json`` as rows and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetl.data import Split, SplitCounts
from edgetl.reports.text import top1_text
from edgetl.runs.confusion import Confusion, as_matrix
from edgetl.runs.document import RunDocument
from edgetl.runs.import_record import ImportRecord
from edgetl.runs.metrics import ClassMetrics, Metrics, weakest
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.documents import Unknown
from edgetl_device.text import LISTED

# With more classes the matrix is unreadable; the list of confused pairs below it still works.
_MATRIX_CLASSES = 24
_PAIRS = 10
# The splits, most important first.
SIDES: tuple[Split, ...] = ("test", "val")


@dataclass(frozen=True)
class Score:
    """One model on one split, with its 95% interval; ``ece`` is None if unknown."""

    name: str
    photos: int
    correct: int
    top1: float
    ci95: tuple[float, float]
    macro_f1: float
    ece: float | None
    parameters: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Pair:
    """Number of photos of ``label`` predicted as ``predicted``, out of all photos of that label."""

    label: str
    predicted: str
    count: int
    photos: int


def headline(metrics: Metrics, split: Split) -> str:
    """Return the result in one sentence."""
    accuracy = metrics.accuracy
    kind = {"test": "test", "val": "validation"}[split]
    return f"{accuracy.correct} of {accuracy.photos} {kind} photos right: {top1_text(accuracy)}."


def cautions(document: RunDocument, split: Split) -> tuple[str, ...]:
    """Return caveats on the numbers of a run."""
    found = []
    if document.interrupted:
        found.append("Training was interrupted: these are the best weights up to then.")
    if document.imported:
        found += _cautions_of_import(document.imported)
    elif split == "val":
        found.append(
            "There are no test photos. The validation photos also chose the epoch, so this accuracy is optimistic."
        )
    low, high = document.metrics[split].accuracy.ci95
    if high - low > 0.15:
        found.append(f"With so few photos, the interval is {100 * (high - low):.0f} percentage points wide.")
    return tuple(found)


def _cautions_of_import(record: ImportRecord) -> list[str]:
    found, chosen, order = [], record.input, record.label_order
    if record.held_out == "unknown":
        found.append("Whether the model was trained on these photos is not known: if it was, this is optimistic.")
    if chosen.undecided:
        others = ", ".join(chosen.undecided)
        found.append(f"Its input is not certain: photos cannot tell {chosen.name}, {chosen.fit} from {others}.")
    if order.permuted:
        found.append(
            f"The labels look permuted: {order.accuracy:.1%} of the photos are right, and "
            f"{order.assigned_accuracy:.1%} in the order {', '.join(order.order)}."
        )
    return found


def scores(document: RunDocument) -> tuple[Score, ...]:
    """Return the run on each split, test first, and the baseline if there is one."""
    found = [_score(split, document.metrics[split]) for split in SIDES if split in document.metrics]
    if baseline := document.baseline:
        found += [
            _score(
                f"{split}, {baseline.backbone} from scratch",
                baseline.metrics[split],
                parameters=baseline.parameters,
                seconds=baseline.seconds,
            )
            for split in SIDES
            if split in baseline.metrics
        ]
    return tuple(found)


def _score(name: str, metrics: Metrics, *, parameters: int | None = None, seconds: float | None = None) -> Score:
    accuracy = metrics.accuracy
    return Score(
        name=name,
        photos=accuracy.photos,
        correct=accuracy.correct,
        top1=accuracy.top1,
        ci95=accuracy.ci95,
        macro_f1=metrics.macro_f1,
        ece=metrics.calibration_error.ece if metrics.calibration_error else None,
        parameters=parameters,
        seconds=seconds,
    )


def photo_counts(document: RunDocument) -> tuple[tuple[str, SplitCounts], ...]:
    """Return the number of photos of each class; of many classes, those with the fewest training photos."""
    counts = list(document.dataset.classes.items())
    if len(counts) > LISTED:
        counts.sort(key=lambda one: one[1].train)
    return tuple(counts[:LISTED])


def classes(metrics: Metrics) -> tuple[ClassMetrics, ...]:
    """Return the classes, those with the lowest F1 first."""
    rows = []
    for row in metrics.per_class:
        # From the recall: run.json of earlier versions does not have it.
        right = 0 if isinstance(row.recall, Unknown) else round(row.recall * row.photos)
        rows.append(replace(row, recall_ci95=wilson95(right, row.photos) if row.photos else None))
    return tuple(weakest(rows))


def matrix(confusion: Confusion, labels: Sequence[str]) -> list[list[int]]:
    """Return the confusion matrix in photos, true class (rows) by predicted class; empty where it is unreadable."""
    return as_matrix(confusion, labels) if len(labels) <= _MATRIX_CLASSES else []


def pairs(confusion: Confusion, metrics: Metrics) -> tuple[Pair, ...]:
    """Return the confused pairs of classes, the most frequent first."""
    photos = {row.label: row.photos for row in metrics.per_class}
    found = [
        Pair(cell.label, cell.predicted, cell.photos, photos[cell.label])
        for cell in confusion
        if cell.label != cell.predicted
    ]
    return tuple(sorted(found, key=lambda pair: (-pair.count, pair.label, pair.predicted))[:_PAIRS])
