"""Measure the cost of each backbone, for the table that ``edgetl models`` shows without loading TensorFlow.

``python models/backbone_facts.py`` builds every backbone at every width, converts it to int8 and writes
``edgetl/backbones/facts.json``; this takes a few minutes. Speed depends on the device
(``edgetl bench``), and accuracy on the photos; neither is in the table.
"""

from __future__ import annotations

import argparse
from collections import Counter
from importlib.metadata import version

import numpy as np

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES, blocks, build_base, resolve_weights
from edgetl.backbones.cost import multiply_adds
from edgetl.backbones.facts import FACTS_FILE, SCHEMA, EdgeTpuFacts, Facts
from edgetl.inspection.edgetpu.dense import per_tensor_dense
from edgetl.inspection.edgetpu.predict import predict
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.jsonfile import write_json
from edgetl_device.input_size import square

CLASSES = 5


def imagenet_multiply_adds(name: str, width: float) -> int | None:
    """Return the multiply-adds at the size that the ImageNet classifier was trained at; None where there is none."""
    size = BACKBONES[name].top_size
    if size is None:
        return None
    weights = resolve_weights(name, width=width, request="none")
    return multiply_adds(build_base(name, size=square(size), width=width, weights=weights))


def facts_of(name: str, width: float, *, size: int | None = None) -> Facts:
    """Return one row of the table, by default at the backbone's default size."""
    size = size or BACKBONES[name].default_size
    keras().utils.set_random_seed(0)
    weights = resolve_weights(name, width=width, request="none")
    base = build_base(name, size=square(size), width=width, weights=weights)
    layers = keras().layers
    features = layers.GlobalAveragePooling2D(name="pool")(base.output)
    probabilities = layers.Softmax(name="probabilities")(layers.Dense(CLASSES, name="logits")(features))
    model = keras().Model(base.input, probabilities)
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    int8 = int8_tflite(fold_batch_norm(model), pixels)
    prediction = predict(per_tensor_dense(int8))
    # Operators that the Edge TPU cannot run themselves, as opposed to those that follow one.
    causes = Counter(
        operator.name
        for operator in prediction.operators
        if operator.on == "cpu" and operator.constraint not in ("partition", "")
    )
    return Facts(
        name=name,
        width=width,
        size=size,
        parameters=int(base.count_params()),
        multiply_adds=multiply_adds(base),
        imagenet_multiply_adds=imagenet_multiply_adds(name, width),
        blocks=len(blocks(name, base)),
        features=int(base.output.shape[-1]),
        int8_bytes=len(int8),
        edgetpu=EdgeTpuFacts(
            operators=prediction.total,
            mapped=prediction.mapped,
            parameter_bytes=prediction.parameter_bytes,
            refused=prediction.refused,
            causes=dict(sorted(causes.items())),
        ),
    )


def main() -> None:
    """Write the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows = []
    for name, backbone in BACKBONES.items():
        for width in backbone.widths:
            rows.append(facts_of(name, width))
            print(rows[-1], flush=True)
            keras().backend.clear_session()
    made_with = {package: version(package) for package in ("tensorflow", "keras")}
    write_json(FACTS_FILE, {"schema": SCHEMA, "classes": CLASSES, "made_with": made_with, "rows": to_json(rows)})


if __name__ == "__main__":
    main()
