"""Which photos set the activation ranges of an int8 model: from the training split only, evenly over the classes.

Not for: decoding them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol, TypeVar

from edgetl_device.errors import InputError


class _Sample(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def sha256(self) -> str: ...


S = TypeVar("S", bound=_Sample)


def choose_calibration(samples: Iterable[S], *, count: int = 100, seed: int = 0) -> tuple[S, ...]:
    """Return up to ``count`` training photos, the same number from each class as far as there are enough.

    A photo's place in its class is a hash of its content and ``seed``: adding photos changes few of the choices, and
    the order in which ``samples`` come changes none. The classes take turns in the result, so that any prefix of it is
    balanced too.

    Args:
        samples: Photos of any split; those not in ``train`` are passed over.
        count: At least 1.
        seed: Another seed draws other photos.

    Raises:
        InputError: ``count`` is below 1, or no sample is in the training split.
    """
    if count < 1:
        raise InputError(f"{count} calibration photos", why="at least 1 is needed")
    by_label: dict[str, list[S]] = {}
    for sample in samples:
        if sample.split == "train":
            by_label.setdefault(sample.label, []).append(sample)
    if not by_label:
        raise InputError(
            "no calibration photos: the training split is empty",
            why="calibrating on photos that are then scored would flatter the int8 model",
        )
    queues = [sorted(by_label[label], key=lambda sample: _draw(sample, seed)) for label in sorted(by_label)]
    turns = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    chosen = tuple(turns[:count])
    _refuse_held_out(chosen)
    return chosen


def _draw(sample: _Sample, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{sample.sha256}".encode()).hexdigest()


def _refuse_held_out(chosen: Iterable[_Sample]) -> None:
    # A promise of the design, so it is checked on the result and not only by how the result is made.
    for sample in chosen:
        if sample.split != "train":
            raise AssertionError(f"calibration photo {sample.sha256} is from the {sample.split} split")
