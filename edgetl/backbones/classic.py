"""Registry rows of the larger classic backbones, and of a small CNN to train from scratch.

Licences of the weights: Keras' documentation of its applications, section License of each.
"""

from __future__ import annotations

import re

from edgetl_device.input_size import InputSize

from .simple_cnn import build_simple_cnn
from .spec import CAFFE, KERAS_WEIGHTS, TORCH, Backbone, KerasFile, KerasFiles, application


def _pair(
    folder: str, full: str, full_md5: str, name: str, md5: str, *, at_url: tuple[str, str] = ("", "")
) -> KerasFiles:
    """Return the names of Keras' two files, with and without top, which fit every input size."""
    files = (
        KerasFile(full, f"{KERAS_WEIGHTS}/{folder}/{at_url[0] or full}", full_md5),
        KerasFile(name, f"{KERAS_WEIGHTS}/{folder}/{at_url[1] or name}", md5),
    )

    def keras_file(size: InputSize, width: float, *, top: bool = False) -> KerasFile:
        del size, width
        return files[0 if top else 1]

    return keras_file


ROWS = (
    Backbone(
        name="simple_cnn",
        paper="no paper: four convolutions, as in tutorials, for comparison",
        licence="Apache-2.0 (edgetl; there are no published weights)",
        block_count=4,
        # block_1_conv, block_1_bn, block_1_relu, block_1_pool
        block_pattern=re.compile(r"block_(\d)_"),
        build=build_simple_cnn,
        keras_file=None,
        top_size=None,
    ),
    Backbone(
        name="resnet50",
        paper="He et al. 2015, Deep Residual Learning, arXiv:1512.03385",
        licence="MIT (Keras applications, from Kaiming He)",
        block_count=16,
        # conv2_block1_1_conv ... conv2_block1_out; conv1_ is the stem
        block_pattern=re.compile(r"(conv\d_block\d+)_"),
        build=application("ResNet50"),
        keras_file=_pair(
            "resnet",
            "resnet50_weights_tf_dim_ordering_tf_kernels.h5",
            "2cb95161c43110f7111970584f804107",
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "4d473c1dd8becc155b73f8504c6f6626",
        ),
        scale=CAFFE,
    ),
    Backbone(
        name="densenet121",
        paper="Huang et al. 2017, Densely Connected Convolutional Networks, arXiv:1608.06993",
        licence="BSD-3-Clause (Keras applications, from the authors' DenseNet)",
        # 6 + 12 + 24 + 16 dense layers, and the 3 transitions between those groups
        block_count=61,
        # conv2_block1_0_bn ... conv2_block1_concat; pool2_bn ... pool2_pool; pool1 is of the stem
        block_pattern=re.compile(r"(conv\d_block\d+|pool\d)_"),
        build=application("DenseNet121"),
        keras_file=_pair(
            "densenet",
            "densenet121_weights_tf_dim_ordering_tf_kernels.h5",
            "9d60b8095a5708f2dcce2bca79d332c7",
            "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "30ee3e1110167f948a6b9946edeeb738",
        ),
        scale=TORCH,
    ),
    Backbone(
        name="vgg16",
        paper="Simonyan & Zisserman 2014, Very Deep Convolutional Networks, arXiv:1409.1556",
        licence="CC BY (Keras applications, from VGG at Oxford)",
        block_count=5,
        # block1_conv1 ... block1_pool
        block_pattern=re.compile(r"block(\d)_"),
        build=application("VGG16"),
        keras_file=_pair(
            "vgg16",
            "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
            "64373286793e3c8b2b4e3219cbf3544b",
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "6d6bbae143d832006294945121d1f1fc",
        ),
        scale=CAFFE,
    ),
    Backbone(
        name="vgg19",
        paper="Simonyan & Zisserman 2014, Very Deep Convolutional Networks, arXiv:1409.1556",
        licence="CC BY (Keras applications, from VGG at Oxford)",
        block_count=5,
        block_pattern=re.compile(r"block(\d)_"),
        build=application("VGG19"),
        keras_file=_pair(
            "vgg19",
            "vgg19_weights_tf_dim_ordering_tf_kernels.h5",
            "cbe5617147190e668d6c5d5026f83318",
            "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "253f8cb515780f3b799900260a226db6",
        ),
        scale=CAFFE,
    ),
    Backbone(
        name="inception_v3",
        paper="Szegedy et al. 2015, Rethinking the Inception Architecture, arXiv:1512.00567",
        licence="Apache-2.0 (Keras applications, from TensorFlow models)",
        block_count=11,
        # Only the concatenation that ends a block has a name: mixed0 ... mixed10. mixed9_0 is inside mixed9.
        block_pattern=re.compile(r"(mixed\d+)$"),
        build=application("InceptionV3"),
        keras_file=_pair(
            "inception_v3",
            "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
            "9a0d58056eeedaa3f26cb7ebd46da564",
            "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "bcbd6486424b2319ff4ef7d526e38f63",
        ),
        min_size=75,
        top_size=299,
    ),
    Backbone(
        name="nasnet_mobile",
        paper="Zoph et al. 2017, Learning Transferable Architectures, arXiv:1707.07012",
        licence="Apache-2.0 (Keras applications, from TensorFlow models)",
        # Each cell reads the two before it, so two tensors cross every boundary except the last: it is a single block.
        block_count=1,
        block_pattern=re.compile(r"normal_concat_12()$"),
        build=application("NASNetMobile"),
        keras_file=_pair(
            "nasnet",
            "nasnet_mobile.h5",
            "020fb642bf7360b370c678b08e0adf61",
            "nasnet_mobile_no_top.h5",
            "1ed92395b5b598bdda52abe5c0dbfd63",
            at_url=("NASNet-mobile.h5", "NASNet-mobile-no-top.h5"),
        ),
    ),
)
