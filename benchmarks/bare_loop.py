"""Time a bare loop around LiteRT's interpreter, as in its documentation: the latency of a model without edgetl's bench.

A photo is decoded before each run, as in the bench and in an application, so that the CPU caches are in the same
state. Only the copy of the pixels and the run are timed. Prints one JSON object with raw nanoseconds.

Example: python benchmarks/bare_loop.py runs/flowers/bundle --variant int8
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgetl_device.bundle import Bundle
from edgetl_device.preprocess import preprocess

_WARMUP = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="int8")
    parser.add_argument("--duration", type=float, default=3.0, help="seconds")
    arguments = parser.parse_args()

    bundle = Bundle.open(arguments.bundle)
    photos = [bundle.read(photo.file) for photo in bundle.photos()]
    model = bundle.read(bundle.variant(arguments.variant).file)
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    samples: list[int] = []
    runs, ends = 0, float("inf")
    while runs < _WARMUP or time.perf_counter() < ends:
        pixels = preprocess(photos[runs % len(photos)], bundle.preprocess)
        started = time.perf_counter_ns()
        interpreter.set_tensor(given["index"], pixels[np.newaxis].astype(given["dtype"], copy=False))
        interpreter.invoke()
        samples.append(time.perf_counter_ns() - started)
        interpreter.get_tensor(result["index"])
        runs += 1
        if runs == _WARMUP:
            samples.clear()
            ends = time.perf_counter() + arguments.duration
    print(json.dumps({"variant": arguments.variant, "samples_ns": samples}))


if __name__ == "__main__":
    main()
