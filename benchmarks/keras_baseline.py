"""The usual Keras transfer-learning script: the baseline for the training time of ``edgetl train``.

It follows Keras' and TensorFlow's transfer-learning tutorials, with edgetl's weights and photos, and is meant to be as
fast as such a script gets without a rewrite: METHOD.md lists the choices in its favour. It uses nothing of edgetl but
the embedded weights.

Example: python benchmarks/keras_baseline.py --train flowers/train --val flowers/test --out keras-run
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from edgetl_device.input_size import square

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_BATCH = 32
# The last blocks that the second stage trains: inverted residuals 13 to 16 and the final 1 x 1 convolution.
_TRAINABLE = ("block_13_", "block_14_", "block_15_", "block_16_", "Conv_1")


def seconds_since_start() -> float:
    """Return the age of this process in seconds, the start of Python included (Linux, see proc(5), field 22)."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def photos(folder: Path, size: int, *, shuffle: bool, cache: bool) -> Any:
    """Return a folder's photos as a ``tf.data`` pipeline of float32 [batch, size, size, 3] 0..255 and labels.

    Cached before batching: photos are decoded once, and every epoch still gets different batches.
    """
    import keras
    import tensorflow as tf

    dataset = keras.utils.image_dataset_from_directory(
        folder, batch_size=None, image_size=(size, size), shuffle=shuffle, seed=0, verbose=False
    )
    names = dataset.class_names
    count = int(dataset.cardinality())
    if cache:
        dataset = dataset.cache()
        if shuffle:
            dataset = dataset.shuffle(count)
    return dataset.batch(_BATCH).prefetch(tf.data.AUTOTUNE), names


def build(size: int, classes: int) -> tuple[Any, Any]:
    """Return the model, raw RGB 0..255 to probabilities, and its base."""
    import keras

    from edgetl.backbones import build_base, resolve_weights

    base = build_base(
        "mobilenet_v2", size=square(size), width=1.0, weights=resolve_weights("mobilenet_v2", width=1.0, request="auto")
    )
    base.trainable = False
    inputs = keras.Input((size, size, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.1)(x)
    x = keras.layers.RandomZoom(0.1)(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x)), base


def fit(model: Any, train: Any, val: Any, *, epochs: int, rate: float, verbose: int) -> float:
    """Compile and train; return the seconds it took."""
    import keras

    started = time.perf_counter()
    if epochs:
        model.compile(keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(train, validation_data=val, epochs=epochs, verbose=verbose)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="folder with one subfolder per class")
    parser.add_argument("--val", type=Path, required=True, help="folder for validation and for the final score")
    parser.add_argument("--out", type=Path, required=True, help="folder for model.keras")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--head-epochs", type=int, default=10)
    parser.add_argument("--head-lr", type=float, default=1e-3)
    parser.add_argument("--fine-epochs", type=int, default=10)
    parser.add_argument("--fine-lr", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-cache", action="store_true", help="decode every photo in every epoch")
    parser.add_argument("--verbose", type=int, default=0, choices=(0, 1, 2))
    arguments = parser.parse_args()

    import keras
    import tensorflow as tf

    imported_s = seconds_since_start()
    keras.utils.set_random_seed(arguments.seed)
    cache = not arguments.no_cache
    train, labels = photos(arguments.train, arguments.size, shuffle=True, cache=cache)
    val, val_labels = photos(arguments.val, arguments.size, shuffle=False, cache=cache)
    if labels != val_labels:
        sys.exit(f"the classes differ: {labels} in {arguments.train}, {val_labels} in {arguments.val}")

    model, base = build(arguments.size, len(labels))
    head_s = fit(model, train, val, epochs=arguments.head_epochs, rate=arguments.head_lr, verbose=arguments.verbose)
    after_head = model.evaluate(val, verbose=0, return_dict=True) if arguments.head_epochs else {}
    base.trainable = True
    for layer in base.layers:
        layer.trainable = layer.name.startswith(_TRAINABLE)
    fine_s = fit(model, train, val, epochs=arguments.fine_epochs, rate=arguments.fine_lr, verbose=arguments.verbose)
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.save(arguments.out / "model.keras")
    wall_s = seconds_since_start()

    scored = model.evaluate(val, verbose=0, return_dict=True)
    document = {
        "script": "keras_baseline",
        "wall_s": round(wall_s, 2),
        "import_s": round(imported_s, 2),
        "head_s": round(head_s, 2),
        "fine_s": round(fine_s, 2),
        "fine_parameters": sum(math.prod(weight.shape) for weight in model.trainable_weights),
        "test_top1": scored["accuracy"],
        "test_top1_after_head": after_head.get("accuracy"),
        "test_photos": sum(1 for _ in val.unbatch()),
        "jit_compile": bool(model.jit_compile),
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()},
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
