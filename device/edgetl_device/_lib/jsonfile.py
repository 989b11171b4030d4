"""JSON documents with a schema name and version."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..text import is_steering
from .files import check_regular, write_text


def write_json(path: str | os.PathLike[str], document: dict[str, Any]) -> None:
    """Write ``document`` atomically, in the order of its keys. NaN and infinities are refused, as JSON has none."""
    write_text(path, dumps(document))


def dumps(document: Any) -> str:
    """Return ``document`` as indented JSON with a final newline."""
    return _escaped(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def dumps_line(document: Any) -> str:
    """Return ``document`` as one line of JSON with its newline."""
    return _escaped(json.dumps(document, ensure_ascii=False, allow_nan=False)) + "\n"


def _escaped(text: str) -> str:
    """Escape control characters that JSON allows but a terminal obeys; they occur only inside strings."""
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(f"\\u{ord(one):04x}" if one != "\n" and is_steering(one) else one for one in text)


def read_json(path: str | os.PathLike[str], schema: str, *, older: Collection[str] = ()) -> dict[str, Any]:
    """Read a document of ``schema`` (``name/version``), or of one in ``older``, from ``path``.

    Raises:
        InputError: The file is missing or not JSON, or has another schema or a newer version.
    """
    path = Path(path)
    try:
        check_regular(path)
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file", hint=f"A document of {schema} was expected there.") from None
    return parse(data, schema, name=str(path), older=older)


def parse(data: bytes, schema: str, *, name: str, older: Collection[str] = ()) -> dict[str, Any]:
    """Parse and check one JSON document; error messages use ``name``; ``older`` lists further accepted schemas."""
    try:
        document = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name}: not valid JSON", why=str(error), hint="The file is truncated or edited; make or copy it again."
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("schema"), str):
        raise InputError(f"{name}: has no schema", why=f"expected {schema}")
    if document["schema"] not in older:
        check_schema(document["schema"], schema, name=name, producer=document.get("producer"))
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def check_schema(found: str, wanted: str, *, name: str, producer: Any = None) -> None:
    """Refuse another schema or version; the error names the edgetl that reads it.

    Raises:
        InputError: It is another schema or version.
    """
    if found == wanted:
        return
    kind, _, version = wanted.partition("/")
    found_kind, _, found_version = found.partition("/")
    if found_kind != kind or not re.fullmatch("[0-9]{1,9}", found_version):
        raise InputError(f"{name}: its schema is {found!r}", why=f"expected {wanted!r}")
    writer = _named(producer)
    if int(found_version) > int(version):
        hint = f"Update edgetl: {writer} wrote it." if writer else "Update edgetl."
    else:
        hint = f"Make it again with this edgetl, or read it with {writer or 'the one that wrote it'}."
    raise InputError(
        f"{name}: schema {found}, which this edgetl cannot read", why=f"this edgetl reads {kind}/{version}", hint=hint
    )


def _named(producer: Any) -> str:
    """Return a document's ``producer`` as text, or "" if it has no valid one."""
    if not isinstance(producer, dict):
        return ""
    parts = [producer.get("name"), producer.get("version")]
    # It comes from the file and is printed on a terminal.
    good = all(isinstance(part, str) and re.fullmatch(r"[\w.+-]{1,40}", part, re.ASCII) for part in parts)
    return " ".join(map(str, parts)) if good else ""


def digest(document: dict[str, Any], *, without: str = "digest") -> str:
    """Return the SHA-256 of a document's canonical form, leaving out the field ``without``."""
    return hashlib.sha256(canonical({key: value for key, value in document.items() if key != without})).hexdigest()


def canonical(document: Any) -> bytes:
    """Return a document in its canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()
