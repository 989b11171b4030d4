"""Cross-validated linear probes: the accuracy of a linear classifier on features, photo by photo.

After Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import as_completed

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import require
from edgetl._lib.progress import track
from edgetl._lib.threads import thread_pool
from edgetl_device.errors import InputError

MAX_FOLDS = 5
# Candidate penalties for standardized features; the one with the lowest leave-one-out error on the training folds wins.
_PENALTIES = tuple(float(10**power) for power in np.arange(0, 5.5, 0.5))

Bools = npt.NDArray[np.bool_]
Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def folds_of(targets: npt.NDArray[np.int64], groups: Sequence[str], *, seed: int) -> list[Fold]:
    """Return stratified folds as (training, held-out) positions; photos of a group are never in both parts.

    Args:
        targets: int64 [n], classes.
        groups: n names; identical photos share one.
        seed: Seed of the shuffle.

    Raises:
        InputError: No class has two photos.
    """
    _, first, member = np.unique(np.array(groups), return_index=True, return_inverse=True)
    counts = np.bincount(targets[first])
    if counts.max() < 2:
        raise InputError("too few photos to cross-validate", why="no class has two different training photos")
    count = int(min(MAX_FOLDS, max(2, counts[counts > 0].min())))
    splitter = require("sklearn.model_selection").StratifiedKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # The only photo of a class is held out once, and correctly counts as wrong.
        warnings.simplefilter("ignore")
        sides = [held_out for _, held_out in splitter.split(first, targets[first])]
    found = []
    for held_out in sides:
        outside = np.isin(member, held_out)
        found.append((np.flatnonzero(~outside), np.flatnonzero(outside)))
    return found


def probe_all(
    features: Sequence[npt.NDArray[np.float32]], targets: npt.NDArray[np.int64], folds: Sequence[Fold], *, name: str
) -> list[Bools]:
    """Probe several sets of features of the same photos, in parallel.

    Args:
        features: Each float32 [n, channels].
        targets: int64 [n], classes.
        folds: From :func:`folds_of`.
        name: For the progress bar.

    Returns:
        For each set, bool [n]: whether photo i was classified correctly when its fold was held out.
    """
    limits = require("threadpoolctl").threadpool_limits
    right = [np.zeros(len(targets), np.bool_) for _ in features]
    # One core per fit: many small fits in parallel are faster than each on all cores.
    with limits(1), track(f"Probes, {name}", len(features) * len(folds), unit="fits") as advance:

        def work(place: int, fold: Fold) -> None:
            right[place][fold[1]] = probe(features[place], targets, fold)

        with thread_pool() as pool:
            # Start with the widest features, which take longest.
            widest = sorted(range(len(features)), key=lambda place: -features[place].shape[1])
            for future in as_completed([pool.submit(work, place, fold) for place in widest for fold in folds]):
                future.result()
                advance(1)
    return right


def probe(features: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], fold: Fold) -> Bools:
    """Fit a ridge classifier on a fold's training photos; return which of its held-out photos it classifies correctly.

    Ridge regression on +-1 targets is solved in closed form for all penalties at once (Golub, Heath & Wahba 1979,
    Technometrics 21), which makes a probe at every depth affordable.
    """
    training, held_out = fold
    scaler = require("sklearn.preprocessing").StandardScaler()
    ridge = require("sklearn.linear_model").RidgeClassifierCV(alphas=_PENALTIES)
    seen = scaler.fit_transform(features[training])
    if len(np.unique(targets[training])) < 2:
        return np.asarray(targets[held_out] == targets[training][0])
    ridge.fit(seen, targets[training])
    found: Bools = ridge.predict(scaler.transform(features[held_out])) == targets[held_out]
    return found
