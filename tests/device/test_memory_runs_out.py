"""Running out of memory is exit code 4 (machine), not 2 (damaged bundle)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from branches import UNMEASURED

from edgetl_device.bundle import Bundle
from edgetl_device.errors import Unavailable, is_out_of_memory
from edgetl_device.verify import Check, Verification, raise_failures

# Load the runtime with a small model, limit the process to a little more memory, and load a model of 32 MB.
_CHILD = """
import resource, sys
from pathlib import Path
from edgetl_device.errors import EdgetlError
from edgetl_device.runtime import open_runtime
small, large, kind = sys.argv[1:]
open_runtime(Path(small).read_bytes(), kind)
data = Path(large).read_bytes()
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 1_000_000,) * 2)
try:
    open_runtime(data, kind)
except EdgetlError as error:
    print(error.exit_code, str(error).replace("\\n", "; "))
"""


def test_a_bundle_of_which_nothing_ran_is_not_verified(tiny: Bundle) -> None:
    from edgetl_device.bundle import BundleName

    skipped = tuple(Check(f"reference, {variant.name}", "skipped", "no runtime") for variant in tiny.variants)
    report = Verification(BundleName("tiny", tiny.digest), True, (Check("files", "ok", "as listed"), *skipped))
    with pytest.raises(Unavailable, match="none of its 4 variants"):
        raise_failures(report)
    one = (*skipped[:3], Check("reference, int8-onnx", "ok", "8 photos"))
    raise_failures(Verification(BundleName("tiny", tiny.digest), True, one))


@pytest.mark.parametrize("kilobytes", [100_000, 120_000, 140_000])
@pytest.mark.parametrize("command", ["verify", "classify"])
def test_little_memory(command: str, kilobytes: int, tiny_file: Path, photo_file: Path) -> None:
    photos = [str(photo_file)] if command == "classify" else []
    line = f'ulimit -v {kilobytes}; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", "edgetl_device", command, str(tiny_file), *photos],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parent.parent.parent / "device"), "OPENBLAS_NUM_THREADS": "1"},
    )
    if "OpenBLAS error" in done.stderr:
        pytest.skip("NumPy itself ends the process in so little memory")
    if done.returncode == 0:
        assert any(check["status"] == "ok" for check in json.loads(done.stdout).get("checks", [{"status": "ok"}]))
    else:
        assert done.returncode == 4, done.stderr
        assert "Traceback" not in done.stderr
        assert "copy it again" not in done.stderr.lower()


def test_what_libraries_say() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert is_out_of_memory(ImportError("libx.so: failed to map segment from shared object"))
    assert not is_out_of_memory(RuntimeError("Node number 3 failed to prepare"))


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="makes a model of 32 MB with onnx")
def test_a_model_that_memory_is_too_small_for(tmp_path: Path, tiny: Bundle) -> None:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    classes = len(tiny.labels)
    weights = np.zeros((32 * 32 * 3, 2_600), np.float32)
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w1"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w2"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 32, 32, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, classes])],
        [
            numpy_helper.from_array(weights, "w1"),
            numpy_helper.from_array(np.zeros((2_600, classes), np.float32), "w2"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "large.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "small.onnx").write_bytes(tiny.read("models/float32-onnx.onnx"))
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path / "small.onnx"), str(tmp_path / "large.onnx"), "onnx"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | UNMEASURED,
    )
    assert done.stdout.startswith("4 not enough memory for onnxruntime"), done.stdout + done.stderr
