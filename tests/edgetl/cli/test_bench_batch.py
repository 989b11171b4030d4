"""``edgetl bench --batch``: output, comparison and report, and models that cannot be resized."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import benched
import pytest
import small
import tflite_graph
from webpage import Page

from edgetl.comparison import compare_results
from edgetl.comparison.text import column_names, groups
from edgetl.reports import write_report
from edgetl_device._lib import jsonfile
from edgetl_device.bench import result
from edgetl_device.errors import InputError

QUICK = ("--quick", "--duration", "0.05")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A quick sweep of batches, its file and its tables."""
    out = tmp_path_factory.mktemp("batches") / "result.json"
    options = ("--variants", "int8,float32", "--batch", "1,4", *QUICK, "--out", out)
    done = small.edgetl("bench", benched.TINY, *options)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_a_sweep_says_of_how_many_photos_its_times_are(swept: tuple[Path, str]) -> None:
    out, text = swept
    alone, four, p50, rate = _tables(text)
    assert "photo p50" in alone
    assert "photos a second" in alone
    assert "4 photos p50" not in alone
    for row in ("first 4 photos", "4 photos p50", "4 photos p95", "model, photos a second"):
        assert row in four
    assert "1 thread, batch 4" in p50
    cells = dict(re.findall(r"^ *(1 thread(?:, batch 4)?) +(\d+ +\d+) *$", rate, re.MULTILINE))
    samples = {
        (run["batch"], run["variant"]): run["samples_ns"]["invoke"] for run in result.read(out).to_json()["runs"]
    }
    for name, batch in (("1 thread", 1), ("1 thread, batch 4", 4)):
        taken = [samples[batch, variant] for variant in ("int8", "float32")]
        assert cells[name].split() == [f"{1e9 * batch * len(one) / sum(one):.0f}" for one in taken]
    assert "with a batch, times are per inference: all its photos together" in text
    assert "of the model time of each photo (null runtime" in text


def _tables(text: str) -> list[str]:
    marks = ["tiny.edgetl, 1 thread\n", "tiny.edgetl, 1 thread, batch 4", "Model p50, ms", "Model, photos a second"]
    starts = [text.index(mark) for mark in marks]
    assert starts == sorted(starts)
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def test_a_result_without_a_batch_says_nothing_of_batches() -> None:
    done = small.edgetl("bench", benched.TINY, "--variants", "int8", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "batch" not in done.stdout


def believed(document: dict[str, Any]) -> None:
    for run in document["runs"]:
        run["verdict"]["status"] = "degraded"


def saved(swept: tuple[Path, str], path: Path, change: Any) -> Path:
    document = json.loads(swept[0].read_text())
    believed(document)
    change(document)
    document["digest"] = jsonfile.digest(document)
    jsonfile.write_json(path, document)
    return path


def test_unlike_batches_are_never_compared(swept: tuple[Path, str], tmp_path: Path) -> None:
    def keep(batch: int) -> Any:
        return lambda document: document.update(runs=[run for run in document["runs"] if run["batch"] == batch])

    both = saved(swept, tmp_path / "both.json", believed)
    one, four = (saved(swept, tmp_path / f"{name}.json", keep(batch)) for name, batch in (("one", 1), ("four", 4)))
    with pytest.raises(InputError, match="nothing in common to compare") as refusal:
        compare_results([one, four])
    assert "int8, 1 thread, batch 4" in refusal.value.why
    found = compare_results([both, four])
    assert [one.baseline.batch for one in found.comparisons] == [4, 4]
    assert [title for title, _ in groups(found)] == ["four against both, 1 thread, batch 4"]
    assert sorted(found.unpaired) == ["both: float32, 1 thread", "both: int8, 1 thread"]
    within = compare_results([both])
    assert [(one.baseline.batch, one.other.batch) for one in within.comparisons] == [(1, 1), (4, 4)]
    assert column_names(within.comparisons) == ["float32, 1 thread", "float32, 1 thread, batch 4"]


def test_a_result_from_before_batches_is_compared_as_of_batch_1(swept: tuple[Path, str], tmp_path: Path) -> None:
    def age(document: dict[str, Any]) -> None:
        document["runs"] = [run for run in document["runs"] if run.pop("batch") == 1]
        document["evalset"] = {key: document["evalset"][key] for key in ("digest", "photos", "reference")}

    old, new = saved(swept, tmp_path / "old.json", age), saved(swept, tmp_path / "new.json", believed)
    assert [one.other.batch for one in compare_results([old, new]).comparisons] == [1, 1]
    write_report([old], tmp_path / "old.html")
    assert "relative to the float model, on the same photos" in Page((tmp_path / "old.html").read_text()).text


def test_the_report_names_the_batch(swept: tuple[Path, str], tmp_path: Path) -> None:
    write_report([swept[0]], tmp_path / "page.html")
    text = Page((tmp_path / "page.html").read_text()).text
    assert "int8, 1 thread, batch 4" in text
    assert "With a batch, times are per inference of all its photos" in text
    assert "ms per inference, model only" in text
    assert "Photos per inference 1, 4" in text


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    """The tiny bundle with an int8 model that reshapes to one row, whatever the batch."""
    graph = tflite_graph.Graph()
    pixels = graph.tensor(1, 32, 32, 3, dtype="uint8", scales=(1.0,))
    pooled = graph.tensor(1, 1, 1, 3, dtype="uint8", scales=(1.0,))
    shape = graph.tensor(2, dtype="int32", values=[1, 3], scales=())
    row = graph.tensor(1, 3, dtype="uint8", scales=(1 / 256,))
    graph.add("AVERAGE_POOL_2D", [pixels], pooled, filterHeight=32, filterWidth=32, strideH=1, strideW=1, padding=1)
    model = graph.build(pixels, graph.add("RESHAPE", [pooled, shape], row))
    folder = tmp_path / "tiny"
    with zipfile.ZipFile(benched.TINY) as archive:
        archive.extractall(folder)
    document = json.loads((folder / "bundle.json").read_text())
    entry = {"bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}
    document["files"]["models/int8.tflite"] = entry
    for variant in document["variants"]:
        if variant["name"] == "int8":
            variant.update(entry)
    document["digest"] = jsonfile.digest(document)
    (folder / "models" / "int8.tflite").write_bytes(model)
    (folder / "bundle.json").write_text(json.dumps(document))
    return folder


def test_a_file_that_cannot_be_resized_is_left_out_with_its_batch(fixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    done = small.edgetl("bench", fixed, "--variants", "int8,float32", "--batch", "1,4", *QUICK, "--out", out)
    assert done.returncode == 0, done.stderr
    document = result.read(out).to_json()
    assert [(run["variant"], run["batch"]) for run in document["runs"]] == [
        ("int8", 1), ("float32", 1), ("float32", 4),
    ]  # fmt: skip
    assert document["skipped"] == [
        {"variant": "int8", "why": "the model does not support a batch of 4", "batch": 4},
    ]
    assert "left out: int8, batch 4: the model does not support a batch of 4" in done.stdout
    error = small.refused(small.edgetl("bench", fixed, "--variants", "int8", "--batch", "4", *QUICK))
    assert "the model does not support a batch of 4" in error
