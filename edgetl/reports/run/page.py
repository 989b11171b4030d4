"""Accuracy of a run, for its report: ``run.json`` as rows and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetl.data import Split, SplitCounts
from edgetl.reports.text import Figure, Warned, agreement_text, drop_text, interval_text
from edgetl.runs.confusion import Confusion, as_matrix
from edgetl.runs.document import RunDocument
from edgetl.runs.import_record import ImportRecord
from edgetl.runs.metrics import ClassMetrics, Metrics, weakest
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.text import LISTED
from edgetl_device.truth import NOT_KNOWN

from .int8 import Int8
from .photos import Album, Found

# With more classes the matrix is unreadable; the list of confused pairs below it still works.
_MATRIX_CLASSES = 24
_PAIRS = 10
# So many of the weakest classes are limits of the model.
_WEAK = 3
_INTERRUPTED = "Training was interrupted: these are the best weights up to then."
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


def figures(document: RunDocument, split: Split | None, int8: Int8 | None) -> tuple[Figure, ...]:
    """Return accuracy, int8 accuracy and size, each with its interval or origin; without photos, agreement.

    Nothing if no photos were held out.
    """
    doubtful = bool(doubts(document, split))
    if split is not None:
        accuracy = document.metrics[split].accuracy
        kind = {"test": "test photos", "val": "validation photos", "train": "training photos"}[split]
        found = [Figure("Top-1 accuracy", f"{accuracy.top1:.1%}", interval_text(accuracy, kind), doubtful)]
    elif document.imported is not None and document.dataset.truth == "model":
        same = document.imported.agreement
        detail = f"drawn pictures; outputs differ by {same.max_abs:.1e} at most"
        found = [Figure("Answers of the original", f"{same.agree} of {same.photos}", detail)]
    else:
        return ()
    model = document.model
    whole = f"{model.file}: {model.bytes / 1e6:.2f} MB, {model.parameters:,} parameters"
    if int8 is None:
        made = Figure("int8", "not made yet", "edgetl quantize makes it", doubtful=True)
        return (*found, made, Figure("Size", f"{model.bytes / 1e6:.2f} MB", f"{model.parameters:,} parameters"))
    row = int8.int8
    if row is None:
        why = int8.refused or "the last quantize made float files only"
        made = Figure("int8", "refused" if int8.refused else "not made", why, doubtful=True)
        return (*found, made, Figure("Size", f"{model.bytes / 1e6:.2f} MB", f"{model.parameters:,} parameters"))
    if int8.truth == "model":
        lost = Figure(f"{row.name}: agreement with float", *agreement_text(row.agreement, "drawn pictures"))
    else:
        drop, interval = drop_text(row.agreement)
        right = f"{interval}; {row.accuracy.top1:.1%} right"
        lost = Figure(f"{row.name}: drop against float", drop, right, doubtful)
    return (
        *found,
        lost,
        Figure(f"{row.name}: size", f"{row.bytes / 1e6:.2f} MB", whole),
    )


def warnings(
    document: RunDocument, split: Split | None, findings: Sequence[Found], album: Album, int8: Int8 | None
) -> tuple[Warned, ...]:
    """Return what readers must know before they use a number of the page."""
    found = []
    if split is not None:
        found += [Warned(text, "result") for text in (*doubts(document, split)[1:], *cautions(document, split))]
    elif document.interrupted:
        found.append(Warned(_INTERRUPTED, ""))
    if int8 is not None:
        found += [Warned(text, "int8") for text in int8.warnings]
    found += [Warned(one.message, "photos") for one in findings if one.severity in ("error", "warning")]
    if album.folder is None:
        found.append(Warned(f"The photos cannot be shown. {album.why}. Give their current path with --data.", "photos"))
    return tuple(found)


def doubts(document: RunDocument, split: Split | None) -> tuple[str, ...]:
    """Return what makes the accuracy of a run doubtful, the most important first."""
    found = [_INTERRUPTED] if document.interrupted else []
    if document.imported:
        found += _doubts_of_import(document.imported)
    elif split == "val":
        found.append(
            "There are no test photos. The validation photos also steered the training, so this accuracy is optimistic."
        )
    if document.started_from and document.started_from.origin == "imported":
        found.append(
            "It was trained from an imported model. That this one was not trained on these photos is the user's word:"
            " edgetl cannot know it."
        )
    return tuple(found)


def cautions(document: RunDocument, split: Split) -> tuple[str, ...]:
    """Return caveats on a number that is sound in itself."""
    low, high = document.metrics[split].accuracy.ci95
    wide = f"With so few photos, the interval is {100 * (high - low):.0f} percentage points wide."
    return (wide,) if high - low > 0.15 else ()


def limits(document: RunDocument, split: Split | None, *, tells_unknown: bool) -> tuple[str, ...]:
    """Return the limits of a run that its records show.

    Args:
        document: ``run.json``.
        split: The split that it was measured on.
        tells_unknown: Whether its quantized files tell unknown photos, at rates that were measured.
    """
    found = [*doubts(document, split)]
    if split is not None:
        metrics = document.metrics[split]
        found += cautions(document, split)
        source = "" if document.imported else ", from the same data set as the training photos"
        elsewhere = ["other things"] if not tells_unknown else []
        elsewhere += ["photos from elsewhere"] if not document.imported else []
        unmeasured = f" How it answers to {' or to '.join(elsewhere)} was not measured." if elsewhere else ""
        found.append(f"It was measured on photos of its {len(document.labels)} classes{source}.{unmeasured}")
        for row in classes(metrics)[:_WEAK]:
            if not isinstance(row.recall, Unknown) and row.recall < metrics.accuracy.top1:
                found.append(f"Of {row.label}, {row.recall:.1%} of {row.photos} photos are right.")
    found += [one.message for one in document.dataset.findings if one.severity in ("error", "warning")]
    return tuple(found)


def pictures(document: RunDocument) -> str:
    """Return what was there instead of photos; empty if there were photos."""
    if document.dataset.truth == "labels":
        return ""
    count, answers = document.dataset.photos.all, len(document.dataset.labels)
    answered = f"{answers} different answers to them" if answers > 1 else "the same answer to all of them"
    return (
        f"The model was imported without photos. edgetl drew {count} pictures, which are in the run; the original has "
        f"{answered}. They prove that the files compute what it computes, and nothing about photos."
    )


def _doubts_of_import(record: ImportRecord) -> list[str]:
    found, chosen, order = [], record.input, record.label_order
    if order is None:
        return [f"{NOT_KNOWN.capitalize()}. Nor was it measured whether its input and its labels are correct."]
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
    """Return the confused pairs of classes, the most frequent first; nothing where the matrix shows them."""
    if len(metrics.per_class) <= _MATRIX_CLASSES:
        return ()
    photos = {row.label: row.photos for row in metrics.per_class}
    found = [
        Pair(cell.label, cell.predicted, cell.photos, photos[cell.label])
        for cell in confusion
        if cell.label != cell.predicted
    ]
    return tuple(sorted(found, key=lambda pair: (-pair.count, pair.label, pair.predicted))[:_PAIRS])
