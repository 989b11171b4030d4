"""Tests whose program is missing: skipped and counted, but failed in CI; ``.ci/run`` installs the programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import PROGRAMS

REPO = Path(__file__).parents[2]
UNIT = "tests/device/test_application_doc.py::test_the_units_pass_systemds_own_check"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of programs for ``PATH``, without any of ``PROGRAMS``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "grep"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    (folder / "python3").symlink_to(sys.executable)
    return folder


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("ci", "code", "summary"), [("", 0, "2 skipped"), ("true", 1, "2 errors")])
def test_without_its_program_a_test_is_skipped_and_in_ci_it_fails(bare: Path, ci: str, code: int, summary: str) -> None:
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", UNIT]
    environment = {**os.environ, "PATH": str(bare), "CI": ci}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stdout
    assert "no systemd-analyze here: apt install systemd" in done.stdout
    assert summary in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("user", [0, 1000])
def test_ci_runs_what_the_readme_says_and_as_root_on_debian_installs_first(bare: Path, user: int) -> None:
    log = bare / "log"
    script(bare / "id", f"echo {user}")
    for name in ("apt-get", "make"):
        script(bare / name, f'echo {name} "$@" >> {log}')
    environment = {**os.environ, "PATH": str(bare)}
    done = subprocess.run([REPO / ".ci" / "run"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *before, suite, photos = log.read_text().splitlines()
    assert (suite, photos) == ("make test", "make test-e2e")
    assert "\nmake test " in (REPO / "README.md").read_text()
    if user or "ID=debian" not in Path("/etc/os-release").read_text().splitlines():
        assert before == []
        return
    update, install = before
    assert update == "apt-get update -qq"
    # sshd is found in the administrators' folders even if they are not on PATH.
    assert {*install.split()[5:], "openssh-server"} == {program.package for program in PROGRAMS.values()}


def test_where_apt_fails_the_tests_run_and_say_what_is_absent(bare: Path) -> None:
    script(bare / "id", "echo 0")
    script(bare / "apt-get", "exit 100")
    script(bare / "make", "echo tests")
    environment = {**os.environ, "PATH": str(bare)}
    done = subprocess.run([REPO / ".ci" / "run"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "tests\ntests\n")
    if "ID=debian" in Path("/etc/os-release").read_text().splitlines():
        assert "warning: apt-get could not install chromium " in done.stderr


def test_the_readme_names_every_program() -> None:
    text = (REPO / "README.md").read_text()
    assert [name for name in PROGRAMS if f"`{name}`" not in text] == []
