"""Telemetry of the libraries that edgetl loads, switched off."""

from __future__ import annotations

import os

# ONNX Runtime 1.32 and later reports to its maker from the moment it is loaded: an id of the machine that it keeps in
# ~/.cache/Microsoft, the hardware, the program. Its functions to disable that come too late; only this variable counts.
_OFF = {"ORT_DISABLE_TELEMETRY": "1"}


def switch_off() -> None:
    """Have libraries that are loaded from now on, here and in processes started from here, send nothing."""
    os.environ.update(_OFF)
