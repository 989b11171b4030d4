"""Locks: one of two processes works, the other is told who does, and a killed process leaves no lock."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edgetl._lib.lock import bundle_locked, locked
from edgetl.export.edgetpu_variant import add_compiled
from edgetl.inspection.tflite.file import describe
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.runs.directory import Run
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny.edgetl"
HOLD = """
import sys
from pathlib import Path
from edgetl._lib.lock import bundle_locked
with bundle_locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(bundle: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLD, str(bundle)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    file = tmp_path / "bundle.lock"
    with held(tmp_path / "bundle") as process:
        with pytest.raises(InputError, match=rf"is being written by process {process.pid} on \S+ since 20"):
            bundle_locked(tmp_path / "bundle").__enter__()
        process.kill()
        process.wait()
        assert file.exists()
        with bundle_locked(tmp_path / "bundle"):
            assert file.exists()
            # Another thread of the same process is refused, too.
            with pytest.raises(InputError, match="work by process"), locked(file, what="work", hint=""):
                pass
        assert not file.exists()


def test_one_quantize_a_run(tiny_run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    with held(folder / "bundle") as process:
        said = re.escape(f"{folder / 'bundle'}: is being written by process {process.pid} on ")
        with pytest.raises(InputError, match=said):
            quantize(Run.open(folder), QuantizeOptions())
    assert {path.relative_to(folder) for path in folder.rglob("*")} == before | {Path("bundle.lock")}


def test_a_bundle_that_changed_while_it_was_compiled(tmp_path: Path) -> None:
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    (read,) = (one for one in bundle.variants if one.name == "int8")
    model = bundle.read(read.file)
    tensors = describe(model)
    one, other = tensors.tensors[tensors.inputs[0]].shape, tensors.tensors[tensors.outputs[0]].shape
    # The bundle has changed since its variant was read.
    source = replace(read, input=replace(read.input, shape=one), output=replace(read.output, shape=other))
    with held(bundle.path), pytest.raises(InputError, match="is being written by process"):
        add_compiled(bundle, source, model, {})
    with pytest.raises(InputError, match="was changed after its variant int8 was read"):
        add_compiled(bundle, source, model, {})
    assert not (tmp_path / "bundle.lock").exists()
