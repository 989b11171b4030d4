"""The matrix of Pythons and dependencies says what was run, and what could not be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import matrix

ROOT = Path(__file__).resolve().parents[2]


def with_uv(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run the matrix for two Pythons with a program in place of uv, or without one if ``script`` is empty."""
    if script:
        (folder / "uv").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / "uv").chmod(0o755)
    command = [sys.executable, str(ROOT / "tests" / "matrix.py"), "--python", "3.10", "--python", "3.13"]
    return subprocess.run(
        [*command, "--folder", str(folder / "matrix")],
        env=os.environ | {"PATH": str(folder), "PYENV_ROOT": str(folder)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_a_python_that_is_absent_is_said(tmp_path: Path) -> None:
    done = with_uv(tmp_path, "exit 2")
    assert done.returncode == 1
    rows = [
        f"| {python} | {which} | not run: no such Python"
        for python in ("3.10", "3.13")
        for which in ("lowest", "newest")
    ]
    assert [line[: len(rows[0])] for line in done.stdout.splitlines()[2:]] == rows


def test_what_cannot_be_installed_is_said(tmp_path: Path) -> None:
    done = with_uv(
        tmp_path, 'if [ "$1" = python ]; then echo /usr/bin/python3; else echo "no solution" >&2; exit 1; fi'
    )
    assert done.returncode == 1
    assert done.stdout.count("cannot be installed: no solution") == 4


def test_without_uv_the_next_step_is_said(tmp_path: Path) -> None:
    done = with_uv(tmp_path, "")
    assert done.returncode == 2
    assert "pip install uv" in done.stderr


def test_it_runs_each_python_that_the_package_promises() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    assert list(matrix.PYTHONS) == promised
