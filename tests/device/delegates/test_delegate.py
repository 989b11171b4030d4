"""External delegates: parsed, loaded, checked for their share of the model; errors if anything is wrong."""

from __future__ import annotations

import ctypes.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import delegate_library
import numpy as np
import pytest

from edgetl_device._lib.documents import Unknown
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier, open_classifier
from edgetl_device.delegates import delegate as delegates
from edgetl_device.delegates.delegate import Delegate, needs_edgetpu, parse_delegate
from edgetl_device.delegates.share import External, Share, share
from edgetl_device.errors import EdgetlError, InputError, Unavailable
from edgetl_device.runtime import Runtime, open_runtime, tflite_runtime
from edgetl_device.runtime.trial_run import trial_run

Device = Callable[..., subprocess.CompletedProcess[str]]
Refuses = Callable[..., None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delegate_library.build(tmp_path_factory.mktemp("delegate") / "libtest_delegate.so")


@pytest.fixture(scope="module")
def edgetpu_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for libedgetpu.so.1: it accepts the Edge TPU's operators and computes nothing."""
    return delegate_library.build(tmp_path_factory.mktemp("edgetpu") / "libedgetpu.so.1", "-DEDGETPU")


@pytest.fixture(scope="module")
def compiled(shared_data: Path) -> bytes:
    """A published model that Coral compiled for the Edge TPU."""
    return (shared_data / "coral" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite").read_bytes()


@pytest.fixture
def int8(tiny: Bundle) -> bytes:
    return tiny.read("models/int8.tflite")


def run_once(model: bytes, text: str) -> Runtime:
    runtime = open_runtime(model, "tflite", delegate=parse_delegate(text))
    runtime.set_input(np.zeros(runtime.input.shape[1:], np.uint8))
    runtime.invoke()
    return runtime


def refused(model: bytes, text: str, error: type[EdgetlError]) -> str:
    with pytest.raises(error) as caught:
        run_once(model, text)
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "library", "options"),
    [
        ("edgetpu", "libedgetpu.so.1", {}),
        ("edgetpu:usb", "libedgetpu.so.1", {"device": "usb"}),
        ("edgetpu:pci", "libedgetpu.so.1", {"device": "pci"}),
        ("edgetpu:1", "libedgetpu.so.1", {"device": ":1"}),
        ("edgetpu:usb:1", "libedgetpu.so.1", {"device": "usb:1"}),
        ("/opt/libedgetpu.so.1.0:device=usb:0", "/opt/libedgetpu.so.1.0", {"device": "usb:0"}),
        ("libvx_delegate.so", "libvx_delegate.so", {}),
        ("a/b.so:cache=/var/x,level=3", "a/b.so", {"cache": "/var/x", "level": "3"}),
    ],
)
def test_delegates_are_read_from_text(text: str, library: str, options: dict[str, str]) -> None:
    found = parse_delegate(text)
    assert (found.library, dict(found.options)) == (library, options)
    assert found.name == ("edgetpu" if "edgetpu" in text else Path(library).name)
    assert parse_delegate(str(found)) == found


@pytest.mark.parametrize("text", ["", "tpu", "edgetpu:", "edgetpu:card", "a.so:level", "a.so:=3", "a.so:x=1,", "a.dll"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="delegate"):
        parse_delegate(text)


def test_options_are_passed_and_the_share_it_took_is_known(int8: bytes, library: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    runtime = run_once(int8, f"{library}:claim=last,log={log}")
    runtime.invoke()
    assert runtime.external == External(
        "libtest_delegate.so",
        library.name,
        {"claim": "last", "log": log.name},
        Unknown("the external delegate interface has no version"),
    )
    assert (runtime.delegate, runtime.share) == ("libtest_delegate.so", Share(2, 10, partitions=1))
    lines = log.read_text().splitlines()
    assert lines[:2] == ["option claim=last", f"option log={log}"]
    assert lines.count("invoke") == 2
    runtime.close()
    assert log.read_text().splitlines()[-1] == "destroy"


def test_the_rest_of_the_model_runs_as_before(tiny: Bundle, library: Path) -> None:
    """XNNPACK is applied after the delegate; its partitions must not be counted as the delegate's."""
    with Classifier(tiny, "int8") as classifier:
        assert classifier.runtime.external is None
    with Classifier(tiny, "int8", delegate=parse_delegate(f"{library}:claim=last")) as classifier:
        assert classifier.classify(tiny.read(tiny.photos()[0].file))
        assert classifier.runtime.share == Share(2, 10, partitions=1)


def test_a_delegate_that_takes_nothing_is_refused(int8: bytes, library: Path) -> None:
    assert "took none of the 10 operators" in refused(int8, f"{library}:claim=none", Unavailable)


def test_what_the_library_reports_is_told(int8: bytes, library: Path) -> None:
    message = refused(int8, f"{library}:speed=high", Unavailable)
    assert "refuses to start with speed=high" in message
    assert "unknown option speed" in message


def test_missing_and_broken_libraries(int8: bytes, tmp_path: Path) -> None:
    assert "was not found" in refused(int8, f"{tmp_path}/none.so", Unavailable)
    assert "was not found" in refused(int8, "libno_such_delegate.so.7", Unavailable)
    (tmp_path / "text.so").write_text("This is a text file.\n")
    assert "cannot be loaded" in refused(int8, f"{tmp_path}/text.so", Unavailable)
    source = tmp_path / "empty.c"
    source.write_text("int nothing(void) { return 0; }\n")
    plain = delegate_library.build(tmp_path / "libplain.so", source=source)
    assert "is not a TFLite delegate" in refused(int8, str(plain), Unavailable)


def test_a_bare_name_in_this_folder_is_found(int8: bytes, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library.parent)
    runtime = run_once(int8, f"{library.name}:claim=last")
    assert runtime.external is not None
    runtime.close()


def test_a_missing_libedgetpu_explains_the_version_trap(compiled: bytes) -> None:
    if ctypes.util.find_library("edgetpu"):
        pytest.skip("libedgetpu is installed here")
    message = refused(compiled, "edgetpu", Unavailable)
    assert "libedgetpu1-std" in message
    assert tflite_runtime() in message


def test_an_edge_tpu_runs_compiled_models_only(int8: bytes, edgetpu_library: Path) -> None:
    message = refused(int8, str(edgetpu_library), InputError)
    assert "not compiled for the Edge TPU" in message
    assert "edgetl compile BUNDLE --edgetpu" in message


def test_a_compiled_model_needs_its_delegate(compiled: bytes) -> None:
    assert needs_edgetpu(compiled)
    with pytest.raises(Unavailable, match="compiled for the Edge TPU"):
        open_runtime(compiled, "tflite")


def test_a_compiled_model_is_given_to_the_delegate(compiled: bytes, edgetpu_library: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    runtime = run_once(compiled, f"{edgetpu_library}:device=usb,log={log}")
    assert runtime.external is not None
    assert runtime.share == Share(1, 1, 1)
    assert runtime.external.version == "a stand-in for libedgetpu, RuntimeVersion(14)"
    assert "option device=usb" in log.read_text()
    assert "invoke" in log.read_text()
    runtime.close()


def test_an_absent_device_points_to_the_doctor(compiled: bytes, edgetpu_library: Path) -> None:
    message = refused(compiled, f"{edgetpu_library}:device=pci", Unavailable)
    assert "device=pci" in message
    assert "edgetl doctor" in message


def test_a_compiler_newer_than_the_library_is_explained(compiled: bytes, edgetpu_library: Path) -> None:
    message = refused(compiled, f"{edgetpu_library}:claim=error", Unavailable)
    assert "requires runtime version (14)" in message
    assert "--min-runtime-version" in message


def test_a_crash_becomes_an_error(tiny: Bundle, int8: bytes, library: Path) -> None:
    with pytest.raises(Unavailable, match="SIGSEGV") as caught:
        trial_run(int8, parse_delegate(f"{library}:claim=crash"))
    assert tflite_runtime() in str(caught.value)
    with pytest.raises(Unavailable, match="SIGSEGV"):
        open_classifier(tiny, "int8", delegate=parse_delegate(f"{library}:claim=crash"))
    # A failure without a crash is left to the real run, whose error is more specific.
    trial_run(int8, parse_delegate(f"{library}:claim=none"))


def test_delegates_are_for_tflite(tiny: Bundle) -> None:
    with pytest.raises(InputError, match="onnx"):
        open_runtime(tiny.read("models/int8-onnx.onnx"), "onnx", delegate=Delegate("x.so", "x.so"))


def test_the_version_of_a_library_is_asked_in_another_process(edgetpu_library: Path, library: Path) -> None:
    assert delegates.version_of(edgetpu_library) == "a stand-in for libedgetpu, RuntimeVersion(14)"
    assert isinstance(delegates.version_of(library), Unknown)
    assert isinstance(delegates.version_of(library.parent / "none.so"), Unknown)


def test_a_library_that_does_not_respond(
    int8: bytes, edgetpu_library: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegates, "_ASK_S", 0.01)
    found = delegates.version_of(edgetpu_library)
    assert isinstance(found, Unknown)
    assert "timed out" in found.unknown
    monkeypatch.setattr("edgetl_device.runtime.trial_run._TIMEOUT_S", 0.01)
    with pytest.raises(Unavailable, match="does not respond") as caught:
        trial_run(int8, parse_delegate(str(library)))
    assert "edgetl doctor" in caught.value.hint


def test_a_libedgetpu_that_cannot_be_loaded_may_lack_libusb(compiled: bytes, tmp_path: Path) -> None:
    (tmp_path / "libedgetpu.so.1").write_text("This is a text file.\n")
    message = refused(compiled, str(tmp_path / "libedgetpu.so.1"), Unavailable)
    assert "was found but cannot be loaded" in message
    assert "libusb-1.0-0" in message


def test_xnnpack_that_takes_nothing_is_refused() -> None:
    class Interpreter:
        """An interpreter without XNNPACK: operators, none of them a partition."""

        def _get_ops_details(self) -> list[dict[str, object]]:
            return [{"index": 0, "op_name": "SOFTMAX", "inputs": [0], "outputs": [1]}]

    assert share(None, Interpreter()) == ("none", Share(0, 1, partitions=0))
    with pytest.raises(Unavailable, match="xnnpack took none of the 1 operators"):
        share(parse_delegate("xnnpack"), Interpreter())


def test_classify_on_the_command_line(
    device: Device, refuses: Refuses, tiny_file: Path, photo_file: Path, library: Path
) -> None:
    done = device("classify", tiny_file, photo_file, "--delegate", f"{library}:claim=last")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["delegate"]["operators"] == 2
    refuses(device("classify", tiny_file, photo_file, "--delegate", f"{library}:claim=crash"), 4, "SIGSEGV")
    refuses(device("classify", tiny_file, photo_file, "--delegate", library), 4, "took none")
    refuses(device("classify", tiny_file, photo_file, "--delegate", "nonsense"), 2, "nonsense")
    refuses(device("classify", tiny_file, photo_file, "--delegate", "edgetpu"), 2, "edgetl compile")


def test_bench_reports_the_delegate(device: Device, refuses: Refuses, tiny_file: Path, library: Path) -> None:
    delegate = f"{library}:claim=last"
    done = device("bench", tiny_file, "--variants", "int8", "--duration", "0.05", "--delegate", delegate)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["environment"]["delegate"]["options"] == {"claim": "last"}
    assert document["environment"]["delegate"]["version"] == {
        "unknown": "the external delegate interface has no version"
    }
    run = document["runs"][0]
    assert (run["delegate"], run["delegated"]) == ("libtest_delegate.so", {"operators": 2, "of": 10, "partitions": 1})
    assert isinstance(run["peak_rss_bytes"], int)
    refuses(device("bench", tiny_file, "--variants", "int8", "--delegate", "edgetpu"), 2, "edgetl compile")


def test_bench_leaves_out_what_no_delegate_can_run(device: Device, tiny_file: Path, library: Path) -> None:
    done = device("bench", tiny_file, "--duration", "0.05", "--delegate", f"{library}:claim=last")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {run["variant"] for run in document["runs"]} == {"float32", "int8"}
    assert {row["variant"] for row in document["skipped"]} == {"float32-onnx", "int8-onnx"}
