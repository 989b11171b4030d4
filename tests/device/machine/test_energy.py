"""Energy, from fake sysfs trees whose counters a thread advances."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle
from edgetl_device.errors import Unavailable
from edgetl_device.machine import energy


def put(path: Path, value: object) -> None:
    """Write a value atomically, as sysfs appears to a reader."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(f"{value}\n")
    new.replace(path)


@contextmanager
def advancing(step: Callable[[float], None]) -> Iterator[None]:
    """Call ``step`` with the seconds since the start, a hundred times a second."""
    ended, started = threading.Event(), time.monotonic()

    def run() -> None:
        while not ended.wait(0.01):
            step(time.monotonic() - started)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rapl(root: Path, *, full_uj: int = 1_000_000_000) -> Path:
    folder = root / "sys/class/powercap/intel-rapl:0"
    for name, value in (("name", "package-0"), ("max_energy_range_uj", full_uj), ("energy_uj", 0)):
        put(folder / name, value)
    put(root / "sys/class/powercap/intel-rapl:0:0/name", "core")
    return folder / "energy_uj"


def measured(root: Path, seconds: float, inferences: int) -> dict[str, object]:
    meter = energy.Meter(energy.find_sensor(root), idle_s=0.5)
    usage = energy.Usage()

    def busy() -> int:
        time.sleep(seconds)
        return inferences

    try:
        meter.during(usage, busy)
        meter.during(usage, busy)
        return meter.summary(usage)
    finally:
        meter.close()


def test_a_counter_that_starts_again_when_it_is_full(tmp_path: Path) -> None:
    counter = rapl(tmp_path, full_uj=5_000_000)
    # 2 W for half a second of idling, then 6 W; the counter wraps at 5 J.
    with advancing(lambda s: put(counter, int(1e6 * (2 * min(s, 0.5) + 6 * max(0, s - 0.5))) % 5_000_000)):
        found = measured(tmp_path, 0.6, 5)
    assert found.sensor == "RAPL"
    assert found.idle_w == pytest.approx(2, rel=0.15)
    assert found.busy_w == pytest.approx(6, rel=0.15)
    assert found.inferences == 10
    assert found.joules_per_inference == pytest.approx(6 * 1.2 / 10, rel=0.15)
    assert found.joules_per_inference_above_idle == pytest.approx(4 * 1.2 / 10, rel=0.2)


@pytest.mark.parametrize(
    ("files", "sensor"),
    [
        ({"hwmon/hwmon1/name": "ina260", "hwmon/hwmon1/power1_input": 2_500_000}, "ina260 in hwmon1"),
        (
            {"hwmon/hwmon0/name": "ina219", "hwmon/hwmon0/curr1_input": 500, "hwmon/hwmon0/in1_input": 5000},
            "ina219 in hwmon0",
        ),
        (
            {
                "power_supply/BAT0/type": "Battery",
                "power_supply/BAT0/status": "Discharging",
                "power_supply/BAT0/current_now": -250_000,
                "power_supply/BAT0/voltage_now": 10_000_000,
            },
            "battery BAT0",
        ),
        (
            {
                "power_supply/BAT1/type": "Battery",
                "power_supply/BAT1/status": "Discharging",
                "power_supply/BAT1/power_now": 2_500_000,
            },
            "battery BAT1",
        ),
    ],
)
def test_power_is_added_up(tmp_path: Path, files: dict[str, object], sensor: str) -> None:
    rapl(tmp_path)  # Covers less of the board than any of these.
    for name, value in files.items():
        put(tmp_path / "sys/class" / name, value)
    found = measured(tmp_path, 0.6, 3)
    assert found.sensor == sensor
    assert found.idle_w == pytest.approx(2.5, rel=0.02)
    assert found.joules_per_inference == pytest.approx(2.5 * 1.2 / 6, rel=0.05)
    assert found.joules_per_inference_above_idle == pytest.approx(0, abs=0.01)


def test_power_between_two_readings_of_the_meter_counts(tmp_path: Path) -> None:
    power = tmp_path / "sys/class/hwmon/hwmon0/power1_input"
    put(power.with_name("name"), "ina226")
    put(power, 1_000_000)
    meter, usage = energy.Meter(energy.find_sensor(tmp_path), idle_s=0.2), energy.Usage()

    def burst() -> int:
        """Use 3 W, except while the meter reads the sensor."""
        time.sleep(0.1)
        put(power, 3_000_000)
        time.sleep(1.0)
        put(power, 1_000_000)
        time.sleep(0.1)
        return 1

    meter.during(usage, burst)
    meter.close()
    assert 2.4 < meter.summary(usage).busy_w < 2.9


def test_what_is_too_short_is_unknown(tmp_path: Path) -> None:
    rapl(tmp_path)
    assert "energy needs 1 s" in measured(tmp_path, 0.1, 1).unknown


def test_a_machine_without_a_sensor_or_with_a_locked_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no energy sensor"):
        energy.find_sensor(tmp_path)
    put(tmp_path / "sys/class/hwmon/hwmon0/name", "k10temp")
    put(tmp_path / "sys/class/hwmon/hwmon0/power1_input", 5_000_000)
    put(tmp_path / "sys/class/power_supply/BAT0/type", "Battery")
    put(tmp_path / "sys/class/power_supply/BAT0/status", "Charging")
    put(tmp_path / "sys/class/power_supply/BAT0/power_now", 5_000_000)
    with pytest.raises(Unavailable, match="no energy sensor"):
        energy.find_sensor(tmp_path)
    counter = rapl(tmp_path)
    counter.unlink()
    # A folder cannot be read as a file, not even by root.
    counter.mkdir()
    with pytest.raises(Unavailable, match="is not readable") as caught:
        energy.find_sensor(tmp_path)
    assert f"sudo chmod a+r {counter}" in caught.value.hint


def test_a_bench_with_energy(tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "IDLE_S", 0.2)
    counter = rapl(tmp_path)
    with advancing(lambda s: put(counter, int(4e6 * s))):
        document = run_bench(
            tiny, BenchOptions(variants=["int8"], duration=1.2, quick=True, energy=True), root=tmp_path
        ).to_json()
    (run,) = document["runs"]
    found = run["energy"]
    assert found["inferences"] == len(run["samples_ns"]["invoke"])
    assert found["joules_per_inference"] == pytest.approx(4 * found["seconds"] / found["inferences"], rel=0.15)
