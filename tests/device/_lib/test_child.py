from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgetl_device import preprocess
from edgetl_device._lib import child
from edgetl_device.errors import Unavailable


def test_a_child_process_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("base64", "json", "runpy", "site", "sitecustomize", "numpy", "PIL", "edgetl_device"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); raise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    done = child.run_module("trial_decode", "1000000", input=b"no photo", timeout_s=60)
    assert not (tmp_path / "ran").exists()
    assert done.returncode == preprocess.TRIAL_DAMAGED, done.stderr


def test_a_child_process_that_cannot_start_is_no_fault_of_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", os.devnull)
    with pytest.raises(Unavailable, match="child process"):
        preprocess._check_decoding(b"", "a.avif", 1 << 20)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(Unavailable, match="child process"):
        preprocess._check_decoding(b"", "a.avif", 1 << 20)
