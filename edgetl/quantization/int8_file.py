"""An int8 TFLite file that edgetl did not make: checked against the model of a run, and kept byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgetl._lib.progress import step
from edgetl._lib.quiet import quietly
from edgetl.export.bundle import VariantFile
from edgetl.inspection.tflite.file import Tensor, TFLiteModel, describe
from edgetl.inspection.tflite.metadata import read_metadata
from edgetl.runs.directory import Run
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.errors import InputError
from edgetl_device.runtime import check_probabilities, open_runtime
from edgetl_device.runtime.trial_run import check_model
from edgetl_device.storage import MAX_FILE_BYTES
from edgetl_device.text import listed

# Half a step is rounding, and half a step more is lost where the range is symmetric; the photos that set the range need
# not quite reach both ends.
_MOST_STEPS = 2.0
_OTHER = "Give the int8 file that was made of this run's model."
_FLOAT = "edgetl import takes float files, and edgetl quantize makes int8 files of their runs."

# What a model takes for pixels of 0 and 255, for all channels or for each.
_Ends = tuple[float, float]
_RAW = (0.0, 255.0)


def read_int8_file(path: Path, run: Run) -> VariantFile:
    """Return an int8 TFLite file as the variant ``int8`` of a run, unchanged.

    The file has one output, the probabilities of the run's classes. Pixels are not scaled on the device, so each
    integer of its input stands for one pixel value.

    Args:
        path: The file.
        run: The run of the float model that it was made of.

    Raises:
        InputError: It is no TFLite file, is damaged or crashes LiteRT, is not int8, is no image classifier, or has
            another size, number or order of classes, or scaling of pixels than the run's model.
        Unavailable: LiteRT is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: is too large", why=f"a bundle's files have at most {MAX_FILE_BYTES:,} bytes")
    data = path.read_bytes()
    try:
        with step("Checking the int8 file"):
            _check(data, run)
    except InputError as error:
        raise InputError(f"{path}: {error.what}", why=error.why, hint=error.hint) from None
    return VariantFile("int8", "tflite", "int8", data)


def _check(data: bytes, run: Run) -> None:
    found = describe(data)
    _check_int8_classifier(found)
    check_model(data, "tflite", sha256_bytes(data))
    with quietly():
        runtime = open_runtime(data, "tflite")
    _check_size_and_classes(runtime.input.shape[1:], runtime.output.shape[1], run)
    _check_labels(data, run)
    _check_pixels(found, run)
    runtime.set_input(np.zeros(runtime.input.shape[1:], np.uint8))
    runtime.invoke()
    scores = _range(_integers(found, found.outputs[0]))
    check_probabilities(runtime.probabilities() if scores is None else np.array(scores, np.float32))
    runtime.close()


def _check_int8_classifier(found: TFLiteModel) -> None:
    if len(found.inputs) != 1 or len(found.outputs) != 1:
        raise InputError(
            f"it has {len(found.inputs)} inputs and {len(found.outputs)} outputs",
            why="an image classifier has one of each",
            hint="Detectors are not supported. Convert a model with the scores of the classes as its only output.",
        )
    custom = sorted({one.name for one in found.operators if one.custom})
    if custom:
        raise InputError(
            f"it has operators that are not of TFLite: {', '.join(custom)}",
            hint="Of a file for the Edge TPU, give the one before its compiler; edgetl compile compiles it. Else "
            "convert it with tf.lite.OpsSet.TFLITE_BUILTINS_INT8 only.",
        )
    computed = [one.outputs[0] for one in found.operators if one.outputs and one.name not in ("QUANTIZE", "DEQUANTIZE")]
    types = {found.tensors[index].dtype for index in computed if found.tensors[index].scales}
    if "int16" in types:
        raise InputError("it is not int8", why="its activations are int16", hint=_FLOAT)
    if not types & {"int8", "uint8"}:
        raise InputError("it is a float file", why="it computes nothing in int8", hint=_FLOAT)


def _check_size_and_classes(shape: tuple[int, ...], outputs: int, run: Run) -> None:
    size = run.preprocess.size
    if shape != size.shape:
        height, width, channels = shape
        grey = "grey " if channels == 1 else ""
        raise InputError(
            f"it takes {grey}photos of {height} x {width} pixels", why=f"the run's model takes {size.px}", hint=_OTHER
        )
    if outputs != len(run.labels):
        raise InputError(
            f"it has {outputs} outputs",
            why=f"the run's model tells {len(run.labels)} classes apart: {listed(run.labels)}",
            hint=_OTHER,
        )


def _check_labels(data: bytes, run: Run) -> None:
    metadata = read_metadata(data)
    labels = metadata.labels if metadata else ()
    if labels != run.labels and sorted(labels) == sorted(run.labels):
        raise InputError(
            f"its metadata has the labels in another order: {listed(labels)}",
            why=f"the run has {listed(run.labels)}",
            hint="Import the float model with --labels FILE, in the order of its outputs.",
        )


def _check_pixels(found: TFLiteModel, run: Run) -> None:
    """Refuse an input that takes pixels neither as they are, with the scaling inside, nor scaled as the run's model."""
    imported = run.document.imported
    wanted: tuple[_Ends, ...] = (_RAW,)
    name, rgb = "raw", True
    if imported is not None:
        scaling = imported.input
        pairs = zip(scaling.factor, scaling.offset, strict=True)
        name, wanted = scaling.name, tuple((offset, 255 * factor + offset) for factor, offset in pairs)
        rgb = scaling.channels == "RGB"
    dtype, integers = found.tensors[found.inputs[0]].dtype, _integers(found, found.inputs[0])
    # Without integers its first layers are float, or it converts uint8 itself.
    taken = _range(integers) or (wanted[0] if dtype == "float32" else _RAW)
    scale = integers.scales[0] if integers.scales else 0.0
    if _equal(taken, (_RAW,), scale) or (rgb and dtype != "float32" and _equal(taken, wanted, scale)):
        return
    if dtype == "float32":
        about = "devices do not scale pixels"
        hint = "Convert it again with tf.uint8 or tf.int8 as inference_input_type and inference_output_type."
    else:
        about = f"scale {scale:.6g}, zero point {_zero_point(integers)}"
        hint = (
            "If the float model was trained as the file says, import it again with --input. Else convert it again with "
            "the scaling inside, or leave the file out: edgetl makes int8 files, too."
        )
    raise InputError(
        f"its {dtype} input is for pixels scaled to {_shown((taken,))}",
        why=f"{about}; the run's model takes them scaled to {_shown(wanted)} ({name}{'' if rgb else ', BGR'})",
        hint=hint,
    )


def _integers(found: TFLiteModel, index: int) -> Tensor:
    """Return the tensor at an end of the graph; for floats, what they are quantized to, or dequantized from."""
    for operator in found.operators:
        if operator.name == "QUANTIZE" and operator.inputs[0] == index and not found.tensors[index].scales:
            return found.tensors[operator.outputs[0]]
        if operator.name == "DEQUANTIZE" and operator.outputs[0] == index:
            return found.tensors[operator.inputs[0]]
    return found.tensors[index]


def _range(integers: Tensor) -> _Ends | None:
    """Return what the lowest and the highest integer of a tensor stand for; None for floats."""
    if integers.dtype not in ("int8", "uint8") or not integers.scales:
        return None
    ends = np.iinfo(integers.dtype)
    low, high = (integers.scales[0] * (int(end) - _zero_point(integers)) for end in (ends.min, ends.max))
    return low, high


def _zero_point(integers: Tensor) -> int:
    return integers.zero_points[0] if integers.zero_points else 0


def _equal(taken: _Ends, wanted: tuple[_Ends, ...], step: float) -> bool:
    return all(
        abs(one - other) <= _MOST_STEPS * step for ends in wanted for one, other in zip(taken, ends, strict=True)
    )


def _shown(wanted: tuple[_Ends, ...]) -> str:
    return ", ".join(f"{low:.4g} to {high:.4g}" for low, high in wanted)
