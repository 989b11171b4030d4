"""JSON documents typed by frozen dataclasses, which define reader, writer and JSON Schema.

Input is untrusted: a missing field, a wrong type, a number out of bounds, NaN, a lone surrogate or excessive nesting
raises an InputError that names the field. Unknown fields are ignored, because later versions of edgetl may add some; a
field made by :func:`rest` keeps them. An InputError raised by a class's constructor is reported for that field.

Field types: ``str``, ``int``, ``float`` (JSON integers too), ``bool``, ``None``, ``Literal``, ``tuple[T, ...]``,
``tuple[T, U]``, ``dict[str, T]`` (or ``Literal`` names), dataclasses, unions of these, and :data:`Json` for values that
are not interpreted. ``Annotated`` with :class:`Is` adds bounds. A class with ``CLOSED = True`` refuses unknown fields.
``OLDER`` has a function for each older schema that converts its JSON object to the current one. A method ``written_as``
returns the schema to write: the oldest that the content fits. A class with ``SEALED = True`` has a field ``digest``,
the SHA-256 of the rest, which reveals edits. A class with ``BRIEF``, a type of JSON values other than objects, writes
values whose method ``brief`` returns one as that, and reads it with ``of_brief``.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar, Union

from ..errors import InputError, from_os_error
from . import jsonfile
from .files import check_regular
from .given import advice

Json = Any  # what json.loads returns, and json.dumps takes
_MAX_DEPTH = 64
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Is:
    """Bounds of a value, for ``Annotated``.

    Attributes:
        low: Inclusive minimum.
        above: Exclusive minimum.
        high: Inclusive maximum.
        items: Minimum length of a list or text.
        pattern: A regular expression that the whole text must match.
        unique: Whether the entries of a list must be distinct.
        format: A format of JSON Schema, such as ``date-time``; documented there, not checked.
    """

    low: float | None = None
    above: float | None = None
    high: float | None = None
    items: int | None = None
    pattern: str | None = None
    unique: bool = False
    format: str | None = None


Share = Annotated[float, Is(low=0, high=1)]
Count = Annotated[int, Is(low=0)]
Positive = Annotated[int, Is(low=1)]
Seconds = Annotated[float, Is(low=0)]
Milliseconds = Annotated[float, Is(low=0)]
Percentage = Annotated[float, Is(low=-100, high=100)]
Text = Annotated[str, Is(items=1)]
Sha256 = Annotated[str, Is(pattern="[0-9a-f]{64}")]
Time = Annotated[str, Is(format="date-time")]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Named:
    """The name and version of a program or library.

    Attributes:
        name: Name of the package.
        version: Version of the package.
    """

    name: str
    version: str


@dataclass(frozen=True)
class Unknown:
    """A value that could not be measured or read.

    Attributes:
        unknown: The reason.
    """

    CLOSED: ClassVar[bool] = True

    unknown: Text


class Document(Protocol):
    """A dataclass whose JSON object begins with the field ``schema``."""

    SCHEMA: ClassVar[str]


T = TypeVar("T")
D = TypeVar("D", bound=Document)


def optional(default: Any = None, *, key: str = "", absent: Any = MISSING) -> Any:
    """Declare a field that is omitted from the JSON object if it has its default.

    Args:
        default: Its default.
        key: Its name in the JSON object, if different.
        absent: The value that a missing field means, if not the default: documents written before the field existed
            behaved differently.
    """
    return field(default=default, metadata={"optional": True, "key": key, "absent": absent})


def rest() -> Any:
    """Declare a field, a ``dict[str, T]``, that collects all other entries of the JSON object."""
    return field(default_factory=dict, metadata={"rest": True})


def named(key: str) -> Any:
    """Declare a field with another name in the JSON object."""
    return field(metadata={"key": key})


def stated(default: Any) -> Any:
    """Declare a field that has a default in Python but is required in the JSON object."""
    return field(default=default, metadata={"stated": True})


def read(kind: type[D], path: str | PathLike[str], *, max_bytes: int = _MAX_BYTES) -> D:
    """Read a document from a file.

    Args:
        kind: Class of the document.
        path: The file.
        max_bytes: A larger file is refused before it is read.

    Raises:
        InputError: The file is missing, too large, or not a valid document; the message names the field.
    """
    path = Path(path)
    try:
        check_regular(path)
        with open(path, "rb") as stream:
            data = stream.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path}: no such file", hint=advice(path, f"A document of {kind.SCHEMA} was expected there.")
        ) from None
    except IsADirectoryError:
        why = f"a document of {kind.SCHEMA} was expected"
        raise InputError(f"{path}: is a folder", why=why, hint=advice(path, "")) from None
    if len(data) > max_bytes:
        raise InputError(f"{path}: is larger than {max_bytes} bytes", why=f"documents of {kind.SCHEMA} are smaller")
    try:
        return parse(kind, data, name=fspath(path))
    except InputError as error:
        if data.lstrip().startswith(b"{"):
            raise
        raise InputError(error.what, why=error.why, hint=advice(path, error.hint)) from None


def parse(kind: type[D], data: bytes, *, name: str) -> D:
    """Read a document from bytes; error messages use ``name``.

    Raises:
        InputError: They are not a valid document; the message names the field.
    """
    older: Mapping[str, Callable[[Json], Json]] = getattr(kind, "OLDER", {})
    document = jsonfile.parse(data, kind.SCHEMA, name=name, older=older.keys())
    if getattr(kind, "SEALED", False):
        _check_digest(document, name)
    if upgrade := older.get(document["schema"]):
        document = upgrade(document)
    return of_json(kind, document, name=name)


def of_json(kind: type[T], value: Json, *, name: str) -> T:
    """Convert a JSON value to an object of a class; error messages use ``name`` for the document.

    Raises:
        InputError: The value does not fit the class; the message names the field.
    """
    try:
        return typing.cast(T, _reader(typing.cast(Hashable, kind))(value))
    except _Wrong as wrong:
        raise InputError(
            f"{name}: {wrong.path or 'the document'} {wrong.what}",
            hint="The file is damaged, edited, or not from edgetl; make or copy it again.",
        ) from None


def sealed(document: T) -> T:
    """Return a document with its digest filled in."""
    return replace(document, digest=jsonfile.digest(to_json(document)))  # type: ignore[type-var]


def to_json(value: Any) -> Json:
    """Convert a document or a part of one to a JSON value, with fields in the order of their definition."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        short = value.brief() if hasattr(value, "BRIEF") else None  # type: ignore[attr-defined]
        if short is not None:
            return short
        found: dict[str, Json] = {}
        if hasattr(value, "SCHEMA"):
            found["schema"] = value.written_as() if hasattr(value, "written_as") else value.SCHEMA
        for one in fields(value):
            part = getattr(value, one.name)
            if one.metadata.get("optional") and part == _absent(one):
                continue
            found |= to_json(part) if one.metadata.get("rest") else {_key(one): to_json(part)}
        return found
    if isinstance(value, Mapping):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")


def write(path: str | PathLike[str], document: Document) -> None:
    """Write a document atomically."""
    jsonfile.write_json(path, to_json(document))


def write_or_keep(path: str | PathLike[str], document: Document) -> None:
    """Write a document that took long to measure; if that fails, save it elsewhere and say where in the error.

    Raises:
        EdgetlError: It could not be written to ``path``; its class is that of the system error.
    """
    try:
        write(path, document)
    except OSError as error:
        known, text = from_os_error(error), dumps(document)
        try:
            descriptor, kept = tempfile.mkstemp(prefix="edgetl-", suffix=".json")
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
        except OSError:
            # No disk is writable.
            sys.stdout.write(text)
            sys.stdout.flush()
            kept = "what is printed above"
        raise type(known)(
            known.what, why=known.why, hint=f"The result is kept: {kept}. {known.hint}".rstrip()
        ) from None


def dumps(document: Document | Json) -> str:
    """Return a document as indented JSON with a final newline."""
    return jsonfile.dumps(to_json(document))


def json_schema(kind: type[Document]) -> dict[str, Json]:
    """Return the JSON Schema (draft 2020-12) of a document, with descriptions from the classes' docstrings."""
    definitions: dict[str, Json] = {}
    body = _object_schema(kind, definitions)
    name, _, version = kind.SCHEMA.partition("/")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{name.replace('.', ':')}:{version}",
        "title": kind.SCHEMA,
        **body,
        **({"$defs": dict(sorted(definitions.items()))} if definitions else {}),
    }


def field_help(kind: type[Any]) -> dict[str, str]:
    """Return the description of each field from the ``Attributes:`` of a class's docstring, as one line."""
    # The section ends at the first line indented no more than its title.
    text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            break
        if entry := re.match(r" {4}(\w+): (.*)", line):
            name = entry[1]
            found[name] = entry[2]
        elif line.strip() and name:
            found[name] += " " + line.strip()
    return found


def _check_digest(document: dict[str, Json], name: str) -> None:
    try:
        if document.get("digest") == jsonfile.digest(document):
            return
        why = "it was changed after it was written"
    except (ValueError, RecursionError) as error:
        # A lone surrogate, a huge number or excessive nesting, none of which edgetl writes.
        why = str(error)
    raise InputError(f"{name}: does not match its own digest", why=why, hint="Copy it again, or make it again.")


# Readers of values: one function per type, created once.


class _Wrong(Exception):
    """A value that does not fit; ``path`` is built from the inside out."""

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(what)
        self.what, self.path = what, path

    def under(self, step: str) -> _Wrong:
        joint = "" if not self.path or self.path.startswith("[") else "."
        return _Wrong(self.what, f"{step}{joint}{self.path}")


_Reader = Callable[[Json], Any]


@cache
def _reader(kind: Any) -> _Reader:
    if kind is Any:
        return _read_any
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _bounded(_reader(arguments[0]), [one for one in arguments[1:] if isinstance(one, Is)])
    if origin is Literal:
        return _one_of(arguments)
    if origin in (Union, types.UnionType):
        return _any_of(arguments)
    if origin is tuple:
        return _list_of(arguments[0]) if arguments[1:] == (...,) else _row_of(arguments)
    if origin is dict:
        return _mapping_of(_reader(arguments[0]), _reader(arguments[1]))
    if isinstance(kind, type) and is_dataclass(kind):
        return _object_of(kind)
    raise TypeError(f"{kind} cannot be a field of a document")


def _read_text(value: Json) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"must be text, not {_shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Wrong("has a lone surrogate, which is not valid text") from None
    return value


def _read_integer(value: Json) -> int:
    if type(value) is not int:
        raise _Wrong(f"must be a whole number, not {_shown(value)}")
    # Python's integers are unbounded, but numbers computed from them are not.
    if not -(1 << 63) <= value < 1 << 63:
        raise _Wrong(f"must be a whole number of 64 bits, not {_shown(value)}")
    return value


def _read_number(value: Json) -> float:
    if type(value) is int:
        return _read_integer(value)  # stays an int, to be written as it was read
    if type(value) is not float or not math.isfinite(value):
        raise _Wrong(f"must be a number, not {_shown(value)}")
    return value


def _read_truth(value: Json) -> bool:
    if type(value) is not bool:
        raise _Wrong(f"must be true or false, not {_shown(value)}")
    return value


def _read_none(value: Json) -> None:
    if value is not None:
        raise _Wrong(f"must be null, not {_shown(value)}")


def _read_any(value: Json, depth: int = 0) -> Json:
    if depth > _MAX_DEPTH:
        raise _Wrong(f"is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, dict):
        return {_read_text(key): _read_any(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list):
        return [_read_any(part, depth + 1) for part in value]
    if isinstance(value, str):
        return _read_text(value)
    if type(value) in (int, float):
        return _read_number(value)
    return value


_SIMPLE: dict[Any, _Reader] = {
    str: _read_text,
    int: _read_integer,
    float: _read_number,
    bool: _read_truth,
    type(None): _read_none,
    None: _read_none,
}


def _bounded(inner: _Reader, bounds: list[Is]) -> _Reader:
    def read_bounded(value: Json) -> Any:
        found = inner(value)
        for one in bounds:
            if one.low is not None and found < one.low:
                raise _Wrong(f"is {_shown(value)}, under {one.low:g}")
            if one.above is not None and found <= one.above:
                raise _Wrong(f"is {_shown(value)}, not over {one.above:g}")
            if one.high is not None and found > one.high:
                raise _Wrong(f"is {_shown(value)}, over {one.high:g}")
            if one.items is not None and len(found) < one.items:
                raise _Wrong("is empty" if one.items == 1 else f"has {len(found)} entries, fewer than {one.items}")
            if one.unique and len(set(found)) < len(found):
                raise _Wrong("has an entry twice")
            if one.pattern is not None and not re.fullmatch(one.pattern, found):
                raise _Wrong(f"is {_shown(value)}, which does not match {one.pattern}")
        return found

    return read_bounded


def _one_of(choices: tuple[Any, ...]) -> _Reader:
    def read_choice(value: Json) -> Any:
        # Compare types too: 1 == True, and lists are not hashable.
        if any(type(value) is type(choice) and value == choice for choice in choices):
            return value
        raise _Wrong(f"must be {' or '.join(map(_shown, choices))}, not {_shown(value)}")

    return read_choice


def _any_of(kinds: tuple[Any, ...]) -> _Reader:
    readers = [(_json_type(kind), _reader(kind)) for kind in kinds]

    def read_union(value: Json) -> Any:
        fitting = [reader for accepts, reader in readers if accepts is None or type(value) in accepts]
        failures = []
        for reader in fitting:
            try:
                return reader(value)
            except _Wrong as wrong:  # noqa: PERF203 - at most a handful of members
                failures.append(wrong)
        # For an object that may also be Unknown, the error of the expected class is more helpful.
        raise failures[0] if failures else _Wrong(f"cannot be {_shown(value)}")

    return read_union


def _json_type(kind: Any) -> tuple[type, ...] | None:
    """Return the Python types of the JSON values that a type is read from; None for all."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return _json_type(typing.get_args(kind)[0])
    if kind in (type(None), None):
        return (type(None),)
    if origin is Literal:
        return tuple({type(choice) for choice in typing.get_args(kind)})
    if hasattr(kind, "BRIEF"):
        return (dict, *(_json_type(kind.BRIEF) or ()))
    if is_dataclass(kind) or origin is dict:
        return (dict,)
    if origin is tuple:
        return (list,)
    return {str: (str,), bool: (bool,), int: (int,), float: (int, float)}.get(kind)


def _list_of(kind: Any) -> _Reader:
    reader = _reader(kind)

    def read_list(value: Json) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _Wrong(f"must be a list, not {_shown(value)}")
        found = []
        for index, part in enumerate(value):
            try:
                found.append(reader(part))
            except _Wrong as wrong:  # noqa: PERF203 - says which entry it was
                raise wrong.under(f"[{index}]") from None
        return tuple(found)

    return read_list


def _row_of(kinds: tuple[Any, ...]) -> _Reader:
    readers = [_reader(kind) for kind in kinds]

    def read_row(value: Json) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(readers):
            raise _Wrong(f"must be a list of {len(readers)}, not {_shown(value)}")
        found = []
        for index, (part, reader) in enumerate(zip(value, readers, strict=True)):
            try:
                found.append(reader(part))
            except _Wrong as wrong:  # noqa: PERF203 - says which entry it was
                raise wrong.under(f"[{index}]") from None
        return tuple(found)

    return read_row


def _mapping_of(key_reader: _Reader, reader: _Reader) -> _Reader:
    def read_mapping(value: Json) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Wrong(f"must be an object, not {_shown(value)}")
        found = {}
        for key, part in value.items():
            try:
                found[key_reader(key)] = reader(part)
            except _Wrong as wrong:  # noqa: PERF203 - says which entry it was
                raise wrong.under(_shown(key)) from None
        return found

    return read_mapping


def _object_of(kind: type[Any]) -> _Reader:
    # Created on first use, because classes may refer to each other.
    parts: list[tuple[Field[Any], str, _Reader]] = []
    read_brief = _reader(kind.BRIEF) if hasattr(kind, "BRIEF") else None
    others: list[tuple[str, _Reader]] = []
    known = {"schema"} if hasattr(kind, "SCHEMA") else set()

    def read_object(value: Json) -> Any:
        if not parts and not others:
            hints = _hints(kind)
            for one in fields(kind):
                if one.metadata.get("rest"):
                    others.append((one.name, _reader(hints[one.name])))
                else:
                    parts.append((one, _key(one), _reader(hints[one.name])))
                    known.add(_key(one))
        if read_brief and not isinstance(value, dict):
            return kind.of_brief(read_brief(value))
        if not isinstance(value, dict):
            raise _Wrong(f"must be an object, not {_shown(value)}")
        if getattr(kind, "CLOSED", False) and (more := set(value) - known):
            raise _Wrong(f"has an unknown field {_shown(min(more))}")
        found = {}
        for one, key, reader in parts:
            if key not in value:
                if _is_required(one):
                    raise _Wrong("is missing", key)
                if one.metadata.get("optional"):
                    found[one.name] = _absent(one)
                continue
            try:
                found[one.name] = reader(value[key])
            except _Wrong as wrong:
                raise wrong.under(key) from None
        for name, reader in others:
            found[name] = reader({key: part for key, part in value.items() if key not in known})
        try:
            return kind(**found)
        except InputError as error:
            raise _Wrong(f"cannot be used: {error.what}" + (f": {error.why}" if error.why else "")) from None

    return read_object


def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _key(one: Field[Any]) -> str:
    return one.metadata.get("key") or one.name


def _absent(one: Field[Any]) -> Any:
    absent = one.metadata.get("absent", MISSING)
    return one.default if absent is MISSING else absent


def _is_required(one: Field[Any]) -> bool:
    return one.metadata.get("stated", False) or (one.default is MISSING and one.default_factory is MISSING)


def _shown(value: Json) -> str:
    """Return a value as it stands in JSON, shortened, on one line and in ASCII."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


# JSON Schema of types.


def _object_schema(kind: type[Any], definitions: dict[str, Json]) -> dict[str, Json]:
    hints, said = _hints(kind), field_help(kind)
    properties: dict[str, Json] = {}
    if hasattr(kind, "SCHEMA"):
        several = [*kind.OLDER, kind.SCHEMA] if hasattr(kind, "written_as") else []
        properties["schema"] = {"enum": several} if several else {"const": kind.SCHEMA}
    required = list(properties)
    others: dict[str, Json] = {"additionalProperties": False} if getattr(kind, "CLOSED", False) else {}
    for one in fields(kind):
        if one.metadata.get("rest"):
            others["additionalProperties"] = _schema(hints[one.name], definitions)["additionalProperties"]
            continue
        about = {"description": said[one.name]} if one.name in said else {}
        left_out = one.default is None and one.metadata.get("optional")
        properties[_key(one)] = about | _schema(hints[one.name], definitions, leave_none=left_out)
        if _is_required(one):
            required.append(_key(one))
    summary = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return {"description": summary, "type": "object", "required": required, "properties": properties} | others


def _schema(kind: Any, definitions: dict[str, Json], *, leave_none: Any = False) -> dict[str, Json]:
    if kind is Any:
        return {}
    if kind in _TYPE_NAMES:
        return {"type": _TYPE_NAMES[kind]}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        found = _schema(arguments[0], definitions)
        for bound in arguments[1:]:
            found |= _bounds_schema(bound, found.get("type")) if isinstance(bound, Is) else {}
        return found
    if origin is Literal:
        return {"enum": list(arguments)} if len(arguments) > 1 else {"const": arguments[0]}
    if origin in (Union, types.UnionType):
        members = [one for one in arguments if not (leave_none and one is type(None))]
        schemas = [_schema(one, definitions) for one in members]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    if origin is tuple:
        if arguments[1:] == (...,):
            return {"type": "array", "items": _schema(arguments[0], definitions)}
        rows = [_schema(one, definitions) for one in arguments]
        return {"type": "array", "prefixItems": rows, "minItems": len(rows), "maxItems": len(rows)}
    if origin is dict:
        names = {} if arguments[0] is str else {"propertyNames": _schema(arguments[0], definitions)}
        return {"type": "object", **names, "additionalProperties": _schema(arguments[1], definitions)}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # marks the name as taken, for recursive classes
        definitions[kind.__name__] = _object_schema(kind, definitions)
    whole = {"$ref": f"#/$defs/{kind.__name__}"}
    return {"anyOf": [_schema(kind.BRIEF, definitions), whole]} if hasattr(kind, "BRIEF") else whole


_TYPE_NAMES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    None: "null",
}


def _bounds_schema(bound: Is, kind: Any) -> dict[str, Json]:
    length = "minLength" if kind == "string" else "minItems"
    found = {
        "minimum": bound.low,
        "exclusiveMinimum": bound.above,
        "maximum": bound.high,
        length: bound.items,
        "pattern": None if bound.pattern is None else f"^({bound.pattern})$",
        "uniqueItems": bound.unique or None,
        "format": bound.format,
    }
    return {name: value for name, value in found.items() if value is not None}
