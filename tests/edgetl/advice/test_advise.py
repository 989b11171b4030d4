"""``edgetl advise``: probes without leaks, the rules, and training by the advice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from bases import NONE
from typer.testing import CliRunner

from edgetl._lib.extras import keras
from edgetl.advice import advise, embedded_backbones
from edgetl.advice.depths import Depth, depths_of
from edgetl.advice.probes import folds_of, probe_all
from edgetl.advice.rules import FEW_A_CLASS, MANY_A_CLASS, Photos, Probed, Recommendation, choose, recommend
from edgetl.backbones import build_base, resolve_weights
from edgetl.cli import app
from edgetl.data import Dataset, load_dataset, stratified_rows
from edgetl.features import frozen_base
from edgetl.runs.directory import Run
from edgetl.synthetic import draw_dataset
from edgetl.training import train
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.jsonfile import read_json
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

SIZE = 64


@pytest.fixture(scope="module")
def dataset(tiny_photos: Path) -> Dataset:
    return load_dataset(tiny_photos, Preprocess(size=square(SIZE)))


# Probes


def test_a_probe_finds_what_is_there_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(3), 40)
    noise = random.normal(size=(120, 50)).astype(np.float32)
    signal = noise + np.eye(50, dtype=np.float32)[targets] * 9
    folds = folds_of(targets, [str(place) for place in range(120)], seed=0)
    found, lost = probe_all([signal, noise], targets, folds, name="drawn")
    assert found.mean() > 0.97
    # With far more features than photos, fitted photos are always right, held-out ones only by chance.
    assert 0.2 < lost.mean() < 0.5


def test_identical_photos_are_never_on_both_sides() -> None:
    targets = np.repeat(np.arange(2), 30)
    groups = [str(place // 3) for place in range(60)]
    folds = folds_of(targets, groups, seed=1)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(60))
    for training, held_out in folds:
        assert not {groups[place] for place in training} & {groups[place] for place in held_out}
        assert sorted([*training, *held_out]) == list(range(60))
        assert np.ptp(np.bincount(targets[held_out])) == 0


def test_copies_do_not_make_a_probe_look_good() -> None:
    random = np.random.default_rng(3)
    features_ = np.repeat(random.normal(size=(40, 200)).astype(np.float32), 2, axis=0)
    targets = np.repeat(np.arange(40) % 2, 2)
    known = [str(place // 2) for place in range(80)]
    (honest,) = probe_all([features_], targets, folds_of(targets, known, seed=0), name="copies")
    (fooled,) = probe_all([features_], targets, folds_of(targets, [str(i) for i in range(80)], seed=0), name="copies")
    assert honest.mean() < 0.65 < 0.8 < fooled.mean()


def test_few_photos_are_probed_with_fewer_folds_or_refused() -> None:
    assert len(folds_of(np.array([0, 0, 0, 1, 1, 1]), list("abcdef"), seed=0)) == 3
    with pytest.raises(InputError, match="too few photos"):
        folds_of(np.array([0, 0, 1]), list("aab"), seed=0)


def test_a_sample_keeps_the_shares_of_the_classes() -> None:
    targets = np.repeat(np.arange(3), (600, 300, 100))
    taken = stratified_rows(targets, 100, seed=0)
    assert len(set(taken)) == 100
    assert np.abs(np.bincount(targets[taken]) - [60, 30, 10]).max() <= 1
    np.testing.assert_array_equal(stratified_rows(targets, 1000, seed=0), np.arange(1000))


# Depths


def test_one_pass_gives_the_pooled_features_of_every_depth(dataset: Dataset) -> None:
    weights = resolve_weights("mobilenet_v2", width=1.0, request="auto")
    base = build_base("mobilenet_v2", size=square(SIZE), width=1.0, weights=weights)
    depths = depths_of("mobilenet_v2", base, classes=3)
    assert [depth.block for depth in depths] == [*(f"block_{number}" for number in range(17)), None]
    rows = np.array([5, 2, 7])
    frozen = frozen_base.freeze_depths(base, [depth.layer for depth in depths])
    found = frozen_base.row_activations(frozen, dataset.pixels, rows).pooled
    outputs = [base.get_layer(depth.layer).output for depth in depths]
    expected = keras().Model(base.input, outputs)(dataset.pixels.array[rows].astype(np.float32), training=False)
    pooled = np.concatenate([np.asarray(one).mean((1, 2)) for one in expected], axis=1)
    assert found.shape == pooled.shape
    assert np.abs(found - pooled).max() < 1e-3 * np.abs(pooled).max()


def test_the_end_of_a_base_is_listed_once() -> None:
    base = build_base("mobilenet_v1", size=square(SIZE), width=0.25, weights=NONE)
    depths = depths_of("mobilenet_v1", base, classes=3)
    assert [depth.block for depth in depths] == [*(f"block_{number}" for number in range(1, 13)), None]
    assert depths[-1].blocks == 13


# Rules


def probed(*shares: float, photos: int = 1000) -> list[Probed]:
    """Return depths whose probes get these shares right, from the first photo on; each costs more than the last."""
    found = []
    for place, share in enumerate(shares, 1):
        block = None if place == len(shares) else f"block_{place}"
        depth = Depth(block, place, f"layer_{place}", 8, 1000 * place, 1000 * place, 1000 * place)
        found.append(Probed(depth, np.arange(photos) < share * photos))
    return found


def about(fewest: int = MANY_A_CLASS - 1, **changes: int) -> Photos:
    return Photos(**({"count": 1000, "fewest": fewest, "classes": 10, "side": 500, "size": square(160)} | changes))


def advised(probes: list[Probed], photos: Photos, *, pretrained: bool = True) -> Recommendation:
    return recommend("mobilenet_v2", probes, photos, pretrained=pretrained)


LATE = probed(0.4, 0.6, 0.8, 0.85)
EARLY = probed(0.4, 0.88, 0.90, 0.7)


@pytest.mark.parametrize(
    ("probes", "photos", "strategy", "truncate", "said"),
    [
        (LATE, about(), "blocks", None, "fit the photos"),
        (LATE, about(FEW_A_CLASS - 1), "head", None, "overfit"),
        (LATE, about(MANY_A_CLASS), "all", None, "every layer"),
        (probed(0.5, 0.9, 0.995), about(), "head", None, "hardly anything"),
        (EARLY, about(), "all", "block_3", "the whole base, 70.0% (95% CI 67.1 to 72.8), by 20.0 pp (95% CI "),
        (EARLY, about(FEW_A_CLASS - 1), "head", "block_3", "few"),
        (probed(0.4, 0.895, 0.90, 0.7), about(), "all", "block_2", "50% of the multiply-adds"),
        # A lead that chance explains does not count: with 30 photos, or the best of 40 depths.
        (probed(0.4, 0.88, 0.90, 0.8, photos=30), about(), "blocks", None, "fit the photos"),
        (probed(*[0.1] * 40, 0.706, 0.7, photos=1000), about(), "blocks", None, "fit the photos"),
    ],
)
def test_what_follows_from_probes(
    probes: list[Probed], photos: Photos, strategy: str, truncate: str | None, said: str
) -> None:
    found = advised(probes, photos)
    assert (found.strategy, found.truncate) == (strategy, truncate)
    assert said in " / ".join(found.reasons)


def test_more_depths_ask_for_a_larger_lead() -> None:
    few, many = probed(0.716, 0.70), probed(*[0.1] * 2000, 0.716, 0.70)
    assert advised(few, about()).truncate == "block_1"
    assert advised(many, about()).truncate is None


def test_without_weights_everything_is_trained_from_scratch() -> None:
    assert advised(EARLY, about(), pretrained=False).strategy == "scratch"


def test_small_photos_and_smaller_networks_are_mentioned() -> None:
    said = advised(probed(0.4, 0.845, 0.85), about(side=28)).reasons
    assert any("28 px, enlarged to 160 px" in one for one in said)
    assert any("--truncate block_2 probes -0.5 pp" in one and "67% of the multiply-adds" in one for one in said)
    assert len(advised(probed(0.4, 0.5, 0.85), about()).reasons) == 2
    # A few photos are not enough to tell.
    assert len(advised(probed(0.85, 0.85, 0.85, photos=20), about()).reasons) == 2


def test_a_costlier_backbone_has_to_be_surely_better() -> None:
    def pair(name: str, probes: list[Probed]) -> tuple[Recommendation, list[Probed]]:
        return recommend(name, probes, about(), pretrained=True), probes

    cheap = pair("cheap", probed(0.5, 0.8))
    assert choose([cheap]).title == "the head, then the last blocks"
    costly = pair("costly", probed(0.4, 0.5, 0.801))
    assert choose([costly, cheap]).backbone == "cheap"
    better = pair("better", probed(0.4, 0.5, 0.85))
    chosen = choose([cheap, better])
    assert chosen.backbone == "better"
    assert "significantly better, at 1.5 times the multiply-adds" in chosen.reasons[-1]


# The command, and training


def test_advice_on_photos(dataset: Dataset) -> None:
    advice = to_json(advise(dataset, backbones=embedded_backbones()).document)
    assert [one["name"] for one in advice["backbones"]] == ["mobilenet_v2", "efficientnet_lite0", "efficientnet_lite1"]
    assert advice["photos"]["count"] == advice["photos"]["probed"] == len(dataset.of("train"))
    assert advice["recommendation"]["strategy"] == "blocks"
    for one in advice["backbones"]:
        depths = one["depths"]
        assert depths[0]["accuracy"]["photos"] == len(dataset.of("train"))
        assert [row["multiply_adds"] for row in depths] == sorted(row["multiply_adds"] for row in depths)
        for row in depths:
            low, high = row["accuracy"]["ci95"]
            assert low <= row["accuracy"]["top1"] <= high


def test_only_training_photos_are_looked_at(tiny_run: Run, tmp_path: Path) -> None:
    folder = small.split_in_folders(tiny_run, tmp_path / "photos")
    spec = Preprocess(size=square(SIZE))
    before = to_json(advise(load_dataset(folder, spec), backbones=["mobilenet_v2"]).document)
    for seed, split in ((8, "val"), (9, "test")):
        shutil.rmtree(folder / split)
        drawn = draw_dataset(tmp_path / split, per_class=4, classes=small.LABELS, size=96, seed=seed)
        for label, other in zip(small.LABELS, small.LABELS[1:] + small.LABELS[:1], strict=True):
            shutil.copytree(drawn / label, folder / split / other)
    assert to_json(advise(load_dataset(folder, spec), backbones=["mobilenet_v2"]).document) == before


def test_the_command_prints_a_table_json_and_a_picture(tiny_photos: Path, tmp_path: Path) -> None:
    picture = tmp_path / "depth.png"
    flags = ("advise", tiny_photos, "--size", SIZE)
    done = small.edgetl(*flags, "--plot", picture)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    lines = done.stdout.splitlines()
    for word in ("block_0", "block_16", "whole"):
        assert sum(line.split()[:1] == [word] for line in lines) == 1
    assert "at least 8 per class; no other photos were used" in done.stdout
    assert lines[-1] == (
        f"next         edgetl train {tiny_photos} --backbone mobilenet_v2 --strategy blocks --size {SIZE}"
    )


def test_the_command_prints_json(dataset: Dataset) -> None:
    done = CliRunner().invoke(app, ["advise", str(dataset.root), "--size", str(SIZE), "--json"])
    document = json.loads(done.stdout)
    assert document["schema"] == "edgetl.advice/1"
    assert document["recommendation"]["flags"] == "--backbone mobilenet_v2 --strategy blocks"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--backbone", "vgg"), "unknown backbone"),
        (("--weights", "none"), "random features"),
        (("--size", 16), "too small"),
        (("--weights", "nowhere.h5"), "nowhere.h5"),
    ],
)
def test_what_cannot_be_advised_is_refused(tiny_photos: Path, flags: tuple[Any, ...], said: str) -> None:
    assert said in small.refused(small.edgetl("advise", tiny_photos, *flags))


@pytest.mark.slow
def test_auto_trains_what_is_recommended_beside_a_baseline(
    tiny_photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = small.options(size=SIZE, strategy="auto", backbone="auto", compare_baseline=True)
    document = to_json(train(tiny_photos, tmp_path / "run", wanted).document)
    decided = document["strategy"]
    advice = decided["advice"]["recommendation"]
    assert decided["asked"] == "auto"
    assert decided["reasons"] == advice["reasons"]
    assert (document["config"]["strategy"], document["config"]["trainable_blocks"]) == ("blocks", 6)
    assert document["config"]["backbone"] == advice["backbone"] in embedded_backbones()
    said = capfd.readouterr().err
    assert f"strategy auto: {advice['title']}" in said

    baseline = document["baseline"]
    assert (baseline["backbone"], baseline["parameters"]) == ("simple_cnn", 15_643)
    for split, metrics in document["metrics"].items():
        assert baseline["metrics"][split].keys() == metrics.keys()
        assert baseline["metrics"][split]["accuracy"]["photos"] == metrics["accuracy"]["photos"]
        shown = [row["photos"] for row in baseline["metrics"][split]["per_class"]]
        assert shown == [row["photos"] for row in metrics["per_class"]]
    assert small.left_over(tmp_path) == []
    assert said.count("Reading photos") == 1


def test_a_plain_run_says_what_it_trained(tiny_run: Run) -> None:
    document = read_json(tiny_run.folder / "run.json", "edgetl.run/2")
    assert document["strategy"] == {"asked": None, "reasons": [], "truncated": None}
    assert (document["config"]["strategy"], document["config"]["trainable_blocks"]) == ("blocks", 6)
    assert "baseline" not in document
