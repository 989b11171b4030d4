"""Models that crash or hang their runtime: an error of three lines and exit code 2, whatever the command."""

from __future__ import annotations

import faulthandler
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl_device._lib import child
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError
from edgetl_device.runtime import litert, trial_run
from edgetl_device.runtime.trial_run import check_model

GOLDEN = Path(__file__).parents[2] / "golden"
PHOTO = GOLDEN / "photos" / "circle0.jpg"
COMMANDS = (("verify",), ("classify", str(PHOTO)), ("bench", "--quick", "--duration", "0.05", "--variants", "int8"))

# Position and value of two bytes each, found by random search.
CRASHES = (
    {7810: 26, 9531: 19},
    {8575: 113, 8742: 54},
    {8748: 167, 5569: 66},
    {3618: 33, 6947: 106},
)

pytest.importorskip("ai_edge_litert", reason="these bytes crash LiteRT")


@pytest.fixture(autouse=True)
def unknown_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model has been checked on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trial_run, "_survived", set())


@pytest.fixture(scope="module")
def model() -> bytes:
    with zipfile.ZipFile(GOLDEN / "tiny.edgetl") as archive:
        return archive.read("models/int8.tflite")


def ended(model: bytes) -> int:
    """Return the exit code of a process that opens and runs the model without a trial run."""
    pid = os.fork()
    if not pid:
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            runtime = litert.open_tflite(model, 1, None, None, 1)
            runtime.set_input(np.zeros(runtime.input.shape[1:], np.uint8))
            runtime.invoke()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture(scope="module")
def crashing(model: bytes) -> bytes:
    """The int8 model with two bytes changed, which crashes this LiteRT."""
    for changes in CRASHES:
        changed = bytearray(model)
        for place, value in changes.items():
            changed[place] = value
        if ended(bytes(changed)) < 0:
            return bytes(changed)
    pytest.skip("none of these changes crashes this LiteRT")


def bundle_with(model: bytes, folder: Path, reseal: Callable[[Callable[[dict[str, Any]], None]], Path]) -> Path:
    """Put a model into the bundle as its maker would, with correct hashes."""
    (folder / "models/int8.tflite").write_bytes(model)
    entry = {"bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}

    def edit(document: dict[str, Any]) -> None:
        document["files"]["models/int8.tflite"] = entry
        next(one for one in document["variants"] if one["name"] == "int8").update(entry)

    return reseal(edit)


@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
def test_a_model_that_crashes_its_runtime_is_an_error(
    command: tuple[str, ...], crashing: bytes, folder: Path, reseal: Callable[..., Path]
) -> None:
    bundle = bundle_with(crashing, folder, reseal)
    arguments = [sys.executable, "-m", "edgetl_device", command[0], str(bundle), *command[1:]]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "the model crashes ai-edge-litert" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_an_application_survives_it(crashing: bytes, folder: Path, reseal: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"int8\.tflite: the model crashes ai-edge-litert .*\(SIG\w+\)"):
        Classifier(bundle_with(crashing, folder, reseal))


def test_a_model_is_tried_once_on_a_machine(
    tiny: Bundle, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    run = child.run_module

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return run(*arguments, **options)

    monkeypatch.setattr(child, "run_module", counted)
    Classifier(tiny).close()
    Classifier(tiny).close()
    assert len(calls) == 1
    monkeypatch.setattr(trial_run, "_survived", set())  # another process
    Classifier(tiny).close()
    assert len(calls) == 1
    (mark,) = (tmp_path / "cache" / "edgetl" / "models").iterdir()
    assert mark.name.startswith(f"{tiny.variant('int8').sha256}-ai-edge-litert-")
    Classifier(tiny, "float32").close()
    assert len(calls) == 2


def test_a_machine_that_remembers_nothing_tries_in_each_process(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    Classifier(tiny).close()
    assert (tmp_path / "cache").read_text() == "not a folder"


def test_a_model_that_does_not_end(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_run, "_TIMEOUT_S", 0.01)
    with pytest.raises(InputError, match="hangs in ai-edge-litert"):
        check_model(model, "tflite", hashlib.sha256(model).hexdigest())
    assert not trial_run._folder().exists()


def test_memory_of_the_trial_is_bounded(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that exceeds the memory limit ends, whether it raises or crashes."""
    script = (
        "import resource, sys; from edgetl_device.runtime import trial_run; trial_run._MOST_BYTES = 1 << 20;"
        "trial_run._TIMES_MODEL = 0; trial_run._main('tflite', '', '')"
    )
    done = subprocess.run([sys.executable, "-c", script], input=model, capture_output=True, check=False)
    assert done.returncode != 0


def test_names_that_are_no_text_are_refused(model: bytes) -> None:
    changed = model.replace(b"StatefulPartitionedCall_1:0", b"\xfftatefulPartitionedCall_1:0")
    assert changed != model
    with pytest.raises(InputError, match="a name in it is not UTF-8"):
        litert.open_tflite(changed, 1, None, None, 1)
