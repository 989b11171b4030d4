"""What the photos of a proof are held against, and how results on them are called.

A bundle of a model that was imported without photos is proved on pictures that edgetl drew, and their classes are the
answers of the original model. The share of answers that are the same is agreement, never accuracy.
"""

from __future__ import annotations

from typing import Literal

Truth = Literal["labels", "model"]

# Said wherever an accuracy would be.
NOT_KNOWN = "accuracy is not known: the model was imported without photos"
SAME = "drawn pictures with the answer of the original model"


def photos_called(truth: Truth, photos: str = "held-out photos") -> str:
    """Return what the pictures of a proof are: ``photos``, or drawn."""
    return photos if truth == "labels" else "drawn pictures"


def share_called(truth: Truth, share: str = "top-1") -> str:
    """Return what the share of expected answers is: ``share``, or how often they are those of the original."""
    return share if truth == "labels" else "as original"
