"""``edgetl-device`` prints text for people: the same facts as the documents."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgetl_device.__main__ import main

Run = Callable[..., str]


@pytest.fixture
def text(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        assert main(list(map(str, arguments)), as_text=True) == code
        return capsys.readouterr().out

    return run


def test_verify_and_doctor_print_a_line_a_check(text: Run, tiny_file: Path) -> None:
    for command in (("verify", tiny_file), ("doctor",)):
        document = json.loads(text("--json", *command))
        lines = [line for line in text(*command).splitlines() if "  -> " not in line]
        assert len(lines) == len(document["checks"])
        for line, check in zip(lines, document["checks"], strict=True):
            assert line.split()[0] == check["status"]
            assert check["name"] in line


def test_classify_prints_a_line_a_photo(text: Run, tiny_file: Path, photo_file: Path, tmp_path: Path) -> None:
    said = text("classify", tiny_file, photo_file, tmp_path / "none.jpg", photo_file, "--top", 2, code=2).splitlines()
    assert len(said) == 3
    assert re.fullmatch(rf"{re.escape(str(photo_file))}: circle 0\.\d{{3}}  \w+ 0\.\d{{3}}", said[0])
    assert said[1].startswith("not read: ")
    assert said[2] == said[0]


def test_bench_prints_a_table_that_fits_a_terminal(text: Run, tiny_file: Path) -> None:
    flags = ("--variants", "float32,int8", "--duration", 0.05)
    said = text("bench", tiny_file, *flags).splitlines()
    assert said[0].split()[:2] == ["variant", "thr."]
    rows = {line.split()[0]: line for line in said[1:3]}
    assert set(rows) == {"float32", "int8"}
    for name, line in rows.items():
        p50, p95, photo = map(float, line.split()[2:5])
        assert 0 < p50 <= p95
        assert photo > p50, name
        assert line.split()[-1] in {"valid", "degraded", "invalid"}
    assert max(map(len, said[:3])) <= 80
    # Reasons name the variants that they are about.
    assert all(re.search(r"\((int8|float32)(, int8)?\)$", line) for line in said if line.startswith("degraded: "))


def test_update_and_slots_print_what_is_installed(text: Run, tiny_file: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copy(tiny_file, tmp_path / "tiny.edgetl"))
    slots = tmp_path / "slots"
    said = text("update", bundle, slots)
    assert said.startswith("installed\n")
    assert "ok       golden pixels" in said
    shown = text("slots", slots)
    assert re.search(r"^runs      slot a: [0-9a-f]{12}$", shown, re.MULTILINE)
    assert "trusts    every bundle, signed or not" in shown
    assert "installed" in shown.splitlines()[-1]
    assert shown in said
    assert text("update", bundle, slots).startswith("unchanged\n")
