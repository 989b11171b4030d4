"""Disable the telemetry of libraries that edgetl loads."""

from __future__ import annotations

import os

# ONNX Runtime 1.32 and later sends telemetry to its vendor when it is loaded: a machine id that it stores in
# ~/.cache/Microsoft, the hardware, the program. Its functions to disable that come too late; only this variable works.
# MLflow counts on a server of its own what it is used for.
_OFF = {"ORT_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def switch_off() -> None:
    """Disable telemetry for libraries loaded from now on, in this process and its children."""
    os.environ.update(_OFF)
