"""Fit one row of a classifier's last layer to a few photos, all other rows fixed.

The row begins as an imprint: the direction in which the shots differ from the training photos of the other classes, as
long as the other rows are (H. Qi, M. Brown and D. G. Lowe, "Low-shot learning with imprinted weights", CVPR 2018). Then
it is the optimum of the model's own softmax loss, regularized towards the imprint. With the other rows fixed, that loss
is a logistic regression whose offset is the log-sum-exp of the other logits: convex, and solved by Newton's method.

The other classes' photos are not on the board: the feature bank has their directions, compressed. Their lengths are
taken to be the shots'.

A few shots say where a class is, not how far it reaches, so a new row's bias is set by cross-validation: as high as the
loss of the other classes to aim at allows, but no higher than is best for all classes alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .dense_layer import Dense

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# The penalty on how far a row moves from the imprint, as the square of the logits that the move makes on average.
# Chosen with the share below on flowers and waste, classes left out in turn (docs/guides/adapt.md).
PENALTY = 0.1
# Of the loss to aim at: the share of the bank's photos that a new row may take from their classes in cross-validation.
# The model has seen these photos, and is surer of them than of others.
BANK_SHARE = 0.25
# With a single shot nothing says what is best for all classes: at most this share may be lost.
_OF_ONE_SHOT = 0.02
_FOLDS = 5
# Of other photos: one for each fold.
FEWEST_ROWS = _FOLDS
_STEPS = 30
_ENOUGH = 1e-6
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs of the last layer.

    Attributes:
        shots: Of photos of the class, float32 [n, features], n at least 1.
        groups: int [n], the photo that each is a view of.
        others: Of training photos of the model, float32 [m, features], m at least 1.
        span: Vectors whose span holds all of these, float32 [d, features].
    """

    shots: Floats
    groups: npt.NDArray[np.int64]
    others: Floats
    span: Floats


def new_row(dense: Dense, examples: Examples, *, aim: float, penalty: float = PENALTY) -> tuple[Floats, float]:
    """Return weights, float32 [features], and bias of a row for a class that the layer does not have.

    Args:
        dense: The layer.
        examples: What to learn from.
        aim: The share of the other classes' photos to lose, 0 to 1.
        penalty: As :data:`PENALTY`.
    """
    problem = _Problem.of(dense, len(dense.bias), examples)
    weights, bias = problem.imprinted(penalty)
    threshold = _threshold(*_cross_validated(problem, examples.groups, penalty), len(dense.bias), aim)
    return np.asarray(problem.basis @ weights, np.float32), bias - threshold


def changed_row(dense: Dense, index: int, examples: Examples, *, penalty: float = PENALTY) -> tuple[Floats, float]:
    """Return weights and bias of a row that the layer has, with more shots of its class.

    It is regularized towards the row as it is. Of the training photos, those that the layer takes for the class are
    examples of it.
    """
    problem = _Problem.of(dense, index, examples)
    inputs = np.concatenate([examples.shots, examples.others])
    start = inputs @ dense.weights[index].astype(np.float64)
    used = np.ones(len(inputs), bool)
    move, bias = problem.solve(start, float(dense.bias[index]), used, penalty)
    return np.asarray(dense.weights[index] + problem.basis @ move, np.float32), bias


@dataclass(frozen=True, eq=False)
class _Problem:
    """The regression in an orthonormal basis of the examples, of d dimensions.

    Attributes:
        basis: float64 [features, d].
        points: float64 [n, d], the shots first.
        is_class: bool [n].
        others: Log-sum-exp of the other rows' logits, float64 [n].
        highest: The highest of the other rows' logits, float64 [n].
        length: Mean length of the other rows.
        classes: Number of the other rows.
        shots: Number of the shots.
    """

    basis: Doubles
    points: Doubles
    is_class: Bools
    others: Doubles
    highest: Doubles
    length: float
    classes: int
    shots: int

    @classmethod
    def of(cls, dense: Dense, index: int, examples: Examples) -> _Problem:
        """Return the problem of a row, which may be new."""
        inputs = np.concatenate([examples.shots, examples.others]).astype(np.float64)
        is_class = np.arange(len(inputs)) < len(examples.shots)
        if index < len(dense.bias):
            is_class[len(examples.shots) :] = dense.logits(examples.others).argmax(axis=1) == index
        other = np.arange(len(dense.bias)) != index
        logits = inputs @ dense.weights[other].T.astype(np.float64) + dense.bias[other]
        highest = logits.max(axis=1)
        basis = np.linalg.qr(examples.span.T.astype(np.float64))[0]
        return cls(
            basis=basis,
            points=inputs @ basis,
            is_class=is_class,
            others=highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)),
            highest=highest,
            length=float(np.linalg.norm(dense.weights[other], axis=1).mean()),
            classes=int(other.sum()),
            shots=len(examples.shots),
        )

    def imprinted(self, penalty: float, left_out: Bools | None = None) -> tuple[Doubles, float]:
        """Return weights, float64 [d], and bias of a new row, fitted to all examples but those ``left_out``."""
        used = np.ones(len(self.points), bool) if left_out is None else ~left_out
        shots, others = self.points[used & self.is_class], self.points[used & ~self.is_class]
        difference = shots.mean(axis=0) - others.mean(axis=0)
        imprint = difference / max(float(np.linalg.norm(difference)), _TINY) * self.length
        # A shot's logit is that of a known photo's class.
        bias = float(self.highest[used & ~self.is_class].mean()) - float((shots @ imprint).mean())
        move, bias = self.solve(self.points @ imprint, bias, used, penalty)
        return imprint + move, bias

    def solve(self, start: Doubles, bias: float, used: Bools, penalty: float) -> tuple[Doubles, float]:
        """Return how far the optimum is from a row, float64 [d], and its bias.

        Args:
            start: Logits of that row without its bias, float64 [n].
            bias: The bias of that row.
            used: bool [n], the examples to fit to.
            penalty: As :data:`PENALTY`.
        """
        is_class = self.is_class[used]
        # As if the class had as many photos as each of the others has on average.
        counts = np.where(is_class, max(1.0, (~is_class).sum() / self.classes) / is_class.sum(), 1.0)
        # The bias as one more dimension, of the same size as the others together.
        size = float(np.sqrt(np.square(self.points).sum(axis=1).mean()))
        points = np.column_stack([self.points[used], np.full(len(is_class), size)])
        move = _newton(points, start[used] + bias - self.others[used], is_class, counts, penalty * size**2)
        return move[:-1], bias + size * float(move[-1])


def _newton(points: Doubles, start: Doubles, is_class: Bools, counts: Doubles, strength: float) -> Doubles:
    """Minimize the weighted logistic losses plus ``strength`` / 2 times the squared length of the move; return it."""
    sign = np.where(is_class, -1.0, 1.0)
    move: Doubles = np.zeros(points.shape[1])
    step: Doubles = np.zeros_like(move)
    value = np.inf
    for _ in range(_STEPS):
        length = 1.0
        while True:
            candidate = move + length * step
            margin = start + points @ candidate
            found = float((counts * np.logaddexp(0, sign * margin)).sum()) + 0.5 * strength * float(
                candidate @ candidate
            )
            if found <= value or length < 1e-3:
                break
            length /= 2
        improved, move, value = value - found, candidate, found
        if improved < _ENOUGH * max(1.0, abs(value)):
            break
        probability = 1 / (1 + np.exp(-np.clip(margin, -60, 60)))
        gradient = points.T @ (counts * (probability - is_class)) + strength * move
        curvature = counts * probability * (1 - probability)
        hessian = (points.T * curvature) @ points + strength * np.eye(len(move))
        step = -np.asarray(np.linalg.solve(hessian, gradient), np.float64)
    return move


def _cross_validated(problem: _Problem, groups: Any, penalty: float) -> tuple[Doubles, Doubles]:
    """Return by how much a new row wins over the others on examples that it was not fitted to: shots, other photos.

    Views of one photo are left out together. With a single photo there are no such shots.
    """
    photos = np.unique(groups)
    count = len(problem.points)
    fold = np.concatenate(
        [np.searchsorted(photos, groups), np.random.default_rng(0).permutation(count - problem.shots)]
    )
    fold %= min(_FOLDS, len(photos)) if len(photos) > 1 else _FOLDS
    if len(photos) == 1:
        fold[: problem.shots] = -1
    margins = np.full(count, np.nan)
    for one in np.unique(fold[fold >= 0]):
        left_out = fold == one
        weights, bias = problem.imprinted(penalty, left_out)
        margins[left_out] = problem.points[left_out] @ weights + bias - problem.highest[left_out]
    of_shots = margins[: problem.shots]
    return of_shots[~np.isnan(of_shots)], margins[problem.shots :]


def _threshold(shots: Doubles, others: Doubles, classes: int, aim: float) -> float:
    """Return how far a new row's logit has to be ahead of the others': the bias is lowered by it.

    Args:
        shots: Margins of shots, cross-validated; may be empty.
        others: Margins of other photos, at least one.
        classes: Number of the other classes.
        aim: As in :func:`new_row`.
    """
    if not len(shots):
        return float(np.quantile(others, 1 - BANK_SHARE * min(_OF_ONE_SHOT, aim)))
    within = float(np.quantile(others, 1 - BANK_SHARE * min(1.0, aim)))
    seen = np.unique(np.concatenate([shots, others]))
    # Between two margins, and beyond the last.
    candidates = np.append((seen[1:] + seen[:-1]) / 2, seen[-1] + 1)
    missed = np.searchsorted(np.sort(shots), candidates) / len(shots)
    lost = 1 - np.searchsorted(np.sort(others), candidates) / len(others)
    balanced = float(candidates[np.argmin(missed + classes * lost)])
    return max(within, balanced)
