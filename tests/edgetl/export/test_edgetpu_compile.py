"""Compiling for the Edge TPU: the gate, the bundle, and errors without a compiler.

The compiler is proprietary and not available here. A script on PATH stands in for it: it prints a log in the compiler's
format and copies the compiled version of the model that Coral published. Nothing is compiled in these tests.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import compiler_logs
import delegate_library
import numpy as np
import pytest
from drawing import draw_photo
from small import edgetl, left_over, refused

from edgetl.export.bundle import PhotoFile, VariantFile, write_bundle
from edgetl.export.edgetpu import CompileReport
from edgetl_device._lib import documents
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.files import sha256_bytes, sha256_file
from edgetl_device.bundle import Bundle, ReferenceArrays
from edgetl_device.input_size import square
from edgetl_device.packing import pack
from edgetl_device.preprocess import Preprocess
from edgetl_device.verify import verify

CLASSES = 1001

# Logs for the stand-in, in the format of compiler_logs: one with all operators mapped, one with some unmapped.
_HEAD = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 300 ms.

Input model: model.tflite
Input size: 513.28KiB
Output model: model_edgetpu.tflite
Output size: 782.67KiB
On-chip memory used for caching model parameters: 512.00KiB
On-chip memory remaining for caching model parameters: 7.00MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 31
Operation log: model_edgetpu.log

Operator                       Count      Status

"""
_TAIL = "Compilation child process completed within timeout period.\nCompilation succeeded!\n"
MAPPED = _HEAD + "\n".join(f"{name:<31}{count:<11}Mapped to Edge TPU" for name, count in (
    ("CONV_2D", 15), ("DEPTHWISE_CONV_2D", 13), ("AVERAGE_POOL_2D", 1), ("RESHAPE", 1), ("SOFTMAX", 1),
)) + "\n" + _TAIL  # fmt: skip
_LAST = "SOFTMAX                        1          "
GAP = MAPPED.replace(
    f"{_LAST}Mapped to Edge TPU",
    f"{_LAST}Operation is otherwise supported, but not mapped due to some unspecified limitation",
)


@pytest.fixture
def bundle(shared_data: Path, tmp_path: Path) -> Path:
    """A bundle with Coral's published MobileNet, whose compiled version is published too."""
    photo = tmp_path / "photo.png"
    draw_photo(1).save(photo)
    uniform = np.full((1, CLASSES), 1 / CLASSES, np.float32)
    model = (shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    write_bundle(
        tmp_path / "run" / "bundle",
        labels=[f"class {index}" for index in range(CLASSES)],
        preprocess=Preprocess(square(128)),
        variants=[VariantFile("int8", "tflite", "int8", model)],
        evalset=[PhotoFile(photo, "class 0", sha256_file(photo))],
        reference=ReferenceArrays(uniform, uniform),
        provenance={},
    )
    return tmp_path / "run" / "bundle"


@pytest.fixture
def twin(shared_data: Path) -> Path:
    return shared_data / "coral" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"


@pytest.fixture
def compiler(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Put a stand-in for ``edgetpu_compiler`` on PATH; return the environment that has it."""

    def make(log: str, twin: Path | None = None, code: int = 0) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "log").write_text(log)
        program = folder / "edgetpu_compiler"
        copy = f'cp "{twin}" "$3/model_edgetpu.tflite"' if twin else "true"
        program.write_text(f'#!/bin/sh\necho "$@" > "{folder}/arguments"\ncat "{folder}/log"\n{copy}\nexit {code}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    return make


@pytest.fixture
def no_compiler() -> None:
    if shutil.which("edgetpu_compiler"):
        pytest.skip("edgetpu_compiler is installed here")


def test_a_compiled_variant_comes_into_the_bundle(
    bundle: Path, twin: Path, compiler: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    (bundle / "notes.txt").write_text("not listed, and not lost")
    before = Bundle.open(bundle)
    done = edgetl("compile", bundle.parent, "--edgetpu", "--min-mapped", 100, env=compiler(MAPPED, twin))
    assert done.returncode == 0, done.stderr
    assert "31 of 31 operators, 100.0%" in done.stdout
    assert (tmp_path / "bin" / "arguments").read_text().startswith("--show_operations --out_dir /")
    after = Bundle.open(bundle)
    assert after.digest != before.digest
    variant = after.variant("int8-edgetpu")
    assert after.read(variant.file) == twin.read_bytes()
    assert (variant.input, variant.output) == (before.variant("int8").input, before.variant("int8").output)
    assert (variant.accuracy, variant.agreement) == (None, None)
    assert after.read("models/int8.tflite") == before.read("models/int8.tflite")
    assert (bundle / "notes.txt").is_file()
    assert not left_over(bundle.parent)
    report = json.loads((bundle.parent / "bundle.edgetpu.json").read_text())
    assert report["compiled"]["sha256"] == sha256_bytes(twin.read_bytes())
    assert (report["mapped"], report["on_chip_bytes"], report["off_chip_bytes"]) == (31, 512 << 10, 0)
    assert report["prediction"] == {"mapped": 31, "total": 31, "risks": report["prediction"]["risks"]}
    assert to_json(documents.of_json(CompileReport, report, name="report")) == report
    assert to_json(variant.compilation) == {
        key: report[key] for key in ("compiler", "mapped", "total", "on_chip_bytes", "off_chip_bytes", "source")
    }
    # A second time it is replaced, not added.
    assert edgetl("compile", bundle, "--edgetpu", env=compiler(MAPPED, twin)).returncode == 0
    assert [variant.name for variant in Bundle.open(bundle).variants] == ["int8", "int8-edgetpu"]


def test_the_bundle_still_works_where_there_is_no_edge_tpu(
    bundle: Path, twin: Path, compiler: Callable[..., dict[str, str]]
) -> None:
    assert edgetl("compile", bundle, "--edgetpu", env=compiler(MAPPED, twin)).returncode == 0
    report = verify(Bundle.open(bundle))
    assert report.ok, report
    assert ("reference, int8-edgetpu", "skipped") in [(check.name, check.status) for check in report.checks]
    assert "--delegate edgetpu" in refused(
        edgetl("classify", bundle, bundle / "evalset", "--variant", "int8-edgetpu"), 4
    )
    done = edgetl("bench", bundle, "--duration", 0.05, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [run["variant"] for run in document["runs"]] == ["int8"]
    assert [row["variant"] for row in document["skipped"]] == ["int8-edgetpu"]
    assert edgetl("inspect", bundle).returncode == 0


def test_compile_then_run_through_the_delegate(
    bundle: Path, twin: Path, compiler: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """End to end, on a stand-in for libedgetpu that accepts the Edge TPU's operators and computes nothing."""
    delegate_library.build(tmp_path / "lib" / "libedgetpu.so.1", "-DEDGETPU")
    env = compiler(MAPPED, twin) | {"LD_LIBRARY_PATH": str(tmp_path / "lib")}
    assert edgetl("compile", bundle, "--edgetpu", env=env).returncode == 0
    done = edgetl("bench", bundle, "--delegate", "edgetpu:usb", "--duration", 0.05, "--json", env=env)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["environment"]["delegate"] == {
        "name": "edgetpu",
        "library": "libedgetpu.so.1",
        "options": {"device": "usb"},
        "version": "a stand-in for libedgetpu, RuntimeVersion(14)",
    }
    assert [(run["variant"], run["delegated"]["operators"]) for run in document["runs"]] == [("int8-edgetpu", 1)]
    assert [row["variant"] for row in document["skipped"]] == ["int8"]
    photo = bundle / "evalset" / "0_class_0.png"
    done = edgetl("classify", bundle, photo, "--variant", "int8-edgetpu", "--delegate", "edgetpu", env=env)
    assert done.returncode == 0, done.stderr
    assert "ran 1 of 1 operators" in done.stderr
    absent = edgetl("classify", bundle, photo, "--variant", "int8-edgetpu", "--delegate", "edgetpu:pci", env=env)
    assert "edgetl doctor" in refused(absent, 4)
    found = json.loads(edgetl("doctor", "--json", env=env).stdout)["checks"]
    assert any("RuntimeVersion(14)" in check["found"] for check in found)


def test_an_edgetl_file_is_compiled_in_place(
    bundle: Path, twin: Path, compiler: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    file = pack(bundle, tmp_path / "parts.edgetl")
    done = edgetl("compile", file, "--edgetpu", "--json", env=compiler(MAPPED, twin))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["variant"] == "int8-edgetpu"
    assert [variant.name for variant in Bundle.open(file).variants] == ["int8", "int8-edgetpu"]
    assert (tmp_path / "parts.edgetpu.json").is_file()
    assert not left_over(tmp_path)


def test_the_gate_keeps_the_report_and_the_bundle(
    bundle: Path, twin: Path, compiler: Callable[..., dict[str, str]]
) -> None:
    before = Bundle.open(bundle).digest
    env = compiler(GAP, twin)
    message = refused(edgetl("compile", bundle, "--edgetpu", "--min-mapped", 99, env=env), 3)
    assert "96.8% of the operators are mapped, below 99%" in message
    assert "1 SOFTMAX: Operation is otherwise supported" in message
    assert Bundle.open(bundle).digest == before
    assert json.loads((bundle.parent / "bundle.edgetpu.json").read_text())["mapped"] == 30
    assert edgetl("compile", bundle, "--edgetpu", "--min-mapped", 96, env=env).returncode == 0


def test_a_result_without_any_mapped_operator_fails_the_gate(
    bundle: Path, shared_data: Path, compiler: Callable[..., dict[str, str]]
) -> None:
    unmapped = MAPPED.replace("Mapped to Edge TPU", "Operation is working on an unsupported data type")
    env = compiler(unmapped, shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite")
    assert "unsupported data type" in refused(edgetl("compile", bundle, "--edgetpu", env=env), 3)
    assert [variant.name for variant in Bundle.open(bundle).variants] == ["int8"]


def test_what_the_compiler_refuses_keeps_its_reason(
    bundle: Path, shared_data: Path, compiler: Callable[..., dict[str, str]]
) -> None:
    done = edgetl("compile", bundle, "--edgetpu", env=compiler(compiler_logs.LARGE_ACTIVATIONS, code=1))
    assert "large activation tensors" in refused(done)
    # A compiled file of another model is refused.
    other = shared_data / "coral" / "keras_lstm_mnist_ptq_edgetpu.tflite"
    assert "does not come from the variant int8" in refused(
        edgetl("compile", bundle, "--edgetpu", env=compiler(MAPPED, other))
    )
    assert [variant.name for variant in Bundle.open(bundle).variants] == ["int8"]


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_it_predicts_and_says_how_to_get_it(bundle: Path) -> None:
    done = edgetl("compile", bundle, "--edgetpu")
    message = refused(done, 4)
    assert "edgetpu_compiler is not installed here" in message
    assert ("x86-64 Linux only" in message) == (platform.machine() != "x86_64")
    assert "mapped      31 of 31 operators" in done.stdout
    for word in ("apt install edgetpu-compiler", "docker run", "colab.research.google.com", "--prepare", "--compiled"):
        assert word in done.stderr
    assert json.loads(edgetl("compile", bundle, "--edgetpu", "--json").stdout)["mapped"] == 31


def test_compiling_elsewhere_and_coming_back(bundle: Path, twin: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "model.tflite"
    done = edgetl("compile", bundle, "--edgetpu", "--prepare", prepared)
    assert done.returncode == 0, done.stderr
    assert prepared.read_bytes() == Bundle.open(bundle).read("models/int8.tflite")
    compiled = shutil.copy(twin, tmp_path / "model_edgetpu.tflite")
    message = refused(edgetl("compile", bundle, "--edgetpu", "--compiled", compiled, "--min-mapped", 90))
    assert ".log" in message
    done = edgetl("compile", bundle, "--edgetpu", "--compiled", compiled, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["operators"] == {"unknown": "the compiler's log is not beside the file"}
    (tmp_path / "model_edgetpu.log").write_text(MAPPED)
    done = edgetl("compile", bundle, "--edgetpu", "--compiled", compiled, "--min-mapped", 90)
    assert done.returncode == 0, done.stderr
    assert Bundle.open(bundle).variant("int8-edgetpu").bytes == twin.stat().st_size


def test_requests_that_make_no_sense(bundle: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return edgetl("compile", bundle, *arguments)

    assert "--edgetpu" in refused(run())
    assert "int9" in refused(run("--edgetpu", "--variant", "int9", "--prepare", tmp_path / "x"))
    assert "0 to 100" in refused(run("--edgetpu", "--compiled", tmp_path / "x", "--min-mapped", 101))
    assert "no such file" in refused(run("--edgetpu", "--compiled", tmp_path / "x"))
    assert "not a bundle" in refused(edgetl("compile", tmp_path, "--edgetpu"))
