"""Hand-written TFLite files of a few operators, with the operator, version or option that a test needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetl.inspection.tflite.tree import pack_tree

_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2D",
    "CONCATENATION": "Concatenation",
    "CONV_2D": "Conv2D",
    "FULLY_CONNECTED": "FullyConnected",
    "PACK": "Pack",
    "SQUEEZE": "Squeeze",
    "STRIDED_SLICE": "StridedSlice",
}


class Graph:
    """A graph under construction: tensors and operators are added in order, and referred to by index."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]

    def tensor(self, *shape: int, dtype: str = "int8", values: Any = None, scales: tuple[float, ...] = (0.1,)) -> int:
        """Add a tensor and return its index; ``values`` makes it a constant, and a size of -1 is dynamic."""
        tensor = schema.TensorT()
        tensor.name = f"tensor {len(self._tensors)}"
        tensor.type = getattr(schema.TensorType, dtype.upper())
        tensor.shape = [1 if size == -1 else size for size in shape]
        if -1 in shape:
            tensor.shapeSignature = list(shape)
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = list(scales), [0] * len(scales)
        tensor.buffer = 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.asarray(values, dtype).tobytes()
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def add(self, name: str, inputs: list[int], output: int, *, version: int = 1, **options: Any) -> int:
        """Add an operator and return its output; a lower-case name is a custom operator."""
        code = schema.OperatorCodeT()
        code.version = version
        if name.islower():
            code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, name
        else:
            code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self._codes) - 1, inputs, [output]
        if name in _OPTIONS:
            kind = f"{_OPTIONS[name]}Options"
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = getattr(schema, f"{kind}T")()
            for key, value in options.items():
                assert hasattr(operator.builtinOptions, key), key
                setattr(operator.builtinOptions, key, value)
        self._operators.append(operator)
        return output

    def build(self, input: int, *outputs: int) -> bytes:
        """Return the file."""
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [input], list(outputs)
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes = self._codes
        packed: bytes = pack_tree(model)
        return packed
