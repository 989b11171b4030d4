"""The blocks of a built backbone, and of any other network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetl._lib.extras import keras

from .registry import backbone
from .spec import SCALE_LAYER, Block


def blocks(name: str, base: Any) -> tuple[Block, ...]:
    """Return the blocks of a base made by :func:`~edgetl.backbones.build_base`, from the input to the output.

    A block ends at the last of its layers in graph order: the residual Add where there is one, else the BatchNorm of
    its projection (V2, V3) or the ReLU of its pointwise convolution (V1). Layers before the first block (``scale``
    and the stem) and after the last one (``Conv_1`` of V2, ``conv_1`` of V3) belong to no block. The latter are trained
    with the head whenever any block is.
    """
    pattern = backbone(name).block_pattern
    last: dict[str, str] = {}
    for operation in base.operations:
        if match := pattern.match(operation.name):
            last[match[1] or "0"] = operation.name
    place = {operation.name: index for index, operation in enumerate(base.operations)}
    ends = sorted(last.items(), key=lambda item: place[item[1]])
    return tuple(Block(f"block_{key}" if key.isdecimal() else key, layer) for key, layer in ends)


def blocks_of_graph(base: Any) -> tuple[Block, ...]:
    """Return the blocks of a network that is not in the registry, from the input to the output.

    A block ends at a layer whose output, a feature map, is the only tensor that later layers read, and has at least one
    layer with a kernel. What follows without a kernel (BatchNorm, activation) belongs to it. So a residual unit is one
    block, and in a plain stack each convolution is. Layers after the last feature map belong to no block.

    Args:
        base: A flat functional keras.Model with one input and one output.
    """
    ends: list[str] = []
    end, has_kernel = "", False
    for operation, is_alone in _operations(base):
        kernel = operation.name != SCALE_LAYER and any(
            weight.name.endswith("kernel") for weight in getattr(operation, "weights", ())
        )
        if kernel and end:
            ends.append(end)
            end, has_kernel = "", False
        has_kernel = has_kernel or kernel
        if has_kernel and is_alone:
            end = operation.name
    ends += [end] if end else []
    return tuple(Block(f"block_{place}", layer) for place, layer in enumerate(ends, 1))


def parameters_after(base: Any, block: Block) -> int:
    """Return the number of parameters of a base that come after one of its blocks."""
    before = keras().Model(base.input, base.get_layer(block.last_layer).output)
    return int(base.count_params() - before.count_params())


def _operations(base: Any) -> Iterator[tuple[Any, bool]]:
    """Yield each layer or operation in topological order, and whether its output can be cut at.

    That is a feature map, from a layer, and the only tensor that later operations read.
    """
    # As in Keras' own summary: the graph is in no other attribute.
    by_depth = base._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]
    last_read = {id(tensor): place for place, node in enumerate(nodes) for tensor in node.input_tensors}
    alive = {id(base.input)}
    for place, node in enumerate(nodes):
        output = node.outputs[0]
        alive |= {id(tensor) for tensor in node.outputs}
        alive = {tensor for tensor in alive if last_read.get(tensor, len(nodes)) > place}
        is_map = len(output.shape) == 4 and output.shape[1] * output.shape[2] > 1
        is_layer = isinstance(node.operation, keras().layers.Layer)
        yield node.operation, alive == {id(output)} and is_map and is_layer
