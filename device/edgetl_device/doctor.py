"""What this machine has for running and measuring bundles, what it lacks, and how to get it: ``edgetl.doctor/1``.

Not for: what training needs (``edgetl doctor`` adds that), and changing anything. It imports neither NumPy nor a
runtime at the top, so that it can tell when those are broken.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import __version__
from .errors import EdgetlError, Unavailable
from .machine import accelerators, environment

SCHEMA = "edgetl.doctor/1"

# "problem" is the one that counts: edgetl cannot work here without it. "absent" is something only some need.
STATUSES = ("ok", "absent", "unknown", "warning", "problem")

MINIMUM_PYTHON = (3, 10)
# ai-edge-litert 2.3: CPython 3.10 to 3.14, manylinux x86_64 and aarch64. tflite-runtime 2.14: up to 3.11, armv7l too.
_LITERT_MACHINES, _LITERT_PYTHON = ("x86_64", "aarch64"), (3, 14)
_OLD_RUNTIME_PYTHON = (3, 11)

# The int8 bundle of 200 photos in the README is 35 MB, and one photo takes 64 MB of memory.
_DISK_BYTES = 200_000_000
_MEMORY_BYTES = 200_000_000
_HOT_C = 80.0

# External delegates that boards come with, by the file name their makers give them.
DELEGATES = {
    "libedgetpu.so.1": "Coral Edge TPU",
    "libvx_delegate.so": "VeriSilicon NPU, as in NXP i.MX 8M Plus",
    "libethosu_delegate.so": "Arm Ethos-U, as in NXP i.MX 93",
    "libarmnnDelegate.so": "Arm NN",
    "libQnnTFLiteDelegate.so": "Qualcomm AI Engine Direct",
}
_LIBRARY_FOLDERS = ("usr/lib", "usr/lib/{machine}-linux-gnu", "usr/lib/arm-linux-gnueabihf", "usr/local/lib", "lib")


@dataclass(frozen=True)
class Check:
    """One finding: its status is one of :data:`STATUSES`; ``fix`` is empty when there is nothing to do."""

    name: str
    status: str
    found: str
    fix: str = ""


def examine(*, root: Path = Path("/"), place: Path = Path()) -> dict[str, Any]:
    """Look at this machine.

    Args:
        root: Where ``sys``, ``dev`` and ``usr`` are looked for.
        place: The folder whose free disk space counts.

    Returns:
        ``schema``, ``producer``, ``ok`` (no check is a problem), ``checks`` and ``environment``
        (:func:`edgetl_device.machine.environment.describe`).
    """
    checks = [
        _python(),
        *_packages(),
        *_runtimes(),
        *_delegates(root),
        *_edge_tpus(root),
        _governor(root),
        *_throttling(),
        _temperature(),
        _disk(place),
        _memory(),
    ]
    return report(checks)


def report(checks: Iterable[Check]) -> dict[str, Any]:
    """Return the document of checks."""
    found = list(checks)
    return {
        "schema": SCHEMA,
        "producer": {"name": "edgetl-device", "version": __version__},
        "ok": all(check.status != "problem" for check in found),
        "checks": [asdict(check) for check in found],
        "environment": environment.describe(),
    }


def raise_problems(document: dict[str, Any]) -> None:
    """Return when nothing that edgetl needs is missing.

    Raises:
        Unavailable: Something is; the first is told, with its fix.
    """
    problems = [check for check in document["checks"] if check["status"] == "problem"]
    if problems:
        names = ", ".join(check["name"] for check in problems)
        raise Unavailable(
            f"edgetl lacks {len(problems)} thing{'s' * (len(problems) > 1)} here: {names}",
            why=problems[0]["found"],
            hint=problems[0]["fix"],
        )


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.machine()}"
    if sys.version_info[:2] < MINIMUM_PYTHON:
        return Check("Python", "problem", found, "Install Python 3.10 or newer.")
    return Check("Python", "ok", found)


def _packages() -> list[Check]:
    checks = []
    for name in ("numpy", "pillow"):
        version = environment.package_version(name)
        if isinstance(version, dict):
            checks.append(Check(name, "problem", "not installed", f"pip install {name}"))
        else:
            checks.append(Check(name, "ok", version))
    return checks


def _runtimes() -> list[Check]:
    litert, old, onnx = map(environment.package_version, ("ai-edge-litert", "tflite-runtime", "onnxruntime"))
    return [
        _tflite(None if isinstance(litert, dict) else litert, None if isinstance(old, dict) else old),
        Check("ONNX Runtime", "absent", "not installed; ONNX variants need it", "pip install onnxruntime")
        if isinstance(onnx, dict)
        else Check("ONNX Runtime", "ok", onnx),
    ]


def _tflite(litert: str | None, old: str | None) -> Check:
    installed = ", ".join(
        f"{name} {version}" for name, version in (("ai-edge-litert", litert), ("tflite-runtime", old)) if version
    )
    if not installed:
        return Check("TFLite runtime", "problem", "neither ai-edge-litert nor tflite-runtime", tflite_install())
    # Loading is what tells: a wheel for another system, or NumPy 2 under tflite-runtime, fails here and not before.
    failure = _failure(_load_runtime)
    if failure is not None:
        fix = "pip install 'numpy<2'" if "NumPy" in failure.what else failure.hint or tflite_install()
        return Check("TFLite runtime", "problem", f"{installed}: {failure.what}: {failure.why}", fix)
    return Check("TFLite runtime", "ok", installed + (" (the first is used)" if litert and old else ""))


def tflite_install(machine: str = "", python: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return the command that installs a TFLite runtime on a processor type (here by default) and Python version."""
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
    return checks or [Check("delegate", "absent", "no library of a known TFLite delegate; CPUs need none")]


def find_library(file: str, root: Path = Path("/")) -> Path | None:
    """Return where a shared library is, in ``LD_LIBRARY_PATH`` or the system's usual folders, or None."""
    folders = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    folders += [root / folder.format(machine=platform.machine()) for folder in _LIBRARY_FOLDERS]
    return next((folder / file for folder in folders if (folder / file).exists()), None)


def _version(library: Path) -> str:
    from edgetl_device.delegates.delegate import version_of

    version = version_of(library)
    return f", {version}" if isinstance(version, str) else f", version unknown: {version['unknown']}"


def _edge_tpus(root: Path) -> list[Check]:
    try:
        devices = accelerators.edge_tpus(root)
    except OSError as error:
        return [Check("Edge TPU", "unknown", f"{error.filename}: {error.strerror}")]
    if not devices:
        return [Check("Edge TPU", "absent", "none on USB or PCIe")]
    checks = []
    for device in devices:
        found = f"{device.bus} {device.place}, {device.state}" + (f": {device.problem}" if device.problem else "")
        checks.append(Check("Edge TPU", "warning" if device.problem else "ok", found, device.fix))
    if find_library("libedgetpu.so.1", root) is None:
        fix = "sudo apt install libedgetpu1-std from Coral's source, or a build for your runtime: see docs/coral.md"
        checks.append(Check("Edge TPU library", "warning", "an Edge TPU is here, but no libedgetpu.so.1", fix))
    return checks


def _governor(root: Path) -> Check:
    file = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    try:
        governor = file.read_text().strip()
    except OSError as error:
        return Check("governor", "unknown", f"{file}: {error.strerror}")
    if governor == "performance":
        return Check("governor", "ok", governor)
    fix = "For steady measurements: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    return Check("governor", "warning", f"{governor}: the clock changes while edgetl bench measures", fix)


def _throttling() -> list[Check]:
    checks = []
    for name, flags in (
        ("throttled now", environment.state()["throttled"]),
        ("throttled since the start", environment.throttled_since_boot()),
    ):
        if isinstance(flags, dict):
            checks.append(Check(name, "unknown", flags["unknown"]))
        elif not flags:
            checks.append(Check(name, "ok", "no"))
        else:
            power = any("voltage" in flag for flag in flags)
            fix = "Use the maker's power supply and a short cable." if power else "Give it a heat sink or a fan."
            checks.append(Check(name, "warning", ", ".join(flags), fix))
    return checks


def _temperature() -> Check:
    celsius = environment.state()["temperature_c"]
    if isinstance(celsius, dict):
        return Check("temperature", "unknown", celsius["unknown"])
    hot = celsius >= _HOT_C
    fix = "Let it cool down before edgetl bench; give it a heat sink or a fan." if hot else ""
    return Check("temperature", "warning" if hot else "ok", f"{celsius:.0f} C", fix)


def _disk(place: Path) -> Check:
    try:
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        return Check("free disk", "unknown", f"{place}: {error.strerror}")
    low = free_bytes < _DISK_BYTES
    fix = "Free some space: a bundle takes tens of MB, and results a few." if low else ""
    return Check("free disk", "warning" if low else "ok", f"{free_bytes / 1e9:.1f} GB in {place}", fix)


def _memory() -> Check:
    available_bytes = environment.memory_available_bytes()
    if isinstance(available_bytes, dict):
        return Check("free memory", "unknown", available_bytes["unknown"])
    low = available_bytes < _MEMORY_BYTES
    fix = "End other programs: one int8 classifier takes about 64 MB, a bench about twice that." if low else ""
    return Check("free memory", "warning" if low else "ok", f"{available_bytes / 1e9:.1f} GB", fix)
