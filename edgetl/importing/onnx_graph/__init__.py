"""ONNX graphs to one flat Keras graph of plain layers, channels last.

===============  =================================================================================
``values``       tensors of the graph as Keras computes them, and the order of their axes
``shapes``       reshaping and transposing without moving data where that is possible
``convolutions``  convolutions, pools and their padding; dense layers
``elementwise``  arithmetic, activations, reductions
``convert``      the table of operators, and the walk over the graph
===============  =================================================================================

A tensor that ONNX has as [N, C, H, W] is [N, H, W, C] in Keras. Transposes are not computed but remembered, as the
order of the axes of each tensor; only where an operator needs another order, data moves.
"""

from .convert import KNOWN, OnnxNetwork, network_of

__all__ = ["KNOWN", "OnnxNetwork", "network_of"]
