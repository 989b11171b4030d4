"""Import installed runtime packages, and report their versions."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from types import ModuleType

from edgetl_device._lib import telemetry
from edgetl_device.errors import Unavailable, is_out_of_memory, out_of_memory


def load(module: str, package: str, *, hint: str) -> ModuleType:
    """Import a module of a package.

    Raises:
        Unavailable: The package is not installed (with ``hint``), or cannot be loaded.
    """
    telemetry.switch_off()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module.split(".")[0]:
            raise Unavailable(f"{package} is not installed here", hint=hint) from None
        raise Unavailable(f"{package} cannot be loaded", why=str(error), hint="Reinstall it.") from None
    except (ImportError, OSError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"to load {package}", str(error)) from None
        raise Unavailable(
            f"{package} is installed but cannot be loaded on Python {sys.version.split()[0]}",
            why=str(error),
            hint="Reinstall it, or install a build for this system.",
        ) from None


def version(package: str) -> str:
    """Return a package's version, or ``unknown``."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # a build under another name, such as ai-edge-litert-nightly
