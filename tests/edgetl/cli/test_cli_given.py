"""Commands that get something else name it, and the command that takes it."""

from __future__ import annotations

from pathlib import Path

import small

GOLDEN = Path(__file__).parent.parent.parent / "golden"


def test_each_command_names_what_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "photos" / "roses").mkdir(parents=True)
    photo = tmp_path / "photos" / "roses" / "a.jpg"
    photo.write_bytes((GOLDEN / "photos" / "circle0.jpg").read_bytes())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "m.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(20))
    bundle = GOLDEN / "tiny.edgetl"
    for command, said in (
        (("train", tmp_path / "m.tflite"), "edgetl inspect"),
        (("train", tmp_path / "run"), "edgetl quantize"),
        (("train", bundle), "edgetl verify, bench or classify"),
        (("data", "check", tmp_path / "run"), "edgetl quantize"),
        (("quantize", bundle), "edgetl verify, bench or classify"),
        (("quantize", tmp_path / "photos"), "edgetl train"),
        (("quantize", tmp_path / "rum"), f"Did you mean {tmp_path}/run?"),
        (("verify", tmp_path / "photos"), "edgetl train"),
        (("bench", tmp_path / "m.tflite"), "edgetl inspect"),
        (("report", bundle), "edgetl verify, bench or classify"),
        (("report", tmp_path / "photos"), "edgetl train"),
        (("compare", tmp_path / "m.tflite", tmp_path / "m.tflite"), "edgetl inspect"),
    ):
        assert said in small.refused(small.edgetl(*command)), command
