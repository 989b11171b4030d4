"""Run the tests on every supported Python, with the lowest and the newest dependencies, and print a table. Needs uv.

Example: python tests/matrix.py --python 3.10 --dependencies lowest -- tests/device -q
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
DEPENDENCIES = {"lowest": "lowest-direct", "newest": "highest"}
# uv ignores that it is for Python 3.10 at most, where ai-edge-litert asks for it; pip does not install it elsewhere.
LEFT_OUT = ("-e", "backports-strenum")
_COUNTS = re.compile(rb"(\d+) (passed|failed|errors?|skipped)")


@dataclass(frozen=True)
class Outcome:
    """One row of the table; ``said`` is the counts, or why there are none."""

    python: str
    dependencies: str
    said: str
    passed: bool
    seconds: float = 0.0


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version, or None if there is none on this machine."""
    done = subprocess.run(
        ["uv", "python", "find", "--no-python-downloads", version], capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode == 0 and done.stdout.strip():
        return done.stdout.strip()
    # uv finds those of pyenv only if they are active.
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next((str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))), None)


def constraints(python: str, resolution: str) -> str:
    """Return the versions of all packages of development, as lines for pip."""
    # The device package is the checkout's own.
    done = subprocess.run(
        [
            *("uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--resolution", resolution),
            *(
                "--extra",
                "dev",
                "--extra",
                "camera",
                "--python",
                python,
                "-",
                "pyproject.toml",
                "device/pyproject.toml",
            ),
        ],
        input="-e ./device\n",
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "uv failed")
    return "".join(f"{line}\n" for line in done.stdout.splitlines() if not line.startswith(LEFT_OUT))


def run(version: str, dependencies: str, folder: Path, arguments: Sequence[str]) -> Outcome:
    """Install into a new environment and run pytest there; its output goes to a file beside it."""
    python = interpreter(version)
    if python is None:
        return Outcome(version, dependencies, "not run: no such Python on this machine", passed=False)
    place = folder / f"{version}-{dependencies}"
    place.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        (place / "constraints.txt").write_text(constraints(python, DEPENDENCIES[dependencies]), encoding="utf-8")
    except RuntimeError as error:
        return Outcome(version, dependencies, f"cannot be installed: {error}", passed=False)
    installed = subprocess.run(
        ["uv", "venv", "--quiet", "--clear", "--python", python, str(place / "venv")], check=False
    )
    own = str(place / "venv" / "bin" / "python")
    if installed.returncode == 0:
        installed = subprocess.run(
            [
                *("uv", "pip", "install", "--quiet", "--python", own, "--constraints", str(place / "constraints.txt")),
                *("-e", "./device", "-e", ".[dev]"),
            ],
            check=False,
            cwd=ROOT,
        )
    if installed.returncode:
        return Outcome(version, dependencies, "cannot be installed: uv says why above", passed=False)
    log = place / "pytest.log"
    with open(log, "wb") as stream:
        code = subprocess.run(
            [own, "-m", "pytest", *arguments, "--verbosity=0"],
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=ROOT,
        ).returncode
    counts = _COUNTS.findall(log.read_bytes()[-2000:])
    said = ", ".join(f"{count.decode()} {word.decode()}" for count, word in counts) or f"pytest ended with {code}"
    return Outcome(version, dependencies, said, passed=code == 0, seconds=time.monotonic() - started)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a table in Markdown."""
    rows = [f"| {one.python} | {one.dependencies} | {one.said} | {one.seconds:.0f} |" for one in outcomes]
    return "\n".join(["| Python | dependencies | tests | seconds |", "|---|---|---|---|", *rows])


def main() -> int:
    """Run what was asked and return 1 if a combination failed or could not run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only this version; may be repeated")
    parser.add_argument("--dependencies", choices=tuple(DEPENDENCIES), help="only these")
    parser.add_argument("--folder", type=Path, default=ROOT / ".matrix", help="for environments and logs")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    asked = parser.parse_args()
    if shutil.which("uv") is None:
        parser.error("uv is not installed: pip install uv")
    outcomes = []
    for version in asked.python or PYTHONS:
        for dependencies in [asked.dependencies] if asked.dependencies else DEPENDENCIES:
            outcomes.append(run(version, dependencies, asked.folder.resolve(), asked.pytest))
            print(f"Python {version}, {dependencies}: {outcomes[-1].said}", file=sys.stderr, flush=True)
    print(table(outcomes))
    return int(not all(one.passed for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
