"""Untrusted text on a terminal: in errors, JSON, live output and messages of commands."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from edgetl_device.__main__ import main
from edgetl_device._lib import documents, jsonfile
from edgetl_device.errors import InputError
from edgetl_device.text import is_utf8, shown, shown_lines

ESCAPES = ["\x1b[31m", "\x9b2J", "\x07", "\x7f", "\r", "\n", "\t", "\u202e", "\u2066", "\u200f", "\u2028", "\udce9"]


@pytest.mark.parametrize("text", ESCAPES)
def test_what_steers_a_terminal_is_escaped(text: str) -> None:
    for safe in (shown(f"a{text}b"), str(InputError(f"a{text}b", why=text)), jsonfile.dumps({"a": f"a{text}b"})):
        assert not set(text) & set(safe.replace("\n", "") if text != "\n" else shown(f"a{text}b")) - set("[31m2J")
        safe.encode()
    assert json.loads(jsonfile.dumps({"a": text})) == json.loads(jsonfile.dumps_line({"a": text})) == {"a": text}


def test_what_is_readable_stays() -> None:
    for text in ("photo 1.jpg", "Käfer", "東京", "naïve", "👩‍🌾", "עברית", "a\\b"):
        assert shown(text) == text
        assert is_utf8(text)
    assert shown_lines("one\ntwo\x1b") == "one\ntwo\\x1b"
    assert shown("\udce9.jpg") == "\\udce9.jpg"
    assert not is_utf8("\udce9.jpg")


def test_commands_show_no_escapes(
    tiny_file: Path, photo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = tmp_path / "a\x1b]0;title\x07\u202e\udce9.jpg"
    evil.write_bytes(photo_file.read_bytes())
    assert main(["classify", str(tiny_file), str(evil), str(tmp_path / "\x1b[2J.jpg")]) == 2
    said = capsys.readouterr()
    rows = json.loads(said.out)["photos"]
    assert rows[0]["photo"] == str(evil)
    assert rows[0]["predictions"][0]["label"] == "circle"
    assert "no such file" in rows[1]["error"]
    assert main(["classify", str(tiny_file), "--variant", "\x1b[2J"]) == 2
    said_too = capsys.readouterr()
    for text in (said.out, said.err, said_too.out, said_too.err):
        assert not set("\x1b\x07\u202e\udce9") & set(text)
        io.BytesIO().write(text.encode())


def test_a_damaged_document_says_so_without_escapes() -> None:
    from edgetl_device.bundle import Manifest

    with pytest.raises(InputError) as caught:
        documents.parse(Manifest, b'{"schema": "edgetl.bundle/1", "producer": "\\u001b[2J"}', name="x\x1b")
    assert "\x1b" not in str(caught.value)
