"""Damaged results, bundles and reports of the device: refused with one of edgetl's errors, or used."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import zipfile
from contextlib import suppress
from pathlib import Path

import benched
import pytest
from damaged import SOME, Json, damage, edited, sealed
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetl.cli.console.bench import print_result, records
from edgetl.comparison import compare_results
from edgetl.comparison.results import gate_subjects
from edgetl.comparison.text import conclusion_lines, source_lines, subjects
from edgetl.comparison.text import records as comparison_records
from edgetl.reports import render
from edgetl_device import doctor
from edgetl_device._lib import documents
from edgetl_device.bench import photoset, result
from edgetl_device.bundle import Bundle, Manifest
from edgetl_device.classifier import Classified, Classifier, Predictions, predictions
from edgetl_device.errors import EdgetlError, InputError
from edgetl_device.verify import Verification, verify


@functools.cache
def short() -> Json:
    """A result with few samples, because drawing it takes long."""

    def change(document: Json) -> None:
        for run in document["runs"]:
            benched.set_times(document, run["variant"], run["samples_ns"]["invoke"][:140])
            run.pop("latency_ci95_ms")

    return benched.result(change)


def with_digests(document: Json) -> bytes:
    """Update a result's digests, so that readers check the rest of it."""
    with suppress(Exception):
        photos, labels = document["evalset"]["photos"], document["bundle"]["labels"]
        document["evalset"]["digest"] = photoset.digest((labels[one["label"]], one["sha256"]) for one in photos)
    return sealed(document)


def use(path: Path) -> None:
    """Use a result as the commands do."""
    found = result.read(path)
    gate_subjects(found), records(found)
    with contextlib.redirect_stdout(io.StringIO()):
        print_result(found)
    assert documents.of_json(result.Result, found.to_json(), name="again") == found


@settings(SOME, max_examples=80)
@given(data=st.data())
def test_results(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(with_digests(edited(data.draw, short())))
    with suppress(EdgetlError):
        use(path)
    path.write_bytes(damage(data.draw, short()))
    with suppress(EdgetlError):
        use(path)


@settings(SOME, max_examples=25)
@given(data=st.data())
def test_results_side_by_side(tmp_path: Path, data: st.DataObject) -> None:
    whole, other = benched.save(tmp_path / "whole.json"), tmp_path / "other.json"
    document = short()
    # Damage one part at a time, because most of a result is samples.
    part = data.draw(st.sampled_from(["evalset", "settings", "environment", "harness", "bundle", "skipped"]))
    document = document | {part: edited(data.draw, {part: document[part]}).get(part)}
    other.write_bytes(with_digests(document))
    with suppress(EdgetlError):
        found = compare_results([whole, other])
        conclusion_lines(found), source_lines(found), subjects(found), comparison_records(found)
    with suppress(EdgetlError):
        render([other])


@SOME
@given(data=st.data())
def test_bundles(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "tiny"
    if not folder.exists():
        with zipfile.ZipFile(benched.TINY) as archive:
            archive.extractall(folder)
    with zipfile.ZipFile(benched.TINY) as archive:
        document = json.loads(archive.read("bundle.json"))
    (folder / "bundle.json").write_bytes(sealed(edited(data.draw, document)))
    with suppress(EdgetlError):
        bundle = Bundle.open(folder)
        bundle.photos(), bundle.reference()
        for variant in bundle.variants:
            bundle.read(variant.file)


@functools.cache
def reports() -> dict[type[documents.Document], Json]:
    bundle = Bundle.open(benched.TINY)
    with Classifier(bundle, "int8") as classifier:
        photo = benched.TINY.parent / "photos" / "circle0.jpg"
        classified = predictions(classifier, [Classified(str(photo), tuple(classifier.classify(photo)))])
    return {
        doctor.Report: doctor.examine().to_json(),
        Verification: verify(bundle).to_json(),
        Predictions: classified.to_json(),
    }


@pytest.mark.parametrize("kind", [doctor.Report, Verification, Predictions])
@SOME
@given(data=st.data())
def test_reports_of_the_device(kind: type[documents.Document], data: st.DataObject) -> None:
    whole = reports()[kind]
    assert documents.to_json(documents.parse(kind, json.dumps(whole).encode(), name="whole")) == whole
    with suppress(EdgetlError):
        found = documents.parse(kind, damage(data.draw, whole), name="report")
        assert documents.parse(kind, documents.dumps(found).encode(), name="again") == found


@pytest.mark.parametrize(
    "value", ['"\\ud800"', "1e999", "NaN", "[" * 70 + "]" * 70, "[" * 5000 + "]" * 5000, "[" * 100_000, "9" * 10_000]
)
@pytest.mark.parametrize("kind", [result.Result, Manifest])
def test_what_no_document_has_is_refused(kind: type[documents.Document], value: str) -> None:
    if kind is Manifest:
        with zipfile.ZipFile(benched.TINY) as archive:
            document = json.loads(archive.read("bundle.json"))
        place = "provenance"
    else:
        document, place = benched.result(), "created"
    text = json.dumps(document | {place: "here"}).replace('"here"', value)
    with pytest.raises(InputError, match=r"^report\.json: "):
        documents.parse(kind, text.encode(), name="report.json")
