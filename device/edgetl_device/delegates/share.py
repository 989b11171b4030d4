"""How much of a model a delegate runs, counted in the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from edgetl_device._lib.documents import Count, Unknown
from edgetl_device.errors import Unavailable

from .delegate import NONE, XNNPACK, Delegate, version


@dataclass(frozen=True)
class Share:
    """How much of a model a delegate runs.

    Attributes:
        operators: Operators that the delegate runs.
        of: Operators of the model. In a compiled Edge TPU model, all mapped operators count as one.
        partitions: Groups of consecutive operators that it runs at once.
    """

    operators: Count
    of: Count
    partitions: Count


@dataclass(frozen=True)
class External:
    """An external delegate.

    Attributes:
        name: ``edgetpu``, or the file name of the library.
        library: File name of the library; results contain no paths.
        options: Options given to the library; of paths only the last part.
        version: Version reported by the library.
    """

    name: str
    library: str
    options: dict[str, str]
    version: str | Unknown


def describe(delegate: Delegate, interpreter: Any) -> tuple[External, Share]:
    """Return how much of a model an external delegate runs.

    Args:
        delegate: The delegate that ``interpreter`` was created with.
        interpreter: Before ``allocate_tensors``; afterwards XNNPACK's partitions look the same.

    Raises:
        Unavailable: It runs nothing: the model would run on the CPU.
    """
    taken = _share(interpreter)
    if not taken.partitions:
        raise _took_none(delegate, taken.of, "it would run on the CPU")
    options = {name: PurePath(value).name if "/" in value else value for name, value in delegate.options}
    return External(delegate.name, PurePath(delegate.library).name, options, version(delegate)), taken


def share(delegate: Delegate | None, interpreter: Any) -> tuple[str, Share]:
    """Return how much of a model without an external delegate XNNPACK runs.

    Args:
        delegate: ``none``, ``xnnpack``, or None for the runtime's own choice.
        interpreter: After ``allocate_tensors``, when TFLite has applied XNNPACK, its only delegate on CPUs.

    Returns:
        ``xnnpack`` or ``none``, and how much it runs.

    Raises:
        Unavailable: XNNPACK was requested and runs nothing.
    """
    taken = _share(interpreter)
    if delegate is not None and delegate.name == XNNPACK and not taken.partitions:
        raise _took_none(delegate, taken.of, "this build of the runtime does not apply it")
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
        hint="Use a variant made for the delegate, or leave --delegate out.",
    )


def _taken(partitions: Sequence[dict[str, Any]], operators: Sequence[dict[str, Any]]) -> set[int]:
    """Return the operators that partitions replace: those between their inputs and outputs."""
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
