"""The loop that runs a model over photos, shared by ``edgetl bench``, ``evaluate`` and ``quantize``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from .spec import Pixels, Probabilities, Runtime


@dataclass(frozen=True, eq=False)
class Predicted:
    """A model's output for photos.

    Attributes:
        probabilities: float32 [n, classes], row i = photo i, within 0..1.
        inference_ns: Time of each inference, including copies of pixels and probabilities.
        unknown_scores: float64 [n], how far each photo is from all training photos; None if nothing can tell.
    """

    probabilities: npt.NDArray[np.float32]
    inference_ns: tuple[int, ...]
    unknown_scores: npt.NDArray[np.float64] | None = None


def run_batch(runtime: Runtime, photos: Sequence[Pixels]) -> list[Probabilities]:
    """Return the probabilities of photos, in one inference.

    Raises:
        ValueError: There are more photos than the batch size.
    """
    if len(photos) > (batch := runtime.input.shape[0]):
        raise ValueError(f"{len(photos)} photos for a batch of {batch}")
    for row, photo in enumerate(photos):
        runtime.set_input(photo, row)
    runtime.invoke()
    return [runtime.probabilities(row) for row in range(len(photos))]


def predict(
    run: Callable[[Sequence[Pixels]], list[Probabilities]],
    photos: Iterable[Pixels],
    *,
    batch: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Predicted:
    """Run a model over photos in batches, with one batch of pixels in memory at a time.

    Args:
        run: Runs one batch, as :func:`run_batch` does.
        photos: uint8 [H, W, C] each; at least one.
        batch: Photos per inference; the last batch may be smaller.
        advance: Called with the number of photos after each inference.
    """
    rest, rows, inference_ns = iter(photos), [], []
    while together := list(islice(rest, batch)):
        started = time.perf_counter_ns()
        rows += run(together)
        inference_ns.append(time.perf_counter_ns() - started)
        advance(len(together))
    # A softmax in float32 may exceed 0..1 by a rounding error.
    return Predicted(np.stack(rows).clip(0, 1), tuple(inference_ns))
