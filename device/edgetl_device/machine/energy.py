"""Energy per photo in joules, from an INA2xx, a battery or RAPL. Linux only.

Units in sysfs are defined in Linux's ``Documentation/hwmon/sysfs-interface.rst`` (uW, mA, mV),
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

from edgetl_device._lib.documents import Positive, Seconds, Unknown
from edgetl_device.errors import Unavailable

from .reading import number_or_none, text_or_none

IDLE_S = 3.0
# An INA2xx averages over up to a second, a fuel gauge over longer, so shorter measurements are meaningless.
LEAST_S = 1.0
_POLL_S = 0.05

# hwmon's "name" of chips that measure a power supply; other chips measure other voltages.
_SUPPLY_CHIPS = ("ina209", "ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina238", "ina260", "ina3221")


class Sensor(Protocol):
    """An energy counter with an arbitrary starting point.

    Attributes:
        name: Chip or driver, and its location.
        covers: What it measures: the board, the battery's load, the CPU.
    """

    name: str
    covers: str

    def joules(self) -> float:
        """Return the counter in joules; OSError if the sensor does not respond."""

    def close(self) -> None:
        """Stop counting."""


def find_sensor(root: Path = Path("/")) -> Sensor:
    """Return the sensor with the widest coverage: the board's supply, else its battery, else the CPU.

    Args:
        root: The folder that contains ``sys``.

    Raises:
        Unavailable: There is no sensor, or this user may not read it.
    """
    unreadable: list[str] = []
    for find in (_supply, _battery, _rapl):
        sensor = find(root, unreadable)
        if sensor is not None:
            return sensor
    if unreadable:
        raise Unavailable(
            f"{unreadable[0]} is not readable",
            why="Linux restricts it to root, because power readings reveal what other programs do",
            hint=f"sudo chmod a+r {unreadable[0]}   (until the next boot)",
        )
    raise Unavailable("this machine has no energy sensor", why="no INA2xx in hwmon, no battery, no RAPL")


@dataclass
class Usage:
    """Energy, time and inferences, summed over the rounds of a run."""

    joules: float = 0.0
    seconds: float = 0.0
    inferences: int = 0


@dataclass(frozen=True)
class Energy:
    """Energy of a run, including every stage from file to prediction.

    Attributes:
        sensor: Chip or driver, and its location.
        covers: What the sensor measures: the board, the battery's load, the CPU.
        idle_w: Idle power before the bench.
        busy_w: Power during the run.
        seconds: Length of the measurement.
        inferences: Number of inferences.
        joules_per_inference: Total energy per inference.
        joules_per_inference_above_idle: The same minus idle power; noise can make it negative.
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
    """Measures energy with a sensor, after a baseline of the board's idle power.

    Args:
        sensor: The sensor; the meter closes it.
        idle_s: Length of the baseline in seconds; the constructor blocks that long.
    """

    def __init__(self, sensor: Sensor, idle_s: float) -> None:
        """Measure the idle power."""
        self._sensor = sensor
        idle = Usage()
        self.during(idle, lambda: _rest(idle_s))
        self.idle_w = idle.joules / idle.seconds

    def during(self, usage: Usage, act: Callable[[], int]) -> None:
        """Run ``act``, which returns its number of inferences, and add the energy it used to ``usage``."""
        started_s, before = time.monotonic(), self._sensor.joules()
        usage.inferences += act()
        usage.joules += self._sensor.joules() - before
        usage.seconds += time.monotonic() - started_s

    def summary(self, usage: Usage) -> Energy | Unknown:
        """Return the energy of a run; unknown if it was too short."""
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
            # Noise can make a light run negative; report that instead of 0.
            joules_per_inference_above_idle=above / usage.inferences,
        )

    def close(self) -> None:
        """Stop the sensor."""
        self._sensor.close()


class _Power:
    """Integrates power by the trapezoidal rule; a thread polls the sensor 20 times a second."""

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
        # If the sensor stops responding, the thread ends, and the meter's next reading raises the error.
        with contextlib.suppress(OSError):
            while not self._ended.wait(_POLL_S):
                self.joules()


class _Counters:
    """Microjoule counters that wrap around to 0."""

    def __init__(self, name: str, covers: str, folders: Sequence[Path]) -> None:
        self.name, self.covers = name, covers
        self._folders = folders
        self._full = [_number(folder / "max_energy_range_uj") for folder in folders]
        self._last = self._read()
        self._total = 0

    def joules(self) -> float:
        now = self._read()
        # Wrapping takes minutes, so it happens at most once between two readings.
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
        name, covers = f"{chip} in {folder.name}", "everything on this chip's supply"
        if number_or_none(power) is not None:
            return _Power(name, covers, lambda power=power: _number(power) / 1e6)  # type: ignore[misc]
        if number_or_none(current) is not None and number_or_none(voltage) is not None:
            # mA * mV = uW.
            return _Power(name, covers, lambda a=current, v=voltage: _number(a) * _number(v) / 1e6)  # type: ignore[misc]
        unreadable += [str(file) for file in (power, current) if file.exists()]
    return None


def _battery(root: Path, unreadable: list[str]) -> Sensor | None:
    for folder in sorted((root / "sys/class/power_supply").glob("*")):
        # While the board is plugged in, the battery's current is the charging current.
        if text_or_none(folder / "type") != "Battery" or text_or_none(folder / "status") != "Discharging":
            continue
        power, current, voltage = (folder / name for name in ("power_now", "current_now", "voltage_now"))
        name, covers = f"battery {folder.name}", "the whole device"
        # Drivers disagree on the sign of a discharge current.
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
    return int(path.read_text(encoding="utf-8"))
