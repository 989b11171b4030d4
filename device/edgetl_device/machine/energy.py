"""Energy of a photo in joules, where the board has a sensor: INA2xx, a battery, or RAPL. Linux only.

Sysfs units are those of Linux's ``Documentation/hwmon/sysfs-interface.rst`` (uW, mA, mV),
``Documentation/ABI/testing/sysfs-class-power`` (uW, uA, uV) and ``Documentation/power/powercap/powercap.rst`` (uJ).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgetl_device.documents import Positive, Seconds, Unknown
from edgetl_device.errors import Unavailable

from .reading import number_or_none, text_or_none

IDLE_S = 3.0
# INA2xx average over up to a second, fuel gauges over more: less than this says nothing.
LEAST_S = 1.0
_POLL_S = 0.05

# Drivers of chips that measure a supply (hwmon's "name"); others measure voltages of other things.
_SUPPLY_CHIPS = ("ina209", "ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina238", "ina260", "ina3221")


class Sensor(Protocol):
    """Counts joules from some moment on.

    Attributes:
        name: Chip or driver, and where it is.
        covers: Whose energy it is.
    """

    name: str
    covers: str

    def joules(self) -> float:
        """Return the joules so far; OSError when the sensor does not respond."""

    def close(self) -> None:
        """Stop counting."""


def find_sensor(root: Path = Path("/")) -> Sensor:
    """Return the sensor that sees most of the board: its supply, else its battery, else the CPU.

    Args:
        root: Where ``sys`` is.

    Raises:
        Unavailable: There is none that this user may read.
    """
    unreadable: list[str] = []
    for find in (_supply, _battery, _rapl):
        sensor = find(root, unreadable)
        if sensor is not None:
            return sensor
    if unreadable:
        raise Unavailable(
            f"{unreadable[0]} may not be read",
            why="it shows what other programs do, so Linux keeps it from users",
            hint=f"sudo chmod a+r {unreadable[0]}   (until the next start)",
        )
    raise Unavailable("this machine has no sensor of its energy", why="no INA2xx in hwmon, no battery, no RAPL")


@dataclass
class Usage:
    """Energy of several pieces of one run, added up."""

    joules: float = 0.0
    seconds: float = 0.0
    inferences: int = 0


@dataclass(frozen=True)
class Energy:
    """Energy of a run, all stages of each photo.

    Attributes:
        sensor: Chip or driver, and where it is.
        covers: Whose energy it is.
        idle_w: Before the bench, with nothing running.
        busy_w: While the run was measured.
        seconds: How long it was measured.
        inferences: How many there were meanwhile.
        joules_per_inference: All that was used, for each inference.
        joules_per_inference_above_idle: Without what the board uses when idle; noise may put it below 0.
    """

    sensor: str
    covers: str
    idle_w: float
    busy_w: float
    seconds: Seconds
    inferences: Positive
    joules_per_inference: float
    joules_per_inference_above_idle: float


class Meter:
    """A sensor with the idle power of the board, read while nothing is measured.

    Args:
        sensor: Closed with the meter.
        idle_s: How long to be idle; the caller does nothing meanwhile.
    """

    def __init__(self, sensor: Sensor, idle_s: float) -> None:
        """Measure the idle power."""
        self._sensor = sensor
        idle = Usage()
        self.during(idle, lambda: _rest(idle_s))
        self.idle_w = idle.joules / idle.seconds

    def during(self, usage: Usage, act: Callable[[], int]) -> None:
        """Add to ``usage`` what is used while ``act`` runs; it returns its number of inferences."""
        started_s, before = time.monotonic(), self._sensor.joules()
        usage.inferences += act()
        usage.joules += self._sensor.joules() - before
        usage.seconds += time.monotonic() - started_s

    def summary(self, usage: Usage) -> Energy | Unknown:
        """Return the energy of a run; unknown where it was too short."""
        if usage.seconds < LEAST_S:
            return Unknown(f"measured for {usage.seconds:.1f} s; energy needs {LEAST_S:.0f} s")
        above = usage.joules - self.idle_w * usage.seconds
        return Energy(
            sensor=self._sensor.name,
            covers=self._sensor.covers,
            idle_w=self.idle_w,
            busy_w=usage.joules / usage.seconds,
            seconds=usage.seconds,
            inferences=usage.inferences,
            joules_per_inference=usage.joules / usage.inferences,
            # Noise may put a light run below idle; that is shown, not hidden as 0.
            joules_per_inference_above_idle=above / usage.inferences,
        )

    def close(self) -> None:
        """Stop the sensor."""
        self._sensor.close()


class _Power:
    """Watts, read twenty times a second by a thread and added up (trapezoids)."""

    def __init__(self, name: str, covers: str, watts: Callable[[], float]) -> None:
        self.name, self.covers, self._watts = name, covers, watts
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._joules, self._at_s, self._last_w = 0.0, time.monotonic(), watts()
        self._thread = threading.Thread(target=self._poll, name="energy", daemon=True)
        self._thread.start()

    def joules(self) -> float:
        with self._lock:
            now_w, now_s = self._watts(), time.monotonic()
            self._joules += (self._last_w + now_w) / 2 * (now_s - self._at_s)
            self._last_w, self._at_s = now_w, now_s
            return self._joules

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _poll(self) -> None:
        # A sensor that does not respond ends this thread; the meter's next reading meets the same error and reports it.
        with contextlib.suppress(OSError):
            while not self._ended.wait(_POLL_S):
                self.joules()


class _Counters:
    """Counters of microjoules that start again at 0 when they are full."""

    def __init__(self, name: str, covers: str, folders: Sequence[Path]) -> None:
        self.name, self.covers = name, covers
        self._folders = folders
        self._full = [_number(folder / "max_energy_range_uj") for folder in folders]
        self._last = self._read()
        self._total = 0

    def joules(self) -> float:
        now = self._read()
        # Full after minutes at the earliest, so between two readings at most once.
        self._total += sum(
            new - old if new >= old else new - old + full
            for new, old, full in zip(now, self._last, self._full, strict=True)
        )
        self._last = now
        return self._total / 1e6

    def close(self) -> None:
        pass

    def _read(self) -> list[int]:
        return [_number(folder / "energy_uj") for folder in self._folders]


def _supply(root: Path, unreadable: list[str]) -> Sensor | None:
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        chip = text_or_none(folder / "name")
        if chip not in _SUPPLY_CHIPS:
            continue
        power, current, voltage = folder / "power1_input", folder / "curr1_input", folder / "in1_input"
        name, covers = f"{chip} in {folder.name}", "whatever this chip's supply powers"
        if number_or_none(power) is not None:
            return _Power(name, covers, lambda power=power: _number(power) / 1e6)  # type: ignore[misc]
        if number_or_none(current) is not None and number_or_none(voltage) is not None:
            # mA times mV are uW.
            return _Power(name, covers, lambda a=current, v=voltage: _number(a) * _number(v) / 1e6)  # type: ignore[misc]
        unreadable += [str(file) for file in (power, current) if file.exists()]
    return None


def _battery(root: Path, unreadable: list[str]) -> Sensor | None:
    for folder in sorted((root / "sys/class/power_supply").glob("*")):
        # Plugged in, the battery's current is that of its charger.
        if text_or_none(folder / "type") != "Battery" or text_or_none(folder / "status") != "Discharging":
            continue
        power, current, voltage = (folder / name for name in ("power_now", "current_now", "voltage_now"))
        name, covers = f"battery {folder.name}", "the whole device"
        # Drivers do not agree on the sign of a current that leaves the battery.
        if number_or_none(power) is not None:
            return _Power(name, covers, lambda power=power: abs(_number(power)) / 1e6)  # type: ignore[misc]
        if number_or_none(current) is not None and number_or_none(voltage) is not None:
            return _Power(name, covers, lambda a=current, v=voltage: abs(_number(a)) * _number(v) / 1e12)  # type: ignore[misc]
        unreadable += [str(file) for file in (power, current) if file.exists()]
    return None


def _rapl(root: Path, unreadable: list[str]) -> Sensor | None:
    packages = [
        folder
        for folder in sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        if (text_or_none(folder / "name") or "").startswith("package")
    ]
    if not packages:
        return None
    if missing := [folder / "energy_uj" for folder in packages if number_or_none(folder / "energy_uj") is None]:
        unreadable += map(str, missing)
        return None
    return _Counters("RAPL", "the CPU's package, without the rest of the board", packages)


def _rest(seconds: float) -> int:
    time.sleep(seconds)
    return 0


def _number(path: Path) -> int:
    return int(path.read_text())
