"""Make ``teachable.edgetl``: a bundle of two classes that tells unknown photos, for tests of teaching it a third.

Run it in the workstation's environment from the repository root: ``python tests/golden/make_teachable.py``. The network
is that of ``make_golden.py``, which has seen all three shapes; the last layer has the rows of two.
"""

from __future__ import annotations

import io
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import make_golden
import numpy as np
from make_golden import HERE, LABELS, SPEC, draw, photos, to_tflite, train

from edgetl._lib import extras
from edgetl.export.bundle import PhotoFile, VariantFile, write_bundle
from edgetl.export.features_output import with_features
from edgetl.inspection.tflite.metadata import with_metadata
from edgetl.quantization.unknown.given import read_unknown
from edgetl.quantization.unknown.measure import UnknownPixels, unknown_files
from edgetl_device._lib.files import sha256_file
from edgetl_device.bench import accuracy
from edgetl_device.bundle import ReferenceArrays
from edgetl_device.packing import pack
from edgetl_device.preprocess import preprocess
from edgetl_device.runtime import open_runtime, predict, run_batch

KNOWN = LABELS[:2]
HELD_OUT, UNKNOWN, BANK, VALIDATION = 24, 4, 100, 60


def jpeg(label: str, rng: np.random.Generator) -> bytes:
    """Return a drawn photo as a file."""
    stream = io.BytesIO()
    draw(label, rng).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def two_classes(model: Any) -> Any:
    """Return the network with the rows of the known classes only."""
    keras = extras.keras()
    tensor = model.get_layer("pool").output
    dense = keras.layers.Dense(len(KNOWN), name="known_logits")
    tensor = dense(tensor)
    weights, bias = model.get_layer("logits").get_weights()
    dense.set_weights([weights[:, : len(KNOWN)], bias[: len(KNOWN)]])
    return keras.Model(model.input, keras.layers.Softmax(name="known")(tensor))


def main(scratch: Path) -> None:
    """Make everything again; ``scratch`` is an empty folder."""
    rng = np.random.default_rng(make_golden.SEED)
    pixels, labels = photos(600, rng)
    pixels[:, 0, 0], pixels[:, -1, -1] = 0, 255
    model = two_classes(train(pixels, labels))
    pixels = pixels[labels < len(KNOWN)]
    # As JPEGs, like the held-out photos: compression is part of what the features say.
    seen = np.stack([preprocess(jpeg(KNOWN[i % len(KNOWN)], rng), SPEC) for i in range(BANK + VALIDATION)])
    evalset = []
    for i in range(HELD_OUT):
        label = KNOWN[i % len(KNOWN)]
        path = scratch / f"{label}{i // len(KNOWN)}.jpg"
        path.write_bytes(jpeg(label, rng))
        evalset.append(PhotoFile(path, label, sha256_file(path)))
    (scratch / "strange").mkdir()
    for i in range(UNKNOWN):
        draw(LABELS[2], rng).rotate(180).save(scratch / "strange" / f"{i}.png")
    held_out = np.stack([preprocess(photo.path, SPEC) for photo in evalset])
    keras = extras.keras()
    both = keras.Model(model.input, [model.get_layer("known_logits").output, model.output])
    logits, probabilities = (np.asarray(array) for array in both(held_out.astype(np.float32), training=False))
    truth = np.array([KNOWN.index(photo.label) for photo in evalset])
    variants = []
    for name, grid in (("float32", None), ("int8", pixels[:100])):
        data = with_metadata(with_features(to_tflite(model, grid), "tflite"), name="teachable", labels=KNOWN)
        found = predict(partial(run_batch, open_runtime(data, "tflite")), held_out)
        scores = accuracy.score(found.probabilities, truth, probabilities)
        calibration = None if grid is None else {"photos": len(grid), "method": "min-max"}
        variants.append(VariantFile(name, "tflite", name, data, calibration, scores.accuracy, scores.agreement))
        print(name, len(data), scores.accuracy.top1)
    written = write_bundle(
        scratch / "teachable",
        labels=KNOWN,
        preprocess=SPEC,
        variants=variants,
        evalset=evalset,
        reference=ReferenceArrays(probabilities, logits),
        provenance={"made_by": "tests/golden/make_teachable.py", "synthetic": True},
        unknown=unknown_files(
            variants,
            UnknownPixels(seen[:BANK], seen[BANK:], held_out, read_unknown(scratch / "strange", SPEC, {})),
        ),
    )
    pack(written.path, HERE / "teachable.edgetl")
    print((HERE / "teachable.edgetl").stat().st_size, "bytes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch_folder:
        main(Path(scratch_folder))
