"""The table of backbones: one row each. A new family is a row here and, where Keras has no builder, a function.

Not for: building (``graph``) and loading weights (``weights``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgetl_device.errors import InputError

# keras.src.applications.{mobilenet,mobilenet_v2,mobilenet_v3}.BASE_WEIGHT_PATH
_KERAS_WEIGHTS = "https://storage.googleapis.com/tensorflow/keras-applications"
_TENSORFLOW_MODELS_LICENCE = "Apache-2.0 (Keras applications, from TensorFlow models)"


@dataclass(frozen=True)
class Block:
    """A unit that is frozen or trained as a whole.

    Attributes:
        name: ``block_N``, with the number that Keras gives the block in its layer names.
        last_layer: The layer whose output is the only tensor that crosses into the next block.
    """

    name: str
    last_layer: str


@dataclass(frozen=True)
class KerasFile:
    """One file of Keras' own ImageNet weights, without top.

    Attributes:
        name: The file's name, in Keras' cache and at the end of ``url``.
        md5: What Keras checks it against; None where Keras checks nothing.
    """

    name: str
    url: str
    md5: str | None = None


@dataclass(frozen=True)
class Backbone:
    """A row of the registry.

    Attributes:
        paper: Where the architecture is defined.
        licence: Terms of Keras' own weights.
        widths: Allowed width multipliers: the ones with ImageNet weights.
        block_count: How many blocks there are at every width.
        block_pattern: Matches the names of all layers of a block and of no other layer; its group is the block's
            number, absent for block 0.
        build: Makes the keras.Model from a scaled input tensor [None, size, size, 3], the size and the width, with
            random weights and without top.
        keras_file: Keras' ImageNet weights for a size in pixels and a width.
        scale: Factor and offset that bring raw pixels (0..255) to what the weights expect.
        embedded: Folder in ``models/`` with weights that ship with edgetl, or None.
        min_size: Smallest input height and width in pixels.
        default_size: Input height and width when the user names none, in pixels.
    """

    name: str
    paper: str
    licence: str
    widths: tuple[float, ...]
    block_count: int
    block_pattern: re.Pattern[str]
    build: Callable[[Any, int, float], Any]
    keras_file: Callable[[int, float], KerasFile]
    scale: tuple[float, float] = (1 / 127.5, -1.0)
    embedded: str | None = None
    min_size: int = 32
    default_size: int = 160

    def check(self, *, width: float, size: int | None = None) -> None:
        """Refuse a width or an input size that this backbone does not have.

        Raises:
            InputError: It names what is allowed.
        """
        if width not in self.widths:
            allowed = ", ".join(f"{one:g}" for one in self.widths)
            raise InputError(f"{self.name} has no width {width:g}", why=f"its widths are {allowed}")
        if size is not None and size < self.min_size:
            raise InputError(
                f"input size {size} is too small for {self.name}", why=f"it needs at least {self.min_size}"
            )


def backbone(name: str) -> Backbone:
    """Return the row called ``name``.

    Raises:
        InputError: There is none; it lists the names.
    """
    if name not in BACKBONES:
        raise InputError(f"unknown backbone {name!r}", why=f"edgetl knows {', '.join(BACKBONES)}")
    return BACKBONES[name]


def _application(class_name: str, **options: Any) -> Callable[[Any, int, float], Any]:
    """Return a builder that calls a model function of ``keras.applications``."""

    def build(scaled: Any, size: int, width: float) -> Any:
        from edgetl.extras import keras

        make = getattr(keras().applications, class_name)
        return make(
            input_shape=(size, size, 3), alpha=width, include_top=False, weights=None, input_tensor=scaled, **options
        )

    return build


def _trained_size(size: int, sizes: tuple[int, ...]) -> int:
    # Keras has one file per training resolution and takes the 224 px one for every other size.
    return size if size in sizes else 224


def _v1_file(size: int, width: float) -> KerasFile:
    rows = _trained_size(size, (128, 160, 192, 224))
    alpha = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}[width]
    name = f"mobilenet_{alpha}_{rows}_tf_no_top.h5"
    return KerasFile(name, f"{_KERAS_WEIGHTS}/mobilenet/{name}")


def _v2_file(size: int, width: float) -> KerasFile:
    rows = _trained_size(size, (96, 128, 160, 192, 224))
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(width)}_{rows}_no_top.h5"
    return KerasFile(name, f"{_KERAS_WEIGHTS}/mobilenet_v2/{name}")


def _v3_file(model: str, md5: dict[float, str]) -> Callable[[int, float], KerasFile]:
    def keras_file(_size: int, width: float) -> KerasFile:
        name = f"weights_mobilenet_v3_{model}_224_{float(width)}_float_no_top_v2.h5"
        return KerasFile(name, f"{_KERAS_WEIGHTS}/mobilenet_v3/{name}", md5[width])

    return keras_file


_ROWS = (
    Backbone(
        name="mobilenet_v1",
        paper="Howard et al. 2017, MobileNets, arXiv:1704.04861",
        licence=_TENSORFLOW_MODELS_LICENCE,
        widths=(0.25, 0.5, 0.75, 1.0),
        block_count=13,
        # conv_pad_2, conv_dw_2, conv_dw_2_bn, conv_dw_2_relu, conv_pw_2, conv_pw_2_bn, conv_pw_2_relu
        block_pattern=re.compile(r"conv_(?:pad|dw|pw)_(\d+)"),
        build=_application("MobileNet", name="mobilenet_v1"),
        keras_file=_v1_file,
    ),
    Backbone(
        name="mobilenet_v2",
        paper="Sandler et al. 2018, MobileNetV2, arXiv:1801.04381",
        licence=_TENSORFLOW_MODELS_LICENCE,
        widths=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
        block_count=17,
        # expanded_conv_depthwise (block 0), block_1_expand ... block_16_project_BN
        block_pattern=re.compile(r"(?:expanded_conv|block_(\d+))_"),
        build=_application("MobileNetV2", name="mobilenet_v2"),
        keras_file=_v2_file,
        embedded="mobilenet_v2",
    ),
    Backbone(
        name="mobilenet_v3_small",
        paper="Howard et al. 2019, Searching for MobileNetV3, arXiv:1905.02244",
        licence=_TENSORFLOW_MODELS_LICENCE,
        widths=(0.75, 1.0),
        block_count=11,
        # expanded_conv_depthwise (block 0), expanded_conv_1_expand ...
        block_pattern=re.compile(r"expanded_conv_(?:(\d+)_)?"),
        build=_application("MobileNetV3Small", include_preprocessing=False, name="mobilenet_v3_small"),
        # keras.src.applications.mobilenet_v3.WEIGHTS_HASHES, second of each pair
        keras_file=_v3_file(
            "small", {0.75: "ebdb5cc8e0b497cd13a7c275d475c819", 1.0: "d3e8ec802a04aa4fc771ee12a9a9b836"}
        ),
    ),
    Backbone(
        name="mobilenet_v3_large",
        paper="Howard et al. 2019, Searching for MobileNetV3, arXiv:1905.02244",
        licence=_TENSORFLOW_MODELS_LICENCE,
        widths=(0.75, 1.0),
        block_count=15,
        block_pattern=re.compile(r"expanded_conv_(?:(\d+)_)?"),
        build=_application("MobileNetV3Large", include_preprocessing=False, name="mobilenet_v3_large"),
        keras_file=_v3_file(
            "large", {0.75: "40af19a13ebea4e2ee0c676887f69a2e", 1.0: "07fb09a5933dd0c8eaafa16978110389"}
        ),
    ),
)
BACKBONES: dict[str, Backbone] = {row.name: row for row in _ROWS}
