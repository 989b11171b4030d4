"""Make ``tiny.edgetl`` and ``photos/``: a bundle of a few KB with every kind of model, for tests without TensorFlow.

Run it in the workstation's environment from the repository root: ``python tests/golden/make_golden.py``. It calls the
converters directly, not ``edgetl.quantization``, so that changes there do not affect the device's tests.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from edgetl._lib import extras
from edgetl.export import bundle
from edgetl_device._lib.files import sha256_file
from edgetl_device.bench import accuracy
from edgetl_device.bundle import ReferenceArrays
from edgetl_device.input_size import square
from edgetl_device.packing import pack
from edgetl_device.preprocess import Preprocess, preprocess
from edgetl_device.runtime import open_runtime, predict, run_batch

HERE = Path(__file__).parent
LABELS = ("circle", "square", "triangle")
COLOURS = {"circle": (200, 50, 40), "square": (50, 160, 70), "triangle": (50, 80, 200)}
SPEC = Preprocess(size=square(32))
HELD_OUT = 12
SEED = 7


def draw(label: str, rng: np.random.Generator) -> Image.Image:
    """Draw a shape in roughly its class's colour at a random position on a noisy background."""
    width, height = int(rng.integers(44, 64)), int(rng.integers(40, 56))
    ground = rng.integers(150, 230, 3) + rng.normal(0, 12, (height, width, 3))
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    colour = tuple(int(v) for v in np.clip(np.array(COLOURS[label]) + rng.normal(0, 25, 3), 0, 255))
    r = int(rng.integers(9, 15))
    x, y = int(rng.integers(r, width - r)), int(rng.integers(r, height - r))
    brush = ImageDraw.Draw(image)
    if label == "circle":
        brush.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif label == "square":
        brush.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    else:
        brush.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    return image


def photos(count: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return preprocessed photos, uint8 [count, 32, 32, 3], and their classes, int64 [count]."""
    labels = np.arange(count) % len(LABELS)
    return np.stack([preprocess(draw(LABELS[i], rng), SPEC) for i in labels]), labels


def train(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Any:
    """Train a network of three convolutions for a few seconds."""
    keras = extras.keras()
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    tensor = inputs = keras.Input((32, 32, 3), name="pixels")
    tensor = layers.Rescaling(1 / 127.5, -1, name="scale")(tensor)
    for index, filters in enumerate((8, 16, 16)):
        tensor = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name=f"conv{index}")(tensor)
    tensor = layers.GlobalAveragePooling2D(name="pool")(tensor)
    tensor = layers.Dense(len(LABELS), name="logits")(tensor)
    model = keras.Model(inputs, layers.Softmax(name="probabilities")(tensor))
    # Smoothed labels keep probabilities away from 0 and 1, where errors of a runtime would be rounded away.
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.CategoricalCrossentropy(label_smoothing=0.2))
    targets = keras.utils.to_categorical(labels, len(LABELS))
    model.fit(pixels.astype(np.float32), targets, batch_size=32, epochs=12, verbose=0)
    return model


def to_tflite(model: Any, calibration: npt.NDArray[np.uint8] | None) -> bytes:
    """Return float32 TFLite or, with calibration photos, int8 with uint8 input and output."""
    tf = extras.tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        converter.representative_dataset = lambda: ([photo[None].astype(np.float32)] for photo in calibration)
    return converter.convert()


def to_onnx(model: Any, calibration: npt.NDArray[np.uint8] | None) -> bytes:
    """Return float32 ONNX or, with calibration photos, int8 QDQ with uint8 input."""
    tf, tf2onnx = extras.tensorflow(), extras.require("tf2onnx")
    dtype = tf.float32 if calibration is None else tf.uint8
    signature = [tf.TensorSpec((1, 32, 32, 3), dtype, name="pixels")]
    function = tf.function(lambda pixels: model(tf.cast(pixels, tf.float32), training=False), input_signature=signature)
    document, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
    if calibration is None:
        return document.SerializeToString()
    extras.require("onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(calibration)

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            row = next(self.rows, None)
            return None if row is None else {"pixels": row[None]}

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, done = (str(Path(folder) / name) for name in ("plain.onnx", "ready.onnx", "done.onnx"))
        Path(plain).write_bytes(document.SerializeToString())
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(
            ready, done, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return Path(done).read_bytes()


def held_out_photos(folder: Path, rng: np.random.Generator) -> list[bundle.PhotoFile]:
    """Draw the held-out photos as files, JPEG and every fourth PNG."""
    evalset = []
    for i in range(HELD_OUT):
        label = LABELS[i % len(LABELS)]
        path = folder / f"{label}{i // len(LABELS)}.{'png' if i % 4 == 3 else 'jpg'}"
        draw(label, rng).save(path, quality=90)
        evalset.append(bundle.PhotoFile(path, label, sha256_file(path)))
    return evalset


def main(scratch: Path) -> None:
    """Make everything again; ``scratch`` is an empty folder."""
    rng = np.random.default_rng(SEED)
    pixels, labels = photos(600, rng)
    pixels[:, 0, 0], pixels[:, -1, -1] = 0, 255  # so that the calibrated input range is 0..255
    model = train(pixels, labels)

    evalset = held_out_photos(scratch, rng)
    shutil.rmtree(HERE / "photos", ignore_errors=True)
    (HERE / "photos").mkdir()
    for photo in evalset[: len(LABELS) + 1]:
        shutil.copy(photo.path, HERE / "photos")
    held_out = np.stack([preprocess(photo.path, SPEC) for photo in evalset])

    keras = extras.keras()
    both = keras.Model(model.input, [model.get_layer("logits").output, model.output])
    logits, probabilities = (np.asarray(array) for array in both(held_out.astype(np.float32), training=False))
    truth = np.array([LABELS.index(photo.label) for photo in evalset])
    variants = []
    for name, format, convert, grid in (
        ("float32", "tflite", to_tflite, None),
        ("int8", "tflite", to_tflite, pixels[:100]),
        ("float32-onnx", "onnx", to_onnx, None),
        ("int8-onnx", "onnx", to_onnx, pixels[:100]),
    ):
        data = convert(model, grid)
        runtime = open_runtime(data, format)
        found = predict(partial(run_batch, runtime), held_out)
        scores = accuracy.score(found.probabilities, truth, probabilities)
        variants.append(
            bundle.VariantFile(
                name, format, name.partition("-")[0], data,
                calibration=None if grid is None else {"photos": len(grid), "method": "min-max"},
                accuracy=scores.accuracy, agreement=scores.agreement,
            )
        )  # fmt: skip
        print(name, len(data), scores.accuracy.top1, scores.agreement)
    written = bundle.write_bundle(
        scratch / "tiny",
        labels=LABELS,
        preprocess=SPEC,
        variants=variants,
        evalset=evalset,
        reference=ReferenceArrays(probabilities, logits),
        provenance={"made_by": "tests/golden/make_golden.py", "synthetic": True},
    )
    pack(written.path, HERE / "tiny.edgetl")
    print((HERE / "tiny.edgetl").stat().st_size, "bytes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch_folder:
        main(Path(scratch_folder))
