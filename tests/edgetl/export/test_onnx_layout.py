"""int8 ONNX with NCHW input gives the same predictions as the NHWC file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import lively
import numpy as np
import numpy.typing as npt
import onnx
import small
from typer.testing import CliRunner

from edgetl.cli import app
from edgetl.export import conversion
from edgetl.export.conversion import Layout
from edgetl.quantization.conversion.onnx import check_quantized, int8_onnx
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.runs.directory import Run

PHOTOS = lively.photos(8)


@cache
def _int8(layout: Layout) -> bytes:
    return int8_onnx(fold_batch_norm(lively.build("mobilenet_v1")), lively.photos(6, first_seed=500), layout=layout)


def _predictions(data: bytes, layout: Layout, dtype: type = np.uint8) -> npt.NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    batches = (photo[None].astype(dtype) for photo in PHOTOS)
    feeds = (batch if layout == "nhwc" else np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) for batch in batches)
    return np.concatenate([session.run(None, {"pixels": set_input})[0] for set_input in feeds])


def test_nchw_takes_raw_pixels_and_gives_the_same_predictions() -> None:
    proto = onnx.load_from_string(_int8("nchw"))
    onnx.checker.check_model(proto, full_check=True)
    check_quantized(proto)
    (pixels,) = proto.graph.input
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [side.dim_value for side in pixels.type.tensor_type.shape.dim] == [1, 3, lively.SIZE, lively.SIZE]
    found, expected = _predictions(_int8("nchw"), "nchw"), _predictions(_int8("nhwc"), "nhwc")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 0.1


def test_a_convolutional_network_needs_no_transpose() -> None:
    graph = onnx.load_from_string(_int8("nchw")).graph
    assert "Transpose" not in {node.op_type for node in graph.node}
    assert "Transpose" in {node.op_type for node in onnx.load_from_string(_int8("nhwc")).graph.node}


def test_float_nchw_agrees_with_keras() -> None:
    model = lively.build("mobilenet_v1")
    data = conversion.float32_onnx(model, layout="nchw")
    np.testing.assert_allclose(_predictions(data, "nchw", np.float32), lively.predictions(model, PHOTOS), atol=1e-4)


def test_the_command_writes_nchw(tiny_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "float.onnx"
    arguments = ["export", str(tiny_run.folder), "--variant", "float32-onnx", "--layout", "nchw", "-o", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (pixels,) = onnx.load(out).graph.input
    assert [side.dim_value for side in pixels.type.tensor_type.shape.dim] == [1, 3, small.SIZE, small.SIZE]
