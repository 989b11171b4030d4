"""Import ONNX files and hold each against ONNX Runtime; find the input of a model that is fed in each convention.

The files are those of ``export_timm.py``, from an environment with PyTorch. The photos are the shared flowers' test
photos.

    python benchmarks/importing.py --models models/ [--run RUN] --out result.json

With ``--run``, a run of ``edgetl train`` on the flowers: it is exported once for each convention of its input, and
``--input auto`` has to find that on 60 test photos, another draw each time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import SHARED_DATA, say

from edgetl._lib.extras import keras
from edgetl.backbones.spec import TORCH, Scaling
from edgetl.data import load_dataset, stratified_sample, targets_of
from edgetl.export.conversion import float32_onnx
from edgetl.importing import agreement, inputs, pipeline
from edgetl.importing.options import ImportOptions
from edgetl.importing.plain import finished
from edgetl.runs.directory import Run
from edgetl_device._lib.jsonfile import write_json
from edgetl_device.errors import EdgetlError
from edgetl_device.preprocess import Preprocess

SCHEMA = "edgetl.import-benchmark/1"
_PHOTOS, _CHOOSING, _SEEDS = 50, 60, 4


def equality(path: Path, flowers: Path) -> dict[str, Any]:
    """Import one file and return how far it is from its original on real photos, or why it was refused."""
    started = time.perf_counter()
    try:
        loaded = pipeline.load(path, ImportOptions())
        made = finished(loaded.network, TORCH, size=loaded.size, name="benchmark")
    except EdgetlError as error:
        return {"model": path.stem, "refused": str(error)}
    seconds = time.perf_counter() - started
    dataset = load_dataset(flowers, Preprocess(size=loaded.size))
    pixels = dataset.pixels.array[dataset.pixels.rows(dataset.of("test")[: 4 * _PHOTOS : 4])]
    found = agreement.agreement(made, loaded.original, TORCH, pixels)
    return {
        "model": path.stem,
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "seconds": round(seconds, 1),
        "photos": found.photos,
        "agree": found.agree,
        "max_abs": found.max_abs,
        "rounding": found.rounding,
        "layers": len(made.model.layers),
    }


def _unscaled(model: Any, scaling: Scaling) -> bytes:
    """Return a model of raw pixels as ONNX that takes them scaled in a convention, channels first."""
    layers = keras().layers
    source = layers.Input(model.input.shape[1:], name="pixels")
    order = ["RGB".index(channel) for channel in scaling.channels]
    factor, offset = (np.broadcast_to(np.array(part, np.float64), 3) for part in (scaling.factor, scaling.offset))
    back = layers.Conv2D(3, 1, name="back")
    pixels = back(source)
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    bias = np.zeros(3, np.float32)
    for place, channel in enumerate(order):
        kernel[0, 0, place, channel] = 1 / factor[place]
        bias[channel] = -offset[place] / factor[place]
    back.set_weights([kernel, bias])
    return float32_onnx(keras().Model(source, model(pixels)), layout="nchw")


def conventions(run: Run, flowers: Path) -> list[dict[str, Any]]:
    """Return what ``--input auto`` finds for a model in each convention, from few photos."""
    model, options = run.load_model(), ImportOptions()
    dataset = load_dataset(flowers, Preprocess(size=run.preprocess.size))
    rows = []
    for name, scaling in inputs.CONVENTIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(_unscaled(model, scaling))
            loaded = pipeline.load(path, options)
        scalings, fits = inputs.candidates(options, scales_pixels="", fit="")
        for seed in range(_SEEDS):
            samples = stratified_sample(dataset.of("test"), count=_CHOOSING, seed=seed)
            photos = {fit: pipeline.pixels_of(dataset, samples, fit) for fit in fits}
            tried = inputs.try_inputs(
                loaded.original, loaded.ends_in, photos, targets_of(samples, run.labels), scalings
            )
            found = inputs.chosen(tried, scalings, options, by_model=False).record
            undecided = [one for one in found.undecided if one in inputs.CONVENTIONS]
            rows.append({"convention": name, "seed": seed, "found": found.name, "undecided": undecided})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of ONNX files")
    parser.add_argument("--run", type=Path, help="run of edgetl train on the shared flowers")
    parser.add_argument("--data", type=Path, default=SHARED_DATA)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    flowers = given.data / "flowers"
    document: dict[str, Any] = {"schema": SCHEMA, "equality": [], "conventions": []}
    for path in sorted(given.models.glob("*.onnx")):
        row = equality(path, flowers)
        document["equality"].append(row)
        say(f"{row['model']}: {row.get('refused') or row['max_abs']}")
        write_json(given.out, document)
    if given.run:
        rows = document["conventions"] = conventions(Run.open(given.run), flowers)
        sure = [row for row in rows if not row["undecided"]]
        right = sum(row["found"] == row["convention"] for row in sure)
        say(f"sure in {len(sure)} of {len(rows)}, right in {right} of these")
        write_json(given.out, document)
    refused = [row for row in document["equality"] if "refused" in row]
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
