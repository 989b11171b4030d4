"""Deployment targets: their requirements on an int8 file, and the compatibility check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgetl.inspection.edgetpu.predict import predict
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.metadata import read_metadata
from edgetl_device.errors import GateFailed


def _no_more(_: bytes) -> str | None:
    return None


def _on_edge_tpu(model: bytes) -> str | None:
    left = [placed for placed in predict(model).operators if placed.on != "edgetpu"]
    return f"operator {left[0].index}, {left[0].name}, would stay on the CPU: {left[0].reason}" if left else None


# Operators of MobileNet-like models in tflite-micro's MicroMutableOpResolver (tensorflow/lite/micro).
_MICRO = frozenset(
    (
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "HARD_SWISH",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MEAN",
        "MUL",
        "PAD",
        "QUANTIZE",
        "RELU",
        "RELU6",
        "RESHAPE",
        "SOFTMAX",
        "SUB",
    )
)


def _on_micro(model: bytes) -> str | None:
    found = {operator.name for operator in describe(model).operators} - _MICRO
    return f"tflite-micro has no {', '.join(sorted(found))}" if found else None


def _in_mediapipe(model: bytes) -> str | None:
    found = describe(model)
    if found.tensors[found.inputs[0]].shape[-1] == 1:
        return "its input is grey, and MediaPipe's image classifier takes RGB only"
    metadata = read_metadata(model)
    return None if metadata is not None and metadata.labels else "it has no labels in its metadata"


@dataclass(frozen=True)
class Target:
    """A deployment target.

    Attributes:
        name: Name in ``--target``.
        dtype: Input and output type of the TFLite file.
        per_tensor_dense: Whether Dense weights are quantized per tensor instead of per channel.
        float_layers: Whether single layers may stay float if int8 loses too much.
        onnx: Whether the target can use int8 ONNX.
        complaint: Function that returns why a TFLite file cannot run on the target, or None if it can.
    """

    name: str
    dtype: Literal["uint8", "int8"]
    per_tensor_dense: bool
    float_layers: bool
    onnx: bool
    complaint: Callable[[bytes], str | None]

    def check(self, model: bytes, name: str) -> None:
        """Check that the target can run a TFLite file.

        Raises:
            GateFailed: It cannot; the message says why.
        """
        why = self.complaint(model)
        if why is not None:
            raise GateFailed(
                f"{name} does not fit --target {self.name}",
                why=why,
                hint="Choose another backbone, or --target generic.",
            )


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("generic", "uint8", per_tensor_dense=False, float_layers=True, onnx=True, complaint=_no_more),
        # The compiler needs a single partition of integer operators; runtimes before 14 lack per-channel Dense.
        Target("coral", "uint8", per_tensor_dense=True, float_layers=False, onnx=False, complaint=_on_edge_tpu),
        # CMSIS-NN and ESP-NN kernels are int8 only, and most lack per-channel Dense.
        Target("mcu", "int8", per_tensor_dense=True, float_layers=False, onnx=False, complaint=_on_micro),
        # MediaPipe's image classifier takes uint8 or float pixels and reads labels from the metadata.
        Target("mediapipe", "uint8", per_tensor_dense=False, float_layers=True, onnx=False, complaint=_in_mediapipe),
    )
}
