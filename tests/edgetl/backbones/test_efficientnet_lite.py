"""EfficientNet-Lite against a second implementation in plain NumPy, written from the reference's own block strings."""

from __future__ import annotations

import re

import numpy as np
import pytest
from bases import NONE
from numpy.lib.stride_tricks import sliding_window_view

from edgetl._lib.extras import keras
from edgetl.backbones import build_base, resolve_weights
from edgetl_device.errors import Unavailable
from edgetl_device.input_size import square

# efficientnet_lite_builder.py of TensorFlow's TPU models: repeats, kernel, stride, expansion, filters in and out.
# Of Lite1 and Lite2 after scaling: repeats x 1.1 and 1.2, rounded up; filters of Lite2 x 1.1, as multiples of 8.
_STAGES = {
    "efficientnet_lite0": (
        "r1_k3_s11_e1_i32_o16", "r2_k3_s22_e6_i16_o24", "r2_k5_s22_e6_i24_o40", "r3_k3_s22_e6_i40_o80",
        "r3_k5_s11_e6_i80_o112", "r4_k5_s22_e6_i112_o192", "r1_k3_s11_e6_i192_o320",
    ),
    "efficientnet_lite1": (
        "r1_k3_s11_e1_i32_o16", "r3_k3_s22_e6_i16_o24", "r3_k5_s22_e6_i24_o40", "r4_k3_s22_e6_i40_o80",
        "r4_k5_s11_e6_i80_o112", "r5_k5_s22_e6_i112_o192", "r1_k3_s11_e6_i192_o320",
    ),
    "efficientnet_lite2": (
        "r1_k3_s11_e1_i32_o16", "r3_k3_s22_e6_i16_o24", "r3_k5_s22_e6_i24_o48", "r4_k3_s22_e6_i48_o88",
        "r4_k5_s11_e6_i88_o120", "r5_k5_s22_e6_i120_o208", "r1_k3_s11_e6_i208_o352",
    ),
}  # fmt: skip


def patches(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """Return [height, width, channels, kernel, kernel] with TensorFlow's SAME padding, whose odd row is at the end."""
    out = -(-x.shape[0] // stride)
    missing = max((out - 1) * stride + kernel - x.shape[0], 0)
    sides = (missing // 2, missing - missing // 2)
    return sliding_window_view(np.pad(x, (sides, sides, (0, 0))), (kernel, kernel), axis=(0, 1))[::stride, ::stride]


class Reference:
    def __init__(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        self.stages = _STAGES[name]
        self.arrays = {name: array.astype(np.float64) for name, array in arrays.items()}

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, variance = (
            self.arrays[f"{name}/{kind}"] for kind in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    def conv(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        kernel = self.arrays[f"{name}/kernel"]
        return np.einsum("hwcij,ijco->hwo", patches(x, kernel.shape[0], stride), kernel, optimize=True)

    def depthwise(self, x: np.ndarray, name: str, stride: int) -> np.ndarray:
        kernel = self.arrays[f"{name}/kernel"][..., 0]
        return np.einsum("hwcij,ijc->hwc", patches(x, kernel.shape[0], stride), kernel)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        x = relu6(self.norm(self.conv((pixels - 127) / 128, "stem_conv", 2), "stem_bn"))
        for number, stage in enumerate(self.stages, 1):
            repeats, _, stride, expansion, _, filters = map(int, re.findall(r"[rkseio](\d+)", stage))
            for index in range(repeats):
                x = self.block(x, f"block{number}{'abcde'[index]}", stride % 10 if index == 0 else 1, expansion)
                assert x.shape[-1] == filters
        return relu6(self.norm(self.conv(x, "top_conv"), "top_bn"))

    def block(self, came_in: np.ndarray, name: str, stride: int, expansion: int) -> np.ndarray:
        x = came_in
        if expansion > 1:
            x = relu6(self.norm(self.conv(x, f"{name}_expand_conv"), f"{name}_expand_bn"))
        x = relu6(self.norm(self.depthwise(x, f"{name}_dwconv", stride), f"{name}_bn"))
        x = self.norm(self.conv(x, f"{name}_project_conv"), f"{name}_project_bn")
        return x + came_in if x.shape == came_in.shape and stride == 1 else x


def relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 6)


@pytest.mark.parametrize("name", _STAGES)
def test_the_graph_computes_what_the_reference_computes(name: str) -> None:
    try:
        weights = resolve_weights(name, width=1.0)
    except Unavailable:
        weights = NONE
    keras().utils.set_random_seed(0)
    base = build_base(name, size=square(64), width=1.0, weights=weights)
    reference = Reference(name, {variable.path: np.asarray(variable) for variable in base.weights})
    # Odd intermediate sizes (25, 13, 7, 4, 2) are padded differently from even ones.
    for size in (64, 50):
        pixels = np.random.default_rng(size).integers(0, 256, (size, size, 3)).astype(np.float32)
        expected = reference.features(pixels)
        assert expected.max() > 1
        assert expected.std() > 0.1
        again = build_base(name, size=square(size), width=1.0, weights=NONE)
        again.set_weights(base.get_weights())
        np.testing.assert_allclose(np.asarray(again(pixels[None]))[0], expected, atol=1e-4)
