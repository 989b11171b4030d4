"""Published logs of the Edge TPU compiler, and the compiler's input file."""

from __future__ import annotations

from pathlib import Path

import compiler_logs
import numpy as np
import pytest

from edgetl.inspection.edgetpu.compiler import parse_log
from edgetl.inspection.edgetpu.dense import per_tensor_dense
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.tree import constant, read_tree, to_real
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.preprocess import preprocess
from edgetl_device.runtime import open_runtime

GOLDEN = Path(__file__).parent.parent.parent / "golden"


def test_a_published_log_file_is_read() -> None:
    log = parse_log(compiler_logs.TINY_YOLO)
    assert (log.version, log.total, log.mapped, log.failure) == ("14.1.317412892", 25, 19, "")
    assert log.mapped_percent == 76.0
    assert [(row.name, row.count, row.mapped) for row in log.rows[:3]] == [
        ("CONCATENATION", 1, False),
        ("MAX_POOL_2D", 6, True),
        ("RESIZE_NEAREST_NEIGHBOR", 1, False),
    ]
    assert log.rows[2].status == "Operation version not supported"
    assert (log.on_chip_bytes, log.subgraphs) == (None, None)


def test_a_published_summary_is_read() -> None:
    log = parse_log(compiler_logs.MOBILENET_V3)
    assert (log.total, log.mapped, log.subgraphs, log.rows) == (50, 50, 1, ())
    assert (log.on_chip_bytes, log.on_chip_remaining_bytes) == (619_008, 523_776)
    assert log.off_chip_bytes == round(3.45 * 2**20)
    partial = parse_log(compiler_logs.PARTIAL)
    assert (partial.total, partial.mapped, partial.off_chip_bytes) == (24, 6, 0)
    assert partial.mapped_percent == 25.0


def test_of_several_attempts_the_last_one_counts() -> None:
    first = compiler_logs.TINY_YOLO.replace("MAX_POOL_2D                    6", "MAX_POOL_2D                    1")
    assert first != compiler_logs.TINY_YOLO
    assert parse_log(first + "\n" + compiler_logs.TINY_YOLO).rows == parse_log(compiler_logs.TINY_YOLO).rows


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (compiler_logs.DYNAMIC, "static-sized tensors"),
        (compiler_logs.NOT_QUANTIZED, "Model not quantized"),
        (compiler_logs.NEWER_OPERATOR, "'RELU' version '2'"),
        (compiler_logs.INTERNAL_ERROR, "Internal compiler error"),
        (compiler_logs.LARGE_ACTIVATIONS, "large activation tensors"),
    ],
)
def test_published_refusals_keep_their_reason(text: str, why: str) -> None:
    log = parse_log(text)
    assert why in log.failure
    assert (log.mapped, log.mapped_percent) == (None, None)


def test_other_text_is_no_log() -> None:
    with pytest.raises(InputError, match="not a log"):
        parse_log("Hello, this is a text file.")


def test_dense_layers_get_one_scale_and_keep_their_predictions() -> None:
    tiny = Bundle.open(GOLDEN / "tiny.edgetl")
    model = tiny.read("models/int8.tflite")
    changed = per_tensor_dense(model)
    described = describe(changed)
    (dense,) = (operator for operator in described.operators if operator.name == "FULLY_CONNECTED")
    for index in dense.inputs[1:]:
        tensor = described.tensors[index]
        assert len(tensor.scales) == 1
        # Real values are preserved to half a step of the common grid.
        real, moved = (
            to_real(constant(read_tree(data), index, seen := describe(data).tensors[index]), seen)
            for data in (model, changed)
        )
        np.testing.assert_allclose(real, moved, atol=0.51 * tensor.scales[0])
    assert per_tensor_dense(changed) == changed
    before, after = open_runtime(model, "tflite"), open_runtime(changed, "tflite")
    for photo in tiny.photos():
        for runtime in (before, after):
            runtime.set_input(preprocess(tiny.read(photo.file), tiny.preprocess))
            runtime.invoke()
        np.testing.assert_allclose(before.probabilities(), after.probabilities(), atol=0.02)
