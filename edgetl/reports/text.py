"""Numbers and names as text, the same on every page and plot."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.bench.accuracy import wilson95
from edgetl_device.scores import Accuracy, Agreement
from edgetl_device.text import shown


@dataclass(frozen=True)
class Figure:
    """One of the few numbers that head a page.

    Attributes:
        name: What it is.
        value: The number with its unit, or a word where there is none.
        detail: Its interval, or where it was measured.
        doubtful: Whether it is not set in large type: a warning applies to it, or it is no number.
    """

    name: str
    value: str
    detail: str
    doubtful: bool = False


@dataclass(frozen=True)
class Warned:
    """A warning, and the section of the page that it is about."""

    text: str
    section: str


def top1_text(accuracy: Accuracy) -> str:
    """Return the top-1 accuracy in percent, never without its interval."""
    low, high = accuracy.ci95
    return f"top-1 {accuracy.top1:.1%} (95% interval {100 * low:.1f} to {high:.1%})"


def interval_text(accuracy: Accuracy, photos: str = "photos") -> str:
    """Return the interval of an accuracy and its photos: ``95% interval 88.1 to 93.6%, 336 of 368 photos``."""
    low, high = accuracy.ci95
    return f"95% interval {100 * low:.1f} to {high:.1%}, {accuracy.correct:,} of {accuracy.photos:,} {photos}"


def drop_text(agreement: Agreement) -> tuple[str, str]:
    """Return the loss of accuracy against the reference, and its interval; a negative drop is a gain."""
    low, high = agreement.drop_ci95_pp
    return f"{agreement.drop_pp:+.2f} pp", f"95% interval {low:+.1f} to {high:+.1f} pp, {agreement.photos:,} photos"


def agreement_text(agreement: Agreement, photos: str = "photos") -> tuple[str, str]:
    """Return the share of photos with the same answer as the reference's, and its interval."""
    low, high = wilson95(agreement.agree, agreement.photos)
    interval = f"95% interval {100 * low:.1f} to {high:.1%}, {agreement.agree:,} of {agreement.photos:,} {photos}"
    return f"{agreement.top1:.1%}", interval


def drawn(name: str) -> str:
    """Escape a label or another external name for a plot: Matplotlib would typeset text between two ``$``."""
    return shown(name).replace("$", r"\$")
