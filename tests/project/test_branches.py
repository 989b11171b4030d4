"""The coverage report of ``make coverage``, and when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from branches import BOUNDS, Module, report

REPO = Path(__file__).parents[2]
MODULES = [
    Module("edgetl/cli/__init__.py", 90, 100),
    Module("edgetl/runs/metrics.py", 40, 50),
    Module("edgetl/empty.py", 0, 0),
    Module("device/edgetl_device/bundle.py", 949, 1000),
]


def test_packages_are_held_to_their_bounds_without_rounding_up() -> None:
    text, enough = report(MODULES, {"edgetl": 86.0, "edgetl_device": 95.0})
    assert not enough
    rows = text.splitlines()
    assert rows[0].split() == ["edgetl", "86.67%", "at", "least", "86%"]
    assert rows[1].split() == ["edgetl_device", "94.90%", "at", "least", "95%:", "NOT", "REACHED"]
    assert [row.split()[1] for row in rows[2:]] == [
        "edgetl/runs/metrics.py", "edgetl/cli/__init__.py", "device/edgetl_device/bundle.py", "edgetl/empty.py",
    ]  # fmt: skip
    assert report(MODULES, {"edgetl": 86.0, "edgetl_device": 94.9})[1]


def test_a_package_that_was_not_measured_reaches_no_bound() -> None:
    assert not report(MODULES[:3], {"edgetl_device": 95.0})[1]


def test_the_bounds_are_of_both_packages() -> None:
    assert set(BOUNDS) == {"edgetl", "edgetl_device"}


@pytest.mark.parametrize(("bound", "code"), [("0", 0), ("99", 1)])
def test_a_run_below_its_bound_fails_though_its_tests_pass(tmp_path: Path, bound: str, code: int) -> None:
    """A small test of the device package, in this process and in a child process, against a bound."""
    (tmp_path / "test_small.py").write_text(
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "def test_small():\n"
        "    subprocess.run([sys.executable, '-m', 'edgetl_device', '--help'], check=True, cwd=Path(__file__).parent)\n"
    )
    (tmp_path / "conftest.py").write_text(
        f"import branches\nbranches.BOUNDS['edgetl_device'] = {bound}\nbranches.BOUNDS['edgetl'] = 0\n"
        f"from conftest_of_tests import *\n"
    )
    (tmp_path / "conftest_of_tests.py").write_text((REPO / "tests" / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-c", str(REPO / "pyproject.toml"), "--rootdir", str(tmp_path)]
    command += ["-p", "no:cacheprovider", "--cov", "--cov-report=", "--coverage-bounds", str(tmp_path)]
    path = os.pathsep.join((str(tmp_path), str(REPO / "tests"), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": path, "COVERAGE_FILE": str(tmp_path / ".coverage")}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("1 passed in ")
    assert ("NOT REACHED" in done.stdout) == bool(code)
    # Lines that ran only in the child process count.
    share = next(line for line in done.stdout.splitlines() if line.startswith("edgetl_device")).split()[1]
    assert 1 < float(share.rstrip("%")) < 50
