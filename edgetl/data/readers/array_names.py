"""The role of an array by its name: ``x_train``, ``test_labels``, ``train-images-idx3-ubyte.gz``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edgetl.data.types import Split
from edgetl_device.errors import InputError

from .split_names import SPLIT_WORDS

Role = Literal["images", "labels"]

CONVENTIONS = "Name them x_train and y_train (and x_test, y_test), images and labels, or X and y."

_IMAGES = {"x", "images", "image", "imgs", "data", "pixels", "photos"}
_LABELS = {"y", "labels", "label", "targets", "target"}
_SPLITS: dict[str, Split] = {
    **SPLIT_WORDS,
    "t10k": "test",  # the test files of MNIST and its family
}
# Names of the classes, in the order of their indices: keys of an .npz.
CLASS_NAME_KEYS = ("class_names", "classes", "label_names", "target_names")

_SUFFIXES = re.compile(r"(\.npy|\.bin|[-.]idx[13]-ubyte(\.gz)?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """Names of the arrays of one split; None where the source does not name the split."""

    split: Split | None
    images: str
    labels: str


def role_of(name: str) -> tuple[Role, Split | None] | None:
    """Return the role and the split of an array or file from its name; None if the name is not known."""
    words = [word for word in re.split(r"[^a-z0-9]+", _SUFFIXES.sub("", name).lower()) if word]
    roles = [word for word in words if word in _IMAGES or word in _LABELS]
    splits = [word for word in words if word in _SPLITS]
    if len(roles) != 1 or len(splits) > 1 or len(words) != len(roles) + len(splits):
        return None
    return "images" if roles[0] in _IMAGES else "labels", _SPLITS[splits[0]] if splits else None


def pair_up(where: str, names: Iterable[str]) -> list[Pair]:
    """Match images with labels by split, training first; names without a role are ignored.

    Raises:
        InputError: Two arrays have the same role, half of a pair is missing, or only some names contain a split.
    """
    by_role: dict[tuple[Role, Split | None], str] = {}
    for name in names:
        role = role_of(name)
        if role is None:
            continue
        if role in by_role:
            raise InputError(
                f"{where}: both {by_role[role]} and {name} could be the {role[0]}", hint="Remove or rename one of them."
            )
        by_role[role] = name
    splits = {split for _, split in by_role}
    if None in splits and len(splits) > 1:
        raise InputError(f"{where}: only some of {', '.join(by_role.values())} name a split", hint=CONVENTIONS)
    pairs = []
    for split in (None, "train", "val", "test"):
        images, labels = by_role.get(("images", split)), by_role.get(("labels", split))
        if images and labels:
            pairs.append(Pair(split, images, labels))
        elif images or labels:
            raise InputError(
                f"{where}: has {images or labels}, but no {'labels' if images else 'images'} to go with it",
                hint=CONVENTIONS,
            )
    return pairs
