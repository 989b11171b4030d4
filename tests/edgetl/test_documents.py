"""Every document that edgetl writes is listed, valid under its JSON Schema, and described in the docs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import benched
import pytest
import small
from jsonschema import Draft202012Validator

from edgetl import documents
from edgetl.runs.directory import Run
from edgetl_device._lib.documents import to_json
from edgetl_device.errors import InputError

ROOT = Path(__file__).parents[2]


def test_every_document_class_is_in_the_list() -> None:
    """A class with ``SCHEMA`` is a document."""
    found = {
        (path.relative_to(ROOT).as_posix(), node.name)
        for folder in ("edgetl", "device/edgetl_device")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        if any(
            isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == "SCHEMA" and one.value for one in node.body
        )
    }
    listed = {documents.document_class(name) for name in documents.NAMES}
    assert {name for _, name in found} == {kind.__name__ for kind in listed}
    assert len(found) == len(listed) == len(documents.NAMES)


@pytest.mark.parametrize("name", documents.NAMES)
def test_each_has_a_schema_that_describes_every_field(name: str) -> None:
    schema = documents.schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["title"].startswith("edgetl.")
    for place, part in {"": schema, **schema.get("$defs", {})}.items():
        assert part["description"], place
    undescribed = [field for field, about in schema["properties"].items() if "description" not in about]
    assert undescribed == ["schema"]


def test_what_is_written_fits_its_schema(tiny_bundle: Path) -> None:
    run = tiny_bundle.parent
    written = {
        "run": json.loads((run / "run.json").read_text()),
        "quantize": json.loads((run / "quantize.json").read_text()),
        "bundle": json.loads((tiny_bundle / "bundle.json").read_text()),
        "data": json.loads((run / "run.json").read_text())["dataset"],
        "result": benched.result(),
    }
    for name, document in written.items():
        errors = Draft202012Validator(documents.schema(name)).iter_errors(document)
        assert [f"{error.json_path}: {error.message}" for error in errors] == [], name
    # Reading and writing it loses nothing.
    assert to_json(Run.open(run).document) == written["run"]


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    done = small.edgetl("schema")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(documents.NAMES)
    done = small.edgetl("schema", "run")
    assert json.loads(done.stdout) == documents.schema("run")
    assert "there are run, quantize" in small.refused(small.edgetl("schema", "runs"))
    with pytest.raises(InputError, match="no such document"):
        documents.schema("none")


def test_the_links_of_the_page_lead_somewhere() -> None:
    page = documents.page()
    anchors = re.findall(r"\{: #([\w-]+) \}", page)
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= set(anchors)
    for name in documents.NAMES:
        assert f"\n## {documents.document_class(name).SCHEMA}\n" in page
