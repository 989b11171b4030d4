"""Find Edge TPUs in Linux's sysfs, and check whether this user may use them. Read-only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# From libedgetpu's udev rules. A USB accelerator has Global Unichip's id until its firmware is loaded, then Google's.
USB_IDS = {("1a6e", "089a"): "firmware not loaded yet", ("18d1", "9302"): "firmware loaded"}
# From the gasket driver's apex_driver.c.
PCI_ID = ("0x1ac1", "0x089a")

_USB_3_MBIT = 5000

_USB_RULE = "Install libedgetpu1-std, whose udev rule gives it to the group plugdev"
_PCI_RULE = 'Put SUBSYSTEM=="apex", MODE="0660", GROUP="apex" into /etc/udev/rules.d/65-apex.rules'


@dataclass(frozen=True)
class EdgeTPU:
    """One Edge TPU.

    Attributes:
        bus: ``usb`` or ``pci``.
        place: Its address on the bus, such as ``2-1`` or ``0000:03:00.0``.
        state: Its state, as text for people.
        node: Its device file, which may be missing; None if the driver has created none.
        problem: Why it is unusable or slow; empty if all is well.
        fix: What to do about the problem.
        usable: Whether this user can use it now.
    """

    bus: str
    place: str
    state: str
    node: Path | None
    problem: str
    fix: str
    usable: bool


def edge_tpus(root: Path = Path("/")) -> list[EdgeTPU]:
    """Return the Edge TPUs on USB, then those on PCIe.

    Args:
        root: The folder that contains ``sys`` and ``dev``.

    Raises:
        OSError: There is no sysfs here.
    """
    if not (root / "sys" / "bus").is_dir():
        raise FileNotFoundError(2, "no such folder, so devices are unknown", str(root / "sys" / "bus"))
    return [*_on_usb(root), *_on_pci(root)]


def _on_usb(root: Path) -> Iterator[EdgeTPU]:
    for device in _devices(root, "usb"):
        state = USB_IDS.get((_value(device / "idVendor"), _value(device / "idProduct")))
        if state is None:
            continue
        bus, number, speed = (_value(device / name) for name in ("busnum", "devnum", "speed"))
        node = None
        if bus.isdigit() and number.isdigit():
            node = root / "dev" / "bus" / "usb" / f"{int(bus):03d}" / f"{int(number):03d}"
        problem = fix = ""
        usable = node is not None and os.access(node, os.R_OK | os.W_OK)
        if node is None or not node.exists():
            problem = f"its device file {node or ''} does not exist"
            fix = "In a container: give it /dev/bus/usb."
        elif not usable:
            problem = f"this user may not write to {node}"
            fix = f"{_USB_RULE}; sudo usermod -aG plugdev $USER; log in again and replug"
        elif speed.isdigit() and int(speed) < _USB_3_MBIT:
            problem = f"connected at {speed} Mbit/s, which slows photos and uncached weights"
            fix = "Use a USB 3 port (blue) and cable."
        yield EdgeTPU("usb", device.name, f"{state}, {speed or 'unknown'} Mbit/s", node, problem, fix, usable)


def _on_pci(root: Path) -> Iterator[EdgeTPU]:
    nodes = _apex_nodes(root)
    for device in _devices(root, "pci"):
        if (_value(device / "vendor"), _value(device / "device")) != PCI_ID:
            continue
        node = nodes.get(device.name)
        problem = fix = ""
        usable = node is not None and os.access(node, os.R_OK | os.W_OK)
        if node is None or not node.exists():
            problem = "there is no /dev/apex_* for it, so no driver has claimed it"
            fix = "sudo apt install gasket-dkms; if Coral's 1.0-18 does not build: github.com/google/gasket-driver"
        elif not usable:
            problem = f"this user may not write to {node}"
            fix = f"{_PCI_RULE}; sudo groupadd apex; sudo usermod -aG apex $USER; reboot"
        state = f"driver {node.name}" if node else "no driver"
        if node and (celsius := _temperature(root, node.name)):
            state += f", {celsius}"
        yield EdgeTPU("pci", device.name, state, node, problem, fix, usable)


def _devices(root: Path, bus: str) -> list[Path]:
    folder = root / "sys" / "bus" / bus / "devices"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _apex_nodes(root: Path) -> dict[str, Path]:
    """Return the gasket driver's device files by PCI address."""
    folder = root / "sys" / "class" / "apex"
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return {(entry / "device").resolve().name: root / "dev" / entry.name for entry in entries}


def _temperature(root: Path, name: str) -> str:
    millidegrees = _value(root / "sys" / "class" / "apex" / name / "temp")
    return f"{int(millidegrees) / 1000:.0f} C" if millidegrees.lstrip("-").isdigit() else ""


def _value(path: Path) -> str:
    """Return a sysfs attribute; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
