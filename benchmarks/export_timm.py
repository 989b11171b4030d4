"""Export timm's architectures with random weights to ONNX, for benchmarks/importing.py.

PyTorch is no dependency of edgetl: run this in an environment of its own, with torch, timm, onnx and onnxscript.

    python benchmarks/export_timm.py --out models/ [--exporter torchscript|dynamo] [--size 128] [NAME ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ARCHITECTURES = (
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "efficientnet_lite0",
    "resnet18",
    "regnetx_002",
    "regnety_002",
    "densenet121",
    "mnasnet_100",
    "ghostnet_100",
    "repvgg_a0",
    "mobileone_s0",
    "fastvit_t8",
    "convnext_atto",
)
# From torchvision, which timm does not have.
TORCHVISION = ("squeezenet1_1", "shufflenet_v2_x0_5")
CLASSES = 10
OPSET = {"torchscript": 17, "dynamo": 18}
# Standard deviation of the scores, about that of trained classifiers.
_SPREAD = 3.0


def network(name: str, size: int) -> torch.nn.Module:
    """Return a network with random weights whose activations and scores are spread as those of a trained one."""
    import timm
    import torch

    torch.manual_seed(0)
    if name in TORCHVISION:
        import torchvision

        model = getattr(torchvision.models, name)(weights=None, num_classes=CLASSES)
    else:
        model = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all batches
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    photos = torch.randn(8, 3, size, size)
    with torch.no_grad():
        for _ in range(2):
            model(photos)
        model.eval()
        last = [module for module in model.modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)][-1]
        spread = model(photos).std()
        last.weight.mul_(_SPREAD / spread)
        if last.bias is not None:
            last.bias.mul_(_SPREAD / spread)
    return model


def export(name: str, out: Path, exporter: str, size: int) -> Path:
    """Write ``out/NAME.onnx`` with a batch of any size."""
    import torch

    path = out / f"{name}.onnx"
    pixels = torch.randn(2, 3, size, size)
    batch = (
        {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
        if exporter == "dynamo"
        else {"dynamic_axes": {"pixels": {0: "batch"}, "scores": {0: "batch"}}}
    )
    torch.onnx.export(
        network(name, size),
        (pixels,),
        str(path),
        input_names=["pixels"],
        output_names=["scores"],
        opset_version=OPSET[exporter],
        dynamo=exporter == "dynamo",
        **batch,
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*ARCHITECTURES, *TORCHVISION])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exporter", choices=tuple(OPSET), default="torchscript")
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names:
        print(export(name, given.out, given.exporter, given.size), flush=True)


if __name__ == "__main__":
    main()
