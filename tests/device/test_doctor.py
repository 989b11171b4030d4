"""``python -m edgetl_device doctor``: on this machine, on fake sysfs trees, and with packages missing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import delegate_library
import numpy as np
import pytest

from edgetl_device import doctor
from edgetl_device.errors import Unavailable
from edgetl_device.machine import accelerators

Device = Callable[..., subprocess.CompletedProcess[str]]
PACKAGE = Path(__file__).parent.parent.parent / "device"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def usb(root: Path, *, ids: str = "1a6e:089a", speed: str = "5000", node: bool = True) -> Path:
    """Write the sysfs entries of an accelerator, device 7 on bus 2, beside a keyboard."""
    vendor, product = ids.split(":")
    device = "sys/bus/usb/devices/2-1/"
    files = {"idVendor": vendor, "idProduct": product, "busnum": "2", "devnum": "7", "speed": speed}
    write(root, {device + name: value + "\n" for name, value in files.items()})
    write(root, {"sys/bus/usb/devices/1-1/idVendor": "046d\n", "sys/bus/usb/devices/1-1/idProduct": "c31c\n"})
    return write(root, {"dev/bus/usb/002/007": ""}) if node else root


def pci(root: Path, *, driver: bool = True) -> Path:
    address = "0000:03:00.0"
    write(root, {f"sys/bus/pci/devices/{address}/{n}": v for n, v in (("vendor", "0x1ac1\n"), ("device", "0x089a\n"))})
    write(root, {"sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086\n"})
    if driver:
        write(root, {"sys/class/apex/apex_0/temp": "48050\n", "dev/apex_0": ""})
        (root / "sys/class/apex/apex_0/device").symlink_to(root / "sys/bus/pci/devices" / address)
    return root


def checks(root: Path, name: str) -> list[doctor.Check]:
    return [check for check in doctor.examine(root=root).checks if check.name == name]


@pytest.mark.parametrize(("ids", "state"), [("1a6e:089a", "firmware not loaded yet"), ("18d1:9302", "firmware loaded")])
def test_usb_accelerators_are_found_before_and_after_their_firmware(tmp_path: Path, ids: str, state: str) -> None:
    (found,) = accelerators.edge_tpus(usb(tmp_path, ids=ids))
    assert (found.bus, found.place, found.usable, found.problem) == ("usb", "2-1", True, "")
    assert found.state == f"{state}, 5000 Mbit/s"
    assert found.node == tmp_path / "dev/bus/usb/002/007"


def test_usb_2_and_a_missing_device_file_are_said(tmp_path: Path) -> None:
    (slow,) = accelerators.edge_tpus(usb(tmp_path / "slow", speed="480"))
    assert slow.usable
    assert "480 Mbit/s" in slow.problem
    assert "USB 3" in slow.fix
    (hidden,) = accelerators.edge_tpus(usb(tmp_path / "hidden", node=False))
    assert not hidden.usable
    assert "does not exist" in hidden.problem


def test_pcie_accelerators_with_and_without_a_driver(tmp_path: Path) -> None:
    (found,) = accelerators.edge_tpus(pci(tmp_path / "with"))
    assert (found.bus, found.usable, found.state) == ("pci", True, "driver apex_0, 48 C")
    (bare,) = accelerators.edge_tpus(pci(tmp_path / "without", driver=False))
    assert not bare.usable
    assert "gasket-dkms" in bare.fix


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act as another user")
def test_a_user_who_may_not_write_gets_the_rule(tmp_path: Path) -> None:
    """Root may do everything, so run this as nobody: access(2) checks the real user."""
    pci(usb(tmp_path))
    for path in [tmp_path, *tmp_path.parents][:3]:
        path.chmod(0o755)
    for node in ("dev/bus/usb/002/007", "dev/apex_0"):
        (tmp_path / node).chmod(0o600)
    os.setresuid(65534, -1, -1)
    try:
        on_usb, on_pci = accelerators.edge_tpus(tmp_path)
    finally:
        os.setresuid(0, -1, -1)
    assert not on_usb.usable
    assert "plugdev" in on_usb.fix
    assert not on_pci.usable
    assert "65-apex.rules" in on_pci.fix


def test_an_accelerator_without_its_library_is_a_warning_with_a_fix(tmp_path: Path) -> None:
    (missing,) = checks(usb(tmp_path), "Edge TPU library")
    assert missing.status == "warning"
    assert "libedgetpu1-std" in missing.fix
    assert doctor.examine(root=tmp_path).ok


def test_delegate_libraries_are_found_with_their_version(tmp_path: Path) -> None:
    delegate_library.build(tmp_path / "usr/lib" / f"{platform.machine()}-linux-gnu" / "libedgetpu.so.1", "-DEDGETPU")
    write(usb(tmp_path), {"usr/lib/libvx_delegate.so": "not a library"})
    coral, verisilicon = (check.found for check in checks(tmp_path, "delegate"))
    assert "Coral Edge TPU" in coral
    assert "RuntimeVersion(14)" in coral
    assert "version unknown: it cannot be loaded" in verisilicon
    assert not checks(tmp_path, "Edge TPU library")


def test_libraries_in_ld_library_path_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"own/libedgetpu.so.1": ""})
    assert doctor.find_library("libedgetpu.so.1", tmp_path / "root") is None
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path}/own")
    assert doctor.find_library("libedgetpu.so.1", tmp_path / "root") == tmp_path / "own/libedgetpu.so.1"


def test_no_accelerator_and_no_sysfs_are_different_answers(tmp_path: Path) -> None:
    (tmp_path / "some/sys/bus").mkdir(parents=True)
    assert checks(tmp_path / "some", "Edge TPU")[0].status == "absent"
    (unknown,) = checks(tmp_path / "none", "Edge TPU")
    assert unknown.status == "unknown"
    assert str(tmp_path / "none/sys/bus") in unknown.found


@pytest.mark.parametrize(("governor", "status"), [("performance", "ok"), ("ondemand", "warning"), (None, "unknown")])
def test_the_governor_is_judged(tmp_path: Path, governor: str | None, status: str) -> None:
    if governor:
        write(tmp_path, {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": governor + "\n"})
    (found,) = checks(tmp_path, "governor")
    assert found.status == status
    assert ("performance" in found.fix) == (found.code == "clock-governor") == (status == "warning")


@pytest.mark.parametrize(
    ("flags", "now", "before"),
    [
        ("0x0", "no", "no"),
        ("0x50000", "no", "under-voltage, throttling"),
        ("0x50005", "under-voltage, throttling", "under-voltage, throttling"),
    ],
)
def test_throttle_flags_of_now_and_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, now: str, before: str
) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text(f"#!/bin/sh\necho throttled={flags}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = {check.name: check for check in doctor.examine(root=tmp_path).checks}
    assert found["throttled now"].found == now
    assert found["throttled since the start"].found == before
    for name in ("throttled now", "throttled since the start"):
        check = found[name]
        assert ("power supply" in check.fix) == (check.status == "warning") == (check.found != "no")
        assert check.code == (None if check.found == "no" else "under-voltage")


def test_a_full_disk_is_unknown_or_a_warning_but_no_problem(tmp_path: Path) -> None:
    (disk,) = (check for check in doctor.examine(place=tmp_path / "nowhere").checks if check.name == "free disk")
    assert disk.status == "unknown"
    assert "nowhere" in disk.found


def test_which_runtime_fits_which_machine() -> None:
    assert doctor.tflite_install("aarch64", (3, 13)) == "pip install ai-edge-litert"
    assert "tflite-runtime 'numpy<2'" in doctor.tflite_install("armv7l", (3, 11))
    assert "64-bit" in doctor.tflite_install("armv7l", (3, 12))
    assert "3.10 to 3.14" in doctor.tflite_install("x86_64", (3, 15))


def test_the_command_prints_json_and_exits_0_here(device: Device) -> None:
    done = device("doctor")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "edgetl.doctor/1"
    assert document["ok"] is True
    assert {check["status"] for check in document["checks"]} <= set(get_args(doctor.Status))
    assert document["environment"]["python"] == platform.python_version()


@pytest.fixture
def with_packages(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the doctor with only some packages: a folder of links to them instead of site-packages."""

    def run(*names: str, fake: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        site = tmp_path / "site"
        site.mkdir()
        for name in names:
            for top in {file.parts[0] for file in metadata.files(name) or [] if file.parts[0] not in ("..", ".")}:
                (site / top).symlink_to(Path(str(metadata.distribution(name).locate_file(top))))
        write(site, fake or {})
        environment = {**os.environ, "PYTHONPATH": f"{PACKAGE}:{site}"}
        command = [sys.executable, "-S", "-m", "edgetl_device", "doctor"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)

    return run


def problems(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert "Traceback" not in done.stderr, done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"] if check["status"] == "problem"}


def test_without_a_runtime_it_says_what_to_install(with_packages: Any, refuses: Callable[..., None]) -> None:
    done = with_packages("numpy", "pillow")
    refuses(done, 4, "TFLite runtime", "pip install")
    assert set(problems(done)) == {"TFLite runtime"}


def test_without_numpy_it_still_answers(with_packages: Any, refuses: Callable[..., None]) -> None:
    done = with_packages("pillow")
    refuses(done, 4, "numpy")
    assert problems(done)["numpy"]["fix"] == "pip install numpy"


def test_tflite_runtime_with_numpy_2_is_the_known_trap(with_packages: Any, refuses: Callable[..., None]) -> None:
    if int(np.__version__.split(".")[0]) < 2:
        pytest.skip("needs NumPy 2")
    package = {
        "tflite_runtime/__init__.py": "",
        "tflite_runtime/interpreter.py": "raise SystemExit('imported')\n",
        "tflite_runtime-2.14.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n",
    }
    done = with_packages("numpy", "pillow", fake=package)
    refuses(done, 4, "numpy<2")
    trap = problems(done)["TFLite runtime"]
    assert "tflite-runtime 2.14.0" in trap["found"]
    assert trap["fix"] == "pip install 'numpy<2'"
    assert trap["code"] == "tflite-runtime-broken"


def test_problems_are_raised_and_warnings_are_not() -> None:
    warned = doctor.report([doctor.Check("a", "warning", "hot", "cool it"), doctor.Check("b", "unknown", "no sensor")])
    doctor.raise_problems(warned)
    with pytest.raises(Unavailable, match="2 problems on this machine: a, c"):
        doctor.raise_problems(
            doctor.report([doctor.Check("a", "problem", "gone", "get it"), doctor.Check("c", "problem", "gone", "")])
        )


@pytest.mark.parametrize(
    ("kilobytes", "status", "found"),
    [(3_000_000, "ok", "3.1 GB"), (100_000, "warning", "0.1 GB"), (None, "unknown", "meminfo")],
)
def test_memory_is_judged(tmp_path: Path, kilobytes: int | None, status: str, found: str) -> None:
    if kilobytes:
        write(tmp_path, {"proc/meminfo": f"MemAvailable: {kilobytes} kB\n"})
    (check,) = checks(tmp_path, "free memory")
    assert (check.status, check.code) == (status, "memory-low" if status == "warning" else None)
    assert found in check.found


@pytest.mark.parametrize(("millidegrees", "status"), [(79_000, "ok"), (80_000, "warning"), (None, "unknown")])
def test_heat_is_judged(tmp_path: Path, millidegrees: int | None, status: str) -> None:
    if millidegrees:
        zone = "sys/class/thermal/thermal_zone0/"
        write(tmp_path, {zone + "type": "cpu-thermal\n", zone + "temp": f"{millidegrees}\n"})
    (check,) = checks(tmp_path, "temperature")
    assert (check.status, check.code) == (status, "hot" if status == "warning" else None)
    assert ("heat sink" in check.fix) == (status == "warning")


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_DISK_BYTES", shutil.disk_usage(tmp_path).total)
    found = doctor.examine(place=tmp_path)
    (check,) = (check for check in found.checks if check.name == "free disk")
    assert (check.status, check.code) == ("warning", "disk-low")
    assert found.to_json()["ok"] is True


def test_a_python_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "MINIMUM_PYTHON", (4, 0))
    found = doctor.examine(root=tmp_path)
    assert not found.ok
    with pytest.raises(Unavailable, match="1 problem on this machine: Python"):
        doctor.raise_problems(found)


def test_packages_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not any(Path(place).glob("*.dist-info"))])
    found = {check.name: check for check in doctor.examine(root=tmp_path).checks}
    assert [found[name].status for name in ("numpy", "pillow", "TFLite runtime", "ONNX Runtime")] == [
        "problem",
        "problem",
        "problem",
        "absent",
    ]
    assert found["pillow"].fix == "pip install pillow"
    assert found["TFLite runtime"].fix == doctor.tflite_install()


def test_two_runtimes_of_which_the_first_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in (("ai-edge-litert", "2.9.1"), ("tflite-runtime", "2.14.0")):
        file = f"{name.replace('-', '_')}-{version}.dist-info/METADATA"
        write(tmp_path, {file: f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"})
    monkeypatch.syspath_prepend(tmp_path)
    (check,) = checks(tmp_path, "TFLite runtime")
    assert (check.status, check.found) == ("ok", "ai-edge-litert 2.9.1, tflite-runtime 2.14.0 (the first is used)")


def test_a_runtime_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, f"{name}.interpreter", None)
    (check,) = checks(tmp_path, "TFLite runtime")
    assert (check.status, check.code, check.fix) == ("problem", "tflite-runtime-broken", "Reinstall it.")
    assert "cannot be loaded" in check.found
