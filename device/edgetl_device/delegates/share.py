"""How much of a model a delegate took, as its interpreter shows it. Not for: loading delegates (``delegate``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgetl_device.errors import Unavailable

from .delegate import NONE, XNNPACK, Delegate, version


def describe(delegate: Delegate, interpreter: Any) -> dict[str, Any]:
    """Return which delegate runs how much of a model, as JSON values.

    Args:
        delegate: The one that ``interpreter`` was made with.
        interpreter: Before ``allocate_tensors``: afterwards XNNPACK's partitions look the same.

    Returns:
        ``name``, ``library``, ``options``, ``version``, and of the model's operators how many it took (``operators``)
        ``of`` how many, in how many ``partitions``. A compiled Edge TPU model counts as it is written: one operator for
        all that the compiler mapped.

    Raises:
        Unavailable: It took none: the model would run on the CPU.
    """
    taken = _share(interpreter)
    if not taken["partitions"]:
        raise _took_none(delegate, taken["of"], "it would run on the CPU")
    about = {"name": delegate.name, "library": delegate.library, "options": dict(delegate.options)}
    return about | {"version": version(delegate)} | taken


def share(delegate: Delegate | None, interpreter: Any) -> dict[str, Any]:
    """Return whether XNNPACK runs a model that has no external delegate, and how much of it.

    Args:
        delegate: ``none``, ``xnnpack``, or None for what the runtime does by itself.
        interpreter: After ``allocate_tensors``, which is when TFLite applies XNNPACK, its only delegate on CPUs.

    Returns:
        ``name`` (``xnnpack`` or ``none``), ``operators``, ``of`` and ``partitions`` as in :func:`describe`.

    Raises:
        Unavailable: XNNPACK was asked for and took nothing.
    """
    taken = _share(interpreter)
    if delegate is not None and delegate.name == XNNPACK and not taken["partitions"]:
        raise _took_none(delegate, taken["of"], "this build of the runtime applies none to it")
    return {"name": XNNPACK if taken["partitions"] else NONE} | taken


def _share(interpreter: Any) -> dict[str, int]:
    nodes = interpreter._get_ops_details()
    partitions = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    return {"operators": len(_taken(partitions, operators)), "of": len(operators), "partitions": len(partitions)}


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
