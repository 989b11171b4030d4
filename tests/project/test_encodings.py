"""Text is read and written in an encoding that the code names, not in that of the user's locale."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("edgetl", "device/edgetl_device", "benchmarks", "models", "docs")
    for path in ROOT.glob(f"{folder}/**/*.py")
)
# Function or method: the place of its mode, and of its encoding, among the arguments.
_OPENING = {"open": (1, 3), "fdopen": (1, 3), "NamedTemporaryFile": (0, 2), "TemporaryFile": (0, 2)}
_READING = {"read_text": 0, "write_text": 1}
_PROCESSES = ("run", "Popen", "check_output")


def faults(source: str) -> Iterator[int]:
    """Yield the lines of calls that read or write text in the encoding of the locale."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        if "encoding" in named:
            continue
        if method and name in _READING and len(node.args) <= _READING[name]:
            yield node.lineno
        elif name in _OPENING:
            place, _ = _OPENING[name]
            # Of a path: its first argument is the mode. Those of other modules, such as Image.open, are given no mode.
            module = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in (
                "os",
                "io",
                "tempfile",
            )
            first = place - (method and name == "open" and not module)
            mode = named.get("mode") or (node.args[first] if len(node.args) > first else None)
            text = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else None
            plain = mode is None and name in ("open", "fdopen") and not method
            if plain or (text is not None and set(text) <= set("rwaxt+")):
                yield node.lineno
        elif name in _PROCESSES and ("text" in named or "universal_newlines" in named):
            yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_has_an_encoding(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "call",
    [
        "open(path)",
        'open(path, "w")',
        'open(path, mode="a")',
        'path.open("w")',
        "path.read_text()",
        'path.read_text(errors="replace")',
        "path.write_text(text)",
        'os.fdopen(1, "w")',
        'tempfile.TemporaryFile("w+")',
        "subprocess.run(command, text=True)",
    ],
)
def test_each_call_is_found(call: str) -> None:
    assert list(faults(call)) == [1]


@pytest.mark.parametrize(
    "call",
    [
        'open(path, "rb")',
        'open(path, mode, encoding="utf-8")',
        "Image.open(path)",
        'path.open("rb")',
        'path.read_text("utf-8")',
        'path.write_text(text, encoding="ascii")',
        "write_text(path, text)",
        "tempfile.TemporaryFile()",
        'subprocess.run(command, encoding="utf-8")',
    ],
)
def test_no_other_call_is(call: str) -> None:
    assert list(faults(call)) == []
