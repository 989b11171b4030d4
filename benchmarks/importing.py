"""Import ONNX files and hold each against ONNX Runtime; find the input of a model that is fed in each convention.

The files are those of ``export_timm.py``, from an environment with PyTorch. The photos are the shared flowers' test
photos.

    python benchmarks/importing.py [--models models/] [--runs RUN ...] [--quantized RUN FILE ...] --out result.json

With ``--runs``, runs of ``edgetl train``: each is exported once for each convention of its input, and ``--input auto``
has to find that on 60 of its held-out photos.

With ``--quantized``, a run of ``edgetl train`` on the flowers and files with the same weights (``carried_over.py``):
each is imported and quantized, as the run is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import SHARED_DATA, say

import edgetl
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
_PHOTOS, _CHOOSING = 50, 60
# What the files of carried_over.py take.
_TAKE: dict[str, dict[str, Any]] = {
    "pytorch": {"mean": (f"{127 / 255}",), "std": (f"{128 / 255}",)},
    "keras2": {"input": "-1..1"},
}


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


def conventions(run: Run) -> list[dict[str, Any]]:
    """Return what ``--input auto`` finds for a model in each convention, from few photos."""
    model, options = run.load_model(), ImportOptions()
    dataset = load_dataset(run.data_root, run.preprocess)
    held_out = dataset.of("test") or dataset.of("val")
    samples = stratified_sample(held_out, count=_CHOOSING, seed=0)
    scalings, fits = inputs.candidates(options, scales_pixels="", fit="")
    photos = {fit: pipeline.pixels_of(dataset, samples, fit) for fit in fits}
    rows = []
    for name, scaling in inputs.CONVENTIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(_unscaled(model, scaling))
            loaded = pipeline.load(path, options)
        tried = inputs.try_inputs(loaded.original, loaded.ends_in, photos, targets_of(samples, run.labels), scalings)
        found = inputs.chosen(tried, scalings, options, by_model=False).record
        undecided = [one for one in found.undecided if one in inputs.CONVENTIONS]
        accuracy = found.tried[0].accuracy
        rows.append(
            {
                "model": run.folder.name,
                "top1": accuracy and accuracy.top1,
                "convention": name,
                "found": found.name,
                "undecided": undecided,
                "photos": len(samples),
            }
        )
    return rows


def quantized(path: Path, flowers: Path) -> dict[str, Any]:
    """Import a file unless it is a run, quantize it, and return what int8 loses on the held-out photos."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        if path.is_dir():
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns("bundle", "quantize*"))
        else:
            take = _TAKE.get(path.stem, {"input": "raw"})
            edgetl.import_model(path, flowers, out=copy, fit="stretch", **take)
        started = time.perf_counter()
        edgetl.quantize(copy, int8=True)
        seconds = time.perf_counter() - started
        report = json.loads((copy / "quantize.json").read_text(encoding="utf-8"))
    variants = {one["name"]: one for one in report["variants"] if one["name"].startswith("int8")}
    return {"file": path.name, "seconds": round(seconds, 1), "variants": variants}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="folder of ONNX files")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="runs of edgetl train")
    parser.add_argument("--quantized", type=Path, nargs="+", default=[], help="runs, and model files")
    parser.add_argument("--data", type=Path, default=SHARED_DATA)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    flowers = given.data / "flowers"
    document: dict[str, Any] = {"schema": SCHEMA, "equality": [], "conventions": [], "quantized": []}
    for path in sorted(given.models.glob("*.onnx")) if given.models else ():
        row = equality(path, flowers)
        document["equality"].append(row)
        say(f"{row['model']}: {row.get('refused') or row['max_abs']}")
        write_json(given.out, document)
    rows = document["conventions"]
    for folder in given.runs:
        rows += conventions(Run.open(folder))
        sure = [row for row in rows if not row["undecided"]]
        right = sum(row["found"] == row["convention"] for row in sure)
        say(f"{folder.name}: so far sure in {len(sure)} of {len(rows)}, right in {right} of these")
        write_json(given.out, document)
    for path in given.quantized:
        document["quantized"].append(quantized(path, flowers))
        say(f"{path.name}: {document['quantized'][-1]['variants']}")
        write_json(given.out, document)
    refused = [row for row in document["equality"] if "refused" in row]
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
