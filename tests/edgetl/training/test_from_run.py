"""Training further from the model of a run: its network, its preprocessing, and the splits of its photos."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import small
from PIL import Image
from small import Once

import edgetl
from edgetl._lib.extras import keras
from edgetl.backbones.blocks import blocks_of_graph
from edgetl.data import kept_splits, load_dataset, read_split
from edgetl.export.conversion import float32_onnx
from edgetl.reports.run import write_run_report
from edgetl.runs.directory import EARLIER, Run
from edgetl.runs.document import RunDocument
from edgetl.synthetic import draw_dataset
from edgetl.training import TrainOptions, resume, train
from edgetl.training.more_photos import with_more_photos
from edgetl.training.network import build_network, without_head
from edgetl_device._lib import documents
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

QUICK = {"views": 1, "epochs": 1, "batch_size": 8, "trainable_blocks": 2}
FLAGS = ("--views", 1, "--epochs", 12, "--patience", 12, "--batch-size", 4, "--trainable-blocks", 2)


def again(run: Run, **changes: Any) -> TrainOptions:
    return TrainOptions(**(QUICK | {"from_run": str(run.folder)} | changes))


def drawn(folder: Path, *labels: str) -> Path:
    """Draw photos that no run has seen."""
    return Path(draw_dataset(folder, per_class=8, classes=labels, size=96, seed=7))


def weights(run: Run) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in run.load_model().layers if layer.weights}


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(array, second) for array, second in zip(one, other, strict=True))


def sides(run: Run) -> dict[str, str]:
    return {one.sha256: one.split for one in run.samples}


@pytest.fixture(scope="module")
def other_photos(once: Once) -> Path:
    """Other photos, of one class more: do not write to it."""
    return once("more", lambda folder: drawn(folder, *small.LABELS, "spring"))


@pytest.fixture(scope="module")
def grown(short_run: Run, other_photos: Path, once: Once) -> Run:
    """A run on them from ``short_run``: do not write to it."""
    return Run.open(once("grown", lambda folder: train(other_photos, folder, again(short_run))))


@pytest.fixture(scope="module")
def imported(short_run: Run, tiny_photos: Path, once: Once) -> Run:
    """The model of ``short_run`` as an imported one: do not write to it."""

    def make(folder: Path) -> None:
        theirs = folder.with_name("short.onnx")
        theirs.write_bytes(float32_onnx(short_run.load_model(), layout="nchw"))
        edgetl.import_model(theirs, tiny_photos, out=folder, input="raw", fit="crop")

    return Run.open(once("imported-short", make))


def test_with_the_same_classes_training_starts_where_the_run_ended(
    short_run: Run, tiny_photos: Path, tmp_path: Path
) -> None:
    # A run whose classes are in an order of its own.
    other = Path(shutil.copytree(short_run.folder, tmp_path / "other"))
    text = json.loads((other / "run.json").read_text())
    text["labels"] = [text["labels"][place] for place in (2, 0, 1)]
    (other / "run.json").write_text(json.dumps(text))

    run = train(tiny_photos, tmp_path / "run", again(Run.open(other), epochs=0))
    assert run.labels == tuple(text["labels"])
    assert run.document.temperature.value == 1
    before, after = weights(short_run), weights(run)
    assert set(before) == set(after)
    assert all(same(before[name], after[name]) for name in before)
    assert run.document.started_from.head == "kept"


def test_the_last_blocks_and_the_head_are_trained_further(short_run: Run, tiny_photos: Path, tmp_path: Path) -> None:
    run = train(tiny_photos, tmp_path / "run", again(short_run, val=0.3))
    before, after = weights(short_run), weights(run)
    moved = {name for name in before if not same(before[name], after[name])}
    assert "logits" in moved
    assert any(name.startswith("block_5_") for name in moved)
    assert not any(name.startswith(("Conv1", "block_1_", "block_2_", "block_3_")) for name in moved)
    # The first row of the stage is the run's own model, not a newly fitted head.
    with open(run.folder / "history.csv", encoding="utf-8") as stream:
        assert [row["stage"] for row in csv.DictReader(stream)] == ["blocks", "blocks"]


def test_the_run_says_what_it_started_from(grown: Run, short_run: Run) -> None:
    document = grown.document
    record = document.started_from
    assert (record.name, record.sha256) == (short_run.folder.name, short_run.document.model.sha256)
    assert (record.origin, record.head, record.kept.all) == ("trained", "new", 0)
    assert (document.weights.source, document.weights.file) == ("run", short_run.folder.name)
    assert document.weights.licence == short_run.document.weights.licence
    assert document.preprocess == short_run.preprocess
    assert (document.config.size, document.config.backbone) == (small.SIZE, "mobilenet_v2")
    assert documents.read(RunDocument, grown.folder / "run.json") == document
    assert str(short_run.folder.parent) not in (grown.folder / "run.json").read_text()
    assert f"--from-run {short_run.folder.name}" in document.command


def test_other_classes_have_a_new_head_on_the_same_base(
    grown: Run, short_run: Run, tiny_photos: Path, tmp_path: Path
) -> None:
    assert grown.labels == (*small.LABELS[:2], "spring", small.LABELS[2])
    fewer = tmp_path / "photos"
    for label in small.LABELS[1:]:
        shutil.copytree(tiny_photos / label, fewer / label)
    run = train(fewer, tmp_path / "run", again(short_run))
    assert run.labels == small.LABELS[1:]
    for one in (grown, run):
        assert one.load_model().output.shape == (None, len(one.labels))
        assert same(weights(one)["Conv1"], weights(short_run)["Conv1"])
        assert one.document.started_from.head == "new"


def test_the_head_alone_is_fitted_to_its_optimum(short_run: Run, tiny_photos: Path, tmp_path: Path) -> None:
    run = train(tiny_photos, tmp_path / "run", again(short_run, strategy="head", trainable_blocks=None))
    before, after = weights(short_run), weights(run)
    assert [name for name in before if not same(before[name], after[name])] == ["logits"]
    assert run.document.started_from.head == "new"


@pytest.mark.slow
def test_every_layer_can_be_trained(imported: Run, short_run: Run, tiny_photos: Path, tmp_path: Path) -> None:
    for name, start in (("own", short_run), ("theirs", imported)):
        asked = again(start, strategy="all", trainable_blocks=None, val=0.0)
        run = train(tiny_photos, tmp_path / name, asked)
        before, after = weights(start), weights(run)
        assert sum(not same(before[layer], after[layer]) for layer in before) > 10


@pytest.mark.slow
def test_equal_requests_give_equal_bytes(short_run: Run, imported: Run, other_photos: Path, tmp_path: Path) -> None:
    for start in (short_run, imported):
        files = [train(other_photos, tmp_path / name, again(start), overwrite=True) for name in ("one", "two")]
        one, two = ((run.folder / "model.keras").read_bytes() for run in files)
        assert one == two


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 160}, "size=160 with from_run"),
        ({"fit": "pad"}, "fit='pad' with from_run"),
        ({"backbone": "efficientnet_lite0"}, "backbone='efficientnet_lite0' with from_run"),
        ({"width": 0.5}, "width=0.5 with from_run"),
        ({"depth_range": "0..4095"}, "depth_range='0..4095' with from_run"),
        ({"depth_range": "auto"}, "depth_range='auto' with from_run"),
        ({"weights": "imagenet"}, "weights='imagenet' with from_run"),
        ({"truncate": "3"}, "truncate='3' with from_run"),
        ({"strategy": "scratch", "trainable_blocks": None}, "strategy='scratch' with from_run"),
        ({"strategy": "auto", "trainable_blocks": None}, "strategy='auto' with from_run"),
        ({"trainable_blocks": 7}, "mobilenet_v2 has 6 blocks"),
    ],
)
def test_what_contradicts_the_run_is_refused(
    short_run: Run, tiny_photos: Path, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        edgetl.train(tiny_photos, out=tmp_path / "run", **QUICK | {"from_run": short_run.folder} | wrong)
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_the_run_has_anyway_may_be_said(short_run: Run, tiny_photos: Path, tmp_path: Path) -> None:
    own = {"size": small.SIZE, "fit": "stretch", "backbone": "mobilenet_v2", "width": 1.0}
    assert train(tiny_photos, tmp_path / "run", again(short_run, epochs=0, **own)).document.config.size == small.SIZE


def test_the_command_line_refuses_with_2_and_says_the_flag(short_run: Run, tiny_photos: Path, tmp_path: Path) -> None:
    flags = ("--from", short_run.folder, "--out", tmp_path / "run")
    assert "--size 160 with --from-run" in small.refused(small.edgetl("train", tiny_photos, *flags, "--size", 160))
    assert "no such run" in small.refused(small.edgetl("train", tiny_photos, "--from", tmp_path / "none"))
    own = small.edgetl("train", tiny_photos, "--from", short_run.folder, "--out", short_run.folder, "--overwrite")
    assert "is where the new run would be written" in small.refused(own)
    assert list(tmp_path.iterdir()) == []


def test_photos_of_the_run_stay_in_their_splits(short_run: Run, tiny_photos: Path, tmp_path: Path) -> None:
    # With this seed they would be split otherwise.
    free = load_dataset(tiny_photos, short_run.preprocess, seed=5)
    assert {one.sha256: one.split for one in free.samples} != sides(short_run)
    run = train(tiny_photos, tmp_path / "run", again(short_run, seed=5, epochs=0, val=0.4, test=0.4))
    assert sides(run) == sides(short_run)
    kept = run.document.started_from.kept
    assert (kept.train, kept.val, kept.test) == tuple(len(short_run.of(split)) for split in ("train", "val", "test"))
    assert not (run.folder / EARLIER).exists()


def test_no_folder_makes_a_test_photo_of_a_training_photo(short_run: Run, tmp_path: Path) -> None:
    """Nor a training photo of a test photo; a copy, turned or mirrored, counts as the photo."""
    photos, before = tmp_path / "photos", sides(short_run)
    for one in short_run.samples:
        side = {"train": "test", "test": "train"}.get(one.split, one.split)
        place = photos / side / one.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(short_run.data_root / one.path, place)
    seen = short_run.of("train")[0]
    with Image.open(short_run.data_root / seen.path) as picture:
        mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mirrored.save(photos / "test" / seen.label / "mirrored.png")
    run = train(photos, tmp_path / "run", again(short_run, epochs=0))
    found = sides(run)
    assert {sha256: found[sha256] for sha256 in before} == before
    (copy,) = (one for one in run.samples if one.path.endswith("mirrored.png"))
    assert copy.split == "train"
    (finding,) = (one for one in run.document.dataset.findings if one.code == "split-kept-of-run")
    assert len(finding.files) == len(short_run.of("train")) + 1 + len(short_run.of("test"))


def test_photos_are_remembered_over_several_runs(
    grown: Run, short_run: Run, tiny_photos: Path, other_photos: Path, tmp_path: Path
) -> None:
    assert {one.sha256: one.split for one in grown.earlier} == sides(short_run)
    both = Path(shutil.copytree(tiny_photos, tmp_path / "both"))
    for path in sorted(other_photos.rglob("*.jpg")):
        if path.parent.name in small.LABELS:
            shutil.copy(path, both / path.parent.name / f"other-{path.name}")
    run = train(both, tmp_path / "run", again(grown, seed=3, epochs=0))
    expected = sides(short_run) | sides(grown)
    assert sides(run) == {one.sha256: expected[one.sha256] for one in run.samples}
    assert {one.label for one in read_split(run.folder / EARLIER)} == {"spring"}


def test_what_was_in_two_splits_counts_as_trained_on(short_run: Run, tiny_photos: Path) -> None:
    (first, *_), (second, *_) = short_run.of("train"), short_run.of("test")
    found = kept_splits([first, second, replace(first, split="test")])
    assert found[first.sha256] == found[first.group] == "train"
    dataset = load_dataset(tiny_photos, short_run.preprocess, seed=5, kept=found)
    split = {one.sha256: one.split for one in dataset.samples}
    assert (split[first.sha256], split[second.sha256]) == ("train", "test")


@pytest.mark.slow
def test_an_imported_model_is_trained_further(
    imported: Run, tiny_photos: Path, other_photos: Path, tmp_path: Path
) -> None:
    known = train(tiny_photos, tmp_path / "known", again(imported, epochs=0))
    before, after = weights(imported), weights(known)
    assert all(same(before[name], after[name]) for name in before)
    assert known.document.started_from.head == "kept"
    assert known.preprocess == imported.preprocess
    assert known.preprocess.fit == "crop"

    run = train(other_photos, tmp_path / "run", again(imported, trainable_blocks=None, epochs=2))
    document = run.document
    assert (document.started_from.origin, document.started_from.head) == ("imported", "new")
    assert document.imported is None
    assert 0 < document.config.trainable_blocks < 12
    assert "of 12 blocks the last" in document.strategy.reasons[0]
    frozen = weights(run)
    first = next(iter(before))
    assert same(before[first], frozen[first])
    edgetl.quantize(run, int8=True, calibration=6)
    assert edgetl.verify(run.folder / "bundle").ok
    assert edgetl.evaluate(run, other_photos).metrics.accuracy.photos == len(run.samples)
    page = write_run_report(run, tmp_path / "report.html").read_text()
    assert "is the user&#39;s word" in page or "is the user's word" in page

    # And further: that nobody recorded its photos stays true.
    later = train(tiny_photos, tmp_path / "later", again(run, epochs=0))
    assert later.document.started_from.origin == "imported"


def _stack(end: Any) -> Any:
    k = keras().layers
    pixels = k.Input((32, 32, 3))
    x = k.BatchNormalization()(k.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(pixels))
    x = k.ReLU()(x)
    y = k.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = k.Add()([x, k.Conv2D(6, 1)(y)])
    return foreign.randomized(keras().Model(pixels, end(k.MaxPooling2D()(k.Conv2D(8, 3, strides=2)(x)))))


def _dense(x: Any) -> Any:
    k = keras().layers
    return k.Dense(4, "softmax")(k.Dense(9, "relu")(k.Flatten()(x)))


def _convolution(x: Any) -> Any:
    k = keras().layers
    return k.Softmax()(k.Reshape((4,))(k.Conv2D(4, 3)(x)))


def _pooled(x: Any) -> Any:
    k = keras().layers
    return k.Softmax()(k.Dense(4, use_bias=False)(k.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("end", [_dense, _convolution, _pooled])
def test_a_foreign_network_is_cut_into_base_and_head(end: Any) -> None:
    model = foreign.import_keras(_stack(end)).model
    parts = without_head(model, shown="theirs")
    network = build_network(parts.base, classes=4, dropout=0.2, head=parts)
    photos = foreign.pixels().astype(np.float32)
    np.testing.assert_allclose(network.predict_on_batch(photos), model.predict_on_batch(photos), atol=1e-6)


def test_a_block_ends_where_one_tensor_crosses() -> None:
    model = foreign.import_keras(_stack(_dense)).model
    # The stem with its activation, the residual unit, the last convolution with its pooling.
    kinds = [type(model.get_layer(block.last_layer)).__name__ for block in blocks_of_graph(model)]
    assert kinds == ["ReLU", "Add", "MaxPooling2D"]


def test_scores_of_no_dense_layer_are_refused() -> None:
    def end(x: Any) -> Any:
        k = keras().layers
        return k.Softmax()(k.GlobalAveragePooling2D()(k.Conv2D(4, 1, activation="relu")(x)))

    with pytest.raises(InputError, match="its head cannot be trained") as caught:
        without_head(foreign.import_keras(_stack(end)).model, shown="theirs")
    assert "GlobalAveragePooling2D" in str(caught.value)


@pytest.mark.slow
def test_a_killed_one_is_resumed_from_the_same_run_only(short_run: Run, tiny_photos: Path, tmp_path: Path) -> None:
    start = Path(shutil.copytree(short_run.folder, tmp_path / "start"))
    out, whole = tmp_path / "run", tmp_path / "whole"
    words = ("train", tiny_photos, "--from", start, *FLAGS)
    assert small.edgetl(*words, "--out", whole).returncode == 0
    checkpoint = tmp_path / "run.unfinished" / "checkpoint.npz"
    command = [sys.executable, "-m", "edgetl", *map(str, words), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(60)

    moved = start.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="no such run"):
        resume(out)
    train(tiny_photos, start, small.short(epochs=1))
    with pytest.raises(InputError, match="pretrained weights"):
        resume(out)
    shutil.rmtree(start)
    moved.rename(start)
    run = resume(out)
    assert run.document.resumed is not None
    assert (run.folder / "model.keras").read_bytes() == (whole / "model.keras").read_bytes()


def test_more_photos_are_added_to_those_of_the_run(short_run: Run, tmp_path: Path) -> None:
    field = drawn(tmp_path / "field", "bolt", "spring")
    out = tmp_path / "runs" / "grown"
    out.parent.mkdir()
    asked = ("train", "--from", short_run.folder, "--add", field, "--out", out)
    done = small.edgetl(*asked, *map(str, ("--views", 1, "--epochs", 0, "--trainable-blocks", 2)))
    assert done.returncode == 0, done.stderr
    assert "42 of" in done.stderr
    run = Run.open(out)
    assert run.labels == ("bolt", "gear", "spring", "washer")
    kept = sides(short_run)
    assert len(run.samples) == len(kept) + 16
    assert {sha256: split for sha256, split in sides(run).items() if sha256 in kept} == kept
    # The table stays beside the run, which later commands read the photos through.
    assert run.data_root == out.with_name("grown.csv").resolve()
    assert ".." in out.with_name("grown.csv").read_text()
    assert "exists" in small.refused(small.edgetl(*asked))
    # A table of somebody is never replaced, also with leave to replace the run; the same one may be there.
    table = out.with_name("grown.csv")
    assert with_more_photos(short_run, field, table) == table
    table.write_text("mine\n")
    assert "lists other photos" in small.refused(small.edgetl(*asked, "--overwrite"))
    assert table.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [(("--add", "more"), "--add more without --from"), (("photos", "--add", "more", "--from", "run"), "with photos")],
)
def test_photos_are_added_to_a_run_only(flags: tuple[str, ...], said: str) -> None:
    assert said in small.refused(small.edgetl("train", *flags))
