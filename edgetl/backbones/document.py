"""What ``edgetl models --json`` prints. Not for: where the numbers come from (``facts``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgetl_device.documents import Count, Positive, Text

from . import facts as table
from .facts import EdgeTpuFacts, Facts, WeightsHere
from .registry import BACKBONES, backbone


@dataclass(frozen=True)
class BackboneDescription:
    """A backbone at one width and its default size.

    Attributes:
        name: Its name.
        width: Width multiplier.
        widths: All that it has.
        size: Input height and width in pixels, for the numbers that depend on it.
        min_size: The smallest input that it takes.
        blocks: How many can be trained or frozen on their own.
        features: Channels of its output.
        parameters: Values in its weights, the statistics of BatchNorm included.
        multiply_adds: For one photo.
        int8_bytes_estimate: Of an int8 TFLite file with a head of 5 classes.
        edgetpu: What an Edge TPU is predicted to run of that file.
        weights_here: Where its weights would come from on this machine, now.
        licence: Of the weights.
        paper: Where it was published.
        concerns: Drawbacks on a small device, in sentences.
    """

    name: Text
    width: float
    widths: tuple[float, ...]
    size: Positive
    min_size: Positive
    blocks: Count
    features: Positive
    parameters: Positive
    multiply_adds: Positive
    int8_bytes_estimate: Positive
    edgetpu: EdgeTpuFacts
    weights_here: WeightsHere
    licence: str
    paper: str
    concerns: tuple[str, ...]


@dataclass(frozen=True)
class ModelsDocument:
    """The backbones, what each costs, and where its weights would come from here.

    Attributes:
        backbones: In the order of the registry: each at width 1.0, or one at all its widths.
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
        min_size=row.min_size,
        blocks=facts.blocks,
        features=facts.features,
        parameters=facts.parameters,
        multiply_adds=facts.multiply_adds,
        int8_bytes_estimate=facts.int8_bytes,
        edgetpu=facts.edgetpu,
        weights_here=table.weights_here(facts.name, facts.width),
        licence=row.licence,
        paper=row.paper,
        concerns=tuple(table.concerns(facts)),
    )
