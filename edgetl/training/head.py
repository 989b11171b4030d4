"""Stage 1: fit a linear classifier on the pooled features of the frozen base, to its optimum."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import require
from edgetl._lib.progress import track
from edgetl.runs.history import HeadFit

# L2 penalty per photo, weakest last. scikit-learn's C is 1 / (strength * photos).
_L2_STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01)
# Used when there are no validation photos.
_DEFAULT_L2 = 0.1
_MAX_ITERATIONS = 300
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Labelled:
    """Pooled features, float32 [n, channels], and the class of each row, int64 [n]."""

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """Weights of the dense layer.

    Attributes:
        kernel: float32 [channels, classes].
        bias: float32 [classes].
        history: One row per fit; the last fit was used.
    """

    kernel: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    history: tuple[HeadFit, ...]


def fit_head(
    photos: Labelled,
    views: Sequence[Labelled],
    val: Labelled,
    *,
    classes: int,
    balanced: bool,
) -> Head:
    """Fit a multinomial logistic regression on the photos and their views.

    The L2 penalty is the one with the lowest validation loss in fits without views, which take a fraction of the time;
    views of the same photos do not change the best penalty.

    Args:
        photos: Training photos; every class occurs.
        views: Augmented views of them.
        val: Validation photos; if empty, a fixed penalty is used.
        classes: Number of classes, at least 2.
        balanced: Weight photos by the inverse frequency of their class.
    """
    strengths = _L2_STRENGTHS if len(val.targets) else ()
    rows: list[HeadFit] = []
    solver: Any = None
    with track("Head on pooled features", len(strengths) + 1, unit="fits") as advance:
        for strength in strengths:
            solver = _solve(photos, strength, start=solver, balanced=balanced)
            weights = _softmax_weights(solver, classes)
            rows.append(_fit(strength, weights, photos, val, fitted_on="photos"))
            advance(1)
        losses = [row.val_loss for row in rows if row.val_loss is not None]
        best = rows[losses.index(min(losses))].l2 if losses else _DEFAULT_L2
        everything = Labelled(
            np.concatenate([photos.features, *(view.features for view in views)]),
            np.concatenate([photos.targets, *(view.targets for view in views)]),
        )
        weights = _softmax_weights(_solve(everything, best, start=solver, balanced=balanced), classes)
        rows.append(_fit(best, weights, everything, val, fitted_on="photos and views" if views else "photos"))
        advance(1)
    return Head(*weights, tuple(rows))


def _solve(data: Labelled, strength: float, *, start: Any, balanced: bool) -> Any:
    solver = require("sklearn.linear_model").LogisticRegression(
        C=1 / (strength * len(data.targets)),
        max_iter=_MAX_ITERATIONS,
        tol=_TOLERANCE,
        warm_start=True,
        class_weight="balanced" if balanced else None,
    )
    if start is not None:
        # Neighbouring solutions are close: starting from the previous one saves most of the iterations.
        solver.coef_, solver.intercept_ = start.coef_.copy(), start.intercept_.copy()
    with warnings.catch_warnings():
        # With a weak penalty the solver may hit the iteration limit; validation judges the result.
        warnings.simplefilter("ignore")
        return solver.fit(data.features, data.targets)


def _fit(
    strength: float,
    weights: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    data: Labelled,
    val: Labelled,
    *,
    fitted_on: str,
) -> HeadFit:
    (loss, accuracy), (val_loss, val_accuracy) = _scores(weights, data), _scores(weights, val)
    return HeadFit(
        l2=strength,
        loss=loss,
        accuracy=accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        fitted_on=fitted_on,
    )


def _scores(
    weights: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], data: Labelled
) -> tuple[float, float] | tuple[None, None]:
    """Return the mean cross-entropy and the accuracy; None without photos."""
    if not len(data.targets):
        return None, None
    kernel, bias = weights
    logits = data.features @ kernel + bias
    return float(cross_entropy(logits, data.targets).mean()), top1(logits, data.targets)


def _softmax_weights(solver: Any, classes: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    kernel, bias = solver.coef_.T.astype(np.float32), solver.intercept_.astype(np.float32)
    if classes == 2:
        # For two classes scikit-learn has one row of weights; plus and minus half of it give the same probabilities.
        kernel, bias = np.hstack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
    return np.ascontiguousarray(kernel), bias


def cross_entropy(
    logits: npt.NDArray[np.floating[Any]], targets: npt.NDArray[np.int64], *, label_smoothing: float = 0.0
) -> npt.NDArray[np.float64]:
    """Return the cross-entropy of each photo in nats, against smoothed labels, for logits [n, classes]: float64 [n]."""
    shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    picked = log_probabilities[np.arange(len(targets)), targets]
    return np.asarray(-(1 - label_smoothing) * picked - label_smoothing * log_probabilities.mean(axis=1))


def top1(logits: npt.NDArray[np.floating[Any]], targets: npt.NDArray[np.int64]) -> float:
    """Return the top-1 accuracy, 0..1."""
    return float((logits.argmax(axis=1) == targets).mean())
