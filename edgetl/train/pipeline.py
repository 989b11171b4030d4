"""A folder of photos to a run directory: data, frozen base, head, blocks, report. Not for: how a stage works."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl import __version__, features, plots, reference
from edgetl.augment import check_preset
from edgetl.backbones import backbone, build_base, resolve_weights
from edgetl.dataset import Dataset, Sample, load_dataset, require_training, write_split
from edgetl.dataset.scan import scan
from edgetl.extras import check_installed, keras, require, tensorflow
from edgetl.metrics import classification_report
from edgetl.predictions import FILE, Prediction, predictions_of, write_predictions
from edgetl.progress import step
from edgetl.run import SCHEMA, Run, write_history
from edgetl_device.errors import InputError
from edgetl_device.files import atomic_path, sha256_file
from edgetl_device.jsonfile import write_json
from edgetl_device.preprocess import Preprocess

from .config import TrainConfig
from .head import Labelled, fit_head
from .network import build_network, cut_layer, tail, unfreeze
from .tail import TailData, TailResult, train_tail

# The head is fitted in memory. More rows than this do not move it, and stage 2 sees all photos anyway.
_HEAD_MAX_ROWS = 20_000
_PACKAGES = ("edgetl", "tensorflow", "keras", "ai-edge-litert", "numpy", "pillow", "scikit-learn")


@dataclass
class _Clock:
    """Seconds of each stage, in order."""

    stages: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.stages.append({"name": name, "seconds": round(time.perf_counter() - started, 3)})


def train(root: Path, out: Path, config: TrainConfig, *, overwrite: bool = False) -> Run:
    """Train a classifier and write its run directory.

    The directory appears when everything in it is written. Ctrl-C during the second stage ends that stage: the best
    weights so far are kept, and ``run.json`` says that it was interrupted.

    Args:
        root: The data set's folder.
        out: The run directory to write.
        config: What to do.
        overwrite: Replace a run that is there already.

    Raises:
        InputError: The request or the data cannot be trained on.
        Unavailable: The backbone's weights cannot be had here.
    """
    started = time.perf_counter()
    _check_target(out, overwrite=overwrite)
    check_installed("tensorflow")
    check_preset(config.augment)
    backbone(config.backbone).check(width=config.width, size=config.size)
    spec = Preprocess(size=config.size, fit=config.fit)  # type: ignore[arg-type]  # checked by the class
    weights = resolve_weights(config.backbone, width=config.width, request=config.weights, size=config.size)
    scan(root)  # a folder that cannot be one is refused before seconds are spent on importing
    clock = _Clock()
    with clock.stage("data"), _while_importing(keras):
        dataset = load_dataset(
            root,
            spec,
            seed=config.seed,
            val=config.val,
            test=config.test,
            on_conflict=config.on_conflict,  # type: ignore[arg-type]  # checked by the function
        )
        require_training(dataset)
    config = config.for_photos(len(dataset.of("train")))
    with clock.stage("network"):
        keras().utils.set_random_seed(config.seed)
        tensorflow().config.experimental.enable_op_determinism()
        base = build_base(config.backbone, size=config.size, width=config.width, weights=weights)
        network = build_network(base, classes=len(dataset.labels), dropout=config.dropout)
        cut = None if config.from_scratch else cut_layer(config.backbone, base, config.trainable_blocks)
    history: list[dict[str, Any]] = []
    if config.from_scratch:
        result = _train_all(network, dataset, config, clock, description="Training all layers")
    else:
        result = _fine_tune(network, base, cut, dataset, config, clock, history)
    history.extend(result.history)

    with atomic_path(out, directory=True) as folder:
        network.save(folder / "model.keras")
        seconds_to_model = time.perf_counter() - started
        write_history(folder / "history.csv", history)
        write_split(folder / "split.csv", dataset.samples)
        with clock.stage("report"):
            metrics = _report(network, dataset, history, folder / "plots")
        write_json(
            folder / "run.json",
            {
                "schema": SCHEMA,
                "producer": f"edgetl {__version__}",
                "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "config": config.to_json(),
                "labels": list(dataset.labels),
                "preprocess": spec.to_json(),
                "dataset": _describe(dataset),
                "weights": weights.to_json(),
                "model": {
                    "file": "model.keras",
                    "bytes": (folder / "model.keras").stat().st_size,
                    "sha256": sha256_file(folder / "model.keras"),
                    "parameters": int(network.count_params()),
                    "cut_layer": cut,
                    "best_epoch": result.best_epoch,
                },
                "interrupted": result.interrupted,
                "metrics": metrics,
                "stages": clock.stages,
                "seconds_to_model": round(seconds_to_model, 3),
                "seconds": round(time.perf_counter() - started, 3),
                "versions": {package: version(package) for package in _PACKAGES},
            },
        )
    return Run.open(out)


def _fine_tune(
    network: Any,
    base: Any,
    cut: str | None,
    dataset: Dataset,
    config: TrainConfig,
    clock: _Clock,
    history: list[dict[str, Any]],
) -> TailResult:
    """Fit the head on pooled features, then train the last blocks on activations cached at the cut."""
    train_rows, targets = _rows(dataset, "train")
    val_rows, val_targets = _rows(dataset, "val")
    head_only = config.trainable_blocks == 0
    with clock.stage("frozen base"):
        frozen = features.freeze(base, None if head_only else cut)
        photos = features.photo_activations(frozen, dataset.pixels)
        views = features.view_activations(
            frozen, dataset.pixels, train_rows, preset=config.augment, seed=config.seed, count=_views(config)
        )
    with clock.stage("head"):
        labelled, labelled_views = _head_rows(photos, views, train_rows, targets, config.seed)
        head = fit_head(
            labelled,
            labelled_views,
            Labelled(photos.pooled[val_rows[:_HEAD_MAX_ROWS]], val_targets[:_HEAD_MAX_ROWS]),
            classes=len(dataset.labels),
            balanced=config.class_weights,
        )
        network.get_layer("logits").set_weights([head.kernel, head.bias])
        history.extend(head.history)
    if head_only or config.resolved_epochs == 0:
        unfreeze(network, cut, train_batch_norm=False)
        return TailResult((), 0, False)
    if photos.cut is None:
        return _train_all(network, dataset, config, clock, description="Training all blocks")
    with clock.stage("blocks"):
        unfreeze(network, cut, train_batch_norm=False)
        data = TailData(
            photos.cut, [view.cut for view in views if view.cut is not None], train_rows, targets, val_rows, val_targets
        )
        return train_tail(
            tail(network, cut), data, config, description=f"Training the last {config.trainable_blocks} blocks"
        )


def _train_all(network: Any, dataset: Dataset, config: TrainConfig, clock: _Clock, *, description: str) -> TailResult:
    """Train every layer on pixels; from scratch, BatchNorm learns its statistics too."""
    train_rows, targets = _rows(dataset, "train")
    val_rows, val_targets = _rows(dataset, "val")
    with clock.stage("views"):
        views = features.view_pixels(
            dataset.pixels, train_rows, preset=config.augment, seed=config.seed, count=_views(config)
        )
    with clock.stage("blocks"):
        unfreeze(network, None, train_batch_norm=config.from_scratch)
        data = TailData(dataset.pixels.array, views, train_rows, targets, val_rows, val_targets)
        return train_tail(tail(network, None), data, config, description=description)


def _views(config: TrainConfig) -> int:
    return 0 if config.augment == "none" else config.views


def _head_rows(
    photos: features.Activations,
    views: list[features.Activations],
    train_rows: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    seed: int,
) -> tuple[Labelled, list[Labelled]]:
    """Return pooled features of the training photos and of as many of their views as the head is fitted on."""
    take = np.arange(len(targets))
    if len(take) > _HEAD_MAX_ROWS:
        take = np.sort(np.random.default_rng(seed).choice(take, _HEAD_MAX_ROWS, replace=False))
    used = views[: max(0, _HEAD_MAX_ROWS // len(take) - 1)]
    return (
        Labelled(photos.pooled[train_rows[take]], targets[take]),
        [Labelled(view.pooled[take], targets[take]) for view in used],
    )


def _rows(dataset: Dataset, split: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows in the pixel cache and the classes of one side of the split."""
    samples = dataset.of(split)
    return dataset.pixels.rows(samples), targets_of(samples, dataset.labels)


def targets_of(samples: tuple[Sample, ...], labels: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return the class index of each sample, int64 [samples]."""
    index = {label: place for place, label in enumerate(labels)}
    return np.array([index[sample.label] for sample in samples], dtype=np.int64)


def _report(network: Any, dataset: Dataset, history: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    folder.mkdir()
    metrics: dict[str, Any] = {}
    predictions: list[Prediction] = []
    for split in ("val", "test"):
        rows, targets = _rows(dataset, split)
        if len(rows):
            scores = reference.logits(network, dataset.pixels.array, rows, description=f"Evaluating on {split}")
            probabilities = reference.softmax(scores)
            metrics[split] = classification_report(probabilities, targets, dataset.labels)
            predictions += predictions_of(dataset.of(split), dataset.labels, probabilities)  # type: ignore[arg-type]
    write_predictions(folder.parent / FILE, predictions)
    with step("Drawing plots"):
        plots.learning_curves(history, folder / "curves.png")
        for split, report in metrics.items():
            title = f"{split}: {report['accuracy']['correct']} of {report['accuracy']['photos']} photos right"
            plots.confusion_matrix(
                report["confusion"], dataset.labels, title=title, target=folder / f"confusion_{split}.png"
            )
    return metrics


def _describe(dataset: Dataset) -> dict[str, Any]:
    return dataset.describe() | {"root": str(dataset.root.resolve())}


def _check_target(out: Path, *, overwrite: bool) -> None:
    # What forbids writing there is better known now than after training.
    parent = next(folder for folder in out.resolve().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: cannot be written in {parent}", hint="Choose another place with --out.")
    if not out.exists():
        return
    if not (out / "run.json").is_file():
        raise InputError(f"{out}: is there already and is not a run", hint="Choose another place with --out.")
    if not overwrite:
        raise InputError(f"{out}: is there already", hint="Choose another place with --out, or give --overwrite.")


@contextmanager
def _while_importing(load: Callable[[], Any]) -> Iterator[None]:
    """Run the block while a thread imports TensorFlow, which takes seconds that decoding can use."""

    def quiet_load() -> None:
        # What fails here fails again below, where somebody catches it.
        with suppress(Exception):
            load()

    thread = threading.Thread(target=quiet_load, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Also after an error: the interpreter must not shut down in the middle of loading a native library.
        thread.join()
    load()
    require("sklearn.linear_model")
