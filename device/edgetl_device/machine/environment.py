"""Environment of a measurement: board, CPU, clocks, temperature, software. Linux only.

A value that cannot be read is :class:`Unknown`, never 0 or None.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

from edgetl_device._lib.documents import Count, Is, Positive, Seconds, Unknown, optional

from . import cores
from .cores import Cluster, Megahertz
from .reading import known, number_or_none, text_of, text_or_none

_ROOT = Path("/")
_CPUFREQ = cores.CPUS / "cpu0/cpufreq"
_DEVICE_TREE = Path("proc/device-tree/model")
_DMI = Path("sys/class/dmi/id/product_name")
_THERMAL = Path("sys/class/thermal")

# What drivers call the CPU's sensor: Raspberry Pi, Rockchip, Jetson, i.MX, Intel.
_CPU_ZONE = re.compile(r"cpu|soc|bigcore|littlecore|x86_pkg|package", re.IGNORECASE)
# Kernel drivers that throttle the CPU when it is hot.
_CPU_COOLER = re.compile(r"cpufreq|processor", re.IGNORECASE)

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled: bits 0 to 3 are now, 16 to 19 since boot.
_THROTTLE_BITS = ("under-voltage", "capped frequency", "throttling", "a soft temperature limit")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Properties of the machine that do not change during a bench.

    Attributes:
        board: Name from the device tree or DMI.
        soc: The chip.
        cpu: Name of the CPU; for Arm its cores.
        machine: The processor type, such as ``aarch64``.
        emulated: Whether the CPU is emulated, which makes latencies meaningless.
        cores: Number of cores.
        clusters: Groups of equal cores that share a clock, the fastest first.
        governor: CPU frequency governor of the first core.
        frequency_min_mhz: Minimum clock of the first core.
        frequency_max_mhz: Maximum clock of the first core.
        memory_bytes: Total memory.
        os: The distribution and its version.
        kernel: Linux's version.
        python: Python's version.
        packages: Versions by name.
    """

    board: str | Unknown
    soc: str | Unknown | None = optional()
    cpu: str | Unknown
    machine: str
    emulated: bool | Unknown
    cores: Positive | Unknown
    clusters: Annotated[tuple[Cluster, ...], Is(items=1)] | Unknown | None = optional()
    governor: str | Unknown
    frequency_min_mhz: Megahertz | Unknown
    frequency_max_mhz: Megahertz | Unknown
    memory_bytes: Positive | Unknown
    os: str | Unknown
    kernel: str
    python: str
    packages: dict[str, str | Unknown]


@dataclass(frozen=True, kw_only=True)
class State:
    """State of the machine, which may change during a bench. Only differences of the first three are meaningful.

    Attributes:
        clock_s: Monotonic clock.
        busy_cpu_s: CPU time of all programs on all cores since boot.
        own_cpu_s: CPU time of the process that reads it.
        load_average_1m: Linux's load average of the last minute.
        memory_available_bytes: Memory available without swapping (``MemAvailable``).
        temperature_c: Temperature of the CPU's hottest sensor.
        frequency_mhz: Highest current clock of any core.
        throttled: Power and heat problems that the board reports now; normally empty.
        throttled_since_boot: Those since boot; normally empty.
    """

    clock_s: Seconds
    busy_cpu_s: Seconds | Unknown
    own_cpu_s: Seconds
    load_average_1m: Annotated[float, Is(low=0)] | Unknown
    memory_available_bytes: Count | Unknown | None = optional()
    temperature_c: float | Unknown
    frequency_mhz: Megahertz | Unknown
    throttled: tuple[str, ...] | Unknown
    throttled_since_boot: tuple[str, ...] | Unknown | None = optional()


def describe(root: Path = _ROOT) -> Environment:
    """Return the properties of this machine; ``root`` is the folder that contains ``sys`` and ``proc``."""
    return Environment(
        board=known(lambda: _board(root)),
        soc=known(lambda: cores.soc(root)),
        cpu=known(lambda: cores.cpu_name(root)),
        machine=platform.machine(),
        emulated=known(lambda: _emulated(text_or_none(root / "proc/cpuinfo") or "")),
        cores=os.cpu_count() or Unknown("the system does not say"),
        clusters=known(lambda: cores.clusters(root)),
        governor=known(lambda: text_of(root / _CPUFREQ / "scaling_governor")),
        frequency_min_mhz=known(lambda: int(text_of(root / _CPUFREQ / "cpuinfo_min_freq")) / 1000),
        frequency_max_mhz=known(lambda: int(text_of(root / _CPUFREQ / "cpuinfo_max_freq")) / 1000),
        memory_bytes=known(lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
        os=known(_os),
        kernel=platform.release(),
        python=platform.python_version(),
        packages={name: package_version(name) for name in ("numpy", "pillow")},
    )


def state(root: Path = _ROOT) -> State:
    """Return the current state, to be read before and after a bench; ``root`` as for :func:`describe`."""
    flags = known(_throttle_flags)
    return State(
        clock_s=time.monotonic(),
        busy_cpu_s=known(lambda: _busy_cpu_s(root)),
        own_cpu_s=time.process_time(),
        load_average_1m=known(lambda: os.getloadavg()[0]),
        memory_available_bytes=memory_available_bytes(root),
        temperature_c=temperature_c(root),
        frequency_mhz=known(lambda: _frequency_mhz(root)),
        throttled=_decoded(flags) if isinstance(flags, int) else known(lambda: _cooled(root, flags.unknown)),
        throttled_since_boot=_decoded(flags, since_boot=True) if isinstance(flags, int) else flags,
    )


def others_cpu(before: State, after: State) -> float | None:
    """Return the average number of cores that other programs kept busy between two states; None if unknown."""
    if isinstance(before.busy_cpu_s, Unknown) or isinstance(after.busy_cpu_s, Unknown):
        return None
    elapsed_s = after.clock_s - before.clock_s
    busy_s = after.busy_cpu_s - before.busy_cpu_s - (after.own_cpu_s - before.own_cpu_s)
    # The kernel counts in ticks of 10 ms, so on a quiet machine the result may be slightly negative.
    return float(max(0.0, busy_s / elapsed_s)) if elapsed_s > 0 else None


def memory_available_bytes(root: Path = _ROOT) -> int | Unknown:
    """Return the memory available to this process.

    That is the minimum of what the machine has without swapping (``MemAvailable``) and what its control groups allow
    (cgroup v2: ``memory.max`` minus ``memory.current``, not counting file cache that can be dropped).
    """
    return known(lambda: _memory_available(root))


def temperature_c(root: Path = _ROOT) -> float | Unknown:
    """Return the temperature of the CPU's hottest sensor; ``root`` as for :func:`describe`."""
    return known(lambda: _temperature_c(root))


def throttled_since_boot() -> tuple[str, ...] | Unknown:
    """Return the power and heat problems since boot, in the terms of :attr:`State.throttled`."""
    return known(lambda: _decoded(_throttle_flags(), since_boot=True))


def package_version(name: str) -> str | Unknown:
    """Return the version of an installed package."""
    return known(lambda: metadata.version(name))


def _board(root: Path) -> str:
    for place in (_DEVICE_TREE, _DMI):
        if (root / place).exists():
            return text_of(root / place)
    raise LookupError("neither a device tree nor DMI names the board")


def _emulated(cpuinfo: str) -> bool:
    """Detect QEMU by the CPU's name, by an x86 CPU under an Arm program, or by the registered binfmt handler."""
    machine = platform.machine()
    if re.search(r"QEMU (Virtual|TCG) CPU", cpuinfo):
        return True
    if machine.startswith(("aarch64", "arm")) and re.search(r"GenuineIntel|AuthenticAMD", cpuinfo):
        return True
    name = "arm" if machine.startswith("armv") else machine
    return "enabled" in (text_or_none(Path(f"/proc/sys/fs/binfmt_misc/qemu-{name}")) or "").split()


def _os() -> str:
    return platform.freedesktop_os_release()["PRETTY_NAME"]


def _busy_cpu_s(root: Path) -> float:
    # proc(5): user, nice, system, idle, iowait, irq, softirq, steal, then guest times, which user already includes.
    ticks = [int(field) for field in (root / "proc/stat").read_text(encoding="utf-8").partition("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _memory_available(root: Path) -> int:
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", (root / "proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise LookupError("/proc/meminfo has no MemAvailable")
    return min([int(found[1]) * 1024, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> list[int]:
    """Return the memory left by each control group of this process; empty without limits or with cgroups v1."""
    own = re.search(r"^0::(/.*)$", text_or_none(root / "proc/self/cgroup") or "", re.MULTILINE)
    if own is None:
        return []
    mounted = root / "sys/fs/cgroup"
    group, left = mounted / own[1].strip("/"), []
    while group.is_relative_to(mounted) and ".." not in group.parts:
        limit, used = number_or_none(group / "memory.max"), number_or_none(group / "memory.current")
        if limit is not None and used is not None:
            files = re.search(r"^inactive_file (\d+)$", text_or_none(group / "memory.stat") or "", re.MULTILINE)
            left.append(max(0, limit - used + (int(files[1]) if files else 0)))
        group = group.parent
    return left


def _temperature_c(root: Path) -> float:
    """Return the temperature of the hottest sensor named after the CPU, or of the first sensor if none is."""
    numbered = (root / _THERMAL).glob("thermal_zone*")
    zones = sorted(numbered, key=lambda path: int(path.name.removeprefix("thermal_zone")))
    if not zones:
        raise FileNotFoundError(2, "No such file or directory", str(root / _THERMAL / "thermal_zone0"))
    named = [zone for zone in zones if _CPU_ZONE.search(text_or_none(zone / "type") or "")] or zones[:1]
    # The kernel returns an error for a sensor that is switched off.
    temperatures = [found for zone in named if (found := number_or_none(zone / "temp")) is not None]
    if not temperatures:
        raise LookupError(f"{named[0] / 'temp'} has no number")
    return max(temperatures) / 1000


def _frequency_mhz(root: Path) -> float:
    clocks = [number_or_none(path) for path in (root / cores.CPUS).glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    found = [clock for clock in clocks if clock is not None]
    if not found:
        raise FileNotFoundError(2, "No such file or directory", str(root / _CPUFREQ / "scaling_cur_freq"))
    return max(found) / 1000


def _throttle_flags() -> int:
    try:
        done = subprocess.run(
            ["vcgencmd", "get_throttled"], capture_output=True, encoding="utf-8", timeout=5, check=True
        )
    except FileNotFoundError:
        raise LookupError("vcgencmd is not here; only Raspberry Pi OS has it") from None
    return int(done.stdout.strip().partition("=")[2], 16)


def _decoded(flags: int, *, since_boot: bool = False) -> tuple[str, ...]:
    first = 16 if since_boot else 0
    return tuple(name for bit, name in enumerate(_THROTTLE_BITS, start=first) if flags >> bit & 1)


def _cooled(root: Path, why: str) -> tuple[str, ...]:
    """Return whether Linux throttles the CPU, for boards without ``vcgencmd``."""
    coolers = [
        path
        for path in sorted((root / _THERMAL).glob("cooling_device*"))
        if _CPU_COOLER.search(text_or_none(path / "type") or "")
    ]
    if not coolers:
        raise LookupError(f"{why}, and the kernel has no cooling device for the CPU")
    states = [found for path in coolers if (found := number_or_none(path / "cur_state")) is not None]
    if not states:
        raise LookupError(f"{coolers[0] / 'cur_state'} has no number")
    return ("throttling",) if max(states) > 0 else ()
