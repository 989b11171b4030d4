"""The published JSON Schema of ``edgetl.result/1``, against real results."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benched
import pytest
from jsonschema import Draft202012Validator

from edgetl_device._lib.documents import json_schema
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.result import Result
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle

Document = dict[str, Any]
SCHEMA = json_schema(Result)


def errors(schema: Document, document: Document) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_a_real_result_fits() -> None:
    assert errors(SCHEMA, benched.result()) == []


def close(schema: Any) -> Any:
    """Return a schema that allows only the fields that it describes."""
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(part) for key, part in schema.items()}
    return closed | {"additionalProperties": False} if "properties" in schema else closed


def test_every_field_of_a_result_is_described() -> None:
    """Readers must accept unknown fields, but this version's schema describes all fields that it writes."""
    assert errors(close(SCHEMA), benched.result()) == []


def test_every_field_of_a_bench_of_a_folder_in_batches_is_described(tmp_path: Path) -> None:
    bundle = Bundle.open(benched.TINY)
    for photo in bundle.photos():
        target = tmp_path / bundle.labels[photo.index] / Path(photo.file).name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(bundle.read(photo.file))
    document = run_bench(
        bundle, BenchOptions(variants=["int8", "int8-onnx"], batch=(1, 2), data=tmp_path, duration=0.05, quick=True)
    ).to_json()
    assert document["skipped"]
    assert errors(close(SCHEMA), document) == []
    document["evalset"]["reference"] = {"unknown": "none"}
    document["runs"][0]["accuracy"]["top5"] = {"correct": 12, "share": 1.0, "ci95": [0.7, 1.0]}
    assert errors(close(SCHEMA), document) == []
    document["evalset"]["source"] = "camera"
    assert len(errors(SCHEMA, document)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("evalset"),
        lambda d: d.update(schema="edgetl.result/3"),
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
    assert errors(SCHEMA, document)
