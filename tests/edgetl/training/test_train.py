"""What training does to the weights: what is frozen stays, what is trained moves, the best are kept, seeds repeat."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import lively
import numpy as np
import pytest
import small
from PIL import Image

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES, WeightsRecord, blocks, build_base, resolve_weights
from edgetl.backbones.truncate import truncate
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.targets import TARGETS
from edgetl.quantization.variants import ModelForms, calibration_of, int8_variants, repaired
from edgetl.runs.directory import Run
from edgetl.runs.history import Epoch
from edgetl.synthetic import draw_dataset
from edgetl.training import TrainOptions, train
from edgetl.training.tail import kept_epoch, outcome
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import preprocess

pytestmark = pytest.mark.no_cover

# Where nothing is compared with ``tiny_run``, the smallest input and the first blocks will do.
QUICK_SIZE = 32
QUICK_BLOCKS = 6


def quick(**changes: Any) -> TrainOptions:
    short = {"size": QUICK_SIZE, "epochs": 1, "truncate": str(QUICK_BLOCKS), "trainable_blocks": 3}
    return small.options(**(short | changes))


@pytest.fixture(scope="module")
def few_photos(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for label in small.LABELS:
        (folder / label).mkdir()
        for path in sorted((tiny_photos / label).iterdir())[:7]:
            shutil.copy(path, folder / label)
    return folder


def base(size: int = QUICK_SIZE) -> Any:
    weights = resolve_weights("mobilenet_v2", width=1.0, request="auto")
    whole = build_base("mobilenet_v2", size=square(size), width=1.0, weights=weights)
    return truncate("mobilenet_v2", whole, str(QUICK_BLOCKS))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def changed_layers(run: Run) -> set[str]:
    """Return the layers of the base whose weights training changed."""
    model = run.load_model()
    before = base()
    return {
        layer.name
        for layer in before.layers
        if not same(layer.get_weights(), model.get_layer(layer.name).get_weights())
    }


def after(cut: str) -> set[str]:
    """Return the names of the layers with weights, BatchNorm aside, that come after a layer of the base."""
    model = base()
    tail = keras().Model(model.get_layer(cut).output, model.output)
    norm = keras().layers.BatchNormalization
    return {layer.name for layer in tail.layers if layer.weights and not isinstance(layer, norm)}


def equal_models(one: Run, other: Run) -> bool:
    return same(one.load_model().get_weights(), other.load_model().get_weights())


def test_blocks_before_the_cut_are_bit_identical_and_those_after_it_moved(few_photos: Path, tmp_path: Path) -> None:
    # Without validation photos the last epoch is kept, whatever it is worth.
    run = train(few_photos, tmp_path / "run", quick(trainable_blocks=2, val=0.0))
    model, before = run.load_model(), base()
    cut = blocks("mobilenet_v2", before)[-3].last_layer
    assert run.document.model.cut_layer == cut
    assert changed_layers(run) == after(cut)
    for layer in before.layers:
        if isinstance(layer, keras().layers.BatchNormalization):
            assert same(layer.get_weights(), model.get_layer(layer.name).get_weights()), layer.name


def test_no_trainable_blocks_leaves_the_whole_base(few_photos: Path, tmp_path: Path) -> None:
    run = train(few_photos, tmp_path / "run", quick(trainable_blocks=0, val=0.0))
    assert changed_layers(run) == set()
    history = (run.folder / "history.csv").read_text()
    assert "blocks" not in history
    assert "head" in history
    assert run.load_model().get_layer("logits").get_weights()[0].any()


def test_all_blocks_are_trained_but_not_batch_norm(few_photos: Path, tmp_path: Path) -> None:
    everything = len(blocks("mobilenet_v2", base()))
    run = train(few_photos, tmp_path / "run", quick(trainable_blocks=everything, val=0.0))
    assert run.document.model.cut_layer is None
    assert changed_layers(run) == {"Conv1", *after("Conv1")}


def test_too_many_blocks_are_refused(few_photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trainable_blocks=18: mobilenet_v2 has 17 blocks") as caught:
        train(few_photos, tmp_path / "run", quick(truncate=None, trainable_blocks=18))
    assert "mobilenet_v2 has 17 blocks" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_from_scratch_trains_batch_norm_too(few_photos: Path, tmp_path: Path) -> None:
    run = train(few_photos, tmp_path / "run", quick(weights="none", trainable_blocks=None, val=0.0))
    assert run.document.weights == WeightsRecord("none", None, None, "none")
    gamma, beta, mean, variance = run.load_model().get_layer("bn_Conv1").get_weights()
    assert (gamma != 1).any()
    assert (beta != 0).any()
    assert (mean != 0).any()
    assert (variance != 1).any()


@pytest.mark.usefixtures("fresh_cache")
def test_the_same_seed_gives_the_same_weights_with_nothing_cached(
    short_run: Run, tiny_photos: Path, tmp_path: Path
) -> None:
    again = train(tiny_photos, tmp_path / "again", small.short())
    assert equal_models(again, short_run)
    assert (again.folder / "model.keras").read_bytes() == (short_run.folder / "model.keras").read_bytes()
    assert again.samples == short_run.samples
    other = train(tiny_photos, tmp_path / "other", small.short(seed=1, epochs=0))
    assert other.samples != short_run.samples


@pytest.mark.slow
def test_the_seed_is_also_that_of_training(few_photos: Path, tmp_path: Path) -> None:
    split = small.split_in_folders(train(few_photos, tmp_path / "first", quick(val=0.2)), tmp_path / "split")
    one, other = (train(split, tmp_path / f"run-{seed}", quick(val=0.0, seed=seed)) for seed in (0, 1))
    assert one.samples == other.samples
    assert not equal_models(one, other)


@pytest.mark.slow
def test_weights_that_training_made_worse_are_not_kept(tiny_photos: Path, tmp_path: Path) -> None:
    run = train(tiny_photos, tmp_path / "run", quick(lr=1.0, patience=1, epochs=2))
    assert run.document.model.best_epoch == 0
    assert changed_layers(run) == set()
    head = train(tiny_photos, tmp_path / "head", quick(epochs=0))
    assert equal_models(run, head)
    epochs = [row for row in (run.folder / "history.csv").read_text().splitlines() if row.startswith("blocks")]
    assert len(epochs) == 2  # epoch 0 and the one that was worse: patience ended it there


def test_the_kept_epoch_is_the_latest_within_a_standard_error_of_the_lowest_loss(tiny_run: Run) -> None:
    with open(tiny_run.folder / "history.csv", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["stage"] == "blocks"]
    lowest = min(rows, key=lambda row: float(row["val_loss"]))
    bound = float(lowest["val_loss"]) + float(lowest["val_loss_se"])
    assert float(lowest["val_loss_se"]) > 0
    good = [int(row["epoch"]) for row in rows if float(row["val_loss"]) <= bound]
    assert tiny_run.document.model.best_epoch == good[-1]


@pytest.mark.parametrize(
    ("losses", "kept"),
    [([1.0, 0.9, 0.8], 2), ([1.0, 0.8, 0.85], 2), ([1.0, 0.8, 0.95], 1), ([0.8, 0.95, 0.84, 1.2], 2), ([0.5, 1, 1], 0)],
)
def test_an_epoch_that_is_not_clearly_worse_is_kept(losses: list[float], kept: int) -> None:
    rows = [Epoch(stage="blocks", epoch=epoch, val_loss=loss, val_loss_se=0.1) for epoch, loss in enumerate(losses)]
    assert kept_epoch(rows) == kept
    assert kept_epoch([Epoch(stage="blocks", epoch=row.epoch) for row in rows]) == rows[-1].epoch


@pytest.mark.parametrize(
    ("losses", "epochs", "said"),
    [
        ([1.0, 0.9, 0.8], 2, "trained for 2 epochs; epoch 2 is kept, validation loss 0.800, the lowest"),
        (
            [0.8, 0.95, 0.84, 1.2], 9,
            "stopped after epoch 3 of 9: no lower validation loss in 5 epochs; epoch 2 is kept, validation loss 0.840:"
            " the latest that cannot be told from the lowest, 0.800 in epoch 0, with so few photos (standard error"
            " 0.100)",
        ),
        (
            [None, None], 1,
            "trained for 1 epoch; the last epoch is kept, as there are no validation photos to choose by",
        ),
    ],
)  # fmt: skip
def test_why_training_ended_and_what_was_kept_is_said(losses: list[float | None], epochs: int, said: str) -> None:
    rows = [Epoch(stage="blocks", epoch=epoch, val_loss=loss, val_loss_se=0.1) for epoch, loss in enumerate(losses)]
    assert outcome(rows, epochs, 5) == said


def test_one_validation_photo_has_no_standard_error() -> None:
    rows = [Epoch(stage="blocks", epoch=epoch, val_loss=loss) for epoch, loss in enumerate([1.0, 0.8, 0.85])]
    assert kept_epoch(rows) == 1


def test_test_photos_decide_nothing_and_validation_photos_do(tiny_run: Run, tmp_path: Path) -> None:
    """Promise 4: with other test photos, under wrong labels too, the model is the same, bit by bit."""
    first = small.split_in_folders(tiny_run, tmp_path / "first")
    model = train(first, tmp_path / "run-1", quick())
    second = small.split_in_folders(tiny_run, tmp_path / "second")
    shutil.rmtree(second / "test")
    draw_dataset(tmp_path / "drawn", per_class=6, classes=small.LABELS, size=96, seed=9)
    for label, other in zip(small.LABELS, small.LABELS[1:] + small.LABELS[:1], strict=True):
        shutil.copytree(tmp_path / "drawn" / label, second / "test" / other)
    other = train(second, tmp_path / "run-2", quick())
    assert other.document.metrics["test"] != model.document.metrics["test"]
    assert equal_models(model, other)


@pytest.mark.slow
def test_class_weights_and_the_other_flags_are_taken(tiny_photos: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(tiny_photos, tmp_path / "photos"))
    for path in sorted((photos / "bolt").iterdir())[6:]:
        path.unlink()
    plain = train(photos, tmp_path / "plain", quick(epochs=0))
    weighed = train(photos, tmp_path / "weighed", quick(epochs=0, class_weights=True))
    assert not equal_models(plain, weighed)
    padded = train(photos, tmp_path / "padded", quick(epochs=0, fit="pad", augment="none"))
    assert padded.preprocess.fit == "pad"
    assert not equal_models(plain, padded)


def test_without_validation_the_test_split_is_reported_and_the_other_way_round(
    tiny_photos: Path, tmp_path: Path
) -> None:
    run = train(tiny_photos, tmp_path / "run", quick(epochs=0, test=0.0))
    assert set(run.document.metrics) == {"val"}
    assert run.held_out == "val"


# The first blocks that have every operator of each family; of MobileNetV3, the large one has all that the others have.
_FIRST_BLOCKS = {"mobilenet_v1": "4", "mobilenet_v3_large": "8", "efficientnet_lite0": "4"}


@pytest.mark.parametrize(
    ("name", "truncate"),
    [
        *(one for one in _FIRST_BLOCKS.items() if one[0] != "mobilenet_v3_large"),
        pytest.param("mobilenet_v3_large", _FIRST_BLOCKS["mobilenet_v3_large"], marks=pytest.mark.slow),
        *(pytest.param(name, None, marks=pytest.mark.slow) for name in BACKBONES if name != "mobilenet_v2"),
    ],
)
def test_every_backbone_from_photos_to_int8(name: str, truncate: str | None, few_photos: Path, tmp_path: Path) -> None:
    form = {"backbone": name, "width": BACKBONES[name].widths[0], "weights": "none", "truncate": truncate}
    run = train(
        few_photos,
        tmp_path / "run",
        quick(**form, trainable_blocks=None, augment="none", size=max(64, BACKBONES[name].min_size)),
    )
    assert run.document.config.backbone == name
    model = run.load_model()
    calibration = calibration_of(run, QuantizeOptions(int8=True, calibration=6))
    (int8,) = int8_variants(repaired(ModelForms(model, calibration), TARGETS["generic"]), run, calibration, ("int8",))
    pixels = np.stack([preprocess(run.data_root / one.path, run.preprocess) for one in run.of("test")])
    expected = model.predict(pixels.astype(np.float32), verbose=0)
    assert np.abs(lively.run(int8.data, "tflite", pixels) - expected).max() < 0.15


@pytest.mark.parametrize(
    ("photos", "settings", "epochs", "views"),
    [
        (45, {}, 16, 4),
        (500, {}, 16, 4),
        (1000, {}, 8, 2),
        (100_000, {}, 8, 2),
        (1000, {"strategy": "scratch", "weights": "none"}, 60, 4),
        (45, {"epochs": 1}, 1, 1),
        (45, {"epochs": 0}, 0, 1),
        (45, {"epochs": 1, "views": 7}, 1, 7),
        (45, {"views": 0}, 16, 0),
    ],
)
def test_more_photos_take_fewer_epochs_and_views(
    photos: int, settings: dict[str, object], epochs: int, views: int
) -> None:
    plan = small.plan(photos=photos, **settings)
    assert (plan.epochs, plan.views) == (epochs, views)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": -1}, "epochs=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lr": 0.0}, "lr=0"),
        ({"lr": 2.0}, "lr=2"),
        ({"label_smoothing": 1.0}, "label_smoothing=1"),
        ({"val": 0.6, "test": 0.5}, "val=0.6 and test=0.5"),
        ({"seed": -1}, "seed=-1"),
        ({"depth_range": "4095"}, "depth_range='4095'"),
        ({"depth_range": "9..3"}, "depth_range='9..3'"),
        ({"depth_range": "0..70000"}, "depth_range='0..70000'"),
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        TrainOptions(**wrong)


def test_a_run_keeps_the_range_of_its_16_bit_greys(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label, level in (("dark", 600), ("light", 3000)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(12):
            values = (level + random.uniform(-500, 1000, (64, 64))).astype(np.uint16)
            Image.fromarray(values).save(tmp_path / "photos" / label / f"{number}.png")
    run = train(tmp_path / "photos", tmp_path / "run", quick(epochs=0, trainable_blocks=0, depth_range="auto"))
    low, high = json.loads((run.folder / "run.json").read_text())["preprocess"]["depth_range"]
    assert 100 <= low <= 110
    assert 3990 <= high <= 4000
    assert run.preprocess.depth_range == (low, high)
    assert run.document.dataset.preprocess == run.preprocess


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"backbone": "resnet"}, "mobilenet_v3_large"),
        ({"width": 0.9}, "1.4"),
        ({"size": 16}, "16"),
        ({"fit": "guess"}, "guess"),
        ({"augment": "wild"}, "strong"),
        ({"weights": "nowhere.h5"}, "nowhere.h5"),
        ({"on_conflict": "guess"}, "on_conflict"),
    ],
)
def test_requests_that_cannot_be_met_leave_no_run(
    tiny_photos: Path, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        train(tiny_photos, tmp_path / "run", small.options(**wrong))
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_replaced_only_when_asked(tiny_run: Run, tiny_photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    (folder / "bundle").mkdir()
    with pytest.raises(InputError, match="--overwrite"):
        train(tiny_photos, folder, small.options())
    train(tiny_photos, folder, quick(epochs=0), overwrite=True)
    assert json.loads((folder / "run.json").read_text())["config"]["epochs"] == 0
    assert not (folder / "bundle").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="is not a run"):
        train(tiny_photos, tmp_path / "mine", small.options(), overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert small.left_over(tmp_path) == []
