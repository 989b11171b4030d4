"""Reading the environment, from copies of boards' sysfs and procfs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgetl_device._lib.documents import Unknown
from edgetl_device.machine import cores, environment
from edgetl_device.machine.cores import Cluster

# Rockchip RK3399: two core types; the numbers are from its device tree.
LITTLE, BIG = range(4), range(4, 6)


def write(root: Path, files: dict[str, Any]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.fixture
def rk3399(tmp_path: Path) -> Path:
    files: dict[str, Any] = {
        "proc/device-tree/model": "Radxa ROCK Pi 4B\0",
        "proc/device-tree/compatible": "radxa,rockpi4b\0radxa,rockpi4\0rockchip,rk3399\0",
        "proc/cpuinfo": "".join(
            f"processor\t: {n}\nCPU implementer\t: 0x41\nCPU part\t: {'0xd08' if n in BIG else '0xd03'}\n\n"
            for n in range(6)
        ),
        "proc/stat": "cpu  1000 0 500 9000 100 0 50 0 0 0\ncpu0 1 2 3",
        "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable:    3000000 kB\n",
        "sys/class/thermal/thermal_zone0/type": "gpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": 90000,
        "sys/class/thermal/thermal_zone1/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone1/temp": 61500,
        "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0",
        "sys/class/thermal/cooling_device0/cur_state": 0,
        "sys/class/thermal/cooling_device1/type": "gpio-fan",
        "sys/class/thermal/cooling_device1/cur_state": 2,
    }
    for cpus, capacity, mhz, governor in ((LITTLE, 485, 1416, "ondemand"), (BIG, 1024, 1800, "performance")):
        for n in cpus:
            folder = f"sys/devices/system/cpu/cpu{n}"
            files |= {
                f"{folder}/cpu_capacity": capacity,
                f"{folder}/cpufreq/related_cpus": " ".join(map(str, cpus)),
                f"{folder}/cpufreq/scaling_governor": governor,
                f"{folder}/cpufreq/cpuinfo_min_freq": 408_000,
                f"{folder}/cpufreq/cpuinfo_max_freq": mhz * 1000,
                f"{folder}/cpufreq/scaling_cur_freq": (mhz - n) * 1000,
            }
    return write(tmp_path, files)


def test_big_and_little_cores_are_told_apart(rk3399: Path) -> None:
    found = environment.describe(rk3399)
    assert found.board == "Radxa ROCK Pi 4B"
    assert found.soc == "rockchip,rk3399"
    assert found.cpu == "2 x Cortex-A72 + 4 x Cortex-A53"
    assert found.clusters == tuple(
        Cluster(tuple(cpus), core, capacity, governor, frequency_min_mhz=408.0, frequency_max_mhz=mhz)
        for cpus, core, capacity, governor, mhz in (
            (BIG, "Cortex-A72", 1024, "performance", 1800.0),
            (LITTLE, "Cortex-A53", 485, "ondemand", 1416.0),
        )
    )


def test_the_state_of_a_board_without_vcgencmd(rk3399: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(rk3399))
    found = environment.state(rk3399)
    # The GPU is hotter, and a fan is not throttling.
    assert found.temperature_c == 61.5
    assert found.frequency_mhz == 1796.0
    assert found.throttled == ()
    assert "vcgencmd" in found.throttled_since_boot.unknown
    assert found.memory_available_bytes == 3_000_000 * 1024
    assert found.busy_cpu_s == pytest.approx(15.5)
    write(rk3399, {"sys/class/thermal/cooling_device0/cur_state": 3})
    assert environment.state(rk3399).throttled == ("throttling",)
    # If the kernel does not say, throttling is unknown, not an empty list.
    write(rk3399, {"sys/class/thermal/cooling_device0/cur_state": ""})
    assert "cur_state has no number" in environment.state(rk3399).throttled.unknown


def test_flags_of_a_raspberry_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text("#!/bin/sh\necho throttled=0xe0008\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = environment.state(tmp_path)
    assert found.throttled == ("a soft temperature limit",)
    assert found.throttled_since_boot == ("capped frequency", "throttling", "a soft temperature limit")
    assert environment.throttled_since_boot() == found.throttled_since_boot


def test_a_machine_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    known = {"machine", "emulated", "cores", "memory_bytes", "os", "kernel", "python", "packages"}
    for name, value in vars(environment.describe(tmp_path)).items():
        assert name in known or value.unknown, name
    state = environment.state(tmp_path)
    for name in ("temperature_c", "frequency_mhz", "throttled", "throttled_since_boot", "memory_available_bytes"):
        assert isinstance(getattr(state, name), Unknown)
    assert "thermal_zone0" in state.temperature_c.unknown


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor : 0\nmodel name : AMD EPYC\n", "AMD EPYC"),
        (
            "processor : 0\nmodel name : ARMv7 Processor rev 3 (v7l)\nCPU implementer : 0x41\nCPU part : 0xd08\n",
            "1 x Cortex-A72",
        ),
        ("processor : 0\nCPU implementer : 0x51\nCPU part : 0x800\n", "1 x implementer 0x51, part 0x800"),
        ("Hardware : BCM2835\n", "BCM2835"),
    ],
)
def test_names_of_cpus(tmp_path: Path, cpuinfo: str, name: str) -> None:
    assert cores.cpu_name(write(tmp_path, {"proc/cpuinfo": cpuinfo})) == name


def test_a_chip_with_a_driver_of_its_own(tmp_path: Path) -> None:
    soc = "sys/devices/soc0"
    assert (
        cores.soc(write(tmp_path, {f"{soc}/family": "Freescale i.MX", f"{soc}/soc_id": "i.MX8MP"}))
        == "Freescale i.MX i.MX8MP"
    )


def test_memory_of_a_control_group_is_what_a_service_has_left(tmp_path: Path) -> None:
    """A service with ``MemoryMax=800M`` and 500 MB in use, 100 MB of them file cache that can be dropped."""
    files = {
        "proc/meminfo": "MemAvailable: 3000000 kB\n",
        "proc/self/cgroup": "0::/system.slice/edgetl.service\n",
        "sys/fs/cgroup/system.slice/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/memory.current": "900000000\n",
        "sys/fs/cgroup/system.slice/edgetl.service/memory.max": "800000000\n",
        "sys/fs/cgroup/system.slice/edgetl.service/memory.current": "500000000\n",
        "sys/fs/cgroup/system.slice/edgetl.service/memory.stat": "anon 400000000\ninactive_file 100000000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert environment.memory_available_bytes(tmp_path) == 400_000_000
    (tmp_path / "sys/fs/cgroup/system.slice/memory.max").write_text("950000000\n")
    assert environment.memory_available_bytes(tmp_path) == 50_000_000


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "emulated"),
    [
        ("x86_64", "model name : QEMU Virtual CPU version 2.5+", True),
        ("x86_64", "model name : QEMU TCG CPU version 2.5+", True),
        ("aarch64", "vendor_id : GenuineIntel", True),
        ("armv7l", "vendor_id : AuthenticAMD", True),
        ("x86_64", "vendor_id : GenuineIntel", False),
        ("aarch64", "CPU implementer : 0x41", False),
    ],
)
def test_an_emulated_cpu_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, cpuinfo: str, emulated: bool
) -> None:
    if Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() and machine == "aarch64":
        pytest.skip("this machine emulates it")
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert environment.describe(write(tmp_path, {"proc/cpuinfo": cpuinfo})).emulated is emulated


def test_memory_that_the_kernel_does_not_tell(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "MemTotal: 4000000 kB"})
    assert environment.memory_available_bytes(tmp_path) == Unknown("/proc/meminfo has no MemAvailable")


def test_a_sensor_that_is_switched_off(tmp_path: Path) -> None:
    write(tmp_path, {"sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone0/temp": ""})
    assert "temp has no number" in environment.state(tmp_path).temperature_c.unknown
