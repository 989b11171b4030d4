"""The keras.applications models behind the rows of the registry, built by Keras itself. For tests."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras

_V3 = {"minimalistic": True}
# Row -> Keras' module, function, options, and whether it has widths.
FUNCTIONS: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "mobilenet_v1": ("mobilenet", "MobileNet", {}, True),
    "mobilenet_v2": ("mobilenet_v2", "MobileNetV2", {}, True),
    "mobilenet_v3_small": ("mobilenet_v3", "MobileNetV3Small", {}, True),
    "mobilenet_v3_large": ("mobilenet_v3", "MobileNetV3Large", {}, True),
    "mobilenet_v3_small_minimalistic": ("mobilenet_v3", "MobileNetV3Small", _V3, True),
    "mobilenet_v3_large_minimalistic": ("mobilenet_v3", "MobileNetV3Large", _V3, True),
    "resnet50": ("resnet", "ResNet50", {}, False),
    "densenet121": ("densenet", "DenseNet121", {}, False),
    "vgg16": ("vgg16", "VGG16", {}, False),
    "vgg19": ("vgg19", "VGG19", {}, False),
    "inception_v3": ("inception_v3", "InceptionV3", {}, False),
    "nasnet_mobile": ("nasnet", "NASNetMobile", {}, False),
}


def module(name: str) -> Any:
    """Return the module with the function and its preprocess_input."""
    extras.keras()
    return sys.modules[f"keras.src.applications.{FUNCTIONS[name][0]}"]


def build(name: str, *, size: int, width: float = 1.0, weights: str | None = None) -> Any:
    """Call Keras' own function, without top."""
    _, function, options, scalable = FUNCTIONS[name]
    alpha = {"alpha": width} if scalable else {}
    make = getattr(module(name), function)
    return make(input_shape=(size, size, 3), include_top=False, weights=weights, **alpha, **options)


def scaled(name: str, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale pixels 0..255 as Keras' own function expects them."""
    # preprocess_input of V3 does nothing: the scaling is a layer of its model.
    return np.asarray(module(name).preprocess_input(pixels.copy()))
