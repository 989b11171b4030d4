"""What a machine has for training, exporting and compiling, beside what the device package looks for.

Not for: boards: everything here may be absent there.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgetl.inspection.edgetpu.compiler import PROGRAM
from edgetl_device import doctor
from edgetl_device.doctor import Check
from edgetl_device.machine.environment import package_version

# The extra [train] of pyproject.toml.
TRAINING = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "scikit-learn", "matplotlib")
_INSTALL = "In edgetl's checkout: pip install ./device '.[train]'"


def examine(*, root: Path = Path("/"), place: Path = Path()) -> dict[str, Any]:
    """Return the document of :func:`edgetl_device.doctor.examine` with the checks of a workstation added."""
    document = doctor.examine(root=root, place=place)
    found = [Check(**check) for check in document["checks"]]
    return doctor.report([*found, training({name: package_version(name) for name in TRAINING}), _compiler()])


def training(versions: dict[str, Any]) -> Check:
    """Judge the packages that training needs: all, none (a board), or a part of them, which is a mistake.

    Args:
        versions: A version, or ``{"unknown": why}``, for each of :data:`TRAINING`.
    """
    installed = {name: version for name, version in versions.items() if not isinstance(version, dict)}
    missing = [name for name in versions if name not in installed]
    if not missing:
        return Check("training", "ok", ", ".join(f"{name} {version}" for name, version in installed.items()))
    # onnxruntime alone is what a board installs for ONNX variants.
    if not set(installed) - {"onnxruntime"}:
        return Check("training", "absent", "not installed; boards need none of it", _INSTALL)
    return Check("training", "warning", f"incomplete: {', '.join(missing)} missing", _INSTALL)


def _compiler() -> Check:
    program = shutil.which(PROGRAM)
    if program is None:
        return Check(
            "Edge TPU compiler",
            "absent",
            f"no {PROGRAM}; only edgetl compile needs it",
            "See docs/coral.md.",
        )
    return Check("Edge TPU compiler", "ok", program)
