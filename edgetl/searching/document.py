"""The document of a search, ``search.json``: what was asked, every network and trial, the winner and its price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from edgetl_device._lib.documents import (
    Count,
    Interval,
    Milliseconds,
    Named,
    Percentage,
    Positive,
    Seconds,
    Sha256,
    Text,
    Unknown,
    optional,
)
from edgetl_device.scores import Accuracy

State = Literal["planning", "training", "interrupted", "no model fits", "finished"]


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What was asked; a search is continued only with the same.

    Attributes:
        data: Name of the data set.
        fingerprint: Hash of every photo's path, label, split and content.
        budget: Bounds that the int8 model must keep.
        seed: Seed of the splits, of sampling and of training.
        backbones: Backbones to search; empty for all whose weights are at hand.
        sizes: Input sizes in pixels.
        depths: Number of shorter networks of each backbone.
        epochs: Epochs of a trial that is not ended; null for the default of ``edgetl train``.
        fit: How photos are fitted to the input; null for the default of ``edgetl train``.
        on_board: Whether models were measured on a board over SSH, not on the searching machine.
    """

    data: Text
    fingerprint: Sha256
    budget: tuple[Text, ...]
    seed: Count
    backbones: tuple[Text, ...]
    sizes: tuple[Positive, ...]
    depths: Count
    epochs: Positive | None
    fit: str | None
    on_board: bool


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an int8 model costs.

    Attributes:
        p50_ms: Median time of one inference.
        p95_ms: 95th percentile.
        bytes: Size of the model file.
        peak_rss_bytes: Peak memory of a process with this model alone.
        verdict: Verdict of the bench on the times.
        source: How the times are known: a bench of the model itself, or of the same network with random weights.
    """

    p50_ms: Milliseconds | Unknown
    p95_ms: Milliseconds | Unknown
    bytes: Positive
    peak_rss_bytes: Positive | Unknown
    verdict: Literal["valid", "degraded", "invalid"]
    source: Literal["measured", "measured with random weights"]


@dataclass(frozen=True, kw_only=True)
class SearchedNetwork:
    """A network of the space.

    Attributes:
        backbone: Name of the backbone.
        width: Its width multiplier.
        size: Input height and width in pixels.
        truncate: Name of the last block that is kept; null for the whole backbone.
        blocks: Number of blocks that are kept.
        int8_bytes: Estimated size of its int8 file.
        multiply_adds: Multiply-adds per photo.
        outcome: ``trained`` in trials; left out because a linear ``probe`` on frozen features was worse, because the
            same network fits with a ``larger input``, or because it is ``over budget``, by measurement or because a
            part of it is.
        cost: Its measured cost; null if it was not measured.
        broken: Bounds that it does not keep.
        probe: Accuracy of a linear probe, cross-validated on training photos; null if it was not probed.
    """

    backbone: Text
    width: float
    size: Positive
    truncate: str | None
    blocks: Count
    int8_bytes: Positive
    multiply_adds: Positive
    outcome: Literal["trained", "probe", "larger input", "over budget"]
    cost: Cost | None
    broken: tuple[str, ...]
    probe: Accuracy | None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration that was trained.

    Attributes:
        number: Its number, from 0; its run is in ``trials/``.
        network: Its place in the list of networks.
        trainable_blocks: Number of last blocks that were trained.
        augment: Augmentation preset.
        lr: Peak learning rate.
        state: ``trained`` to its end, ``ended`` early by successive halving, ``failed`` because it diverged, or
            ``running``.
        epochs: Epochs so far.
        val_loss: Lowest validation loss so far; null before the first epoch.
        val: Accuracy of its float model on the validation photos; null unless trained.
        flags: The options of ``edgetl train`` that train it.
        rejected: Why its bundle is not the winner although no better one is left; empty if that was not tried.
    """

    number: Count
    network: Count
    trainable_blocks: Count
    augment: Text
    lr: float
    state: Literal["trained", "ended", "failed", "running"]
    epochs: Count
    val_loss: float | None
    val: Accuracy | None
    flags: str
    rejected: str


@dataclass(frozen=True, kw_only=True)
class FinalModel:
    """An int8 model that was trained on all training photos, and scored once on the test photos.

    Attributes:
        name: The network in words.
        trial: Number of its trial; null for the baseline.
        flags: The options of ``edgetl train``.
        test: Accuracy of the int8 model on the test photos.
        drop_pp: Accuracy lost from float to int8 on the validation photos, percentage points; null for the baseline.
        cost: Its cost, measured with the finished file.
        energy_mj: Energy of one inference in millijoules; unknown without a sensor.
    """

    name: Text
    trial: Count | None
    flags: str
    test: Accuracy
    drop_pp: Percentage | None
    cost: Cost
    energy_mj: float | Unknown


@dataclass(frozen=True, kw_only=True)
class Lead:
    """A difference in accuracy on the same photos.

    Attributes:
        difference_pp: In percentage points.
        ci95_pp: Its 95% interval for matched pairs.
        photos: Number of photos.
    """

    difference_pp: Percentage
    ci95_pp: Interval
    photos: Positive


@dataclass(frozen=True, kw_only=True)
class Price:
    """What the budget costs in accuracy: the best probe of any network minus that of the networks that fit.

    Attributes:
        network: Place of the best network without a budget in the list of networks.
        probe: By how much its probe is better than the best of those that fit.
    """

    network: Count
    probe: Lead


@dataclass(frozen=True, kw_only=True)
class SearchDocument:
    """A search for the best model under a budget.

    Attributes:
        producer: The program that wrote it.
        state: How far it came; ``interrupted`` and unfinished ones are continued by the same command.
        request: What was asked.
        machine: The machine that models were measured on: board or CPU.
        networks: All networks of the space.
        trials: All trials.
        price: What the budget costs; null before the probes.
        winner: The best model that keeps the budget; null before it is found, and if there is none.
        baseline: What ``edgetl train`` makes of the photos by default.
        against_baseline: Test accuracy of the winner minus that of the baseline, both int8.
        conclusion: The result in a sentence; empty before the end.
        seconds: Time spent by all processes of the search.
    """

    SCHEMA: ClassVar[str] = "edgetl.search/1"

    producer: Named
    state: State
    request: SearchRequest
    machine: str
    networks: tuple[SearchedNetwork, ...]
    trials: tuple[Trial, ...]
    price: Price | None
    winner: FinalModel | None
    baseline: FinalModel | None
    against_baseline: Lead | None
    conclusion: str
    seconds: Seconds = optional(0.0)
