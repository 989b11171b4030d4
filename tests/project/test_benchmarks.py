"""Every script of ``benchmarks/`` starts: it can be imported, and says what it measures."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FILES = sorted(BENCHMARKS.glob("*.py"))
SCRIPTS = [path for path in FILES if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")]
# What a script needs that is no dependency of edgetl: it runs in an environment of its own.
FOREIGN = {"export_timm": "timm"}


@pytest.fixture(autouse=True)
def as_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only what Python finds for a script of the folder: nothing that pytest found beside the tests."""
    tests = BENCHMARKS.parent / "tests"
    paths = [path for path in sys.path if not Path(path).is_relative_to(tests)]
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *paths])
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(tests):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_says_what_it_measures(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if script.stem in FOREIGN:
        pytest.importorskip(FOREIGN[script.stem])
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(script), run_name="__main__")
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage:")
    assert re.search(r"\n\n\w.*", text), "no description"


@pytest.mark.parametrize("module", [path for path in FILES if path not in SCRIPTS], ids=lambda path: path.stem)
def test_what_the_scripts_share_can_be_imported(module: Path) -> None:
    runpy.run_path(str(module))


def test_scripts_are_found() -> None:
    assert {"figures", "fleet"} <= {path.stem for path in SCRIPTS}
