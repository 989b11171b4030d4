"""Carry the weights of a run over to PyTorch or Keras 2, and write the file that their users would hand in.

For ``importing.py --quantized``, and for who wants to follow the README without a model of his own. Neither PyTorch nor
Keras 2 is a dependency of edgetl: run this in an environment of its own, with torch, timm, onnx and keras
(``KERAS_BACKEND=torch``) for an ``.onnx`` file, with tf_keras and its TensorFlow for an ``.h5``.

    edgetl train flowers --backbone mobilenet_v2 --out m2; edgetl train flowers --backbone efficientnet_lite0 --out e0
    python benchmarks/carried_over.py m2 keras2.h5; python benchmarks/carried_over.py e0 pytorch.onnx
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

# tf_keras is Keras 2 beside a TensorFlow whose own Keras is 3.
os.environ["TF_USE_LEGACY_KERAS"] = "0"

# timm's models with the padding and the epsilon of the weights that edgetl has.
_IN_TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet_v2": ("mobilenetv2_100", {"pad_type": "same", "bn_eps": 1e-3}),
    "efficientnet_lite0": ("tf_efficientnet_lite0", {}),
}
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

    path = run / "model.keras"
    size = keras.saving.load_model(path, compile=False).input.shape[1]
    found = {name: weights for _, name, weights in weights_of(path)}
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


def pytorch_model(run: Path) -> Any:
    """Return the MobileNetV2 or EfficientNet-Lite0 of a run as timm's.

    The former takes pixels of -1 to 1, the latter (pixel - 127) / 128.
    """
    import timm
    import torch

    path = run / "model.keras"
    backbone = json.loads((run / "run.json").read_text(encoding="utf-8"))["config"]["backbone"]
    name, options = _IN_TIMM[backbone]
    found = weights_of(path)
    model = timm.create_model(name, pretrained=False, num_classes=len(found[-1][2][1]), **options).eval()
    kinds = torch.nn.Conv2d | torch.nn.BatchNorm2d | torch.nn.Linear
    modules = [one for one in model.modules() if isinstance(one, kinds)]
    assert len(modules) == len(found), (len(modules), len(found))
    with torch.no_grad():
        for module, (kind, layer, weights) in zip(modules, found, strict=True):
            arrays = [torch.from_numpy(np.array(one)) for one in weights]
            if kind == "BatchNormalization":
                targets = [module.weight, module.bias, module.running_mean, module.running_var]
                assert module.eps == 1e-3, layer
            else:
                order = {"Conv2D": (3, 2, 0, 1), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (1, 0)}[kind]
                arrays[0] = arrays[0].permute(order)
                targets = [module.weight, module.bias]
            for target, array in zip(targets, arrays, strict=False):
                assert target.shape == array.shape, (layer, target.shape, array.shape)
                target.copy_(array)
    return model


def to_pytorch(run: Path, out: Path) -> None:
    """Write the same as ``.onnx``, channels first."""
    import keras
    import torch

    size = keras.saving.load_model(run / "model.keras", compile=False).input.shape[1]
    pixels = torch.zeros(1, 3, size, size)
    torch.onnx.export(pytorch_model(run), pixels, out, input_names=["pixels"], opset_version=17, dynamo=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run of edgetl train")
    parser.add_argument("out", type=Path, help="file to write: .onnx by PyTorch, .h5 by Keras 2")
    given = parser.parse_args()
    {".onnx": to_pytorch, ".h5": to_keras_2}[given.out.suffix](given.run, given.out)


if __name__ == "__main__":
    main()
