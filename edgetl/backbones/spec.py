"""What a row of the registry says about a backbone. Not for: the rows themselves (``mobile``, ``classic``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from edgetl_device.errors import InputError

# keras.src.applications.{mobilenet,resnet,vgg16,...}.BASE_WEIGHT_PATH
KERAS_WEIGHTS = "https://storage.googleapis.com/tensorflow/keras-applications"

SCALE_LAYER = "scale"

# Keras gives layers without a name one that counts what it has made in this process: re_lu_7, conv2d_94, add.
NUMBERED = re.compile(
    r"(activation|add|average_pooling2d|batch_normalization|concatenate|conv2d|cropping2d|max_pooling2d|multiply|re_lu"
    r"|zero_padding2d)(?:_(\d+))?"
)


@dataclass(frozen=True)
class Block:
    """A unit that is frozen or trained as a whole.

    Attributes:
        name: ``block_N``, with the number that Keras gives the block in its layer names; where those names count
            otherwise, what Keras calls the block: ``conv2_block1``, ``mixed3``, ``block4a``.
        last_layer: The layer whose output is the only tensor that crosses into the next block.
    """

    name: str
    last_layer: str


@dataclass(frozen=True)
class KerasFile:
    """One file of Keras' own ImageNet weights.

    Attributes:
        name: The file's name in Keras' cache.
        url: Where Keras downloads it.
        md5: What Keras checks it against; None where Keras checks nothing.
    """

    name: str
    url: str
    md5: str | None = None


class KerasFiles(Protocol):
    """Names Keras' file for a size and a width; see :class:`Backbone`."""

    def __call__(self, size: int, width: float, *, top: bool = False) -> KerasFile:
        """Return the file."""


class Builder(Protocol):
    """Builds a model from a scaled tensor; see :class:`Backbone`."""

    def __call__(self, scaled: Any, size: int, width: float, /, *, top: bool = False) -> Any:
        """Return the keras.Model."""


@dataclass(frozen=True)
class Scaling:
    """How raw pixels (0..255) become what the weights expect: ``pixel * factor + offset``.

    Attributes:
        factor: One number for all channels, or one a channel.
        offset: Likewise.
        channels: Order in which the weights want the channels; factors and offsets are in this order.
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
        paper: Where the architecture is defined.
        licence: Terms of Keras' own weights; of the code where there are none.
        widths: Allowed width multipliers: the ones with ImageNet weights.
        block_count: How many blocks there are at every width.
        block_pattern: Matches the names of all layers of a block and of no other layer, or of its last layer alone
            where the others bear no such name. Its group says which block; absent, it is block 0.
        build: Makes the keras.Model from a scaled input tensor [None, size, size, 3], the size and the width, with
            random weights and without top; with ``top=True`` the classifier of ImageNet's 1000 classes, which gives
            probabilities.
        keras_file: Keras' ImageNet weights for a size in pixels and a width, without top or with it; None where Keras
            has none.
        scale: How raw pixels become what the weights expect.
        embedded: Folder in ``models/`` with weights that ship with edgetl, or None.
        min_size: Smallest input height and width in pixels.
        default_size: Input height and width when the user names none, in pixels.
        top_size: Input height and width that the classifier of ImageNet's classes was trained at; None where there is
            no such classifier.
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
    min_size: int = 32
    default_size: int = 160
    top_size: int | None = 224

    def check(self, *, width: float, size: int | None = None) -> None:
        """Refuse a width or an input size that this backbone does not have.

        Raises:
            InputError: It names what is allowed.
        """
        if width not in self.widths:
            allowed = ", ".join(f"{one:g}" for one in self.widths)
            which = f"its widths are {allowed}" if len(self.widths) > 1 else f"its only width is {allowed}"
            raise InputError(f"{self.name} has no width {width:g}", why=which)
        if size is not None and size < self.min_size:
            raise InputError(
                f"input size {size} is too small for {self.name}", why=f"it needs at least {self.min_size}"
            )


def application(class_name: str, **options: Any) -> Builder:
    """Return a builder that calls a model function of ``keras.applications`` that has no width."""

    def build(scaled: Any, size: int, _width: float, *, top: bool = False) -> Any:
        from edgetl._lib.extras import keras

        make = getattr(keras().applications, class_name)
        return make(input_shape=(size, size, 3), include_top=top, weights=None, input_tensor=scaled, **options)

    return build


def scalable(class_name: str, **options: Any) -> Builder:
    """Return a builder that calls a model function of ``keras.applications`` whose ``alpha`` is the width."""

    def build(scaled: Any, size: int, width: float, *, top: bool = False) -> Any:
        return application(class_name, alpha=width, **options)(scaled, size, width, top=top)

    return build
