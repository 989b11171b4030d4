"""HTML page of photos whose label is probably wrong."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl.data import Dataset, LabelCheck, LabelSuspect
from edgetl.reports.html import fill
from edgetl.reports.pictures import data_uri, thumbnail
from edgetl_device.preprocess import PhotoError

# At about 8 KB a picture, the page can still be sent by e-mail.
MOST = 60


@dataclass(frozen=True)
class Card:
    """One suspect with its picture as a data URI, or why there is none."""

    file: str
    suspect: LabelSuspect
    picture: str
    why: str = ""


def render(dataset: Dataset, checked: LabelCheck) -> str:
    """Return the result of :func:`edgetl.labels.check_labels` as a self-contained HTML page.

    Raises:
        Unavailable: Jinja2 is not installed.
    """
    shown = checked.suspects[:MOST]
    return fill(
        "labels.html",
        name=dataset.root.name,
        checked=checked,
        cards=[_card(dataset, one) for one in shown],
        more=len(checked.suspects) - len(shown),
    )


def _card(dataset: Dataset, suspect: LabelSuspect) -> Card:
    try:
        return Card(suspect.path, suspect, data_uri(thumbnail((dataset.folder / suspect.path).read_bytes())))
    except (PhotoError, OSError):
        return Card(suspect.path, suspect, "", "changed since it was read")
