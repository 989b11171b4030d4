"""How much of a model a delegate took, as its interpreter shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from edgetl_device.documents import Count, Unknown
from edgetl_device.errors import Unavailable

from .delegate import NONE, XNNPACK, Delegate, version


@dataclass(frozen=True)
class Share:
    """How much of a model a delegate took.

    Attributes:
        operators: Operators that the delegate took.
        of: Operators of the model. A compiled Edge TPU model counts as it is written: one operator for all that the
            compiler mapped.
        partitions: Stretches of operators that it runs at once.
    """

    operators: Count
    of: Count
    partitions: Count


@dataclass(frozen=True)
class External:
    """A delegate of a library of its own.

    Attributes:
        name: ``edgetpu``, or the file name of the library.
        library: The file name of what the system's loader got; results carry no paths.
        options: What the library got; of paths the last part.
        version: What the library says of itself.
    """

    name: str
    library: str
    options: dict[str, str]
    version: str | Unknown


def describe(delegate: Delegate, interpreter: Any) -> tuple[External, Share]:
    """Return which delegate runs how much of a model.

    Args:
        delegate: The one that ``interpreter`` was made with.
        interpreter: Before ``allocate_tensors``: afterwards XNNPACK's partitions look the same.

    Raises:
        Unavailable: It took none: the model would run on the CPU.
    """
    taken = _share(interpreter)
    if not taken.partitions:
        raise _took_none(delegate, taken.of, "it would run on the CPU")
    options = {name: PurePath(value).name if "/" in value else value for name, value in delegate.options}
    return External(delegate.name, PurePath(delegate.library).name, options, version(delegate)), taken


def share(delegate: Delegate | None, interpreter: Any) -> tuple[str, Share]:
    """Return whether XNNPACK runs a model that has no external delegate, and how much of it.

    Args:
        delegate: ``none``, ``xnnpack``, or None for what the runtime does by itself.
        interpreter: After ``allocate_tensors``, which is when TFLite applies XNNPACK, its only delegate on CPUs.

    Returns:
        ``xnnpack`` or ``none``, and what it took.

    Raises:
        Unavailable: XNNPACK was asked for and took nothing.
    """
    taken = _share(interpreter)
    if delegate is not None and delegate.name == XNNPACK and not taken.partitions:
        raise _took_none(delegate, taken.of, "this build of the runtime applies none to it")
    return XNNPACK if taken.partitions else NONE, taken


def _share(interpreter: Any) -> Share:
    nodes = interpreter._get_ops_details()
    partitions = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    return Share(len(_taken(partitions, operators)), len(operators), len(partitions))


def _took_none(delegate: Delegate, operators: int, why: str) -> Unavailable:
    return Unavailable(
        f"{delegate.name} took none of the {operators} operators of this model",
        why=why,
        hint="Use a variant that the delegate is made for, or leave --delegate out.",
    )


def _taken(partitions: Sequence[dict[str, Any]], operators: Sequence[dict[str, Any]]) -> set[int]:
    """Return the operators that partitions replaced: those between a partition's outputs and its inputs."""
    maker = {int(tensor): node for node in operators for tensor in node["outputs"]}
    taken: set[int] = set()
    for partition in partitions:
        fed = {int(tensor) for tensor in partition["inputs"]}
        waiting = [int(tensor) for tensor in partition["outputs"]]
        while waiting:
            tensor = waiting.pop()
            node = maker.get(tensor)
            if node is None or tensor in fed or node["index"] in taken:
                continue
            taken.add(node["index"])
            waiting += [int(other) for other in node["inputs"]]
    return taken
