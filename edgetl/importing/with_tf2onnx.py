"""tf2onnx, for files of TensorFlow and TFLite."""

from __future__ import annotations

from typing import Any

from edgetl._lib import extras
from edgetl._lib.quiet import quietly
from edgetl_device.errors import InputError

_OPSET = 17


def to_onnx(convert: str, *args: Any, **kwargs: Any) -> bytes:
    """Return what a function of ``tf2onnx.convert`` makes of a model.

    Raises:
        InputError: It raises an error, or has no equivalent of an operator; that is named.
    """
    onnx = extras.require("onnx")
    extras.tensorflow()
    function = getattr(extras.require("tf2onnx.convert"), convert)
    try:
        with quietly():
            proto, _ = function(*args, opset=_OPSET, **kwargs)
    except Exception as error:  # what it raises has no base class
        raise InputError("tf2onnx cannot convert it", why=" ".join(str(error).split())[:250]) from None
    # It leaves what it does not know in the graph, under its own name.
    unknown = {node.op_type for node in proto.graph.node if node.domain or not onnx.defs.has(node.op_type)}
    if unknown:
        names = sorted(name.removeprefix("TFL_") for name in unknown)
        raise InputError(
            f"it has operators that cannot be imported: {', '.join(names)}", hint="Build the model without them."
        )
    return bytes(proto.SerializeToString())
