"""What ``--strategy``, ``--trainable-blocks``, ``--truncate`` and ``--weights`` mean together."""

from __future__ import annotations

from typing import Any

import pytest
import small

from edgetl.backbones import BACKBONES
from edgetl.training import TrainOptions
from edgetl.training.plan import check_request
from edgetl.training.start import start_of
from edgetl.training.strategy import STRATEGIES, TrainedLayers, check_strategy, resolve_strategy
from edgetl_device.errors import InputError


def resolved(strategy: str | None = None, blocks: int = 17, **changes: Any) -> TrainedLayers:
    request = {"trainable_blocks": None, "weights": "auto", "backbone": "mobilenet_v2"} | changes
    check_strategy(strategy, truncate=None, **request)
    return resolve_strategy(strategy, blocks=blocks, **request)


@pytest.mark.parametrize(
    ("request_", "plan"),
    [
        ({}, ("blocks", 6, "auto")),
        ({"trainable_blocks": 3}, ("blocks", 3, "auto")),
        ({"trainable_blocks": 17}, ("blocks", 17, "auto")),
        ({"trainable_blocks": 0}, ("head", 0, "auto")),
        ({"weights": "none"}, ("scratch", 17, "none")),
        ({"strategy": "head"}, ("head", 0, "auto")),
        ({"strategy": "head", "trainable_blocks": 0}, ("head", 0, "auto")),
        ({"strategy": "blocks"}, ("blocks", 6, "auto")),
        ({"strategy": "blocks", "trainable_blocks": 9, "weights": "my.h5"}, ("blocks", 9, "my.h5")),
        ({"strategy": "all", "weights": "imagenet"}, ("all", 17, "imagenet")),
        ({"strategy": "scratch"}, ("scratch", 17, "none")),
        ({"strategy": "scratch", "weights": "none"}, ("scratch", 17, "none")),
    ],
)
def test_what_a_request_means(request_: dict[str, Any], plan: tuple[Any, ...]) -> None:
    found = resolved(**request_)
    assert (found.strategy, found.trainable_blocks, found.weights) == plan
    assert found.note == ""


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("blocks", [2, 17])
def test_a_resolved_request_means_the_same_again(strategy: str, blocks: int) -> None:
    once = resolved(strategy, blocks)
    again = resolved(once.strategy, blocks, trainable_blocks=once.trainable_blocks, weights=once.weights)
    assert (again.strategy, again.trainable_blocks, again.weights) == (
        once.strategy,
        once.trainable_blocks,
        once.weights,
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_the_default_fits_every_backbone_and_says_when_it_is_another(name: str) -> None:
    count = BACKBONES[name].block_count
    plan = resolved(blocks=count, backbone=name)
    assert plan.trainable_blocks == min(6, count - 1)
    assert plan.strategy == ("head" if count == 1 else "blocks")
    assert (name in plan.note) == (count < 7)
    with pytest.raises(InputError, match=f"{name} has {count} blocks"):
        resolved(blocks=count, backbone=name, trainable_blocks=count + 1)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"strategy": "head", "trainable_blocks": 4}, "strategy='head' with trainable_blocks=4"),
        ({"strategy": "blocks", "trainable_blocks": 0}, "that is the strategy head"),
        ({"strategy": "all", "trainable_blocks": 4}, "that trains all 17 blocks"),
        ({"strategy": "scratch", "trainable_blocks": 4}, "that trains all 17 blocks"),
        ({"weights": "none", "trainable_blocks": 4}, "weights='none' with trainable_blocks=4"),
        ({"strategy": "scratch", "weights": "my.h5"}, "random weights"),
        ({"strategy": "head", "weights": "none"}, "weights='none'"),
        ({"strategy": "blocks", "weights": "none"}, "weights='none'"),
        ({"strategy": "all", "weights": "none"}, "weights='none'"),
        ({"strategy": "auto", "weights": "none"}, "pretrained"),
        ({"strategy": "auto", "trainable_blocks": 4}, "auto chooses"),
        ({"strategy": "blocks", "backbone": "auto"}, "strategy='auto'"),
    ],
)
def test_contradictions_are_refused(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        resolved(**request_)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "best"}, "strategy='best': must be one of head, blocks, all, scratch, auto"),
        ({"strategy": "auto", "truncate": "block_3"}, "truncate='block_3'"),
        ({"strategy": "auto", "backbone": "auto", "width": 0.5}, "backbone='auto'"),
        ({"strategy": "auto", "backbone": "auto", "weights": "imagenet"}, "backbone='auto'"),
        ({"trainable_blocks": 18}, "mobilenet_v2 has 17 blocks"),
    ],
)
def test_they_are_refused_before_photos_are_read(settings: dict[str, Any], said: str) -> None:
    def request() -> None:
        options = TrainOptions(**settings)
        check_request(options, start_of(options))

    with pytest.raises(InputError, match=said):
        request()


def test_all_layers_and_random_weights_have_rates_and_smoothing_of_their_own() -> None:
    rates = {strategy: small.plan(strategy=strategy).lr for strategy in STRATEGIES}
    assert rates["all"] < rates["blocks"] < rates["scratch"]
    assert small.plan().lr == rates["blocks"] == 3e-4
    assert rates["all"] < small.plan(strategy="all", truncate="block_9").lr
    assert small.plan(strategy="blocks", truncate="block_9").lr == rates["blocks"]
    assert small.plan(strategy="all", lr=0.5).lr == 0.5
    smoothing = {one: small.plan(strategy=one).label_smoothing for one in STRATEGIES}
    assert smoothing == {"head": 0, "blocks": 0, "all": 0.1, "scratch": 0.1}
    assert small.plan(strategy="all", label_smoothing=0).label_smoothing == 0
    epochs = {one: small.plan(strategy=one).epochs for one in STRATEGIES}
    assert epochs == {"head": 16, "blocks": 16, "all": 48, "scratch": 60}
