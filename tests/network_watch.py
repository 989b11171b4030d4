"""Build ``network_watch.c`` and run processes under it. Needs only the device package's requirements."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent / "network_watch.c"
# Variables that say where programs keep their files.
_HOMES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "EDGETL_CACHE", "KERAS_HOME",
          "MPLCONFIGDIR", "ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_TRACKING_URI",
          "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ALLOW_FILE_STORE")  # fmt: skip
# If one of these is set, ONNX Runtime or MLflow sends nothing, and the test would be void.
_CI = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL", "CODEBUILD_BUILD_ID",
       "TEAMCITY_VERSION", "APPVEYOR", "BUILDKITE", "BITBUCKET_BUILD_NUMBER", "CODEBUILD_BUILD_ARN",
       "CLOUD_RUN_EXECUTION", "PYTEST_CURRENT_TEST")  # fmt: skip


@dataclass(frozen=True)
class Watched:
    """The exit of a process, its network activity, and the files that it left in its home."""

    code: int
    said: str
    network: list[str]
    home: list[str]


def build(folder: Path) -> Path:
    """Compile the library; fail without a C compiler, because the promise would go unchecked."""
    library = folder / "network_watch.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def watched(command: list[str], library: Path, folder: Path, *, timeout_s: float = 600) -> Watched:
    """Run a command in ``folder`` with an empty home there."""
    log, home = folder / "network.log", folder / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in (*_HOMES, *_CI)}
    environment |= {"LD_PRELOAD": str(library), "NETWORK_WATCH": str(log), "HOME": str(home)}
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=timeout_s
    )
    network = log.read_text().splitlines() if log.exists() else []
    files = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if not path.is_dir())
    return Watched(done.returncode, done.stdout + done.stderr, network, files)
