"""Stratified samples of photos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt


class _Labelled(Protocol):
    @property
    def label(self) -> str | None: ...
    @property
    def sha256(self) -> str: ...


L = TypeVar("L", bound=_Labelled)


def stratified_sample(photos: Iterable[L], *, count: int, seed: int) -> tuple[L, ...]:
    """Return up to ``count`` photos, one per class in rotation, each class in the order of a hash of content and seed.

    Args:
        photos: At least one, in any order; those without a label count as one class.
        count: At least 1.
        seed: Seed of the order.
    """
    by_label: dict[str, list[L]] = {}
    for photo in photos:
        by_label.setdefault(photo.label or "", []).append(photo)
    queues = [sorted(by_label[label], key=lambda photo: _draw(photo, seed)) for label in sorted(by_label)]
    turns = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    return tuple(turns[:count])


def stratified_rows(targets: npt.NDArray[np.int64], limit: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Return at most ``limit`` positions, sorted, keeping the shares of the classes as closely as possible."""
    if len(targets) <= limit:
        return np.arange(len(targets))
    random = np.random.default_rng(seed)
    # Each photo's relative rank within its class: the photos of lowest rank are a stratified sample.
    places = np.empty(len(targets))
    for label in np.unique(targets):
        mine = np.flatnonzero(targets == label)
        places[random.permutation(mine)] = np.arange(len(mine)) / len(mine)
    return np.sort(np.argsort(places, kind="stable")[:limit])


def _draw(photo: _Labelled, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{photo.sha256}".encode()).hexdigest()
