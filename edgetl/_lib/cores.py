"""The number of cores that this process may use."""

from __future__ import annotations

from edgetl_device.machine.cores import usable_cores


def available_cores() -> int:
    """Return the number of cores that this process may run on, at least 1."""
    return usable_cores() or 1
