"""Train small tails on one device and on several, in a separate process: ``mirrored_steps.py OUT.npz``.

The devices are logical CPUs, which TensorFlow can create only before it initializes.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

# As pytest would: this may be a program's first file.
sys.path.insert(0, str(Path(__file__).parent.parent))
import small

from edgetl._lib.extras import keras, tensorflow
from edgetl.training.checkpoint import Checkpoint, CheckpointFile
from edgetl.training.log import TrainingLog
from edgetl.training.mirrored import mirrored
from edgetl.training.optimizer import compile_tail
from edgetl.training.precision import computing_in
from edgetl.training.tail import TailData, TeacherTargets, train_tail

CLASSES, PHOTOS = 4, 21
ONE, TWO, THREE = ("CPU:0",), ("CPU:0", "CPU:1"), ("CPU:0", "CPU:1", "CPU:2")
# Three devices get 3, 3 and 2 of eight photos.
SEEN: list[int] = []
BASE = {"epochs": 3, "batch_size": 8, "optimizer": "sgd", "lr": 0.05, "class_weights": True}


def logical_cpus(count: int) -> None:
    config = tensorflow().config
    one = config.LogicalDeviceConfiguration()
    config.set_logical_device_configuration(config.list_physical_devices("CPU")[0], [one] * count)
    config.experimental.enable_op_determinism()


def make_tail(*, dropout: float = 0.0, train_norm: bool = True) -> Any:
    keras().utils.set_random_seed(3)
    layers = keras().layers

    class Watch(layers.Layer):
        """Notes how many photos come by where a graph is traced."""

        def call(self, inputs: Any) -> Any:
            SEEN.append(inputs.shape[0])
            return inputs

    start = layers.Input((8, 8, 3))
    flow = layers.Conv2D(6, 3, use_bias=False)(Watch()(start))
    flow = layers.BatchNormalization(momentum=0.9, trainable=train_norm)(flow)
    flow = layers.GlobalAveragePooling2D()(layers.ReLU()(flow))
    flow = layers.Dropout(dropout)(flow)
    return keras().Model(start, layers.Dense(CLASSES, name="logits")(flow))


def make_data() -> TailData:
    random = np.random.default_rng(0)

    def photos(count: int) -> Any:
        return random.normal(size=(count, 8, 8, 3)).astype(np.float32)

    def predictions() -> Any:
        return random.dirichlet(np.ones(CLASSES), PHOTOS).astype(np.float32)

    # Classes of unlike size; no validation, so that the last weights are kept.
    targets = np.minimum(random.geometric(0.4, PHOTOS), CLASSES) - 1
    none = np.arange(0)
    teacher = TeacherTargets(predictions(), [predictions()])
    return TailData(photos(PHOTOS), [photos(PHOTOS)], np.arange(PHOTOS), targets, none, none, teacher=teacher)


class EndsAfter(TrainingLog):
    """Ends training when the second epoch is on the disk."""

    def keep(self, checkpoint: Checkpoint) -> None:
        super().keep(checkpoint)
        if checkpoint.epoch == 2:
            self.close()
            raise SystemExit


def trained(devices: tuple[str, ...], log: TrainingLog | None = None, **changes: Any) -> dict[str, Any]:
    plan = small.plan(**(BASE | {"dropout": 0.0} | changes))
    tail = make_tail(dropout=plan.options.dropout)
    with mirrored(tail, devices) as model:
        SEEN.clear()
        result = train_tail(model, make_data(), plan, log or TrainingLog(), description="training")
    return {
        **{f"weight/{place}": weight for place, weight in enumerate(tail.get_weights())},
        "seen": np.array(SEEN),
        "loss": np.array([row.loss for row in result.history[1:]]),
        "accuracy": np.array([row.accuracy for row in result.history[1:]]),
    }


def resumed() -> dict[str, dict[str, Any]]:
    """Train on three devices, end after the second epoch, go on from the file: on as many, and on one."""
    changes: dict[str, Any] = {"optimizer": "adamw", "dropout": 0.5}
    found = {"whole": trained(THREE, **changes)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.npz"
        with contextlib.suppress(SystemExit):
            found["not ended"] = trained(THREE, EndsAfter(file=CheckpointFile(path, {})), **changes)
        ended = path.read_bytes()
        for name, devices in (("resumed", THREE), ("resumed-elsewhere", ONE)):
            path.write_bytes(ended)
            log = TrainingLog(file=CheckpointFile(path, {}))
            log.resume()
            found[name] = trained(devices, log, **changes) | {"from": np.array(log.start.epoch)}
            log.close()
    return found


def overflowing() -> dict[str, Any]:
    """A step in float16 whose gradients are infinite on the second device only: weights before and after, scale."""
    # BatchNorm that learns its statistics would spread the infinities itself.
    tail = make_tail(train_norm=False)
    inputs = np.random.default_rng(1).normal(size=(8, 8, 8, 3)).astype(np.float32)
    weights = np.repeat(np.float32([1, 1e36]), 4)
    targets = np.eye(CLASSES, dtype=np.float32)[np.arange(8) % CLASSES]
    with mirrored(tail, TWO) as model:
        compile_tail(model, small.plan(**BASE), epoch_steps=1, policy="mixed_float16")
        before = model.get_layer("logits").get_weights()[0]
        with computing_in("mixed_float16", model):
            model.train_on_batch(inputs, targets, sample_weight=weights)
            after = model.get_layer("logits").get_weights()[0]
            scale = float(model.optimizer.dynamic_scale.numpy())
            model.train_on_batch(inputs, targets, sample_weight=np.ones(8, np.float32))
            moved = model.get_layer("logits").get_weights()[0]
    return {"before": before, "after": after, "scale": np.array(scale), "moved": moved}


def dropped() -> dict[str, Any]:
    """The first loss of one photo, and of it twice on two devices: alike where both drop the same units."""
    photo = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    losses = {}
    for devices in (ONE, TWO):
        count = len(devices)
        with mirrored(make_tail(dropout=0.5), devices) as model:
            compile_tail(model, small.plan(**BASE), epoch_steps=1)
            logs = model.train_on_batch(
                np.repeat(photo, count, axis=0),
                np.repeat(np.eye(CLASSES, dtype=np.float32)[:1], count, axis=0),
                sample_weight=np.ones(count, np.float32),
                return_dict=True,
            )
        losses[f"loss/{count}"] = np.array(logs["loss"])
    return losses


def predicted() -> dict[str, Any]:
    """Logits of fewer rows than devices, and of rows that do not divide evenly."""
    photos = np.random.default_rng(2).normal(size=(7, 8, 8, 3)).astype(np.float32)
    found = {}
    for devices in (ONE, THREE):
        with mirrored(make_tail(), devices) as model:
            for count in (1, 7):
                found[f"{len(devices)}/{count}"] = model.predict_on_batch(photos[:count])
    return found


def main(out: Path) -> None:
    logical_cpus(3)
    cases: dict[str, dict[str, Any]] = {
        "one": trained(ONE),
        "other": trained(("CPU:1",)),
        "three": trained(THREE),
        "one-float16": trained(ONE, precision="mixed_float16"),
        "three-float16": trained(THREE, precision="mixed_float16"),
        **resumed(),
        "overflow": overflowing(),
        "dropout": dropped(),
        "logits": predicted(),
        "start": {f"weight/{place}": weight for place, weight in enumerate(make_tail().get_weights())},
    }
    np.savez(out, **{f"{name}/{key}": value for name, case in cases.items() for key, value in case.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
