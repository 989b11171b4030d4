"""What a measurement was taken on: board, CPU, clocks, temperature, software. Linux only.

A value that cannot be read is ``{"unknown": why}``, never 0 or null. Not for: changing any of it.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

Value = Any

_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_DEVICE_TREE = Path("/proc/device-tree/model")
_DMI = Path("/sys/class/dmi/id/product_name")
_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled: bits 0 to 3 are now, 16 to 19 since boot.
_THROTTLE_BITS = ("under-voltage", "capped frequency", "throttling", "a soft temperature limit")


def describe() -> dict[str, Value]:
    """Return what does not change during a bench."""
    cpuinfo = _text("/proc/cpuinfo")
    return {
        "board": _known(_board),
        "cpu": _known(lambda: _cpu(cpuinfo)),
        "machine": platform.machine(),
        "emulated": _known(lambda: _emulated(cpuinfo)),
        "cores": os.cpu_count() or {"unknown": "the system does not say"},
        "governor": _known(lambda: _read(_CPUFREQ / "scaling_governor")),
        "frequency_min_mhz": _known(lambda: int(_read(_CPUFREQ / "cpuinfo_min_freq")) / 1000),
        "frequency_max_mhz": _known(lambda: int(_read(_CPUFREQ / "cpuinfo_max_freq")) / 1000),
        "memory_bytes": _known(lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
        "os": _known(_os),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: _known(lambda name=name: metadata.version(name)) for name in ("numpy", "pillow")},  # type: ignore[misc]
    }


def state() -> dict[str, Value]:
    """Return what may change during a bench: read it before and after.

    ``throttled`` is the list of what the board is doing about power or heat now; an empty list is good. ``clock_s``,
    ``busy_cpu_s`` (all programs on all cores, since the start of the system) and ``own_cpu_s`` (this process) mean
    something as differences only.
    """
    return {
        "clock_s": time.monotonic(),
        "busy_cpu_s": _known(_busy_cpu_s),
        "own_cpu_s": time.process_time(),
        "load_average_1m": _known(lambda: os.getloadavg()[0]),
        "temperature_c": _known(lambda: int(_read(_THERMAL)) / 1000),
        "frequency_mhz": _known(lambda: int(_read(_CPUFREQ / "scaling_cur_freq")) / 1000),
        "throttled": _known(_throttled),
    }


def others_cpu(before: dict[str, Value], after: dict[str, Value]) -> float | None:
    """Return how many cores other programs kept busy between two states, on average; None where that is unknown."""
    if isinstance(before["busy_cpu_s"], dict) or isinstance(after["busy_cpu_s"], dict):
        return None
    elapsed_s = after["clock_s"] - before["clock_s"]
    busy_s = after["busy_cpu_s"] - before["busy_cpu_s"] - (after["own_cpu_s"] - before["own_cpu_s"])
    # The kernel counts in ticks of 10 ms, so a quiet machine may come out a little below nothing.
    return float(max(0.0, busy_s / elapsed_s)) if elapsed_s > 0 else None


def memory_available_bytes() -> Value:
    """Return how much memory programs may still take without swapping (``MemAvailable``), or ``{"unknown": why}``."""
    return _known(_memory_available)


def throttled_since_boot() -> Value:
    """Return what the board did about power or heat since it started, in the words of ``throttled`` (:func:`state`)."""
    return _known(lambda: _throttled(since_boot=True))


def package_version(name: str) -> Value:
    """Return the version of an installed package, or ``{"unknown": why}``."""
    return _known(lambda: metadata.version(name))


def _known(read: Callable[[], Value]) -> Value:
    try:
        return read()
    except OSError as error:
        return {"unknown": f"{error.filename}: {error.strerror}" if error.filename else str(error)}
    except (ValueError, LookupError, subprocess.SubprocessError, metadata.PackageNotFoundError) as error:
        return {"unknown": str(error) or type(error).__name__}


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _read(path: Path) -> str:
    return path.read_text(errors="replace").strip().rstrip("\0")


def _board() -> str:
    if _DEVICE_TREE.exists():
        return _read(_DEVICE_TREE)
    if _DMI.exists():
        return _read(_DMI)
    raise LookupError("neither a device tree nor DMI names the board")


def _cpu(cpuinfo: str) -> str:
    # x86 has "model name"; Arm often has only the numbers of implementer and part.
    if match := re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE):
        return match[1].strip()
    implementer = re.search(r"^CPU implementer\s*:\s*(\S+)$", cpuinfo, re.MULTILINE)
    part = re.search(r"^CPU part\s*:\s*(\S+)$", cpuinfo, re.MULTILINE)
    if implementer and part:
        return f"implementer {implementer[1]}, part {part[1]}"
    raise LookupError("/proc/cpuinfo does not name the CPU")


def _emulated(cpuinfo: str) -> bool:
    """Tell QEMU's processors by their name, by an x86 CPU behind an Arm program, or by the handler that runs it."""
    machine = platform.machine()
    if re.search(r"QEMU (Virtual|TCG) CPU", cpuinfo):
        return True
    if machine.startswith(("aarch64", "arm")) and re.search(r"GenuineIntel|AuthenticAMD", cpuinfo):
        return True
    name = "arm" if machine.startswith("armv") else machine
    return "enabled" in _text(f"/proc/sys/fs/binfmt_misc/qemu-{name}").split()


def _os() -> str:
    return platform.freedesktop_os_release()["PRETTY_NAME"]


def _busy_cpu_s() -> float:
    # proc(5): user, nice, system, idle, iowait, irq, softirq, steal, then guest times that user already holds.
    ticks = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _memory_available() -> int:
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError("/proc/meminfo has no MemAvailable")
    return int(found[1]) * 1024


def _throttled(*, since_boot: bool = False) -> list[str]:
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=True)
    except FileNotFoundError:
        raise LookupError("vcgencmd is not here; only Raspberry Pi OS has it") from None
    flags = int(done.stdout.strip().partition("=")[2], 16)
    first = 16 if since_boot else 0
    return [name for bit, name in enumerate(_THROTTLE_BITS, start=first) if flags >> bit & 1]
