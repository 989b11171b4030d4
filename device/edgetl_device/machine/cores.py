"""The cores of a CPU, including the core types of big.LITTLE chips. Linux only."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from edgetl_device._lib.documents import Count, Is, Positive, Unknown

from .reading import known, number_or_none, text_of, text_or_none

Megahertz = Annotated[float, Is(low=0)]

# Part numbers of implementer 0x41 (Arm), from Linux's cputype.h of arch/arm64 and arch/arm.
_ARM = "0x41"
_ARM_PARTS = {
    "0xb76": "ARM1176", "0xc07": "Cortex-A7", "0xc08": "Cortex-A8", "0xc09": "Cortex-A9", "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77", "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1", "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd4b": "Cortex-A78C",
}  # fmt: skip

CPUS = Path("sys/devices/system/cpu")


@dataclass(frozen=True)
class Cluster:
    """Equal cores that share a clock.

    Attributes:
        cpus: CPU numbers.
        core: Core type, such as ``Cortex-A76``.
        capacity: Linux's cpu_capacity: 1024 is the fastest core of the chip.
        governor: CPU frequency governor.
        frequency_min_mhz: Minimum clock.
        frequency_max_mhz: Maximum clock.
    """

    cpus: Annotated[tuple[Count, ...], Is(items=1)]
    core: str | Unknown
    capacity: Positive | Unknown
    governor: str | Unknown
    frequency_min_mhz: Megahertz | Unknown
    frequency_max_mhz: Megahertz | Unknown


def usable_cores() -> int | None:
    """Return the number of cores that this process may run on; None if unknown."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def clusters(root: Path = Path("/")) -> tuple[Cluster, ...]:
    """Return the groups of equal cores that share a clock, the fastest first.

    Args:
        root: Where ``sys`` and ``proc`` are.

    Raises:
        LookupError: The system does not list its CPUs.
    """
    names = _core_names(text_or_none(root / "proc/cpuinfo") or "")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for folder in sorted((root / CPUS).glob("cpu[0-9]*"), key=lambda path: int(path.name[3:])):
        number = int(folder.name[3:])
        key = (
            names.get(number),
            number_or_none(folder / "cpu_capacity"),
            text_or_none(folder / "cpufreq/related_cpus"),
        )
        groups.setdefault(key, []).append(number)
    if not groups:
        raise LookupError(f"{root / CPUS} lists no CPUs")
    found = [_cluster(root, cpus, core) for (core, *_), cpus in groups.items()]
    return tuple(sorted(found, key=_speed, reverse=True))


def cpu_name(root: Path = Path("/")) -> str:
    """Return ``model name`` of /proc/cpuinfo or, for Arm, the cores: ``2 x Cortex-A72 + 4 x Cortex-A53``.

    Raises:
        LookupError: /proc/cpuinfo has neither.
    """
    cpuinfo = text_or_none(root / "proc/cpuinfo") or ""
    cores = Counter(_core_names(cpuinfo).values())
    # 32-bit kernels have a "model name" too, "ARMv7 Processor rev 3 (v7l)", which does not name the core.
    arm = [name for name in cores if not name.startswith("implementer")]
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    if model and not arm:
        return model[1].strip()
    if cores:
        return " + ".join(f"{count} x {name}" for name, count in reversed(cores.items()))
    if hardware := re.search(r"^(?:Hardware|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE):
        return hardware[1].strip()
    raise LookupError("/proc/cpuinfo does not name the CPU")


def soc(root: Path = Path("/")) -> str:
    """Return the chip's name from its driver or, failing that, the last entry of the device tree's ``compatible``.

    Raises:
        LookupError: The system has neither, as on PCs.
    """
    parts = [text_or_none(root / "sys/devices/soc0" / name) for name in ("family", "soc_id")]
    if named := [part for part in parts if part and not part.startswith("jep106")]:
        return " ".join(named)
    compatible = text_or_none(root / "proc/device-tree/compatible")
    if compatible:
        return compatible.split("\0")[-1]
    raise LookupError("neither a SoC driver nor a device tree names the chip")


def _core_names(cpuinfo: str) -> dict[int, str]:
    """Return the core types of Arm CPUs by CPU number."""
    names = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        fields = dict(re.findall(r"^([^:\n]+?)\s*:\s*(.*)$", block, re.MULTILINE))
        number, implementer, part = (fields.get(key, "") for key in ("processor", "CPU implementer", "CPU part"))
        if number.isdigit() and part:
            known_part = _ARM_PARTS.get(part) if implementer == _ARM else None
            names[int(number)] = known_part or f"implementer {implementer}, part {part}"
    return names


def _cluster(root: Path, cpus: list[int], core: str | None) -> Cluster:
    folder = root / CPUS / f"cpu{cpus[0]}"
    return Cluster(
        cpus=tuple(cpus),
        core=core or Unknown("/proc/cpuinfo names no Arm core"),
        capacity=known(lambda: int(text_of(folder / "cpu_capacity"))),
        governor=known(lambda: text_of(folder / "cpufreq/scaling_governor")),
        frequency_min_mhz=known(lambda: int(text_of(folder / "cpufreq/cpuinfo_min_freq")) / 1000),
        frequency_max_mhz=known(lambda: int(text_of(folder / "cpufreq/cpuinfo_max_freq")) / 1000),
    )


def _speed(cluster: Cluster) -> tuple[float, float]:
    numbers = (cluster.capacity, cluster.frequency_max_mhz)
    capacity, clock = (0.0 if isinstance(number, Unknown) else float(number) for number in numbers)
    return capacity, clock
