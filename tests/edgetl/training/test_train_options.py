"""Optimizers, precision, the third stage, a teacher, TensorBoard: what each option does to a small run."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from PIL import Image

from edgetl._lib.extras import tensorflow
from edgetl.backbones import build_base, resolve_weights
from edgetl.data.pixels import decode_files
from edgetl.runs.directory import Run
from edgetl.synthetic import draw_dataset
from edgetl.training import TrainOptions, train
from edgetl.training.teacher import teacher_targets
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

pytestmark = pytest.mark.no_cover


def quick(**changes: Any) -> TrainOptions:
    return small.options(**({"size": 32, "epochs": 1, "truncate": "4", "trainable_blocks": 1} | changes))


@pytest.fixture(scope="module")
def plain(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without any option, and without validation: the last epoch is kept."""
    return train(tiny_photos, tmp_path_factory.mktemp("plain") / "run", quick(val=0.0))


def logits_kernel(run: Run) -> np.ndarray:
    return run.load_model().get_layer("logits").get_weights()[0]


def rows(run: Run, stage: str) -> list[dict[str, str]]:
    with open(run.folder / "history.csv", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["stage"] == stage]


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd"},
        *(
            pytest.param(change, marks=pytest.mark.slow)
            for change in (
                {"weight_decay": 0.5},
                {"schedule": "constant"},
                {"warmup": 0.5},
                {"ema": False},
                {"precision": "mixed_bfloat16"},
            )
        ),
        {"precision": "mixed_float16"},
    ],
    ids=lambda change: "-".join(map(str, *change.items())),
)
def test_each_option_changes_training_and_not_the_kind_of_model(
    tiny_photos: Path, plain: Run, tmp_path: Path, change: dict[str, Any]
) -> None:
    run = train(tiny_photos, tmp_path / "run", quick(val=0.0, **change))
    kernel = logits_kernel(run)
    assert np.isfinite(kernel).all()
    assert not np.array_equal(kernel, logits_kernel(plain))
    model = run.load_model()
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {weight.dtype for weight in model.weights} == {"float32"}


@pytest.mark.slow
def test_adam_is_adamw_without_decay(tiny_photos: Path, plain: Run, tmp_path: Path) -> None:
    run = train(tiny_photos, tmp_path / "run", quick(val=0.0, optimizer="adam"))
    np.testing.assert_array_equal(logits_kernel(run), logits_kernel(plain))


@pytest.mark.slow
def test_a_constant_rate_stays_at_its_peak(tiny_photos: Path, tmp_path: Path) -> None:
    run = train(tiny_photos, tmp_path / "run", quick(schedule="constant", epochs=3, patience=3, lr=0.002))
    assert [float(row["lr"]) for row in rows(run, "blocks")[1:]] == pytest.approx([0.002] * 3)


@pytest.mark.slow
def test_the_third_stage_moves_early_layers_and_is_kept_only_when_it_helps(tiny_photos: Path, tmp_path: Path) -> None:
    weights = resolve_weights("mobilenet_v2", width=1.0, request="auto")
    first = build_base("mobilenet_v2", size=square(32), width=1.0, weights=weights).get_layer("Conv1").get_weights()[0]
    moved = train(tiny_photos, tmp_path / "moved", quick(val=0.0, finetune_epochs=1))
    assert not np.array_equal(moved.load_model().get_layer("Conv1").get_weights()[0], first)
    assert [row["epoch"] for row in rows(moved, "finetune")] == ["0", "1"]
    # A tenth of the second stage's rate, at the end of its schedule.
    assert float(rows(moved, "finetune")[-1]["lr"]) == pytest.approx(float(rows(moved, "blocks")[-1]["lr"]) / 10)

    harmful = train(tiny_photos, tmp_path / "harmful", quick(finetune_epochs=1, finetune_lr=1.0))
    assert float(rows(harmful, "finetune")[1]["val_loss"]) > float(rows(harmful, "finetune")[0]["val_loss"])
    np.testing.assert_array_equal(harmful.load_model().get_layer("Conv1").get_weights()[0], first)


@pytest.mark.slow
def test_a_student_learns_from_a_teacher_of_another_size(tiny_photos: Path, tiny_run: Run, tmp_path: Path) -> None:
    student = train(tiny_photos, tmp_path / "student", quick(teacher=str(tiny_run.folder), teacher_weight=1.0))
    alone = train(tiny_photos, tmp_path / "alone", quick())
    assert student.document.teacher.sha256 == tiny_run.document.model.sha256
    assert student.document.teacher.size == square(small.SIZE)
    assert rows(student, "blocks")[1]["loss"] != rows(alone, "blocks")[1]["loss"]


def test_a_teacher_sees_photos_and_views_in_its_own_size(tiny_photos: Path, tiny_run: Run) -> None:
    from edgetl.data import load_dataset
    from edgetl_device.preprocess import Preprocess

    dataset = load_dataset(tiny_photos, Preprocess(size=square(32)))
    targets = teacher_targets(tiny_run, dataset, quick(views=2, teacher_temperature=1.0), views=2)
    samples = dataset.of("train")
    # Its own model on its own pixels, by Keras.
    files = {sample.sha256: tiny_photos / sample.path for sample in samples}
    pixels = decode_files(files, tiny_run.preprocess)
    inputs = pixels.array[pixels.rows(samples)].astype(np.float32)
    expected = tiny_run.load_model().predict(inputs, verbose=0)
    np.testing.assert_allclose(targets.photos, expected, atol=1e-3)
    assert len(targets.views) == 2
    for view in targets.views:
        np.testing.assert_allclose(view.sum(axis=1), 1, atol=1e-5)
        # A view is the same photo: mostly the same answer, but not the same numbers.
        assert (view.argmax(1) == expected.argmax(1)).mean() > 0.6
        assert not np.allclose(view, expected, atol=1e-3)


def test_views_at_two_sizes_are_the_same_views(tiny_photos: Path) -> None:
    from edgetl.features.augment import augmenter

    photos = [Image.open(path).convert("RGB") for path in sorted((tiny_photos / "gear").iterdir())[:6]]
    drawn = {}
    for size in (48, 96):
        batch = np.stack([np.asarray(photo.resize((size, size), Image.Resampling.BOX)) for photo in photos])
        drawn[size] = augmenter("standard", size=square(size), seed=5)(batch)
    for one, other in zip(drawn[96], drawn[48], strict=True):
        shrunk = np.asarray(Image.fromarray(one).resize((48, 48), Image.Resampling.BOX), np.float32)
        assert np.corrcoef(shrunk.ravel(), other.astype(np.float32).ravel())[0, 1] > 0.95


def test_teachers_that_cannot_teach_are_refused(tiny_photos: Path, tiny_run: Run, tmp_path: Path) -> None:
    teacher = str(tiny_run.folder)
    with pytest.raises(InputError, match=r"was trained on .* photos that are held out here"):
        train(tiny_photos, tmp_path / "run", quick(teacher=teacher, seed=1))
    draw_dataset(tmp_path / "drawn", per_class=4, classes=small.LABELS[:2], size=64, seed=3)
    with pytest.raises(InputError, match="the teacher has other classes"):
        train(tmp_path / "drawn", tmp_path / "run", quick(teacher=teacher))
    with pytest.raises(InputError, match="augment='mixup'"):
        train(tiny_photos, tmp_path / "run", quick(teacher=teacher, augment="mixup"))
    with pytest.raises(InputError, match="head alone"):
        train(tiny_photos, tmp_path / "run", quick(teacher=teacher, trainable_blocks=0))
    with pytest.raises(InputError, match="no such run"):
        train(tiny_photos, tmp_path / "run", quick(teacher=str(tmp_path / "none")))
    shutil.rmtree(tmp_path / "drawn")
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_shows_every_epoch_and_pictures(tiny_photos: Path, tmp_path: Path) -> None:
    run = train(tiny_photos, tmp_path / "run", quick(epochs=2, tensorboard=True, finetune_epochs=1))
    tf = tensorflow()
    scalars: dict[tuple[str, str], dict[int, float]] = {}
    pictures: dict[str, tuple[int, int]] = {}
    for file in (run.folder / "tensorboard").glob("*/events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found = tf.make_ndarray(value.tensor)
                kind = value.metadata.plugin_data.plugin_name
                if kind == "scalars":
                    scalars.setdefault((file.parent.name, value.tag), {})[event.step] = float(found)
                elif kind == "images":
                    width, height, png = found
                    pictures[value.tag] = (int(width), int(height))
                    assert Image.open(io.BytesIO(png)).size == (int(width), int(height))
    for stage in ("blocks", "finetune"):
        written = {int(row["epoch"]): float(row["val_loss"]) for row in rows(run, stage)}
        assert scalars[stage, "val_loss"] == pytest.approx(written)
        assert set(scalars[stage, "loss"]) == set(written) - {0}
    assert len(scalars["head", "val_accuracy"]) == len(rows(run, "head"))
    assert set(pictures) == {"confusion_val", "confusion_test", "photos_val", "photos_test"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"optimizer": "lion"}, "adamw, adam, sgd"),
        ({"schedule": "step"}, "cosine, constant"),
        ({"precision": "int8"}, "mixed_bfloat16"),
        ({"warmup": 1.0}, "warmup=1.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "adamw"),
        ({"finetune_epochs": 1, "weights": "none"}, "finetune_epochs=1 from scratch"),
        ({"finetune_lr": 0.0}, "finetune_lr=0.0"),
        ({"teacher_temperature": 0.5}, "teacher_temperature=0.5"),
        ({"teacher_weight": 2.0}, "teacher_weight=2.0"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        TrainOptions(**wrong)
    assert said in str(caught.value)
