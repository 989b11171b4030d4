"""The published JSON Schema of ``edgetl.result/1``, against real results."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import benched
import pytest
from jsonschema import Draft202012Validator

from edgetl_device import result

Document = dict[str, Any]


def errors(schema: Document, document: Document) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(result.json_schema())


def test_a_real_result_fits() -> None:
    assert errors(result.json_schema(), benched.result()) == []


def test_every_field_of_a_result_is_described() -> None:
    """Readers may meet new fields, but what this version writes is in its schema."""

    def close(schema: Any) -> Any:
        if isinstance(schema, list):
            return [close(part) for part in schema]
        if not isinstance(schema, dict):
            return schema
        closed = {key: close(part) for key, part in schema.items()}
        return closed | {"additionalProperties": False} if "properties" in schema else closed

    assert errors(close(result.json_schema()), benched.result()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("evalset"),
        lambda d: d.update(schema="edgetl.result/2"),
        lambda d: d["environment"].update(governor=None),
        lambda d: d["environment"]["after"].update(temperature_c={"unknown": ""}),
        lambda d: d["environment"].pop("during"),
        lambda d: d["runs"].clear(),
        lambda d: d["runs"][0]["samples_ns"]["invoke"].append(1.5),
        lambda d: d["runs"][0]["samples_ns"].pop("decode"),
        lambda d: d["runs"][0]["latency_ms"]["total"].pop("p95"),
        lambda d: d["runs"][0]["accuracy"].update(top1=100),
        lambda d: d["runs"][0]["verdict"].update(status="fine"),
        lambda d: d["runs"][0].pop("answers"),
        lambda d: d["runs"][0]["answers"].pop("probability"),
        lambda d: d["runs"][0].update(peak_rss_bytes=0),
        lambda d: d["bundle"].update(digest="short"),
    ],
)
def test_what_is_no_result_does_not_fit(change: Callable[[Document], Any]) -> None:
    document = copy.deepcopy(benched.result())
    change(document)
    assert errors(result.json_schema(), document)
