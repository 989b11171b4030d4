"""Photos that a variant classifies differently from the float model, as cards with thumbnails."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.bundle import EVALSET, Bundle

from .pictures import data_uri, thumbnail

# Pictures are embedded: with 60 of about 8 KB, the page still fits into an e-mail.
MOST = 60
_ORDER = {"lost": 0, "gained": 1, "changed": 2}


@dataclass(frozen=True)
class VariantPrediction:
    """Prediction of one variant for a photo: class, probability, effect on accuracy.

    ``kind`` is ``lost`` (only the float model is right), ``gained`` (only the variant is) or ``changed`` (both wrong).
    """

    variant: str
    predicted: str
    probability: float
    kind: str


@dataclass(frozen=True)
class Card:
    """One photo with its predictions; ``picture`` is a data URI, empty without a bundle."""

    file: str
    label: str
    reference: str
    predictions: tuple[VariantPrediction, ...]
    picture: str

    @property
    def kind(self) -> str:
        """The most serious change among its predictions."""
        return min((one.kind for one in self.predictions), key=_ORDER.__getitem__)


@dataclass(frozen=True)
class Gallery:
    """Cards of the changed photos, lost ones first, with the number of those not shown; or why they are unknown."""

    cards: tuple[Card, ...]
    more: int
    why_not: str = ""


def flipped(result: Result, bundle: Bundle | None) -> Gallery:
    """Return the photos of a result that at least one variant classifies differently from the float model."""
    labels, evalset = result.bundle.labels, result.evalset
    if isinstance(evalset.reference, Unknown):
        return Gallery((), 0, evalset.reference.unknown)
    found = []
    for row, (photo, reference) in enumerate(zip(evalset.photos, evalset.reference, strict=True)):
        predictions = tuple(
            VariantPrediction(
                name, labels[predicted], run.answers.probability[row], _kind(photo.index, reference, predicted)
            )
            for name, run in one_per_variant(result).items()
            if (predicted := run.answers.predicted[row]) != reference
        )
        if predictions:
            found.append(Card(photo.file, labels[photo.index], labels[reference], predictions, ""))
    found.sort(key=lambda card: (_ORDER[card.kind], card.label, card.file))
    shown = [Card(**{**vars(card), "picture": _picture(bundle, card.file)}) for card in found[:MOST]]
    return Gallery(tuple(shown), len(found) - len(shown))


def one_per_variant(result: Result) -> dict[str, ResultRun]:
    """Return the first run of each variant: the number of threads does not change predictions."""
    found: dict[str, ResultRun] = {}
    for run in result.runs:
        found.setdefault(run.variant, run)
    return found


def _kind(label: int, reference: int, predicted: int) -> str:
    return "lost" if reference == label else "gained" if predicted == label else "changed"


def _picture(bundle: Bundle | None, file: str) -> str:
    return "" if bundle is None else data_uri(thumbnail(bundle.read(EVALSET + file)))
