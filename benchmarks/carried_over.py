"""Carry weights of edgetl's runs over to PyTorch and Keras 2, and write the files that their users would hand in.

For ``importing.py --quantized``. PyTorch is no dependency of edgetl: run this in an environment of its own, with torch,
timm, onnx, tf_keras and its TensorFlow.

    edgetl train flowers --backbone mobilenet_v2 --out m2; edgetl train flowers --backbone efficientnet_lite0 --out e0
    python benchmarks/carried_over.py m2/model.keras e0/model.keras --out models/
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

# tf_keras is Keras 2 beside a TensorFlow whose own Keras is 3.
os.environ["TF_USE_LEGACY_KERAS"] = "0"

_HAVE_WEIGHTS = ("Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense")


def weights_of(path: Path) -> list[tuple[str, str, list[Any]]]:
    """Return class, name and weights of each layer that has some, in the order of the graph."""
    import keras

    layers = keras.saving.load_model(path, compile=False).layers
    return [(type(one).__name__, one.name, one.get_weights()) for one in layers if type(one).__name__ in _HAVE_WEIGHTS]


def to_keras_2(run: Path, out: Path) -> None:
    """Write a MobileNetV2 as ``.h5`` by Keras 2; it takes pixels of -1 to 1."""
    import keras
    import tf_keras

    size = keras.saving.load_model(run, compile=False).input.shape[1]
    found = {name: weights for _, name, weights in weights_of(run)}
    base = tf_keras.applications.MobileNetV2((size, size, 3), include_top=False, weights=None, pooling="avg")
    kernel, bias = found.pop("logits")
    scores = tf_keras.layers.Dense(len(bias), "softmax", name="predictions")
    model = tf_keras.Model(base.input, scores(base.output))
    scores.set_weights([kernel, bias])
    for layer in base.layers:
        if layer.get_weights():
            layer.set_weights(found.pop(layer.name))
    assert not [name for name in found if name != "scale"], found.keys()
    model.save(out)


def to_pytorch(run: Path, out: Path) -> None:
    """Write an EfficientNet-Lite0 as ``.onnx`` by PyTorch; it takes (pixel - 127) / 128, channels first."""
    import keras
    import timm
    import torch

    size = keras.saving.load_model(run, compile=False).input.shape[1]
    found = weights_of(run)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=len(found[-1][2][1])).eval()
    kinds = torch.nn.Conv2d | torch.nn.BatchNorm2d | torch.nn.Linear
    modules = [one for one in model.modules() if isinstance(one, kinds)]
    assert len(modules) == len(found), (len(modules), len(found))
    with torch.no_grad():
        for module, (kind, name, weights) in zip(modules, found, strict=True):
            arrays = [torch.from_numpy(np.array(one)) for one in weights]
            if kind == "BatchNormalization":
                targets = [module.weight, module.bias, module.running_mean, module.running_var]
                assert module.eps == 1e-3, name
            else:
                order = {"Conv2D": (3, 2, 0, 1), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (1, 0)}[kind]
                arrays[0] = arrays[0].permute(order)
                targets = [module.weight, module.bias]
            for target, array in zip(targets, arrays, strict=False):
                assert target.shape == array.shape, (name, target.shape, array.shape)
                target.copy_(array)
        torch.onnx.export(
            model, torch.zeros(1, 3, size, size), out, input_names=["pixels"], opset_version=17, dynamo=False
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mobilenet_v2", type=Path, help="model.keras of a run")
    parser.add_argument("efficientnet_lite0", type=Path, help="model.keras of another")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    to_keras_2(given.mobilenet_v2, given.out / "keras2.h5")
    to_pytorch(given.efficientnet_lite0, given.out / "pytorch.onnx")


if __name__ == "__main__":
    main()
