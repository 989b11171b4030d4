"""The documents that ``edgetl models --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgetl_device._lib.documents import Count, Positive, Text

from . import facts as table
from .facts import EdgeTpuFacts, Facts, WeightsHere
from .registry import BACKBONES, backbone


@dataclass(frozen=True)
class BackboneDescription:
    """A backbone at one width and its default size.

    Attributes:
        name: The backbone's name.
        width: Width multiplier.
        widths: All available width multipliers.
        size: Input height and width in pixels, for the numbers that depend on it.
        imagenet_size: Input height and width in pixels that its ImageNet classifier was trained at; null for none.
        min_size: Smallest input height and width in pixels.
        blocks: Number of blocks that can be trained or frozen.
        features: Channels of the last feature map.
        parameters: Number of weights, including BatchNorm statistics.
        multiply_adds: Multiply-adds per photo.
        imagenet_multiply_adds: Multiply-adds per photo of ``imagenet_size``; null for none.
        int8_bytes_estimate: Estimated size of an int8 TFLite file with a head for 5 classes.
        edgetpu: Predicted Edge TPU mapping of that file.
        weights_here: Where ``--weights auto`` would get the weights on this machine now.
        licence: Licence of the weights.
        paper: The paper that defines the architecture.
        concerns: Drawbacks on a small device, one sentence each.
    """

    name: Text
    width: float
    widths: tuple[float, ...]
    size: Positive
    imagenet_size: Positive | None
    min_size: Positive
    blocks: Count
    features: Positive
    parameters: Positive
    multiply_adds: Positive
    imagenet_multiply_adds: Positive | None
    int8_bytes_estimate: Positive
    edgetpu: EdgeTpuFacts
    weights_here: WeightsHere
    licence: str
    paper: str
    concerns: tuple[str, ...]


@dataclass(frozen=True)
class ModelsDocument:
    """The backbones with their cost and the source of their weights on this machine.

    Attributes:
        backbones: All at width 1.0 in the order of the registry, or one at all its widths.
    """

    SCHEMA: ClassVar[str] = "edgetl.models/1"

    backbones: tuple[BackboneDescription, ...]


def describe_models(name: str = "") -> ModelsDocument:
    """Describe all backbones, or one at all its widths.

    Raises:
        InputError: There is no backbone of this name.
    """
    if name:
        backbone(name)
    chosen = [one for one in table.all_facts() if (one.name == name if name else one.width == 1.0)]
    return ModelsDocument(tuple(map(_described, chosen)))


def _described(facts: Facts) -> BackboneDescription:
    row = BACKBONES[facts.name]
    return BackboneDescription(
        name=facts.name,
        width=facts.width,
        widths=tuple(row.widths),
        size=facts.size,
        imagenet_size=row.top_size,
        min_size=row.min_size,
        blocks=facts.blocks,
        features=facts.features,
        parameters=facts.parameters,
        multiply_adds=facts.multiply_adds,
        imagenet_multiply_adds=facts.imagenet_multiply_adds,
        int8_bytes_estimate=facts.int8_bytes,
        edgetpu=facts.edgetpu,
        weights_here=table.weights_here(facts.name, facts.width),
        licence=row.licence,
        paper=row.paper,
        concerns=tuple(table.concerns(facts)),
    )


@dataclass(frozen=True)
class MatchedLayer:
    """A layer of a backbone or of a weights file.

    Attributes:
        layer: Name of the layer.
        status: ``set``, ``missing``, ``other shape``, or ``unused`` for a layer of the file that matches none.
        wanted: Shapes of the layer's variables.
        found: Shapes of the file's arrays.
    """

    layer: str
    status: str
    wanted: str
    found: str


@dataclass(frozen=True)
class WeightsMatch:
    """A weights file, matched with a backbone layer by layer.

    Attributes:
        backbone: Name of the backbone.
        width: Width multiplier of the backbone.
        layers: Layers of the backbone, then those of the file that match none.
    """

    SCHEMA: ClassVar[str] = "edgetl.weights-match/1"

    backbone: Text
    width: float
    layers: tuple[MatchedLayer, ...]
