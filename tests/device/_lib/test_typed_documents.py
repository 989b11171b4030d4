"""Documents made of dataclasses: reading, refusing with an error, and their JSON Schema."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest

from edgetl_device._lib import documents
from edgetl_device._lib.documents import (
    Count,
    Interval,
    Is,
    Sha256,
    Share,
    Time,
    Unknown,
    named,
    optional,
    rest,
    stated,
)
from edgetl_device.errors import InputError


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: What it is called, in words
            of more than one line.
        share: Of all.
    """

    name: str
    share: Share | Unknown


@dataclass(frozen=True)
class Report:
    """A report with every kind of field.

    And more about it.

    Attributes:
        rows: In order.
        status: How it went.

    Not this: at all.
    """

    SCHEMA: ClassVar[str] = "edgetl.test/3"

    rows: tuple[Row, ...]
    status: Literal["good", "bad"]
    count: Count
    ci95: Interval
    digest: Sha256
    rate: Annotated[float, Is(above=0, high=1)]
    by_name: dict[str, int]
    by_side: dict[Literal["left", "right"], int]
    free: documents.Json
    parent: Row | None
    of: str | None = optional(key="from")
    note: str | None = optional()
    steps: int = 5


GOOD: dict[str, Any] = {
    "schema": "edgetl.test/3",
    "rows": [{"name": "a", "share": 0.5}, {"name": "b", "share": {"unknown": "no sensor"}}],
    "status": "good",
    "count": 3,
    "ci95": [0.1, 1],
    "digest": "0" * 64,
    "rate": 1e-3,
    "by_name": {"x": 1},
    "by_side": {"left": 1},
    "free": {"any": ["thing", None, 1.5]},
    "parent": None,
    "from": "there",
    "steps": 7,
}


def parsed(**change: Any) -> Report:
    return documents.parse(Report, json.dumps(GOOD | change).encode(), name="report.json")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    report = parsed()
    assert report.rows == (Row("a", 0.5), Row("b", Unknown("no sensor")))
    assert (report.of, report.note, report.steps) == ("there", None, 7)
    assert documents.to_json(report) == GOOD
    documents.write(tmp_path / "report.json", report)
    assert documents.read(Report, tmp_path / "report.json") == report
    assert json.loads(documents.dumps(report)) == GOOD


def test_absent_fields_take_their_default_and_unknown_ones_are_passed_over() -> None:
    data = {key: value for key, value in GOOD.items() if key not in ("steps", "from")} | {"of_later_versions": [1]}
    report = documents.parse(Report, json.dumps(data).encode(), name="report.json")
    assert (report.of, report.steps) == (None, 5)
    assert "from" not in documents.to_json(report)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": {}}, "rows must be a list, not {}"),
        ({"rows": [{"name": "a"}]}, "rows[0].share is missing"),
        ({"rows": [GOOD["rows"][0], 5]}, "rows[1] must be an object, not 5"),
        ({"rows": [{"name": "a", "share": 1.5}]}, "rows[0].share is 1.5, over 1"),
        ({"rows": [{"name": "a", "share": {"unknown": ""}}]}, "rows[0].share.unknown is empty"),
        ({"rows": [{"name": "a", "share": "0.5"}]}, 'rows[0].share cannot be "0.5"'),
        ({"rows": [{"name": "\ud800", "share": 0}]}, "rows[0].name has a lone surrogate"),
        ({"status": "odd"}, 'status must be "good" or "bad", not "odd"'),
        ({"status": ["good"]}, "status must be"),
        ({"count": True}, "count must be a whole number, not true"),
        ({"count": 1.0}, "count must be a whole number, not 1.0"),
        ({"count": -1}, "count is -1, under 0"),
        ({"ci95": [0.1]}, "ci95 must be a list of 2"),
        ({"ci95": [0.1, None]}, "ci95[1] must be a number, not null"),
        ({"digest": "0" * 63}, "digest is"),
        ({"rate": 0}, "rate is 0, not over 0"),
        ({"by_name": {"x": "1"}}, 'by_name."x" must be a whole number'),
        ({"by_side": {"left": 1, "up": 2}}, 'by_side."up" must be "left" or "right", not "up"'),
        ({"by_name": []}, "by_name must be an object"),
        ({"parent": 3}, "parent cannot be 3"),
        ({"from": 3}, "from cannot be 3"),
        ({"schema": "edgetl.test/2"}, "schema edgetl.test/2, which this edgetl cannot read"),
        ({"schema": "edgetl.test/\u00b2"}, "its schema is"),
        ({"schema": 3}, "has no schema"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        parsed(**change)
    assert said in str(refused.value)
    assert str(refused.value).startswith("report.json: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"\\ud800"',
        "\ufeff{}",
        '{"schema": "edgetl.test/3", "count": NaN}',
        '{"schema": "edgetl.test/3", "count": -Infinity}',
        '{"schema": "edgetl.test/3", "free": ' + "[" * 100_000,
        '{"schema": "edgetl.test/3", "count": ' + "9" * 10_000 + "}",
    ],
    ids=str.__len__,
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^report\.json: "):
        documents.parse(Report, text.encode(), name="report.json")


@pytest.mark.parametrize("value", ["1e999", "-1e999"])
def test_numbers_without_end_are_refused(value: str) -> None:
    text = json.dumps(GOOD).replace('"rate": 0.001', f'"rate": {value}')
    with pytest.raises(InputError, match="rate must be a number"):
        documents.parse(Report, text.encode(), name="report.json")
    text = json.dumps(GOOD).replace("1.5", value)
    with pytest.raises(InputError, match="free must be a number"):
        documents.parse(Report, text.encode(), name="report.json")


@pytest.mark.parametrize("field", ["count", "rate", "free"])
def test_whole_numbers_have_64_bits(field: str) -> None:
    for value in (1 << 63, 10**400, -(10**400)):
        with pytest.raises(InputError, match=f"{field} must be a whole number of 64 bits"):
            parsed(**{field: value})


def test_nesting_has_an_end() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    with pytest.raises(InputError, match="free is nested more than 64 deep"):
        parsed(free=deep)


def test_files_that_cannot_be_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        documents.read(Report, tmp_path / "none.json")
    with pytest.raises(InputError, match="is a folder"):
        documents.read(Report, tmp_path)
    (tmp_path / "large.json").write_text(json.dumps(GOOD))
    with pytest.raises(InputError, match="larger than 100 bytes"):
        documents.read(Report, tmp_path / "large.json", max_bytes=100)


def test_what_has_no_json_form_is_no_document() -> None:
    with pytest.raises(TypeError, match="set has no JSON form"):
        documents.to_json(Row("a", {1}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not JSON compliant"):
        documents.dumps(Report(**{**vars(parsed()), "rate": float("nan")}))


def test_the_schema_describes_every_field() -> None:
    schema = documents.json_schema(Report)
    assert schema["title"] == "edgetl.test/3"
    assert schema["$id"] == "urn:edgetl:test:3"
    assert schema["description"] == "A report with every kind of field."
    assert set(schema["properties"]) == {*GOOD, "note"}
    assert "from" not in schema["required"]
    assert "steps" not in schema["required"]
    assert schema["properties"]["rows"] == {
        "description": "In order.",
        "type": "array",
        "items": {"$ref": "#/$defs/Row"},
    }
    assert schema["properties"]["from"] == {"type": "string"}
    assert schema["properties"]["parent"] == {"anyOf": [{"$ref": "#/$defs/Row"}, {"type": "null"}]}
    assert schema["properties"]["rate"] == {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    name = schema["$defs"]["Row"]["properties"]["name"]
    assert name == {"description": "What it is called, in words of more than one line.", "type": "string"}


def test_the_schema_and_the_reader_agree() -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(documents.json_schema(Report))
    validator.check_schema(validator.schema)
    assert validator.is_valid(GOOD)
    changes: list[dict[str, Any]] = [
        {"rows": {}},
        {"rows": [{"name": "a"}]},
        {"rows": [{"name": "a", "share": 1.5}]},
        {"status": "odd"},
        {"count": -1},
        {"count": True},
        {"ci95": [0.1]},
        {"digest": "0" * 63},
        {"rate": 0},
        {"by_name": {"x": "1"}},
        {"parent": 3},
    ]
    for change in changes:
        assert not validator.is_valid(GOOD | change), change
        with pytest.raises(InputError):
            parsed(**change)


@dataclass(frozen=True)
class Settings:
    """Settings of which some are known.

    Attributes:
        size: In pixels.
    """

    size: int
    others: dict[str, int | str] = rest()

    def __post_init__(self) -> None:
        if self.size % 2:
            raise InputError(f"size {self.size}", why="must be even")


def test_entries_without_a_field_are_kept_where_the_class_wants_them() -> None:
    data = {"size": 2, "rate": 5, "name": "x"}
    found = documents.of_json(Settings, data, name="settings")
    assert found == Settings(2, {"rate": 5, "name": "x"})
    assert list(documents.to_json(found)) == list(data)
    with pytest.raises(InputError, match=r"settings: \"rate\" cannot be null"):
        documents.of_json(Settings, data | {"rate": None}, name="settings")

    @dataclass(frozen=True)
    class Whole:
        SCHEMA: ClassVar[str] = "edgetl.whole/1"
        settings: Settings

    described = documents.json_schema(Whole)["$defs"]["Settings"]
    assert described["properties"] == {"size": {"description": "In pixels.", "type": "integer"}}
    assert described["additionalProperties"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def test_what_a_class_refuses_is_refused_with_the_name_of_the_field() -> None:
    with pytest.raises(InputError, match=r"report: \[1\] cannot be used: size 3: must be even") as caught:
        documents.of_json(tuple[Settings, ...], [{"size": 2}, {"size": 3}], name="report")  # type: ignore[arg-type]
    assert "damaged" in caught.value.hint


@dataclass(frozen=True)
class Sealed:
    """A document with a digest, which detects edits."""

    SCHEMA: ClassVar[str] = "edgetl.sealed/2"
    SEALED: ClassVar[bool] = True
    CLOSED: ClassVar[bool] = True

    created: Time
    names: Annotated[tuple[str, ...], Is(unique=True)]
    ms: float = named("p50")
    mode: Literal["fast"] = stated("fast")
    digest: Sha256 = stated("0" * 64)


def test_an_edit_by_hand_is_found_out() -> None:
    document = documents.sealed(Sealed("now", ("a", "b"), 1.5))
    text = documents.dumps(document)
    assert json.loads(text)["p50"] == 1.5
    assert documents.parse(Sealed, text.encode(), name="sealed.json") == document
    with pytest.raises(InputError, match=r"sealed\.json: does not match its own digest"):
        documents.parse(Sealed, text.replace("1.5", "2.5").encode(), name="sealed.json")
    schema = documents.json_schema(Sealed)
    assert schema["required"] == ["schema", "created", "names", "p50", "mode", "digest"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["created"] == {"type": "string", "format": "date-time"}
    assert schema["properties"]["names"]["uniqueItems"] is True
    assert schema["properties"]["mode"] == {"const": "fast"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ["a", "a"]}, "names has an entry twice"),
        ({"mode": None}, 'mode must be "fast", not null'),
        ({"more": 1}, 'the document has an unknown field "more"'),
    ],
)
def test_what_a_closed_class_refuses(change: dict[str, Any], said: str) -> None:
    whole = documents.to_json(Sealed("now", ("a", "b"), 1.5))
    with pytest.raises(InputError) as refused:
        documents.of_json(Sealed, whole | change, name="sealed.json")
    assert said in str(refused.value)
    # It has a default in Python but is required in the document.
    with pytest.raises(InputError, match="mode is missing"):
        documents.of_json(Sealed, {key: one for key, one in whole.items() if key != "mode"}, name="sealed.json")


@pytest.mark.parametrize(
    ("schema", "producer", "said"),
    [
        ("edgetl.sealed/3", {"name": "edgetl", "version": "1.2"}, "Update edgetl: edgetl 1.2 wrote it."),
        ("edgetl.sealed/3", {"name": "\x1b[2J", "version": "1.2"}, "Update edgetl."),
        ("edgetl.sealed/1", {"name": "edgetl", "version": "0.1"}, "read it with edgetl 0.1."),
        ("edgetl.sealed/1", None, "read it with the one that wrote it."),
    ],
)
def test_another_version_names_what_reads_it(schema: str, producer: Any, said: str) -> None:
    text = json.dumps({"schema": schema, "producer": producer})
    with pytest.raises(InputError) as refused:
        documents.parse(Sealed, text.encode(), name="sealed.json")
    assert refused.value.hint.endswith(said)


@dataclass(frozen=True)
class Measured:
    """A result.

    Attributes:
        latency_ms: Of a run.
    """

    SCHEMA: ClassVar[str] = "edgetl.measured/1"

    latency_ms: float


def test_what_took_long_to_measure_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = Measured(3.5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(InputError, match=r"The result is kept: .*edgetl-\w+\.json") as caught:
        documents.write_or_keep("/proc/result.json", document)
    (kept,) = tmp_path.iterdir()
    assert str(kept) in caught.value.hint
    assert documents.read(Measured, kept) == document
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(InputError, match="kept: what is printed above"):
        documents.write_or_keep("/proc/result.json", document)
    assert capsys.readouterr().out == documents.dumps(document)
