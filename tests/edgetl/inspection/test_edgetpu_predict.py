"""Predicting the Edge TPU mapping: published pairs, each limit, the partition, and malformed files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import edgetl, refused
from tflite_graph import Graph

from edgetl.inspection.edgetpu.operators import RULES
from edgetl.inspection.edgetpu.predict import EdgeTpuPrediction, Placed, predict
from edgetl.inspection.tflite.file import describe
from edgetl_device._lib.documents import Unknown, of_json, to_json
from edgetl_device.errors import InputError

IMAGE = (1, 8, 8, 16)


def placed(graph: Graph, input: int, output: int) -> tuple[Placed, ...]:
    return predict(graph.build(input, output)).operators


def single(name: str, shape: tuple[int, ...], out: tuple[int, ...], *, dtype: str = "int8", **options: Any) -> Placed:
    """Predict for one operator with one input."""
    graph = Graph()
    source, target = graph.tensor(*shape, dtype=dtype), graph.tensor(*out, dtype=dtype)
    return placed(graph, source, graph.add(name, [source], target, **options))[0]


def with_argument(name: str, shape: tuple[int, ...], out: tuple[int, ...], values: Any, **options: Any) -> Placed:
    """Predict for one operator with an input and a stored int32 argument."""
    graph = Graph()
    source, target = graph.tensor(*shape), graph.tensor(*out)
    array = np.array(values)
    argument = graph.tensor(*array.shape, dtype="int32", values=array, scales=())
    inputs = [argument, source] if name == "SPLIT" else [source, argument]
    return placed(graph, source, graph.add(name, inputs, target, **options))[0]


def convolution(*, stored: bool = True, dilation: tuple[int, int] = (1, 1), version: int = 3) -> Graph:
    graph = Graph()
    source, target = graph.tensor(*IMAGE), graph.tensor(*IMAGE)
    weights = graph.tensor(16, 1, 1, 16, values=np.zeros((16, 1, 1, 16)) if stored else None)
    bias = graph.tensor(16, dtype="int32", values=np.zeros(16))
    graph.add(
        "CONV_2D", [source, weights, bias], target, version=version, dilationHFactor=dilation[0],
        dilationWFactor=dilation[1],
    )  # fmt: skip
    return graph


def dense(*, rows: int = 1, scales: tuple[float, ...] = (0.1,), format: int = 0) -> Graph:
    graph = Graph()
    source, target = graph.tensor(rows, 6), graph.tensor(rows, 4)
    weights = graph.tensor(4, 6, values=np.zeros((4, 6)), scales=scales)
    graph.add("FULLY_CONNECTED", [source, weights, -1], target, version=4, weightsFormat=format)
    return graph


def joined(values: Any, *, inputs: int = 2) -> Placed:
    graph = Graph()
    source = graph.tensor(1, 4, 4, 2)
    stored = graph.tensor(1, 4, 4, 2, values=np.broadcast_to(values, (1, 4, 4, 2)))
    target = graph.tensor(1, 4, 4, 2 * inputs)
    return placed(graph, source, graph.add("CONCATENATION", [source, *[stored] * (inputs - 1)], target, axis=3))[0]


def sliced(strides: tuple[int, ...], **masks: int) -> Placed:
    graph = Graph()
    source, target = graph.tensor(1, 8, 8, 4), graph.tensor(1, 4, 4, 4)
    arguments = [graph.tensor(4, dtype="int32", values=v, scales=()) for v in ([0] * 4, [1, 4, 4, 4], strides)]
    return placed(graph, source, graph.add("STRIDED_SLICE", [source, *arguments], target, **masks))[0]


def prelu(*alpha: int) -> Placed:
    graph = Graph()
    source, target = graph.tensor(*IMAGE), graph.tensor(*IMAGE)
    return placed(graph, source, graph.add("PRELU", [source, graph.tensor(*alpha, values=np.zeros(alpha))], target))[0]


CASES: list[tuple[str, Callable[[], Placed], str, str]] = [
    ("relu", lambda: single("RELU", IMAGE, IMAGE), "", ""),
    ("hard swish", lambda: single("HARD_SWISH", IMAGE, IMAGE), "operator", "not an operator"),
    ("custom", lambda: single("somebodys-own", IMAGE, IMAGE), "operator", "custom"),
    ("float", lambda: single("RELU", IMAGE, IMAGE, dtype="float32"), "type", "float32"),
    ("int16", lambda: single("RELU", IMAGE, IMAGE, dtype="int16"), "type", "int16"),
    ("open batch", lambda: single("RELU", (-1, 8, 8, 16), (-1, 8, 8, 16)), "shape", "batch of 1"),
    ("batch of 2", lambda: single("RELU", (2, 8, 8, 16), (2, 8, 8, 16)), "rank", "3 innermost"),
    ("pool", lambda: single("AVERAGE_POOL_2D", IMAGE, (1, 1, 1, 16)), "", ""),
    (
        "pool with relu",
        lambda: single("AVERAGE_POOL_2D", IMAGE, (1, 1, 1, 16), fusedActivationFunction=1),
        "limit",
        "fused activation",
    ),
    ("softmax", lambda: single("SOFTMAX", (1, 16_000), (1, 16_000)), "", ""),
    ("wide softmax", lambda: single("SOFTMAX", (1, 16_001), (1, 16_001)), "limit", "16000"),
    ("softmax of a map", lambda: single("SOFTMAX", (1, 8, 8), (1, 8, 8)), "limit", "one-dimensional"),
    ("mean over the map", lambda: with_argument("MEAN", IMAGE, (1, 16), [1, 2]), "", ""),
    ("mean over the depth", lambda: with_argument("MEAN", IMAGE, (1, 8, 8), [3]), "", ""),
    ("mean over a depth of 6", lambda: with_argument("MEAN", (1, 8, 8, 6), (1, 8, 8), [-1]), "limit", "multiple of 4"),
    ("mean over the batch", lambda: with_argument("MEAN", IMAGE, (8, 8, 16), [0]), "limit", "batch"),
    ("pad", lambda: with_argument("PAD", IMAGE, (1, 10, 10, 16), [[0, 0], [1, 1], [1, 1], [0, 0]]), "", ""),
    ("pad the batch", lambda: with_argument("PAD", IMAGE, IMAGE, [[0, 1], [0, 0], [0, 0], [0, 0]]), "limit", "batch"),
    ("split the depth", lambda: with_argument("SPLIT", IMAGE, (1, 8, 8, 8), 3), "", ""),
    ("split the batch", lambda: with_argument("SPLIT", IMAGE, IMAGE, 0), "limit", "batch"),
    ("resize to the same", lambda: with_argument("RESIZE_BILINEAR", IMAGE, IMAGE, [8, 8]), "", ""),
    ("resize to twice", lambda: with_argument("RESIZE_BILINEAR", IMAGE, (1, 16, 16, 16), [16, 16]), "", ""),
    (
        "resize to three times",
        lambda: with_argument("RESIZE_BILINEAR", IMAGE, (1, 24, 24, 16), [24, 24]),
        "limit",
        "from 8 x 8 to 24 x 24",
    ),
    ("squeeze in front", lambda: single("SQUEEZE", (1, 1, 5, 10), (5, 10), squeezeDims=[0, 1]), "", ""),
    (
        "squeeze inside", lambda: single("SQUEEZE", (1, 5, 1, 10), (1, 5, 10), squeezeDims=[2]), "limit", "not leading",
    ),
    ("pack", lambda: single("PACK", (1, 8, 8), (1, 8, 8, 1), axis=3), "", ""),
    ("pack the batch", lambda: single("PACK", (8, 8, 4), (1, 8, 8, 4), axis=0), "limit", "batch"),
    ("slice", lambda: sliced((1, 1, 1, 1)), "", ""),
    ("slice with strides", lambda: sliced((1, 2, 2, 1)), "limit", "strides of 1"),
    ("slice with a new axis", lambda: sliced((1, 1, 1, 1), newAxisMask=1), "limit", "masks"),
    ("prelu", lambda: prelu(1, 1, 16), "", ""),
    ("prelu a pixel", lambda: prelu(8, 8, 16), "limit", "alpha"),
    ("concatenate zeros", lambda: joined(0), "", ""),
    ("concatenate ones", lambda: joined(1), "limit", "all zeros"),
    ("concatenate zeros twice", lambda: joined(0, inputs=3), "limit", "one other input"),
    ("convolution", lambda: placed(convolution(), 0, 1)[0], "", ""),
    ("same dilation", lambda: placed(convolution(dilation=(2, 2)), 0, 1)[0], "", ""),
    ("other dilation", lambda: placed(convolution(dilation=(1, 2)), 0, 1)[0], "limit", "dilation 1 x 2"),
    ("computed weights", lambda: placed(convolution(stored=False), 0, 1)[0], "parameter", "not stored"),
    ("dense", lambda: placed(dense(), 0, 1)[0], "", ""),
    ("dense over rows", lambda: placed(dense(rows=7), 0, 1)[0], "limit", "7 rows"),
    ("dense, shuffled", lambda: placed(dense(format=1), 0, 1)[0], "limit", "default format"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "constraint", "said"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_each_limit_decides(case: Callable[[], Placed], constraint: str, said: str) -> None:
    found = case()
    assert found.constraint == constraint, found
    assert found.on == ("cpu" if constraint else "edgetpu")
    assert said in found.reason


def pairs(shared_data: Path) -> list[tuple[Path, Path]]:
    folder = shared_data / "coral"
    twins = sorted(folder.glob("*_edgetpu.tflite"))
    return [(twin.with_name(twin.name.replace("_edgetpu", "")), twin) for twin in twins]


def test_every_operator_of_every_published_pair_is_predicted_right(shared_data: Path) -> None:
    """A compiled file keeps the names of operators left on the CPU, which gives the compiler's own mapping."""
    found = pairs(shared_data)
    assert len(found) >= 3
    operators = 0
    for original, twin in found:
        before, after = (describe(path.read_bytes()) for path in (original, twin))
        left = [op for op in after.operators if op.name != "edgetpu-custom-op"]
        assert len(left) == len(after.operators) - 1, twin
        stayed = {(op.name, after.tensors[op.outputs[0]].name) for op in left}
        prediction = predict(original.read_bytes())
        for row in prediction.operators:
            name = before.tensors[before.operators[row.index].outputs[0]].name
            assert (row.on == "cpu") == ((row.name, name) in stayed), (original.name, row)
        assert len(stayed) == len(prediction.operators) - prediction.mapped
        operators += len(prediction.operators)
    assert operators >= 109


def test_a_compiled_file_says_so(shared_data: Path) -> None:
    for _, twin in pairs(shared_data):
        prediction = predict(twin.read_bytes())
        assert prediction.compiled
        assert [row.name for row in prediction.operators if row.on == "edgetpu"] == ["edgetpu-custom-op"]


def test_an_unsupported_prefix_is_allowed_and_everything_behind_a_gap_is_not() -> None:
    graph = Graph()
    pixels = graph.tensor(*IMAGE, dtype="float32", scales=())
    shifted = graph.add("RELU", [pixels], graph.tensor(*IMAGE, dtype="float32", scales=()))
    first = graph.add("QUANTIZE", [shifted], graph.tensor(*IMAGE))
    relu = graph.add("RELU", [first], graph.tensor(*IMAGE))
    gap = graph.add("HARD_SWISH", [relu], graph.tensor(*IMAGE))
    beside = graph.add("RELU6", [relu], graph.tensor(*IMAGE))
    behind = graph.add("RELU", [gap], graph.tensor(*IMAGE))
    both = graph.add("ADD", [beside, behind], graph.tensor(*IMAGE))
    found = placed(graph, pixels, both)
    assert [(row.on, row.constraint) for row in found] == [
        ("cpu", "type"),
        ("cpu", "type"),
        ("edgetpu", ""),
        ("cpu", "operator"),
        ("edgetpu", ""),
        ("cpu", "partition"),
        ("cpu", "partition"),
    ]
    assert found[5].reason == found[6].reason == "after HARD_SWISH (3)"


def test_a_file_newer_than_the_compiler_is_refused_as_a_whole() -> None:
    newer = predict(convolution(version=6).build(0, 1))
    assert "CONV_2D version 6" in newer.refused
    assert (newer.mapped, newer.operators[0].constraint) == (0, "version")
    assert predict(convolution(version=5).build(0, 1)).mapped == 1
    graph = Graph()
    source = graph.tensor(*IMAGE)
    out = graph.add("GELU", [graph.add("RELU", [source], graph.tensor(*IMAGE))], graph.tensor(*IMAGE))
    assert "GELU is newer" in predict(graph.build(source, out)).refused


def test_parameters_are_counted_once_and_held_against_the_chip() -> None:
    found = predict(convolution().build(0, 1))
    assert found.parameter_bytes == 16 * 16 + 16 * 4
    assert found.streamed_bytes_at_least == 0
    large = EdgeTpuPrediction.of((), parameter_bytes=9 << 20)
    assert (large.on_chip_bytes, large.streamed_bytes_at_least) == (8 << 20, 1 << 20)
    assert large.mapped_percent == Unknown("the file has no operators")
    document = to_json(found)
    assert document["schema"] == "edgetl.inspection.edgetpu-prediction/1"
    assert (document["operators"][0]["on"], document["mapped_percent"]) == ("edgetpu", 100)
    assert of_json(EdgeTpuPrediction, document, name="prediction") == found


def test_dense_layers_with_a_scale_an_output_are_a_risk() -> None:
    assert predict(dense().build(0, 1)).risks == ()
    (risk,) = predict(dense(scales=(0.1, 0.2, 0.3, 0.4)).build(0, 1)).risks
    assert "4 weight scales" in risk


def test_the_registry_names_operators_of_tflite() -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    assert set(RULES) <= set(vars(BuiltinOperator))
    assert all(rule.max_version >= 1 for rule in RULES.values())


def test_damaged_files_are_input_errors() -> None:
    data = convolution().build(0, 1)
    for length in range(0, len(data) - 8, 37):
        with pytest.raises(InputError):
            predict(data[:length])
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in random.integers(8, len(data), 4):
            damaged[place] = int(random.integers(256))
        with contextlib.suppress(InputError):
            predict(bytes(damaged))


def test_the_command_prints_one_line_an_operator(shared_data: Path) -> None:
    path = shared_data / "coral" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    done = edgetl("inspect", "--edgetpu", path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("  cpu  " in line or "  edgetpu" in line for line in lines) == 72
    assert any("RESIZE_BILINEAR" in line and "from 1 x 1 to 33 x 33" in line for line in lines)
    assert "mapped      64 of 72 operators, 88.9%" in done.stdout
    document = json.loads(edgetl("inspect", "--edgetpu", path, "--json").stdout)
    assert (document["mapped"], document["total"], document["compiled"]) == (64, 72, False)
    assert "already compiled" in edgetl("inspect", "--edgetpu", path.with_stem(path.stem + "_edgetpu")).stdout


def test_the_command_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("This is a text file.")
    assert "text.tflite" in refused(edgetl("inspect", "--edgetpu", tmp_path / "text.tflite"))
    assert "none.tflite" in refused(edgetl("inspect", "--edgetpu", tmp_path / "none.tflite"))
