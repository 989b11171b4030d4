"""Break down the time of ``edgetl train``, and compare each part with this machine's limit.

The limits are measured in the same minutes: a bare import, bare decoding, and float32 products at the rate of a large
matrix product. Prints a table and one JSON object.

Example: python benchmarks/time_spent.py ../shared/data/flowers
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import EDGETL, read_run, run, say

from edgetl._lib.cores import available_cores
from edgetl.backbones.cost import multiply_adds
from edgetl.data import read_split
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess, preprocess

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_MATRIX = 3072
_TRIES = 9
# A training step computes a layer's output and the gradients of its input and kernel: three times the products.
_STEP = 3
_FLOP = 2  # operations per multiply-add


@dataclass(frozen=True)
class Part:
    """A part of training.

    Attributes:
        name: Name of the part.
        seconds: Time edgetl took, in seconds.
        limit_s: Time at this machine's limit, in seconds; None if unknown.
        limit: Description of the limit.
    """

    name: str
    seconds: float
    limit_s: float | None
    limit: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a data set in any layout that edgetl reads")
    parser.add_argument("options", nargs="*", help="options of edgetl train, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgetl-time-") as scratch:
        folder = Path(scratch) / "run"
        say("a training run to warm up, discarded")
        command = (*EDGETL, "train", arguments.photos, *arguments.options)
        run([*command, "--out", folder.with_name("warm-up")], cache=folder.with_name("cache-warm-up"))
        say("training")
        finished = run([*command, "--out", folder], cache=folder.with_name("cache"))
        parts = measure(arguments.photos, folder, finished.seconds_to(folder / "model.keras"))
    total = sum(part.seconds for part in parts)
    for part in parts:
        known = f"{part.limit_s:6.1f} s  {part.seconds / part.limit_s:4.1f}x  {part.limit}" if part.limit_s else ""
        print(f"{part.name:36} {part.seconds:6.1f} s  {part.seconds / total:4.0%}  {known}")
    print(json.dumps({"parts": [asdict(part) for part in parts], "seconds": round(total, 2)}))


def measure(photos: Path, folder: Path, to_model_s: float) -> list[Part]:
    """Return the parts of a finished run in order; they add up to ``to_model_s``."""
    import keras

    document = read_run(folder)
    config, samples = document["config"], read_split(folder / "split.csv")
    took = {stage["name"]: stage["seconds"] for stage in document["stages"]}
    network = keras.models.load_model(folder / "model.keras")
    base = keras.Model(network.input, network.get_layer("pool").input)
    cut = network.get_layer(document["model"]["cut_layer"])
    frozen = multiply_adds(keras.Model(network.input, cut.output))
    trained = sum(sample.split == "train" for sample in samples)
    peak = products_per_s()
    whole_passes = len(samples) + trained * config["views"]
    steps = _history_epochs(folder) * trained
    imported = import_s()
    save_s = fastest(lambda: network.save(folder / "again.keras"), 3)
    prefix_limit = whole_passes * multiply_adds(base) / peak
    tail_limit = steps * _STEP * (multiply_adds(network) - frozen) / peak
    before = to_model_s - document["seconds_to_model"]
    stages = ("data", "network", "frozen base", "head", "blocks")
    export = document["seconds_to_model"] - sum(took[name] for name in stages)
    rate = f"float32 at {_FLOP * peak / 1e9:.0f} GFLOP/s"
    return [
        Part("start of Python and edgetl", before, None, ""),
        Part(
            "imports and decoding, in parallel",
            took["data"],
            max(imported, decode_s(photos, samples, config["size"])),
            "the longer of a bare import of Keras and bare decoding on all cores",
        ),
        Part("network and weights", took["network"], None, ""),
        Part("frozen base of photos and views", took["frozen base"], prefix_limit, rate),
        Part("head", took["head"], None, ""),
        Part("last blocks", took["blocks"], tail_limit, rate),
        Part("model.keras", export, save_s, "network.save alone"),
    ]


def _history_epochs(folder: Path) -> int:
    lines = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
    return sum(line.startswith("blocks,") for line in lines) - 1  # epoch 0 trains nothing


def products_per_s() -> float:
    """Return the multiply-adds per second of a large float32 matrix product on all cores, median of several."""
    import tensorflow as tf

    left, right = (tf.random.normal((_MATRIX, _MATRIX)) for _ in range(2))
    seconds = []
    for _ in range(_TRIES):
        started = time.perf_counter()
        tf.matmul(left, right).numpy()
        seconds.append(time.perf_counter() - started)
    return float(_MATRIX**3 / statistics.median(seconds))


def import_s() -> float:
    """Return the seconds that a new Python process takes to import Keras on TensorFlow."""
    script = "import time; began = time.perf_counter(); import keras; print(time.perf_counter() - began)"
    return min(float(run([sys.executable, "-c", script]).stdout.splitlines()[-1]) for _ in range(3))


def decode_s(root: Path, samples: Any, size: int) -> float:
    """Return the seconds to decode every photo on all cores, without hashing, auditing or writing."""
    files, spec = [root / sample.path for sample in samples], Preprocess(size=square(size))

    def decode_all() -> None:
        with ThreadPoolExecutor(available_cores()) as pool:
            for _ in pool.map(lambda file: preprocess(file, spec).shape, files):
                pass

    return fastest(decode_all, 2)


def fastest(work: Callable[[], Any], tries: int) -> float:
    """Return the shortest of several timings of a function, in seconds."""
    seconds = []
    for _ in range(tries):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
