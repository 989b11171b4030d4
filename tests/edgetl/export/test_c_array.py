"""C source of a model: compiled, run, and compared with the original bytes."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest
import small
from programs import needs_program
from typer.testing import CliRunner

from edgetl.cli import app
from edgetl.export.c_array import c_array, write_c_array
from edgetl.inspection.tflite.micro import Arena
from edgetl.runs.directory import Run
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.errors import InputError

LABELS = ("circle", "square", 'Ein "Dreieck" \\ größer?')
NOT_MEASURED = Arena(None, "the package tflite-micro is not installed")

_MAIN = """
#include <stdio.h>
#include "{name}.h"
int main(void) {{
  unsigned long sum = 0;
  for (size_t i = 0; i < {name}_model_bytes; ++i) sum = sum * 31 + {name}_model[i];
  printf("%lu %lu %d\\n", (unsigned long){name}_model_bytes, sum & 0xffffffffUL, (int)((size_t){name}_model % 16));
  for (int i = 0; i < {upper}_CLASSES; ++i) puts({name}_labels[i]);
  printf("%d %d ", {upper}_INPUT_WIDTH, {upper}_INPUT_CHANNELS);
  printf("%.9g %d\\n", {upper}_OUTPUT_SCALE, {upper}_OUTPUT_ZERO_POINT);
  return 0;
}}
"""


@pytest.fixture(scope="module")
def model() -> bytes:
    """The int8 model of the tiny bundle: three classes, 32 px."""
    bundle = Path(__file__).parent.parent.parent / "golden" / "tiny.edgetl"
    with zipfile.ZipFile(bundle) as archive:
        return archive.read("models/int8.tflite")


@pytest.mark.parametrize(("compiler", "options"), [("gcc", ["-std=c99", "-pedantic"]), ("g++", ["-x", "c++"])])
def test_the_files_compile_and_hold_the_model(model: bytes, tmp_path: Path, compiler: str, options: list[str]) -> None:
    compiler = needs_program(compiler)
    header = write_c_array(c_array(model, name="Parts 3", labels=LABELS, arena=NOT_MEASURED), tmp_path / "parts_3.c")
    assert header == tmp_path / "parts_3.h"
    (tmp_path / "main.c").write_text(_MAIN.format(name="parts_3", upper="PARTS_3"))
    sources = [str(tmp_path / name) for name in ("main.c", "parts_3.c")]
    program = tmp_path / "program"
    command = [compiler, *options, "-Wall", "-Wextra", "-Werror", *sources, "-o", str(program)]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert compiled.returncode == 0, compiled.stderr
    lines = subprocess.run([str(program)], capture_output=True, check=True, timeout=60).stdout.decode().splitlines()
    total = 0
    for byte in model:
        total = (total * 31 + byte) & 0xFFFFFFFF
    assert lines[0] == f"{len(model)} {total} 0"
    assert tuple(lines[1:4]) == LABELS
    assert lines[4] == "32 3 0.00390625 0"


def test_the_header_says_what_a_firmware_needs(model: bytes) -> None:
    array = c_array(model, name="9 parts", labels=LABELS, arena=Arena(81_936, measured_by="tflite-micro 0.1"))
    assert array.name == "model_9_parts"
    assert f"#define MODEL_9_PARTS_MODEL_BYTES {len(model)}" in array.header
    assert "#define MODEL_9_PARTS_INPUT_SCALE 1.0f" in array.header
    assert "#define MODEL_9_PARTS_ARENA_BYTES 81936" in array.header
    assert sha256_bytes(model) in array.header
    # Compilers align large arrays anyway, so running the program would not test this.
    assert {"__attribute__((aligned(16)))", "alignas(16)", "_Alignas(16)"} <= set(array.source.split())
    operators = re.search(r"Operators for the resolver: (.*)", array.header)
    assert operators is not None
    assert {"CONV_2D", "SOFTMAX", "QUANTIZE"} <= set(operators.group(1).split())
    without = c_array(model, name="parts", labels=LABELS, arena=NOT_MEASURED).header
    assert "arena: not measured (the package tflite-micro is not installed)" in without
    assert "pip install tflite-micro" in without
    assert "ARENA_BYTES" not in without


def test_nothing_is_half_written(model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = c_array(model, name="parts", labels=LABELS, arena=NOT_MEASURED)
    with pytest.raises(InputError, match="not a C source file"):
        write_c_array(array, tmp_path / "parts.h")
    real = Path.write_text

    def full(path: Path, text: str, **options: str) -> int:
        if path.suffix == ".c":
            raise OSError(28, "No space left on device")
        return real(path, text, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            write_c_array(array, tmp_path / "parts.c")
    assert list(tmp_path.iterdir()) == []


def test_models_that_are_no_classifiers_are_refused(model: bytes) -> None:
    with pytest.raises(InputError, match="of 2 classes is needed"):
        c_array(model, name="parts", labels=LABELS[:2], arena=NOT_MEASURED)
    with pytest.raises(InputError, match="TFLite file"):
        c_array(model[:1000], name="parts", labels=LABELS, arena=NOT_MEASURED)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--variant", "int8-onnx", "--c-array"), "microcontrollers run TFLite"),
        (("--variant", "int8", "--c-array", "-o", "model.tflite"), "not a C source file"),
        (("--variant", "int8", "--layout", "nchw"), "TFLite models take NHWC only"),
        (("--variant", "int8-onnx", "--layout", "chw"), "must be nhwc or nchw"),
    ],
)
def test_the_command_refuses_at_once(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in small.refused(small.edgetl("export", tmp_path / "run", *arguments))


def test_the_command_writes_both_files(tiny_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "firmware" / "parts.cc"
    arguments = ["export", str(tiny_run.folder), "--variant", "float16", "--c-array", "-o", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.parent.iterdir()) == ["parts.cc", "parts.h"]
    header = out.with_suffix(".h").read_text()
    assert f"#define PARTS_INPUT_WIDTH {small.SIZE}" in header
    assert "INPUT_SCALE" not in header
    # The arena size is unknown or measured, never a guess.
    assert ("arena: not measured" in header) != ("#define PARTS_ARENA_BYTES" in header)
    source = out.read_text()
    assert source.startswith('#include "parts.h"')
    assert all(f'"{label}"' in source for label in small.LABELS)


def test_text_from_outside_stays_in_its_comment(model: bytes) -> None:
    """Operator names come from the model, the reason from a package."""
    header = c_array(model, name="parts", labels=LABELS, arena=Arena(None, "*/\n#error broken out\r/*")).header
    assert "#error" not in [line[:6] for line in header.splitlines()]
    assert header.count("/*") == header.count("*/")


def test_a_name_in_any_script(model: bytes, tmp_path: Path) -> None:
    compiler = needs_program("gcc")
    array = c_array(model, name="größe", labels=LABELS, arena=NOT_MEASURED)
    write_c_array(array, tmp_path / "größe.c")
    command = [compiler, "-std=c99", "-Wall", "-Werror", "-c", str(tmp_path / "größe.c"), "-o", str(tmp_path / "o")]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert compiled.returncode == 0, compiled.stderr
    for name in ('a"b.c', "a\\b.c", "a\nb.c"):
        with pytest.raises(InputError, match="cannot be used in an #include"):
            write_c_array(array, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["größe.c", "größe.h", "o"]
