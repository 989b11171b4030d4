"""Rules that turn probes into a recommendation: pure functions of the measurements, each with its reason as text.

They follow the rule of thumb (few or many photos, similar to those of the weights or not) of the CS231n notes on
transfer learning, after Yosinski et al. 2014, arXiv:1411.1792; ``benchmarks/advise.py`` measures how good they are.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgetl_device.bench.accuracy import PairedDrop, accuracy_of, paired_drop, wilson95
from edgetl_device.input_size import InputSize

from .depths import Depth
from .document import ProbedDepth, RecommendationRecord

# With fewer photos per class, the last blocks overfit. The limit is not higher: with 8 of flowers' training photos per
# class, the head alone gave 50% and the blocks 55%; with 15 per class, 64% and 66%.
FEW_A_CLASS = 5
# From this many on, training all layers at a smaller rate gains more than the last blocks. Measured with 44 per class,
# two thirds of flowers' training photos against the rest: 237 against 235 of 280 at 160 px, 113 against 106 of 140 at
# 96 px.
MANY_A_CLASS = 30
# A probe this accurate leaves nothing to gain.
NEARLY_ALWAYS = 0.99
# Depths whose probes differ by less count as equally good; the cheaper one wins. On Fashion-MNIST, three blocks
# earlier cost 0.9 pp of the probe and 1.7 pp of the trained network.
CLOSE_PP = 0.5
# A smaller network is mentioned only if its probe significantly loses less than this.
_KNOWN_PP = 5.0

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Probed:
    """A depth and the photos that its probe classified correctly.

    Attributes:
        depth: Where the base ends.
        right: bool [n], per photo, from the fold that held it out.
    """

    depth: Depth
    right: Bools

    @property
    def top1(self) -> float:
        """Share of correct photos."""
        return float(self.right.mean())

    @property
    def record(self) -> ProbedDepth:
        """Depth, costs and accuracy for documents."""
        return ProbedDepth(**vars(self.depth), accuracy=accuracy_of(int(self.right.sum()), len(self.right)))


@dataclass(frozen=True)
class Photos:
    """Facts about the training photos that the rules use.

    Attributes:
        count: Number of training photos.
        fewest: Number of photos in the smallest class.
        classes: Number of classes.
        side: Median of the shorter sides in the files, in pixels.
        size: Height, width and channels of the input.
    """

    count: int
    fewest: int
    classes: int
    side: int
    size: InputSize


@dataclass(frozen=True)
class Recommendation:
    """What to train.

    Attributes:
        backbone: Name of the backbone.
        strategy: Value for ``edgetl train --strategy``.
        trainable_blocks: Number of blocks to train; None for the default of ``edgetl train``.
        truncate: The last block to keep; None keeps all.
        title: One-line summary.
        reasons: One sentence each, the decisive one first.
    """

    backbone: str
    strategy: str
    trainable_blocks: int | None
    truncate: str | None
    title: str
    reasons: tuple[str, ...]

    def flags(self) -> str:
        """Return the corresponding options of ``edgetl train``."""
        parts = [f"--backbone {self.backbone}", f"--strategy {self.strategy}"]
        if self.truncate:
            parts.append(f"--truncate {self.truncate}")
        return " ".join(parts)

    @property
    def record(self) -> RecommendationRecord:
        """The same for documents."""
        return RecommendationRecord(**vars(self), flags=self.flags())


def recommend(backbone: str, probed: Sequence[Probed], photos: Photos, *, pretrained: bool) -> Recommendation:
    """Return what to train in one backbone.

    Args:
        backbone: Name of the backbone.
        probed: Every depth, the whole base last.
        photos: Facts about the photos.
        pretrained: Whether the base has pretrained weights.
    """
    notes = (*_cheaper(probed), *_size_note(photos))
    if not pretrained:
        why = f"there are no pretrained weights for {backbone}, so there are no features to reuse"
        return Recommendation(backbone, "scratch", None, None, "every layer, from random weights", (why, *notes))
    whole, best = probed[-1], _best(probed)
    if best is not whole and surely_better(best, whole, tried=len(probed) - 1):
        return _unlike(backbone, probed, photos)
    like = f"no depth of {backbone} is significantly better than its end, {_share(whole)}: its features fit the photos"
    if photos.fewest < FEW_A_CLASS:
        why = f"{photos.fewest} training photos in the smallest class are few: the blocks would overfit"
        return Recommendation(backbone, "head", 0, None, "the head alone, on frozen features", (why, like, *notes))
    if whole.top1 >= NEARLY_ALWAYS:
        why = f"frozen features reach {_share(whole)} already: hardly anything is left to gain"
        return Recommendation(backbone, "head", 0, None, "the head alone, on frozen features", (why, like, *notes))
    if photos.fewest >= MANY_A_CLASS:
        why = f"{photos.fewest:,} training photos in the smallest class are enough to train every layer"
        return Recommendation(backbone, "all", None, None, "all layers, at a smaller rate", (why, like, *notes))
    why = f"{photos.fewest} training photos in the smallest class: enough for the last blocks, few for every layer"
    return Recommendation(backbone, "blocks", None, None, "the head, then the last blocks", (like, why, *notes))


def choose(recommendations: Sequence[tuple[Recommendation, Sequence[Probed]]]) -> Recommendation:
    """Return the recommendation for the best backbone: a costlier one only where it probes significantly better.

    Backbones are compared by their best probes, on the same photos. The order of ``recommendations`` decides ties.
    """
    ordered = sorted(recommendations, key=lambda one: one[1][-1].depth.multiply_adds)
    chosen, probes = ordered[0]
    reasons: list[str] = []
    for other, other_probes in ordered[1:]:
        mine, theirs = _best(probes), _best(other_probes)
        lead = paired_drop(theirs.right, mine.right)
        told = f"{other.backbone} probes {lead.drop_pp:+.1f} pp against {chosen.backbone} ({_interval(lead)})"
        times = other_probes[-1].depth.multiply_adds / probes[-1].depth.multiply_adds
        if lead.ci95_pp[0] > 0:
            reasons.append(f"{told}: significantly better, at {times:.1f} times the multiply-adds")
            chosen, probes = other, other_probes
        else:
            reasons.append(f"{told}: not significantly better, and {times:.1f} times the multiply-adds")
    title = f"{chosen.backbone}: {chosen.title}" if len(ordered) > 1 else chosen.title
    return Recommendation(
        chosen.backbone,
        chosen.strategy,
        chosen.trainable_blocks,
        chosen.truncate,
        title,
        (*chosen.reasons, *reasons),
    )


def surely_better(best: Probed, whole: Probed, *, tried: int) -> bool:
    """Whether the best of the depths beats the whole base significantly and by more than :data:`CLOSE_PP`.

    The interval of the difference is corrected for the number of depths (Bonferroni).
    """
    lead = paired_drop(best.right, whole.right)
    low, high = lead.ci95_pp
    normal = statistics.NormalDist()
    wider = normal.inv_cdf(1 - 0.025 / max(1, tried)) / normal.inv_cdf(0.975)
    return lead.drop_pp > CLOSE_PP and (low + high) / 2 - wider * (high - low) / 2 > 0


def _unlike(backbone: str, probed: Sequence[Probed], photos: Photos) -> Recommendation:
    """If late features do not fit, truncate the base where its features are best, and train the rest."""
    best = _best(probed)
    lead = paired_drop(best.right, probed[-1].right)
    cut = _cheapest_near(probed, best)
    why = (
        f"features up to {best.depth.block}, {_share(best)}, beat those of the whole base, {_share(probed[-1])}, by "
        f"{lead.drop_pp:.1f} pp ({_interval(lead)}): the photos are unlike those that the weights were trained on"
    )
    saved = f"ending at {cut.depth.block}, {_share(cut)}, leaves {_costs(cut, probed[-1])}"
    if photos.fewest < FEW_A_CLASS:
        few = f"{photos.fewest} training photos in the smallest class are few: the head alone is trained"
        title = f"{backbone} up to {cut.depth.block}, the head alone"
        return Recommendation(backbone, "head", 0, cut.depth.block, title, (why, saved, few, *_size_note(photos)))
    what = "all remaining layers are trained: for unlike photos early ones must adapt, too"
    title = f"{backbone} up to {cut.depth.block}, all layers"
    return Recommendation(backbone, "all", None, cut.depth.block, title, (why, saved, what, *_size_note(photos)))


def _best(probed: Sequence[Probed]) -> Probed:
    # On a tie, take the later depth, because truncating would gain nothing.
    return max(reversed(probed), key=lambda one: one.top1)


def _cheapest_near(probed: Sequence[Probed], best: Probed) -> Probed:
    near = [one for one in probed if paired_drop(best.right, one.right).drop_pp <= CLOSE_PP]
    return min(near, key=lambda one: one.depth.multiply_adds)


def _cheaper(probed: Sequence[Probed]) -> tuple[str, ...]:
    """Mention a truncated base that probes as well as the whole one and costs less."""
    whole = probed[-1]
    cut = _cheapest_near(probed, whole)
    drop = paired_drop(whole.right, cut.right)
    # With few photos, depths cannot be distinguished.
    if cut is whole or drop.ci95_pp[1] > _KNOWN_PP:
        return ()
    return (
        f"a smaller network to try: --truncate {cut.depth.block} probes {-drop.drop_pp:+.1f} pp "
        f"({_interval(drop, -1)}) "
        f"with {_costs(cut, whole)}",
    )


def _size_note(photos: Photos) -> tuple[str, ...]:
    if photos.side * 2 > photos.size.shortest:
        return ()
    return (
        f"the photos are {photos.side} px, enlarged to {photos.size.px}: a smaller --size costs less and loses little",
    )


def _costs(cut: Probed, whole: Probed) -> str:
    macs = cut.depth.multiply_adds / whole.depth.multiply_adds
    size = cut.depth.int8_bytes / whole.depth.int8_bytes
    return f"{macs:.0%} of the multiply-adds and {size:.0%} of the bytes"


def _share(one: Probed) -> str:
    low, high = wilson95(int(one.right.sum()), len(one.right))
    return f"{one.top1:.1%} (95% CI {100 * low:.1f} to {100 * high:.1f})"


def _interval(drop: PairedDrop, sign: int = 1) -> str:
    low, high = sorted(sign * bound for bound in drop.ci95_pp)
    return f"95% CI {low:+.1f} to {high:+.1f}"
