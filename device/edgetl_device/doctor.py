"""Check what this machine lacks for running and measuring bundles, and suggest fixes: ``edgetl.doctor/1``.

It imports neither NumPy nor a runtime at module level, so that it can report that they are broken.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from . import __version__
from ._lib.documents import Json, Named, Text, Unknown, optional, to_json
from .errors import EdgetlError, NumPyTooNew, Unavailable
from .machine import accelerators, environment
from .machine.environment import Environment
from .reasons import DOCTOR, Code, Reason, Severity

MINIMUM_PYTHON = (3, 10)
# ai-edge-litert 2.3: CPython 3.10 to 3.14, manylinux x86_64 and aarch64. tflite-runtime 2.14: up to 3.11, armv7l too.
_LITERT_MACHINES, _LITERT_PYTHON = ("x86_64", "aarch64"), (3, 14)
_OLD_RUNTIME_PYTHON = (3, 11)

# The int8 bundle of 200 photos in the README is 35 MB, and one photo takes 64 MB of memory.
_DISK_BYTES = 200_000_000
_MEMORY_BYTES = 200_000_000
_HOT_C = 80.0

# External delegates that ship with boards, by file name.
DELEGATES = {
    "libedgetpu.so.1": "Coral Edge TPU",
    "libvx_delegate.so": "VeriSilicon NPU, as in NXP i.MX 8M Plus",
    "libethosu_delegate.so": "Arm Ethos-U, as in NXP i.MX 93",
    "libarmnnDelegate.so": "Arm NN",
    "libQnnTFLiteDelegate.so": "Qualcomm AI Engine Direct",
}
_LIBRARY_FOLDERS = ("usr/lib", "usr/lib/{machine}-linux-gnu", "usr/lib/arm-linux-gnueabihf", "usr/local/lib", "lib")


Status = Literal["ok", "absent", "unknown", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: What was checked.
        status: ``problem``: edgetl cannot work here until it is fixed. ``absent``: missing, but optional.
        found: What was found, in one line.
        fix: What to do; empty if there is nothing to do.
        code: Stable code of a problem, a warning or something absent; see :data:`edgetl_device.reasons.DOCTOR`.
    """

    name: Text
    status: Status
    found: str
    fix: str = ""
    code: Code | None = optional()


_STATUS: dict[Severity, Status] = {"error": "problem", "warning": "warning", "info": "absent"}


def lacking(name: str, reason: Reason, found: str, fix: str | None = None) -> Check:
    """Return a check for something missing or wrong; ``fix`` replaces the reason's advice."""
    return Check(name, _STATUS[reason.severity], found, reason.advice if fix is None else fix, reason.code)


@dataclass(frozen=True)
class Report:
    """The result of checking a machine.

    Attributes:
        producer: The program that checked.
        ok: Whether no check is a problem.
        checks: All checks.
        environment: The machine.
    """

    SCHEMA: ClassVar[str] = "edgetl.doctor/1"

    producer: Named
    ok: bool
    checks: tuple[Check, ...]
    environment: Environment

    def to_json(self) -> Json:
        """Return the document that ``edgetl doctor --json`` prints."""
        return to_json(self)


def examine(*, root: Path = Path("/"), place: Path = Path()) -> Report:
    """Check this machine.

    Args:
        root: The folder that contains ``sys``, ``proc``, ``dev`` and ``usr``.
        place: The folder whose free disk space is checked.
    """
    checks = [
        _python(),
        *_packages(),
        *_photo_formats(),
        *_runtimes(),
        *_delegates(root),
        *_edge_tpus(root),
        _governor(root),
        *_throttling(root),
        _temperature(root),
        _disk(place),
        _memory(root),
    ]
    return report(checks)


def report(checks: Iterable[Check]) -> Report:
    """Return the report for these checks."""
    found = tuple(checks)
    return Report(
        producer=Named("edgetl-device", __version__),
        ok=all(check.status != "problem" for check in found),
        checks=found,
        environment=environment.describe(),
    )


def raise_problems(report: Report) -> None:
    """Raise an error if something that edgetl needs is missing.

    Raises:
        Unavailable: It names the first problem, with its fix.
    """
    problems = [check for check in report.checks if check.status == "problem"]
    if problems:
        names = ", ".join(check.name for check in problems)
        raise Unavailable(
            f"{len(problems)} problem{'s' * (len(problems) > 1)} on this machine: {names}",
            why=problems[0].found,
            hint=problems[0].fix,
        )


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.machine()}"
    if sys.version_info[:2] < MINIMUM_PYTHON:
        return lacking("Python", DOCTOR["python-too-old"], found)
    return Check("Python", "ok", found)


def _packages() -> list[Check]:
    checks = []
    for name in ("numpy", "pillow"):
        version = environment.package_version(name)
        if isinstance(version, Unknown):
            checks.append(lacking(name, DOCTOR["package-missing"], "not installed", f"pip install {name}"))
        else:
            checks.append(Check(name, "ok", version))
    return checks


def _photo_formats() -> list[Check]:
    try:
        from .decoding.heif import AVIF, HEIC, INSTALL, decoders, load_decoder
    except ImportError:
        return []  # without Pillow, which is a problem of its own
    missing = [why for container in (HEIC, AVIF) if (why := load_decoder(container))]
    if missing:
        return [lacking("HEIC and AVIF", DOCTOR["heif-missing"], "; ".join(missing), INSTALL)]
    return [Check("HEIC and AVIF", "ok", decoders())]


def _runtimes() -> list[Check]:
    litert, old, onnx = map(environment.package_version, ("ai-edge-litert", "tflite-runtime", "onnxruntime"))
    return [
        _tflite(None if isinstance(litert, Unknown) else litert, None if isinstance(old, Unknown) else old),
        lacking("ONNX Runtime", DOCTOR["onnx-runtime-missing"], "not installed; ONNX variants need it")
        if isinstance(onnx, Unknown)
        else Check("ONNX Runtime", "ok", onnx),
    ]


def _tflite(litert: str | None, old: str | None) -> Check:
    installed = ", ".join(
        f"{name} {version}" for name, version in (("ai-edge-litert", litert), ("tflite-runtime", old)) if version
    )
    if not installed:
        found = "neither ai-edge-litert nor tflite-runtime"
        return lacking("TFLite runtime", DOCTOR["tflite-runtime-missing"], found, tflite_install())
    # Only loading it shows whether it works: a wheel for another system, or NumPy 2 with tflite-runtime, fails here.
    failure = _failure(_load_runtime)
    if failure is not None:
        fix = "pip install 'numpy<2'" if isinstance(failure, NumPyTooNew) else failure.hint or tflite_install()
        found = f"{installed}: {failure.what}: {failure.why}"
        return lacking("TFLite runtime", DOCTOR["tflite-runtime-broken"], found, fix)
    return Check("TFLite runtime", "ok", installed + (" (the first is used)" if litert and old else ""))


def tflite_install(machine: str = "", python: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return the command that installs a TFLite runtime for a processor type and Python version (default: these)."""
    machine = machine or platform.machine()
    if machine in _LITERT_MACHINES and python <= _LITERT_PYTHON:
        return "pip install ai-edge-litert"
    if python <= _OLD_RUNTIME_PYTHON:
        return "pip install tflite-runtime 'numpy<2'"
    advice = "Python 3.10 to 3.14" if machine in _LITERT_MACHINES else "a 64-bit system, or Python 3.11"
    return f"Use {advice}: no TFLite runtime has a wheel for {machine} and Python {python[0]}.{python[1]}."


def _load_runtime() -> None:
    from .runtime import load_library

    load_library("tflite")


def _failure(act: Callable[[], None]) -> EdgetlError | None:
    try:
        act()
    except EdgetlError as error:
        return error
    except ImportError as error:
        return Unavailable("it cannot be imported", why=str(error))
    return None


def _delegates(root: Path) -> list[Check]:
    checks = []
    for file, what in DELEGATES.items():
        place = find_library(file, root)
        if place is not None:
            checks.append(Check("delegate", "ok", f"{what}: {place}{_version(place)}"))
    nothing = "no known TFLite delegate library; CPUs need none"
    return checks or [lacking("delegate", DOCTOR["delegate-missing"], nothing)]


def find_library(file: str, root: Path = Path("/")) -> Path | None:
    """Return the path of a shared library in ``LD_LIBRARY_PATH`` or the system's usual folders, or None."""
    folders = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    folders += [root / folder.format(machine=platform.machine()) for folder in _LIBRARY_FOLDERS]
    return next((folder / file for folder in folders if (folder / file).exists()), None)


def _version(library: Path) -> str:
    from edgetl_device.delegates.delegate import version_of

    version = version_of(library)
    return f", {version}" if isinstance(version, str) else f", version unknown: {version.unknown}"


def _edge_tpus(root: Path) -> list[Check]:
    try:
        devices = accelerators.edge_tpus(root)
    except OSError as error:
        return [Check("Edge TPU", "unknown", f"{error.filename}: {error.strerror}")]
    if not devices:
        return [lacking("Edge TPU", DOCTOR["edge-tpu-missing"], "none on USB or PCIe")]
    checks = []
    for device in devices:
        found = f"{device.bus} {device.place}, {device.state}" + (f": {device.problem}" if device.problem else "")
        checks.append(
            lacking("Edge TPU", DOCTOR["edge-tpu-hindered"], found, device.fix)
            if device.problem
            else Check("Edge TPU", "ok", found, device.fix)
        )
    if find_library("libedgetpu.so.1", root) is None:
        found = "an Edge TPU is present, but libedgetpu.so.1 is not"
        checks.append(lacking("Edge TPU library", DOCTOR["edge-tpu-library-missing"], found))
    return checks


def _governor(root: Path) -> Check:
    file = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    try:
        governor = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        return Check("governor", "unknown", f"{file}: {error.strerror}")
    if governor == "performance":
        return Check("governor", "ok", governor)
    return lacking("governor", DOCTOR["clock-governor"], f"{governor}: the clock changes while edgetl bench measures")


def _throttling(root: Path) -> list[Check]:
    checks = []
    for name, flags in (
        ("throttled now", environment.state(root).throttled),
        ("throttled since the start", environment.throttled_since_boot()),
    ):
        if isinstance(flags, Unknown):
            checks.append(Check(name, "unknown", flags.unknown))
        elif not flags:
            checks.append(Check(name, "ok", "no"))
        else:
            code = "under-voltage" if any("voltage" in flag for flag in flags) else "throttled"
            checks.append(lacking(name, DOCTOR[code], ", ".join(flags)))
    return checks


def _temperature(root: Path) -> Check:
    celsius = environment.state(root).temperature_c
    if isinstance(celsius, Unknown):
        return Check("temperature", "unknown", celsius.unknown)
    return _bounded("temperature", DOCTOR["hot"], f"{celsius:.0f} C", wrong=celsius >= _HOT_C)


def _bounded(name: str, reason: Reason, found: str, *, wrong: bool) -> Check:
    return lacking(name, reason, found) if wrong else Check(name, "ok", found)


def _disk(place: Path) -> Check:
    try:
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        return Check("free disk", "unknown", f"{place}: {error.strerror}")
    found = f"{free_bytes / 1e9:.1f} GB in {place}"
    return _bounded("free disk", DOCTOR["disk-low"], found, wrong=free_bytes < _DISK_BYTES)


def _memory(root: Path) -> Check:
    available_bytes = environment.memory_available_bytes(root)
    if isinstance(available_bytes, Unknown):
        return Check("free memory", "unknown", available_bytes.unknown)
    found = f"{available_bytes / 1e9:.1f} GB"
    return _bounded("free memory", DOCTOR["memory-low"], found, wrong=available_bytes < _MEMORY_BYTES)
