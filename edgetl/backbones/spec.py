"""The dataclasses of a registry row. The rows are in ``mobile`` and ``classic``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from edgetl_device.errors import InputError
from edgetl_device.input_size import InputSize

# keras.src.applications.{mobilenet,resnet,vgg16,...}.BASE_WEIGHT_PATH
KERAS_WEIGHTS = "https://storage.googleapis.com/tensorflow/keras-applications"

SCALE_LAYER = "scale"

# Keras names unnamed layers by a counter of the process: re_lu_7, conv2d_94, add.
NUMBERED = re.compile(
    r"(activation|add|average_pooling2d|batch_normalization|concatenate|conv2d|cropping2d|max_pooling2d|multiply|re_lu"
    r"|zero_padding2d)(?:_(\d+))?"
)


@dataclass(frozen=True)
class Block:
    """A unit that is frozen or trained as a whole.

    Attributes:
        name: ``block_N``, with the number of the block in Keras' layer names; where Keras does not number blocks, its
            own name for the block: ``conv2_block1``, ``mixed3``, ``block4a``.
        last_layer: The layer whose output is the only tensor that the next block reads.
    """

    name: str
    last_layer: str


@dataclass(frozen=True)
class KerasFile:
    """One file of Keras' own ImageNet weights.

    Attributes:
        name: The file's name in Keras' cache.
        url: Where Keras downloads it from.
        md5: The MD5 that Keras checks; None where Keras checks nothing.
    """

    name: str
    url: str
    md5: str | None = None


class KerasFiles(Protocol):
    """Selects Keras' weights file for a size and a width; see :class:`Backbone`."""

    def __call__(self, size: InputSize, width: float, *, top: bool = False) -> KerasFile:
        """Return the file."""


class Builder(Protocol):
    """Builds a model from a scaled tensor; see :class:`Backbone`."""

    def __call__(self, scaled: Any, width: float, /, *, top: bool = False) -> Any:
        """Return the keras.Model."""


@dataclass(frozen=True)
class Scaling:
    """The scaling of raw pixels (0..255) to the range that the weights expect: ``pixel * factor + offset``.

    Attributes:
        factor: One number for all channels, or one per channel.
        offset: One number for all channels, or one per channel.
        channels: Channel order that the weights expect; factors and offsets follow it.
    """

    factor: tuple[float, ...]
    offset: tuple[float, ...]
    channels: str = "RGB"


# The three modes of keras.src.applications.imagenet_utils.preprocess_input.
TF = Scaling((1 / 127.5,), (-1.0,))
CAFFE = Scaling((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), "BGR")
TORCH = Scaling(
    (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)), (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)
)


@dataclass(frozen=True)
class Backbone:
    """A row of the registry.

    Attributes:
        paper: The paper that defines the architecture.
        licence: Licence of Keras' weights, or of the code where there are none.
        widths: Allowed width multipliers: those with ImageNet weights.
        block_count: Number of blocks, the same at every width.
        block_pattern: Matches the names of all layers of a block and of no other layer, or only its last layer where
            the others have no such name. Its group identifies the block; without a group it is block 0.
        build: Builds the keras.Model from a scaled input tensor [None, H, W, C] and the width, with random weights and
            without top; with ``top=True`` it ends in a softmax over the 1000 ImageNet classes.
        keras_file: Keras' ImageNet weights for an input size and a width, without top or with it; None where Keras
            has none.
        scale: Scaling of raw pixels to the range that the weights expect.
        embedded: Folder in ``models/`` with weights that ship with edgetl, or None.
        package: Folder in ``models/`` with the card of weights in a Python package that an extra installs, or None.
        min_size: Smallest input height and width in pixels.
        default_size: Default input height and width in pixels.
        top_size: Input height and width that the ImageNet classifier was trained at; None where there is none.
    """

    name: str
    paper: str
    licence: str
    block_count: int
    block_pattern: re.Pattern[str]
    build: Builder
    keras_file: KerasFiles | None
    widths: tuple[float, ...] = (1.0,)
    scale: Scaling = TF
    embedded: str | None = None
    package: str | None = None
    min_size: int = 32
    default_size: int = 160
    top_size: int | None = 224

    @property
    def pretrained(self) -> bool:
        """Whether there are ImageNet weights."""
        return bool(self.keras_file or self.embedded or self.package)

    def check(self, *, width: float, size: InputSize | None = None) -> None:
        """Refuse a width or an input size that this backbone does not have.

        Raises:
            InputError: It is refused; the message lists the allowed values.
        """
        if width not in self.widths:
            allowed = ", ".join(f"{one:g}" for one in self.widths)
            which = f"its widths are {allowed}" if len(self.widths) > 1 else f"its only width is {allowed}"
            raise InputError(f"{self.name} has no width {width:g}", why=which)
        if size is not None and size.shortest < self.min_size:
            raise InputError(
                f"input size {size} is too small for {self.name}", why=f"it needs at least {self.min_size}"
            )


def application(class_name: str, **options: Any) -> Builder:
    """Return a builder around a function of ``keras.applications`` without a width multiplier."""

    def build(scaled: Any, _width: float, *, top: bool = False) -> Any:
        from edgetl._lib.extras import keras

        make = getattr(keras().applications, class_name)
        shape = tuple(scaled.shape[1:])
        return make(input_shape=shape, include_top=top, weights=None, input_tensor=scaled, **options)

    return build


def scalable(class_name: str, **options: Any) -> Builder:
    """Return a builder around a function of ``keras.applications`` whose ``alpha`` is the width multiplier."""

    def build(scaled: Any, width: float, *, top: bool = False) -> Any:
        return application(class_name, alpha=width, **options)(scaled, width, top=top)

    return build
