"""What is trained: networks that fit the budget, by measurement, and of these the ones whose frozen features are best.

Nothing is trained here. Costs are measured with random weights, and features of frozen backbones are cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from edgetl._lib.cache import entry, key_of
from edgetl._lib.progress import note
from edgetl.advice import Sampled, probe_depths, sample_training
from edgetl.advice.depths import depths_of
from edgetl.backbones import build_base, resolve_weights
from edgetl.comparison.budget import broken, excess
from edgetl.comparison.gates import Gate
from edgetl.data import Dataset
from edgetl_device.bench.accuracy import accuracy_of, paired_drop
from edgetl_device.bench.result import ResultRun
from edgetl_device.input_size import square

from .costs import Costs
from .document import Cost, Lead, Price, SearchedNetwork
from .space import Architecture

Bools = npt.NDArray[np.bool_]
# Photos at an input size.
Photos = Callable[[int], Dataset]

# The estimate of an int8 file's size is within 10%: what is further over the bound is not measured.
_ESTIMATE = 1.15
# Of the input sizes at which a network fits, the largest are probed: a larger one seldom loses accuracy.
_PROBED_SIZES = 2
_MOST_TRAINED = 4


@dataclass(frozen=True)
class Plan:
    """The networks of a search, and what the budget costs by their probes.

    Attributes:
        architectures: All of the space.
        networks: The same for the document; those with the outcome ``trained`` are for trials.
        price: What the budget costs.
        nearest: Of the measured networks that which is least over the budget, if any was measured.
    """

    architectures: tuple[Architecture, ...]
    networks: tuple[SearchedNetwork, ...]
    price: Price | None
    nearest: Architecture | None = None


def cost_of(run: ResultRun, *, random: bool) -> Cost:
    """Return the cost of a benched model for documents; ``random`` is whether its weights are."""
    latency = run.latency
    return Cost(
        p50_ms=latency.p50_ms,
        p95_ms=latency.p95_ms,
        bytes=run.bytes,
        peak_rss_bytes=run.peak_rss_bytes,
        verdict=run.verdict.status,
        source="measured with random weights" if random else "measured",
    )


def plan(space: Sequence[Architecture], costs: Costs, budget: Sequence[Gate], photos: Photos, *, seed: int) -> Plan:
    """Decide which networks are trained.

    Args:
        space: The networks.
        costs: Measures them.
        budget: The bounds.
        photos: Returns the photos at an input size; only training photos are used.
        seed: Seed of the folds of the probes.

    Raises:
        Unavailable: The machine that measures cannot be reached.
    """
    over = Over(costs, budget)
    fitting = fits(space, over)
    if not fitting:
        records = tuple(_record(one, "over budget", over, {}) for one in space)
        return Plan(tuple(space), records, None, over.nearest())
    largest = _largest_inputs(fitting)
    best_of_all = _largest_inputs([one for one in space if one.truncate is None], count=1)
    rights = probe(dict.fromkeys([*largest, *best_of_all]), photos, seed=seed)
    trained = survivors(largest, rights, over)
    note(
        f"{len(space)} networks: {len(space) - len(fitting)} over budget, {len(largest)} probed, "
        f"{len(trained)} to train: {', '.join(one.name for one in trained)}"
    )
    found = []
    for one in space:
        outcome = "trained" if one in trained else "probe" if one in largest else "larger input"
        found.append(_record(one, outcome if one in fitting and not over.is_over(one) else "over budget", over, rights))
    return Plan(tuple(space), tuple(found), _price(space, trained, rights), over.nearest())


class Over:
    """Which networks are over a budget: by estimate of their size, by measurement, or because a part of them is."""

    def __init__(self, costs: Costs, budget: Sequence[Gate]) -> None:
        self._costs, self._budget = costs, budget
        self.measured: dict[Architecture, tuple[str, ...]] = {}

    def __call__(self, one: Architecture) -> bool:
        """Measure a network unless its outcome is known, and return whether it is over the budget."""
        if not self.is_over(one) and one not in self.measured:
            run = self._costs.run_of(one)
            self.measured[one] = broken(self._budget, one.name, run)
        return self.is_over(one)

    def is_over(self, one: Architecture) -> bool:
        """Whether it is known to be over the budget."""
        if one in self.measured:
            return bool(self.measured[one])
        return self.too_large(one) or any(why and part.within(one) for part, why in self.measured.items())

    def too_large(self, one: Architecture) -> bool:
        """Whether the estimated size of its file is far over the bound."""
        return bool(broken([gate for gate in self._budget if gate.metric.name == "size_mb"], one.name, _estimated(one)))

    def nearest(self) -> Architecture | None:
        """Return the measured network that is least over the budget; None if none was measured."""
        return min(self.measured, key=lambda one: excess(self._budget, self._costs.run_of(one)), default=None)

    def cost(self, one: Architecture) -> Cost | None:
        """Return its cost if it was measured."""
        return cost_of(self._costs.run_of(one), random=True) if one in self.measured else None


def _estimated(one: Architecture) -> SimpleNamespace:
    return SimpleNamespace(
        bytes=one.int8_bytes / _ESTIMATE, latency_ms=SimpleNamespace(invoke=None), peak_rss_bytes=None
    )


def fits(space: Sequence[Architecture], over: Callable[[Architecture], bool]) -> list[Architecture]:
    """Return the networks that fit, by as few measurements as possible.

    A network takes no less than a part of it, or than itself with a smaller input. So at each depth the largest input
    that fits is found by bisection, and a shorter network begins where the longer one ended.
    """
    found: list[Architecture] = []
    chains = groupby(sorted(space, key=_chain_key), key=lambda one: (one.backbone, one.width))
    for _, members in chains:
        begin = 0
        for _, at_depth in groupby(members, key=lambda one: one.blocks):
            chain = sorted(at_depth, key=lambda one: one.size)
            low, high = min(begin, len(chain)), len(chain)
            while low < high:
                middle = (low + high) // 2
                if over(chain[middle]):
                    high = middle
                else:
                    low = middle + 1
            found += chain[:low]
            begin = low
    return found


def _chain_key(one: Architecture) -> tuple[str, float, int, int]:
    return one.backbone, one.width, -one.blocks, one.size


def _largest_inputs(networks: Iterable[Architecture], *, count: int = _PROBED_SIZES) -> list[Architecture]:
    ordered = sorted(networks, key=_chain_key)
    chains = groupby(ordered, key=lambda one: (one.backbone, one.width, one.blocks))
    return [one for _, chain in chains for one in list(chain)[-count:]]


def probe(networks: Iterable[Architecture], photos: Photos, *, seed: int) -> dict[Architecture, Bools]:
    """Probe networks on frozen features.

    Returns:
        For each, bool [n]: whether training photo i was classified correctly by a linear probe that had not seen it.
    """
    found: dict[Architecture, Bools] = {}
    ordered = sorted(networks, key=lambda one: (one.size, one.backbone, one.width))
    for size, at_size in groupby(ordered, key=lambda one: one.size):
        dataset = photos(size)
        sampled = sample_training(dataset, seed=seed)
        for _, group in groupby(at_size, key=lambda one: (one.backbone, one.width)):
            found |= _probed(list(group), dataset, sampled, seed)
    return found


def _probed(group: list[Architecture], dataset: Dataset, sampled: Sampled, seed: int) -> dict[Architecture, Bools]:
    first = group[0]
    weights = resolve_weights(first.backbone, width=first.width, request="auto", size=square(first.size))
    kept = sorted(one.blocks for one in group)

    def make(folder: Path) -> None:
        base = build_base(first.backbone, size=square(first.size), width=first.width, weights=weights)
        depths = [
            depth
            for depth in depths_of(first.backbone, base, classes=len(dataset.labels), kept=kept)
            if depth.block is not None or any(one.truncate is None for one in group)
        ]
        probed = probe_depths(f"{first.backbone} at {first.size} px", base, depths, dataset, sampled)
        np.savez(folder / "right.npz", **{one.depth.block or "whole": one.right for one in probed})  # type: ignore[arg-type]  # names of arrays

    key = key_of(
        backbone=first.backbone,
        width=first.width,
        size=first.size,
        ends=sorted(one.truncate or "whole" for one in group),
        weights=weights.sha256,
        photos=dataset.fingerprint,
        fit=dataset.spec.fit,
        seed=seed,
        format=1,
    )
    with np.load(entry("probes", key, make) / "right.npz") as rights:
        return {one: rights[one.truncate or "whole"] for one in group}


def survivors(
    networks: Sequence[Architecture], rights: Mapping[Architecture, Bools], over: Callable[[Architecture], bool]
) -> list[Architecture]:
    """Return the networks to train: the best by their probes, none that is significantly worse than the best.

    Networks of which a larger one fits were not measured yet; those that may be trained are.
    """
    found: list[Architecture] = []
    for one in sorted(networks, key=lambda one: -rights[one].mean()):
        worse = bool(found) and paired_drop(rights[found[0]], rights[one]).ci95_pp[0] > 0
        if not worse and len(found) < _MOST_TRAINED and not over(one):
            found.append(one)
    return found


def _price(
    space: Sequence[Architecture], trained: Sequence[Architecture], rights: dict[Architecture, Bools]
) -> Price | None:
    if not trained:
        return None
    best, ours = max(rights, key=lambda one: rights[one].mean()), rights[trained[0]]
    drop = paired_drop(rights[best], ours)
    lead = Lead(difference_pp=drop.drop_pp, ci95_pp=drop.ci95_pp, photos=len(ours))
    return Price(network=list(space).index(best), probe=lead)


def _record(one: Architecture, outcome: str, over: Over, rights: dict[Architecture, Bools]) -> SearchedNetwork:
    right = rights.get(one)
    return SearchedNetwork(
        **vars(one),
        outcome=outcome,  # type: ignore[arg-type]  # one of its values
        cost=over.cost(one),
        broken=over.measured.get(one, ()),
        probe=None if right is None else accuracy_of(int(right.sum()), len(right)),
    )
