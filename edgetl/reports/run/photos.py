"""Photos in the report of a run: findings of the audit, and the most confident mistakes.

Photos are read from the data set that the run was trained on; missing or changed ones are named, not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgetl.reports.grad_cam import grad_cam
from edgetl.reports.pictures import data_uri, heat_over, thumbnail
from edgetl.runs.directory import Run
from edgetl.runs.document import RunDocument
from edgetl.runs.held_out import find_photos
from edgetl.runs.predictions import HeldOutPrediction
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.errors import InputError
from edgetl_device.preprocess import PhotoError

# At about 8 KB per picture, the page can still be sent by e-mail.
MISTAKES = 24
_A_FINDING = 8
_FINDINGS = 32
_FINDING_SIDE = 128


@dataclass(frozen=True)
class Album:
    """Location of the photos; ``folder`` is None if they are missing, for the reason ``why``."""

    folder: Path | None
    why: str = ""

    @classmethod
    def of(cls, run: Run, data: Path | None) -> Album:
        """Find the photos of a run, in ``data`` if given.

        Raises:
            InputError: They are not in ``data``.
        """
        place = data or run.data_root
        try:
            return cls(run.photos_folder(data))
        except InputError as error:
            if data is not None:
                raise
            # The report is shared: it must not name folders of this machine.
            return cls(None, error.what.replace(str(place), place.name))


@dataclass(frozen=True)
class Card:
    """One photo: its name and its picture as a data URI, or why there is none."""

    file: str
    picture: str
    why: str = ""


@dataclass(frozen=True)
class Mistake:
    """A misclassified held-out photo; ``heat`` is its Grad-CAM picture, empty without one."""

    card: Card
    label: str
    predicted: str
    probability: float
    heat: str = ""


@dataclass(frozen=True)
class Found:
    """A finding of the audit with its photos; ``more`` is the number of those not shown."""

    kind: str
    severity: str
    message: str
    cards: tuple[Card, ...]
    more: int


def findings(document: RunDocument, album: Album) -> tuple[Found, ...]:
    """Return the findings of the audit with a few photos each; identical photos are one picture with all names."""
    found, room = [], _FINDINGS
    for finding in document.dataset.findings:
        groups = finding.groups or [(file,) for file in finding.files]
        shown = groups[: min(_A_FINDING, room)]
        room -= len(shown)
        cards = tuple(_card(album, group[0], name=" = ".join(group), side=_FINDING_SIDE) for group in shown)
        found.append(Found(finding.kind, finding.severity, finding.message, cards, len(groups) - len(shown)))
    return tuple(found)


def mistakes(
    run: Run, predictions: Sequence[HeldOutPrediction], album: Album, *, heat: bool, data: Path | None
) -> tuple[tuple[Mistake, ...], int]:
    """Return the most confident mistakes on held-out photos, and how many mistakes there are.

    Args:
        run: The run.
        predictions: Predictions for held-out photos.
        album: Where the photos are.
        heat: Add Grad-CAM heat maps of the predicted class.
        data: Path of the data set, if it has moved since training.

    Raises:
        InputError: With ``heat``, a photo is missing or was changed since training.
    """
    wrong = sorted(
        (one for one in predictions if one.predicted != one.label), key=lambda one: (-one.probability, one.path)
    )
    shown = wrong[:MISTAKES]
    cards = [_card(album, one.path, sha256=one.sha256) for one in shown]
    pictures = _heat(run, shown, data) if heat and shown else [""] * len(shown)
    return (
        tuple(
            Mistake(card, one.label, one.predicted, one.probability, picture)
            for card, one, picture in zip(cards, shown, pictures, strict=True)
        ),
        len(wrong),
    )


def _heat(run: Run, shown: Sequence[HeldOutPrediction], data: Path | None) -> list[str]:
    by_path = {sample.path: sample for sample in run.samples}
    photos = find_photos(run, [by_path[one.path] for one in shown], data=data)
    classes = np.array([run.labels.index(one.predicted) for one in shown], dtype=np.int64)
    maps = grad_cam(run.load_model(), photos.pixels, classes)
    found = []
    for path, pixels, heat in zip(photos.paths, photos.pixels, maps, strict=True):
        # Draw a stretched photo in its own aspect ratio, and cropped or padded ones as the model sees them.
        under = np.asarray(thumbnail(path.read_bytes())) if run.preprocess.fit == "stretch" else pixels
        found.append(data_uri(heat_over(under, heat)))
    return found


def _card(album: Album, file: str, *, name: str = "", side: int | None = None, sha256: str | None = None) -> Card:
    name = name or file
    if album.folder is None:
        return Card(name, "", "no longer exists")
    try:
        photo = (album.folder / file).read_bytes()
        if sha256 is not None and sha256_bytes(photo) != sha256:
            return Card(name, "", "changed since training")
        return Card(name, data_uri(thumbnail(photo) if side is None else thumbnail(photo, side=side)))
    except PhotoError as error:
        return Card(name, "", {"truncated": "truncated", "empty": "zero bytes"}.get(error.kind, "cannot be shown"))
    except FileNotFoundError:
        return Card(name, "", "no longer exists")
    except OSError as error:
        return Card(name, "", f"cannot be read: {error.strerror or error}")
