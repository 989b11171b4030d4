"""Checks of a workstation for training, exporting and compiling, in addition to those of the device package."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from edgetl._lib.extras import install
from edgetl.inspection.edgetpu.compiler import PROGRAM
from edgetl_device import doctor
from edgetl_device._lib.documents import Unknown
from edgetl_device.doctor import Check, Report, lacking
from edgetl_device.machine.environment import package_version
from edgetl_device.reasons import Reason, table
from edgetl_device.text import GUIDES

# The extra [train] of pyproject.toml.
TRAINING = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "scikit-learn", "matplotlib")
_INSTALL = install("train")

# Beside those of the device package.
WORKSTATION = table(
    Reason("training-missing", "info", "None of the packages that training needs is installed.", _INSTALL),
    Reason("training-incomplete", "warning", "Some of the packages that training needs are not installed.", _INSTALL),
    Reason(
        "package-version",
        "warning",
        "edgetl is not tested with this version of a package.",
        "Upgrade the named packages: pip install --upgrade.",
    ),
    Reason(
        "edge-tpu-compiler-missing",
        "info",
        "The Edge TPU compiler is not installed; only edgetl compile needs it.",
        f"See {GUIDES}/coral.md",
    ),
)


def examine(*, root: Path = Path("/"), place: Path = Path()) -> Report:
    """Return the report of :func:`edgetl_device.doctor.examine` with the checks of a workstation added."""
    found = doctor.examine(root=root, place=place).checks
    return doctor.report(
        [
            *found,
            training({name: package_version(name) for name in TRAINING}),
            versions(required := _requirements(), {one.name: package_version(one.name) for one in required}),
            _compiler(),
        ]
    )


def _requirements() -> list[Requirement]:
    """Return the requirements of both distributions here, with those of an extra if all of it is installed."""
    found = []
    for distribution in ("edgetl-device", "edgetl"):
        lines = [Requirement(line) for line in metadata.requires(distribution) or []]
        for extra in ("", *metadata.metadata(distribution).get_all("Provides-Extra", [])):
            asked = [one for one in lines if not one.marker or one.marker.evaluate({"extra": extra})]
            if not extra or all(isinstance(package_version(one.name), str) for one in asked):
                found += asked
    return found


def versions(requirements: Iterable[Requirement], installed: Mapping[str, str | Unknown]) -> Check:
    """Compare installed versions with the required ones; missing packages are reported elsewhere."""
    wrong = {
        f"{one.name} {version}, not {one.specifier}"
        for one in requirements
        if isinstance(version := installed.get(one.name), str) and not one.specifier.contains(version, prereleases=True)
    }
    if not wrong:
        return Check("package versions", "ok", "as edgetl requires")
    return lacking("package versions", WORKSTATION["package-version"], "; ".join(sorted(wrong)))


def training(versions: dict[str, str | Unknown]) -> Check:
    """Check the packages that training needs: all or none (a board) is fine, some of them is a mistake.

    Args:
        versions: A version for each of :data:`TRAINING` that is installed.
    """
    installed = {name: version for name, version in versions.items() if not isinstance(version, Unknown)}
    missing = [name for name in versions if name not in installed]
    if not missing:
        return Check("training", "ok", ", ".join(f"{name} {version}" for name, version in installed.items()))
    # A board may have onnxruntime alone, for ONNX variants.
    if not set(installed) - {"onnxruntime"}:
        return lacking("training", WORKSTATION["training-missing"], "not installed; boards need none of it")
    return lacking("training", WORKSTATION["training-incomplete"], f"incomplete: {', '.join(missing)} missing")


def _compiler() -> Check:
    program = shutil.which(PROGRAM)
    if program is None:
        nothing = f"no {PROGRAM}; only edgetl compile needs it"
        return lacking("Edge TPU compiler", WORKSTATION["edge-tpu-compiler-missing"], nothing)
    return Check("Edge TPU compiler", "ok", program)
