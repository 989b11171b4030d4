"""The cost of each backbone on a device, from a table, and the source of its weights on this machine.

``models/backbone_facts.py`` makes the table. It has no latency: measure that on the device with ``edgetl bench``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgetl_device._lib.documents import Count, Positive, of_json, optional
from edgetl_device._lib.jsonfile import read_json
from edgetl_device.input_size import square

from .registry import BACKBONES
from .weights import keras_cache_dir, models_dir, package_file, read_card

SCHEMA = "edgetl.backbone-facts/1"
FACTS_FILE = Path(__file__).with_name("facts.json")

# "Roughly 8 MB of SRAM" (coral.ai/docs/edgetpu/compiler); compiler logs of tiny models say 7.98 MiB.
EDGETPU_BYTES = 8 << 20
# The default backbone is the reference.
_REFERENCE = ("mobilenet_v2", 1.0)
_MANY_TIMES = 3.0
_MANY_OPERATORS = 5.0


@dataclass(frozen=True)
class EdgeTpuFacts:
    """The predicted Edge TPU mapping of a backbone's int8 file.

    Attributes:
        operators: Operators in the file.
        mapped: Number of operators predicted to run on the Edge TPU.
        parameter_bytes: Size of the stored values that mapped operators read.
        refused: Why the compiler cannot read the file at all, or empty.
        causes: Operators that cannot be mapped themselves: TFLite name and count.
    """

    operators: Count
    mapped: Count
    parameter_bytes: Count
    refused: str
    causes: dict[str, Count]


@dataclass(frozen=True)
class Facts:
    """One row: a backbone at a width and its default size, without top unless said otherwise.

    Attributes:
        name: The backbone.
        width: Its width multiplier.
        size: Input height and width in pixels, for the numbers that depend on it.
        parameters: Number of weights, including BatchNorm statistics.
        multiply_adds: Multiply-adds per photo.
        imagenet_multiply_adds: Those at the size that its ImageNet classifier was trained at; None where there is none.
        blocks: Number of blocks that can be frozen.
        features: Channels of the last feature map.
        int8_bytes: Size of an int8 TFLite file with random weights and a head for 5 classes: an estimate for others.
        edgetpu: Predicted Edge TPU mapping of that file.
    """

    name: str
    width: float
    size: Positive
    parameters: Positive
    multiply_adds: Positive
    imagenet_multiply_adds: Positive | None
    blocks: Count
    features: Positive
    int8_bytes: Positive
    edgetpu: EdgeTpuFacts


@dataclass(frozen=True)
class _Table:
    rows: tuple[Facts, ...]


@dataclass(frozen=True)
class WeightsHere:
    """The source of ``--weights auto`` on this machine at present.

    Attributes:
        source: ``embedded``, ``package`` (installed), ``package-absent``, ``keras-cache``, ``keras-download``, or
            ``none`` if no weights are published.
        file: Name of the file; None for ``none``.
        install: For ``package-absent``: the package, as pip takes it.
    """

    source: str
    file: str | None
    install: str | None = optional()


@cache
def all_facts() -> tuple[Facts, ...]:
    """Return all rows, in the order of the registry."""
    return of_json(_Table, read_json(FACTS_FILE, SCHEMA), name=str(FACTS_FILE)).rows


def facts_of(name: str, width: float = 1.0) -> Facts:
    """Return the row of a backbone at a width.

    Raises:
        InputError: There is no such backbone, or it has no such width.
    """
    from .registry import backbone

    backbone(name).check(width=width)
    return next(facts for facts in all_facts() if (facts.name, facts.width) == (name, width))


def weights_here(name: str, width: float) -> WeightsHere:
    """Find the source of a backbone's weights at its default size, without downloading."""
    row = BACKBONES[name]
    if row.embedded and (card := read_card(models_dir() / row.embedded)).width == width:
        return WeightsHere("embedded", card.file)
    if row.package:
        card = read_card(models_dir() / row.package)
        assert card.package is not None
        if (file := package_file(card)) is None:
            return WeightsHere("package-absent", Path(card.file).name, card.package.requirement)
        return WeightsHere("package", file.name)
    if row.keras_file is None:
        return WeightsHere("none", None)
    published = row.keras_file(square(row.default_size), width)
    cached = (keras_cache_dir() / published.name).is_file()
    return WeightsHere("keras-cache" if cached else "keras-download", published.name)


def concerns(facts: Facts) -> Iterator[str]:
    """Yield the drawbacks of a backbone on a small device, with numbers."""
    reference = facts_of(*_REFERENCE)
    if (times := facts.multiply_adds / reference.multiply_adds) >= _MANY_TIMES:
        yield (
            f"{times:.0f} times the multiply-adds of {reference.name} "
            f"({facts.multiply_adds / 1e6:,.0f} M, not {reference.multiply_adds / 1e6:,.0f} M)"
        )
    if (times := facts.int8_bytes / reference.int8_bytes) >= _MANY_TIMES:
        yield f"{times:.0f} times the file ({_mb(facts.int8_bytes)}, not {_mb(reference.int8_bytes)})"
    if facts.edgetpu.operators >= _MANY_OPERATORS * reference.edgetpu.operators:
        yield (
            f"{facts.edgetpu.operators} operators for {facts.multiply_adds / 1e6:,.0f} M multiply-adds "
            f"({reference.name}: {reference.edgetpu.operators} for {reference.multiply_adds / 1e6:,.0f} M): "
            "small ones, each with its overhead"
        )
    if facts.edgetpu.refused:
        yield f"the Edge TPU's compiler refuses it: {facts.edgetpu.refused}"
    elif facts.edgetpu.mapped < facts.edgetpu.operators:
        causes = ", ".join(f"{count} {name}" for name, count in facts.edgetpu.causes.items())
        yield (
            f"an Edge TPU runs {facts.edgetpu.mapped} of its {facts.edgetpu.operators} operators, "
            f"the CPU the rest, from the first of these on: {causes}"
        )
    if facts.edgetpu.parameter_bytes > EDGETPU_BYTES:
        over = _mb(facts.edgetpu.parameter_bytes - EDGETPU_BYTES)
        yield f"{over} of weights do not fit an Edge TPU's 8 MiB and are sent again for every photo"
    if facts.blocks == 1:
        yield "no block boundary with a single tensor: fine-tuning trains the head or everything"
    if not BACKBONES[facts.name].pretrained:
        yield "no pretrained weights: it trains from scratch only, which takes far more photos"


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
