"""Registry rows of the backbones designed for phones and boards."""

from __future__ import annotations

import re

from edgetl_device.input_size import InputSize

from .efficientnet_lite import lite
from .spec import KERAS_WEIGHTS, Backbone, Builder, KerasFile, KerasFiles, Scaling, scalable

_TENSORFLOW_MODELS_LICENCE = "Apache-2.0 (Keras applications, from TensorFlow models)"
_V3_PAPER = "Howard et al. 2019, Searching for MobileNetV3, arXiv:1905.02244"
# expanded_conv_depthwise (block 0), expanded_conv_1_expand ...
_V3_BLOCK = re.compile(r"expanded_conv_(?:(\d+)_)?")


def _trained_size(size: InputSize, sizes: tuple[int, ...]) -> int:
    # Keras has one file per training resolution and takes the 224 px one for every other size.
    return size.height if size.height == size.width and size.height in sizes else 224


def _v1_file(size: InputSize, width: float, *, top: bool = False) -> KerasFile:
    rows = _trained_size(size, (128, 160, 192, 224))
    alpha = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}[width]
    name = f"mobilenet_{alpha}_{rows}_tf{'' if top else '_no_top'}.h5"
    return KerasFile(name, f"{KERAS_WEIGHTS}/mobilenet/{name}")


def _v2_file(size: InputSize, width: float, *, top: bool = False) -> KerasFile:
    rows = _trained_size(size, (96, 128, 160, 192, 224))
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(width)}_{rows}{'' if top else '_no_top'}.h5"
    return KerasFile(name, f"{KERAS_WEIGHTS}/mobilenet_v2/{name}")


def _v3_file(model: str, md5: dict[float, tuple[str, str]]) -> KerasFiles:
    # keras.src.applications.mobilenet_v3.WEIGHTS_HASHES: with top, without
    def keras_file(size: InputSize, width: float, *, top: bool = False) -> KerasFile:
        del size
        name = f"weights_mobilenet_v3_{model}_224_{float(width)}_float{'' if top else '_no_top_v2'}.h5"
        return KerasFile(name, f"{KERAS_WEIGHTS}/mobilenet_v3/{name}", md5[width][0 if top else 1])

    return keras_file


def _lite(
    name: str,
    build: Builder,
    *,
    block_count: int,
    top_size: int,
    embedded: str | None = None,
    package: str | None = None,
) -> Backbone:
    return Backbone(
        name=name,
        paper="Tan & Le 2019, EfficientNet, arXiv:1905.11946; Lite: TensorFlow TPU models, efficientnet/lite",
        licence="Apache-2.0 (TensorFlow TPU models; EfficientNet-Lite-PyTorch)",
        block_count=block_count,
        # block1a_dwconv, block1a_bn ... block7a_project_bn
        block_pattern=re.compile(r"(block\d[a-z])_"),
        build=build,
        keras_file=None,
        scale=Scaling((1 / 128,), (-127 / 128,)),
        embedded=embedded,
        package=package,
        top_size=top_size,
    )


ROWS = (
    Backbone(
        name="mobilenet_v1",
        paper="Howard et al. 2017, MobileNets, arXiv:1704.04861",
        licence=_TENSORFLOW_MODELS_LICENCE,
        widths=(0.25, 0.5, 0.75, 1.0),
        block_count=13,
        # conv_pad_2, conv_dw_2, conv_dw_2_bn, conv_dw_2_relu, conv_pw_2, conv_pw_2_bn, conv_pw_2_relu
        block_pattern=re.compile(r"conv_(?:pad|dw|pw)_(\d+)"),
        build=scalable("MobileNet", name="mobilenet_v1"),
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
        build=scalable("MobileNetV2", name="mobilenet_v2"),
        keras_file=_v2_file,
        embedded="mobilenet_v2",
    ),
    Backbone(
        name="mobilenet_v3_small",
        paper=_V3_PAPER,
        licence=_TENSORFLOW_MODELS_LICENCE,
        widths=(0.75, 1.0),
        block_count=11,
        block_pattern=_V3_BLOCK,
        build=scalable("MobileNetV3Small", include_preprocessing=False, name="mobilenet_v3_small"),
        keras_file=_v3_file(
            "small",
            {
                0.75: ("cb65d4e5be93758266aa0a7f2c6708b7", "ebdb5cc8e0b497cd13a7c275d475c819"),
                1.0: ("8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836"),
            },
        ),
    ),
    Backbone(
        name="mobilenet_v3_large",
        paper=_V3_PAPER,
        licence=_TENSORFLOW_MODELS_LICENCE,
        widths=(0.75, 1.0),
        block_count=15,
        block_pattern=_V3_BLOCK,
        build=scalable("MobileNetV3Large", include_preprocessing=False, name="mobilenet_v3_large"),
        keras_file=_v3_file(
            "large",
            {
                0.75: ("765b44a33ad4005b3ac83185abf1d0eb", "40af19a13ebea4e2ee0c676887f69a2e"),
                1.0: ("59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389"),
            },
        ),
    ),
    # Minimalistic: the same shapes without squeeze-and-excite, hard-swish and 5x5 kernels.
    Backbone(
        name="mobilenet_v3_small_minimalistic",
        paper=_V3_PAPER,
        licence=_TENSORFLOW_MODELS_LICENCE,
        block_count=11,
        block_pattern=_V3_BLOCK,
        build=scalable("MobileNetV3Small", minimalistic=True, include_preprocessing=False),
        keras_file=_v3_file(
            "small_minimalistic", {1.0: ("99cd97fb2fcdad2bf028eb838de69e37", "cde8136e733e811080d9fcd8a252f7e4")}
        ),
    ),
    Backbone(
        name="mobilenet_v3_large_minimalistic",
        paper=_V3_PAPER,
        licence=_TENSORFLOW_MODELS_LICENCE,
        block_count=15,
        block_pattern=_V3_BLOCK,
        build=scalable("MobileNetV3Large", minimalistic=True, include_preprocessing=False),
        keras_file=_v3_file(
            "large_minimalistic", {1.0: ("675e7b876c45c57e9e63e6d90a36599c", "ec5221f64a2f6d1ef965a614bdae7973")}
        ),
    ),
    _lite("efficientnet_lite0", lite(1.0, 1.0), block_count=16, top_size=224, embedded="efficientnet_lite0"),
    _lite("efficientnet_lite1", lite(1.0, 1.1), block_count=21, top_size=240, embedded="efficientnet_lite1"),
    _lite("efficientnet_lite2", lite(1.1, 1.2), block_count=21, top_size=260, package="efficientnet_lite2"),
)
