"""Damaged documents of a real run: readers raise one of edgetl's errors, or read them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from damaged import SOME, WRONG, Json, damage
from hypothesis import given
from hypothesis import strategies as st

from edgetl.remote.fleet import read_fleet
from edgetl.reports.run import facts, page
from edgetl.reports.run.card import card
from edgetl.reports.run.int8 import read_int8
from edgetl.runs.directory import Run
from edgetl.runs.evaluation import Evaluation
from edgetl.runs.explain_report import ExplainReport
from edgetl.runs.model_card import Words
from edgetl.runs.quantize_report import QuantizeReport
from edgetl_device._lib import documents
from edgetl_device.errors import EdgetlError, InputError


def read_all_of(run: Run) -> None:
    """Use a run's documents as its report does."""
    document = run.document
    facts.provenance(document), facts.configuration(document), facts.stages(document), facts.reasons(document)
    page.scores(document)
    for split, metrics in document.metrics.items():
        page.cautions(document, split), page.figures(document, split, None)
        page.limits(document, split, tells_unknown=True)
        card("run", document, split, None, (), Words(None, {}))
        page.classes(metrics), page.pairs(run.confusion(split), metrics)


@SOME
@given(data=st.data())
def test_run_json(tiny_run: Run, tmp_path: Path, data: st.DataObject) -> None:
    for name in ("split.csv", "confusion.csv"):
        shutil.copy(tiny_run.folder / name, tmp_path)
    document = json.loads((tiny_run.folder / "run.json").read_text())
    (tmp_path / "run.json").write_bytes(damage(data.draw, document))
    with suppress(EdgetlError):
        read_all_of(Run.open(tmp_path))


@SOME
@given(data=st.data())
def test_quantize_json_and_explain_json(tiny_explained: Path, tiny_bundle: Path, tmp_path: Path, data: Any) -> None:
    for source, kind in ((tiny_bundle.parent, QuantizeReport), (tiny_explained, ExplainReport)):
        name = f"{kind.SCHEMA.partition('.')[2].partition('/')[0]}.json"
        document = json.loads((source / name).read_text())
        (tmp_path / name).write_bytes(damage(data.draw, document))
    with suppress(EdgetlError):
        read_int8(tmp_path, tmp_path / "report.html")


@SOME
@given(data=st.data())
def test_of_version_1(tiny_bundle: Path, data: st.DataObject) -> None:
    with suppress(EdgetlError):
        documents.parse(QuantizeReport, damage(data.draw, version_1(tiny_bundle)), name="quantize.json")


def version_1(bundle: Path) -> Json:
    """Return a quantization report with a candidate, as the previous version wrote it."""
    document = json.loads((bundle.parent / "quantize.json").read_text())
    document["schema"] = "edgetl.quantize/1"
    del document["candidates"]
    document["target"] = {"name": "coral", "misfit": "a reason"}
    rows = [row | {"latency_ms": 1.5} for row in document["variants"]]
    tried = {"name": "plain", "repair": "none", "float_layers": [], "passed": True, "seconds": 2.5, "variants": rows}
    document["ladder"] = {"judged_on": "val", "taken": "plain", "rungs": [tried]}
    return document


def test_version_1_of_quantize_json_is_read(tiny_bundle: Path) -> None:
    document = version_1(tiny_bundle)
    report = documents.parse(QuantizeReport, json.dumps(document).encode(), name="quantize.json")
    assert report.target.incompatibility == "a reason"
    assert report.candidates is not None
    assert (report.candidates.taken, len(report.candidates.tried)) == ("plain", 1)
    written = documents.to_json(report)
    assert written["schema"] == "edgetl.quantize/2"
    assert written["variants"] == document["variants"]
    document["ladder"]["rungs"][0]["variants"][0]["latency_ms"] = -1
    damaged = json.dumps(document).encode()
    with pytest.raises(InputError, match=r"quantize\.json: candidates.tried\[0\].variants\[0\].latency_ms is -1"):
        documents.parse(QuantizeReport, damaged, name="quantize.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.pop("model"), "run.json: model is missing"),
        (lambda document: document["model"].update(bytes="5"), 'run.json: model.bytes must be a whole number, not "5"'),
        (lambda document: document["dataset"].pop("root"), "run.json: dataset.root is missing"),
        (
            lambda document: document["metrics"]["test"]["per_class"][0].update(photos=99),
            'run.json: metrics."test" cannot be used: per_class and accuracy: they count different photos',
        ),
        (lambda document: document["preprocess"].update(blur=1), 'run.json: preprocess has an unknown field "blur"'),
        (lambda document: document["labels"].pop(), "per_class: must have 2 classes"),
        (lambda document: document["labels"].__setitem__(0, "gear"), "labels: must be two or more, all different"),
    ],
)
def test_a_field_of_run_json_that_is_wrong_is_named(
    tiny_run: Run, tmp_path: Path, change: Callable[[Json], Any], said: str
) -> None:
    document = json.loads((tiny_run.folder / "run.json").read_text())
    change(document)
    (tmp_path / "run.json").write_text(json.dumps(document))
    shutil.copy(tiny_run.folder / "split.csv", tmp_path)
    with pytest.raises(InputError) as caught:
        Run.open(tmp_path)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_evaluation_is_read_again(tiny_run: Run) -> None:
    metrics = tiny_run.document.metrics["test"]
    found = Evaluation("photos", "all", "0" * 64, 3, metrics, tiny_run.confusion("test"), "run")
    assert documents.parse(Evaluation, documents.dumps(found).encode(), name="evaluation") == found


FLEET = """[[board]]
name = "pi5"
host = "pi@10.0.0.5"
threads = [1, 2]
variants = ["int8"]

[[board]]
name = "coral"
host = "ssh://mendel@coral:22"
python = "/home/mendel/venv/bin/python"
delegate = "edgetpu"
"""


@SOME
@given(data=st.data())
def test_fleet_toml(tmp_path: Path, data: st.DataObject) -> None:
    pytest.importorskip("tomllib", reason="Python 3.11")
    text = FLEET
    for line in data.draw(st.lists(st.sampled_from(FLEET.splitlines()), max_size=2)):
        value = data.draw(st.one_of(WRONG.map(lambda one: json.dumps(one)), st.text(max_size=6)))
        text = text.replace(line, f"{line.partition(' = ')[0]} = {value}")
    raw = text.encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):
        start = data.draw(st.integers(0, len(raw)))
        raw = raw[:start] + data.draw(st.binary(max_size=4)) + raw[start + data.draw(st.integers(0, 4)) :]
    path = tmp_path / "fleet.toml"
    path.write_bytes(raw)
    with suppress(EdgetlError):
        assert read_fleet(path)
