"""Fetch wheels on this machine for boards without access to a package index."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetl._lib import cache, extras
from edgetl.remote.connection import Children
from edgetl.remote.wheel import Wheel
from edgetl_device.errors import Unavailable


@dataclass(frozen=True)
class Target:
    """Platform of a board, such as ``aarch64``, Python (3, 11), glibc ``2.36``."""

    machine: str
    python: tuple[int, int]
    glibc: str

    def platforms(self) -> list[str]:
        """Return platform tags, newest first (PEP 600; manylinux2014 is the legacy name of 2.17, PEP 599)."""
        _, _, minor = self.glibc.partition(".")
        newest = int(minor) if minor.isdigit() else 17
        tags = [f"manylinux_2_{number}_{self.machine}" for number in range(newest, 16, -1)]
        return [*tags, f"manylinux2014_{self.machine}"]


def requirements(wheel: Wheel, target: Target, wanted: Sequence[str]) -> list[str]:
    """Return the requirements of a wheel with the given extras on a target, without markers.

    ``pip download`` would evaluate markers for the machine it runs on.
    """
    packaging = extras.require("packaging.requirements")
    about = {
        "platform_machine": target.machine,
        "python_version": ".".join(map(str, target.python)),
        "sys_platform": "linux",
    }
    found = []
    for line in wheel.requires:
        one = packaging.Requirement(line)
        if one.marker is None or any(one.marker.evaluate(about | {"extra": extra}) for extra in ("", *wanted)):
            found.append(f"{one.name}{one.specifier}")
    return found


def fetch_wheels(target: Target, wheel: Wheel, wanted: Sequence[str], *, children: Children) -> list[Path]:
    """Return the dependency wheels of edgetl-device for a target, from the cache or this machine's index.

    Raises:
        Unavailable: pip is missing or cannot reach an index, or a package has no wheel for the target.
    """
    needed = requirements(wheel, target, wanted)
    key = cache.key_of(needed=needed, platforms=target.platforms(), python=target.python)

    def make(folder: Path) -> None:
        version = "".join(map(str, target.python))
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
        command += ["--dest", str(folder), "--only-binary=:all:", "--implementation", "cp", "--python-version", version]
        command += [word for tag in target.platforms() for word in ("--platform", tag)]
        with tempfile.TemporaryFile() as errors:
            child = children.start([*command, *needed], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            try:
                code = child.wait()
            finally:
                children.done(child)
            if children.stopped:
                raise KeyboardInterrupt
            errors.seek(0)
            said = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
        if code:
            reasons = [line.removeprefix("ERROR:").strip() for line in said if line.startswith("ERROR:")]
            raise Unavailable(
                f"no wheels for {target.machine}, Python {target.python[0]}.{target.python[1]}",
                why=(reasons or said or [f"pip ended with {code}"])[-1],
            )

    return sorted(cache.entry("wheels", key, make).glob("*.whl"))
