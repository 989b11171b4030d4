"""Predict which operators of a TFLite file the Edge TPU will run, and which constraint excludes each other one.

Only the compiler gives a definite answer. The constraints are Coral's model requirements
(coral.ai/docs/edgetpu/models-intro); the partitioning follows Coral's published pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from edgetl._lib import extras
from edgetl.inspection.edgetpu.operators import LAST_CODE, RULES, Node
from edgetl.inspection.tflite.file import Operator, Tensor, TFLiteModel, describe
from edgetl.inspection.tflite.tree import constant, read_tree
from edgetl_device._lib.documents import Count, Is, Unknown
from edgetl_device._lib.files import check_regular
from edgetl_device.delegates.delegate import needs_edgetpu
from edgetl_device.errors import InputError

COMPILER = "16.0.384591198"
MappedPercent = Annotated[float, Is(low=0, high=100)]

# "Roughly 8 MB of SRAM" (coral.ai/docs/edgetpu/compiler); compiler logs of tiny models say 7.98 MiB.
ON_CHIP_BYTES = 8 << 20

_CUSTOM = "edgetpu-custom-op"
_EIGHT_BIT = ("int8", "uint8")
# An LSTM keeps its cell state in 16 bits (pair keras_lstm_mnist_ptq).
_LSTM_STATE = "int16"
_INNERMOST = 3


@dataclass(frozen=True)
class Placed:
    """The predicted place of one operator.

    Attributes:
        index: Index in the file.
        name: TFLite name.
        output: Type and shape of its first output, such as ``int8 [1, 5]``.
        on: ``edgetpu`` or ``cpu``.
        constraint: For ``cpu``, the reason: ``operator``, ``version``, ``type``, ``shape``, ``rank``, ``parameter``,
            ``limit`` (of this operator), ``partition`` (it follows an operator that stays on the CPU) or, in a
            compiled file, ``compiler``; else "".
        reason: The constraint as text; else "".
    """

    index: Count
    name: str
    output: str
    on: Literal["edgetpu", "cpu"]
    constraint: str
    reason: str


@dataclass(frozen=True)
class EdgeTpuPrediction:
    """The predicted result of compiling a file.

    Attributes:
        compiler: Compiler version of the prediction.
        compiled: Whether the file is already compiled; ``operators`` is then the actual mapping.
        operators: Operators, in the order of the file.
        mapped: Number of operators on the Edge TPU.
        total: Number of operators.
        mapped_percent: 100 * mapped / total
        parameter_bytes: Size of the parameters of mapped operators, before the compiler pads them.
        on_chip_bytes: Size of the Edge TPU's memory for parameters.
        streamed_bytes_at_least: Parameters that do not fit and are streamed for every photo, in bytes.
        refused: Why the compiler cannot read the file at all, or "".
        risks: Reasons why the compiler or the device may behave differently, one line each.
    """

    SCHEMA: ClassVar[str] = "edgetl.inspection.edgetpu-prediction/1"

    compiler: str
    compiled: bool
    operators: tuple[Placed, ...]
    mapped: Count
    total: Count
    mapped_percent: MappedPercent | Unknown
    parameter_bytes: Count
    on_chip_bytes: Count
    streamed_bytes_at_least: Count
    refused: str
    risks: tuple[str, ...]

    @classmethod
    def of(
        cls,
        operators: tuple[Placed, ...],
        *,
        compiled: bool = False,
        parameter_bytes: int = 0,
        refused: str = "",
        risks: tuple[str, ...] = (),
    ) -> EdgeTpuPrediction:
        """Return the prediction for the given placement of each operator."""
        mapped, total = sum(operator.on == "edgetpu" for operator in operators), len(operators)
        return cls(
            compiler=COMPILER,
            compiled=compiled,
            operators=operators,
            mapped=mapped,
            total=total,
            mapped_percent=100 * mapped / total if total else Unknown("the file has no operators"),
            parameter_bytes=parameter_bytes,
            on_chip_bytes=ON_CHIP_BYTES,
            streamed_bytes_at_least=max(0, parameter_bytes - ON_CHIP_BYTES),
            refused=refused,
            risks=risks,
        )


def predict(model: bytes) -> EdgeTpuPrediction:
    """Predict what the Edge TPU compiler does with a TFLite file.

    One partition is mapped. Operators before it may stay on the CPU. After its start, an operator that cannot be mapped
    keeps everything that depends on it on the CPU.

    Raises:
        InputError: The file is not TFLite, or is damaged.
        Unavailable: ``ai-edge-litert``, which contains the schema, is not installed.
    """
    described = describe(model)
    if needs_edgetpu(model):
        return _compiled(described)
    nodes = _nodes(model, described)
    refused = next((why for node in nodes if (why := _unreadable(node))), "")
    own = [("version", refused) if refused else _constraint(node) for node in nodes]
    placed = _partition(described, own)
    mapped = [node for node, place in zip(nodes, placed, strict=True) if place.on == "edgetpu"]
    return EdgeTpuPrediction.of(placed, parameter_bytes=_parameter_bytes(mapped), refused=refused, risks=_risks(mapped))


def predict_path(path: Path, *, variant: str = "int8") -> tuple[str, EdgeTpuPrediction]:
    """Predict for a ``.tflite`` file or a variant of a bundle; return its name and the prediction.

    Raises:
        InputError: It does not exist, is damaged, or is not a TFLite model.
    """
    from edgetl_device.bundle import Bundle

    if path.is_dir() or path.suffix == ".edgetl":
        bundle = Bundle.open(path)
        chosen = bundle.variant(variant)
        name, data = f"{bundle.path}: {chosen.file}", bundle.read(chosen.file)
    else:
        if not path.exists():
            raise InputError(
                f"{path}: no such file or folder", hint="Give a .tflite file, or a bundle with int8 in it."
            )
        check_regular(path)
        name, data = str(path), path.read_bytes()
    try:
        return name, predict(data)
    except InputError as error:
        raise InputError(f"{name}: {error.what}", why=error.why, hint=error.hint) from None


def _compiled(model: TFLiteModel) -> EdgeTpuPrediction:
    placed = tuple(
        Placed(index, operator.name, _output(model, index), "edgetpu", "", "")
        if operator.name == _CUSTOM
        else Placed(index, operator.name, _output(model, index), "cpu", "compiler", "the compiler left it on the CPU")
        for index, operator in enumerate(model.operators)
    )
    return EdgeTpuPrediction.of(placed, compiled=True)


def _nodes(data: bytes, model: TFLiteModel) -> list[Node]:
    tree = read_tree(data)
    nodes = []
    # A list without entries may be absent.
    for operator, read in zip(model.operators, tree.subgraphs[0].operators or (), strict=True):
        inputs = tuple(model.tensors[index] if index >= 0 else None for index in operator.inputs)
        options = vars(read.builtinOptions) if read.builtinOptions is not None else {}
        outputs = tuple(model.tensors[index] for index in operator.outputs)
        nodes.append(Node(operator, inputs, outputs, options, partial(_values, tree, operator, inputs)))
    return nodes


def _values(tree: Any, operator: Operator, inputs: tuple[Tensor | None, ...], position: int) -> Any:
    tensor = inputs[position] if position < len(inputs) else None
    return None if tensor is None else constant(tree, operator.inputs[position], tensor)


def _unreadable(node: Node) -> str:
    """Return why the compiler's TFLite version cannot load a file with this operator, or ""."""
    name, version = node.operator.name, node.operator.version
    if node.operator.custom:
        return ""
    code = getattr(extras.require("ai_edge_litert.schema_py_generated").BuiltinOperator, name)
    if code > LAST_CODE:
        return f"{name} is newer than the compiler, which rejects the file"
    if name in RULES and version > RULES[name].max_version:
        known = RULES[name].max_version
        return f"{name} version {version}: the compiler knows up to {known} and rejects the file"
    return ""


def _constraint(node: Node) -> tuple[str, str]:
    """Return the constraint that keeps a single operator off the Edge TPU, with its reason, or two empty strings."""
    name = node.operator.name
    rule = RULES.get(name)
    if node.operator.custom or rule is None:
        return "operator", "a custom operator" if node.operator.custom else "not an operator of the Edge TPU"
    activations = [tensor for tensor in (*node.inputs, *node.outputs) if tensor is not None and not tensor.constant]
    allowed = (*_EIGHT_BIT, _LSTM_STATE) if name.endswith("LSTM") else _EIGHT_BIT
    if wrong := next((tensor for tensor in activations if tensor.dtype not in allowed), None):
        return "type", f"works on {wrong.dtype}: must be int8 or uint8"
    for position in rule.parameters:
        tensor = node.inputs[position] if position < len(node.inputs) else None
        if tensor is not None and not tensor.constant:
            return "parameter", f"{tensor.name} is not stored in the file"
    if open_ := next((tensor for tensor in activations if -1 in tensor.shape), None):
        return "shape", f"shape {list(open_.shape)} is not fixed: convert with a batch of 1"
    if deep := next((tensor for tensor in activations if _leading(tensor)), None):
        return "rank", f"shape {list(deep.shape)}: only the {_INNERMOST} innermost sizes may be over 1"
    return next((("limit", why) for limit in rule.limits if (why := limit(node))), ("", ""))


def _leading(tensor: Tensor) -> bool:
    return any(size > 1 for size in tensor.shape[:-_INNERMOST])


def _partition(model: TFLiteModel, own: list[tuple[str, str]]) -> tuple[Placed, ...]:
    placed = []
    behind_mapped: set[int] = set()  # tensors that depend on a mapped operator
    cut: dict[int, str] = {}  # tensors downstream of an unmapped operator that follows a mapped one, with that operator
    for index, (operator, (constraint, reason)) in enumerate(zip(model.operators, own, strict=True)):
        cause = next((cut[tensor] for tensor in operator.inputs if tensor in cut), "")
        if cause and not constraint:
            constraint, reason = "partition", f"after {cause}"
        follows = any(tensor in behind_mapped for tensor in operator.inputs)
        if cause or (constraint and follows):
            cut |= dict.fromkeys(operator.outputs, cause or f"{operator.name} ({index})")
        elif not constraint:
            behind_mapped |= set(operator.outputs)
        on: Literal["edgetpu", "cpu"] = "cpu" if constraint else "edgetpu"
        placed.append(Placed(index, operator.name, _output(model, index), on, constraint, reason))
    return tuple(placed)


def _output(model: TFLiteModel, index: int) -> str:
    tensor = model.tensors[model.operators[index].outputs[0]]
    return f"{tensor.dtype} {list(tensor.shape)}"


def _parameter_bytes(mapped: list[Node]) -> int:
    stored = {
        index: tensor.bytes
        for node in mapped
        for index, tensor in zip(node.operator.inputs, node.inputs, strict=True)
        if tensor is not None
    }
    return sum(stored.values())


def _risks(mapped: list[Node]) -> tuple[str, ...]:
    risks = []
    for node in mapped:
        weights = node.inputs[1] if node.operator.name == "FULLY_CONNECTED" else None
        if weights is not None and len(weights.scales) > 1:
            # tensorflow/tflite-micro 2602: kernels made before this existed "result in invalid output", silently.
            risks.append(
                f"FULLY_CONNECTED has {len(weights.scales)} weight scales, one per output; TFLite had only one when "
                "the compiler was made, so its results are unreliable; edgetl compile gives it a file with one scale"
            )
    open_ = sorted({(n.operator.name, RULES[n.operator.name].unchecked) for n in mapped})
    if named := ", ".join(f"{name} ({unchecked})" for name, unchecked in open_ if unchecked):
        risks.append(f"limits that only the compiler knows: {named}")
    return tuple(dict.fromkeys(risks))
