"""``edgetl doctor``: the checks of the device package and those for a workstation."""

from __future__ import annotations

import json

from packaging.requirements import Requirement
from small import edgetl

from edgetl.doctor import TRAINING, examine, training, versions
from edgetl_device._lib.documents import Unknown


def test_the_command_prints_every_check_and_exits_0_here() -> None:
    done = edgetl("doctor")
    assert done.returncode == 0, done.stderr
    for word in (
        "Python",
        "TFLite runtime",
        "Edge TPU",
        "governor",
        "free disk",
        "training",
        "package versions",
        "Edge TPU compiler",
    ):
        assert word in done.stdout
    document = json.loads(edgetl("doctor", "--json").stdout)
    assert document["ok"]
    assert [check["name"] for check in document["checks"]] == [check.name for check in examine().checks]


def test_a_part_of_the_training_packages_is_a_warning_and_none_is_not() -> None:
    every = dict.fromkeys(TRAINING, "1.0")
    gone = dict.fromkeys(TRAINING, Unknown("not installed"))
    assert training(every).status == "ok"
    board = training(gone | {"onnxruntime": "1.0"})
    assert (board.status, board.code, "pip install" in board.fix) == ("absent", "training-missing", True)
    part = training(every | {"keras": Unknown("not installed")})
    assert (part.status, part.code) == ("warning", "training-incomplete")
    assert "keras missing" in part.found


def test_a_version_that_is_not_required_is_a_warning() -> None:
    asked = [Requirement("onnx>=1.17"), Requirement("typer>=0.15.4"), Requirement("absent>=1")]
    absent = {"absent": Unknown("not installed")}
    assert versions(asked, {"onnx": "1.17.0", "typer": "0.29.0"} | absent).status == "ok"
    old = versions(asked, {"onnx": "1.17.0", "typer": "0.15.0"} | absent)
    assert (old.status, old.code, old.found) == ("warning", "package-version", "typer 0.15.0, not >=0.15.4")
    (here,) = (check for check in examine().checks if check.name == "package versions")
    assert here.status == "ok", here.found
