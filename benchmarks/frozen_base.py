"""Images per second through the frozen base: edgetl (LiteRT) against ``keras.Model.predict``.

They alternate in one process. Both compute the pooled features of the whole base from decoded photos. Prints one JSON
object.

Example: python benchmarks/frozen_base.py --photos ../shared/data/flowers
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from harness import alternated, spread

from edgetl_device.input_size import square

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_BATCH = 32
_SIZE = 160
# Both compute the same float32 sums in different orders.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Pass:
    """One pass over all photos: images per second, images per second of CPU time, and the pooled features."""

    per_s: float
    per_cpu_s: float
    pooled: npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos in any layout that edgetl reads")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(arguments.photos, arguments.rounds, Path(scratch))))


def measure(photos: Path, rounds: int, scratch: Path) -> dict[str, Any]:
    from edgetl._lib.extras import keras
    from edgetl.backbones import build_base, resolve_weights
    from edgetl.data import load_dataset
    from edgetl.features.frozen_base import freeze, photo_activations
    from edgetl_device.preprocess import Preprocess

    _use_cache(scratch / "all")
    pixels = load_dataset(photos, Preprocess(size=square(_SIZE))).pixels
    weights = resolve_weights("mobilenet_v2", width=1.0, request="auto")
    base = build_base("mobilenet_v2", size=square(_SIZE), width=1.0, weights=weights)
    model = keras().Model(base.input, keras().layers.GlobalAveragePooling2D()(base.output))
    frozen = freeze(base, None)
    # In Keras' favour: already float32 in memory. edgetl reads uint8 from its cache and writes its results.
    batch = np.asarray(pixels.array, np.float32)

    def edgetl(index: int) -> _Pass:
        # With cached features every round but the first would take no time.
        _use_cache(scratch / f"round-{index}")
        return _timed(lambda: photo_activations(frozen, pixels).pooled)

    def predict(index: int) -> _Pass:
        del index
        return _timed(lambda: model.predict(batch, batch_size=_BATCH, verbose=0))

    # One of each before the first round: Keras traces its graph, the system caches the files.
    edgetl(-1)
    predict(-1)
    results = alternated(rounds, edgetl, predict)
    difference = max(float(np.abs(ours.pooled - theirs.pooled).max()) for ours, theirs in results)
    if difference > _TOLERANCE:
        raise SystemExit(f"the features differ by {difference:.1e}: not the same base")
    return {
        "photos": len(batch),
        "size": _SIZE,
        "batch": _BATCH,
        "features_differ_by": difference,
        "edgetl_per_s": spread([ours.per_s for ours, _ in results]),
        "keras_per_s": spread([theirs.per_s for _, theirs in results]),
        "ratio": spread([ours.per_s / theirs.per_s for ours, theirs in results]),
        # By CPU time of all cores: the ratio if both used the cores equally well.
        "edgetl_per_cpu_s": spread([ours.per_cpu_s for ours, _ in results]),
        "keras_per_cpu_s": spread([theirs.per_cpu_s for _, theirs in results]),
    }


def _timed(compute: Callable[[], npt.NDArray[np.float32]]) -> _Pass:
    cpu_started, started = time.process_time(), time.perf_counter()
    pooled = compute()
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    return _Pass(len(pooled) / seconds, len(pooled) / cpu_s, pooled)


def _use_cache(folder: Path) -> None:
    os.environ["EDGETL_CACHE"] = str(folder)


if __name__ == "__main__":
    main()
