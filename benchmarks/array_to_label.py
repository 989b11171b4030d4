"""Measure the overhead of Classifier over the bare interpreter, from uint8 array to label, with interleaved calls.

Both run in one process, call by call, so that a disturbance hits both. Prints one JSON object. ``photo_to_label.py``
includes decoding.

Example: python benchmarks/array_to_label.py runs/flowers/bundle
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.preprocess import preprocess

_WARMUP, _CALLS = 50, 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle)
    arrays = [preprocess(bundle.read(photo.file), bundle.preprocess) for photo in bundle.photos()]
    classifier = Classifier(bundle, "int8", threads=1)
    interpreter = Interpreter(model_content=bundle.read(bundle.variant("int8").file), num_threads=1)
    interpreter.allocate_tensors()
    given, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def bare(pixels: np.ndarray) -> str:
        interpreter.set_tensor(given, pixels[np.newaxis])
        interpreter.invoke()
        return bundle.labels[int(interpreter.get_tensor(result)[0].argmax())]

    def ours(pixels: np.ndarray) -> str:
        return classifier.classify(pixels, top=1)[0].label

    samples: dict[str, list[int]] = {"edgetl": [], "bare": []}
    for call in range(_WARMUP + _CALLS):
        pixels = arrays[call % len(arrays)]
        turns = [("edgetl", ours), ("bare", bare)]
        predictions = set()
        for name, classify in turns if call % 2 else reversed(turns):
            started = time.perf_counter_ns()
            predictions.add(classify(pixels))
            if call >= _WARMUP:
                samples[name].append(time.perf_counter_ns() - started)
        if len(predictions) > 1:
            raise SystemExit("the two ways give different labels")
    print(json.dumps({f"{name}_ns": float(np.median(values)) for name, values in samples.items()}))


if __name__ == "__main__":
    main()
