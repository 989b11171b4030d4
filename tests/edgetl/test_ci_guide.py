"""The workflow of docs/guides/ci.md: each step's script runs here, in order, on drawn photos."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import small
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "ci.md"

pytestmark = [pytest.mark.no_cover, pytest.mark.skipif(not GUIDE.exists(), reason="the documentation is not here")]

# A run of seconds; the board's step is shorter too.
QUICK = """
[train]
size = 96
views = 1
epochs = 0
batch_size = 8
truncate = "6"
trainable_blocks = 2
seed = 1

[bench]
variants = ["float32", "int8"]
quick = true
duration = 0.05
"""


def block(language: str) -> str:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(code)


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(block("yaml"))["jobs"]
    return found


def scripts(job: str) -> list[tuple[str, str]]:
    """Name and script of each step of a job that has one."""
    return [(step["name"], step["run"]) for step in jobs()[job]["steps"] if "run" in step]


@pytest.fixture
def workspace(tiny_photos: Path, tmp_path: Path) -> Path:
    """A repository with photos, and in front of the path the programs that the scripts start."""
    shutil.copytree(tiny_photos, tmp_path / "repository" / "photos")
    (tmp_path / "repository" / "model.toml").write_text(QUICK)
    programs = {
        "edgetl": f'exec "{sys.executable}" -m edgetl "$@"',
        # The comment goes to GitHub; here to a file.
        "gh": 'printf "%s\\n" "$@" > "$GITHUB_WORKSPACE/said"; cp comment.md "$GITHUB_WORKSPACE/posted.md"',
    }
    for name, script in programs.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def run(script: str, folder: Path, workspace: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does: ``bash -e`` on its script."""
    path = f"{workspace / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "GITHUB_WORKSPACE": str(workspace), **more}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
def test_the_steps_in_order(workspace: Path) -> None:
    folder = workspace / "repository"
    for job in ("train", "bench"):
        for name, script in scripts(job):
            # pip, with what is installed here already.
            if name == "Install":
                assert "pip install" in script
                continue
            if name == "Train":
                # Drawn photos and no epochs: few of them are recognized.
                script = re.sub(r"(_pct(?:\[\*\])?)<50", r"\1<0", script)
            done = run(script, folder, workspace)
            # This machine measures accuracy as a board does, and its times are its own.
            assert done.returncode in ((0, 3) if name in ("Quantize", "Bench") else (0,)), f"{name}: {done.stderr}"
    for name in ("data.json", "train.md", "quantize.md", "model.edgetl", "result.json", "bench.md", "bench.html"):
        assert (folder / name).is_file(), name
    assert json.loads((folder / "result.json").read_text())["settings"]["quick"] is True
    ((name, script),) = scripts("comment")
    done = run(script, folder, workspace, NUMBER="7")
    assert done.returncode == 0, done.stderr
    assert (workspace / "said").read_text().splitlines()[:3] == ["pr", "comment", "7"]
    posted = (workspace / "posted.md").read_text()
    assert posted.count("\n### edgetl ") == 2
    assert posted.startswith("### edgetl train run: all gates passed\n")
    assert "| washer | " in posted
    assert "### edgetl bench model.edgetl: " in posted


def test_the_comment_says_what_is_missing(workspace: Path) -> None:
    ((_, script),) = scripts("comment")
    done = run(script, workspace / "repository", workspace, NUMBER="7")
    assert done.returncode == 0, done.stderr
    assert (workspace / "posted.md").read_text().startswith("### edgetl train: no result\n\n### edgetl quantize: no")


def test_the_gates_of_the_guide_are_gates(tmp_path: Path) -> None:
    """A misspelled gate would be refused with 2, before the run that is not there."""
    for job in ("train", "bench"):
        for _, script in scripts(job):
            for gate in re.findall(r'--fail-if "([^"]+)"', script):
                verb = re.match(r"edgetl (\w+)", script)
                assert verb is not None
                text = small.refused(small.edgetl(verb[1], tmp_path / "none", "--fail-if", gate))
                assert "--fail-if" not in text, text


def test_the_workflow_is_one() -> None:
    found = jobs()
    assert list(found) == ["train", "bench", "comment"]
    assert found["bench"]["needs"] == "train"
    assert found["bench"]["runs-on"][0] == "self-hosted"
    # The configuration file of the guide is one that the commands take.
    for table in ("train", "bench"):
        assert f"[{table}]" in block("toml")
