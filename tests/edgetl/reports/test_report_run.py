"""``RUN/report.html``: self-contained, shows the run's records and photos, and escapes untrusted text."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from PIL import Image
from webpage import Page

from edgetl.data import SPLITS, write_split
from edgetl.reports.grad_cam import grad_cam
from edgetl.reports.run import render_run, write_run_report
from edgetl.reports.run.photos import MISTAKES
from edgetl.reports.run.reliability import reliability_chart, temperature_note
from edgetl.runs.calibration_error import CalibrationError
from edgetl.runs.confusion import FILE as CONFUSION
from edgetl.runs.confusion import write_confusion
from edgetl.runs.directory import Run
from edgetl.runs.explain_report import ChannelCounts, Clipped, ExplainedLayer, ExplainReport, Flips, Grid, Int8File
from edgetl.runs.predictions import FILE, HeldOutPrediction, read_predictions, write_predictions
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Unknown, to_json
from edgetl_device._lib.files import sha256_file
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.preprocess import preprocess
from edgetl_device.scores import Accuracy

Document = dict[str, Any]


def copied(run: Run, target: Path, change: Callable[[Document], None] | None = None) -> Run:
    """Copy the page's inputs; ``change`` edits ``run.json``, and classes that it renames are renamed everywhere."""
    target.mkdir()
    for name in ("run.json", "data_root.txt", "split.csv", "history.csv", FILE, CONFUSION):
        shutil.copy(run.folder / name, target)
    if change:
        document = json.loads((target / "run.json").read_text())
        change(document)
        (target / "run.json").write_text(json.dumps(document))
        names = dict(zip(run.labels, document["labels"], strict=True))
        write_split(target / "split.csv", [replace(one, label=names[one.label]) for one in run.samples])
        renamed = {
            split: tuple(replace(cell, label=names[cell.label], predicted=names[cell.predicted]) for cell in cells)
            for split in SPLITS[1:]
            for cells in [run.confusion(split)]
        }
        write_confusion(target / CONFUSION, renamed)
    return Run.open(target)


def with_wrong(run: Run, wrong: list[float]) -> list[HeldOutPrediction]:
    """Make the first test photos wrong with these probabilities, and the others right; return the wrong ones."""
    rows = [replace(one, predicted=one.label) for one in read_predictions(run.folder / FILE)]
    test = [place for place, one in enumerate(rows) if one.split == "test"]
    for place, probability in zip(test, wrong, strict=False):
        other = next(label for label in run.labels if label != rows[place].label)
        rows[place] = replace(rows[place], predicted=other, probability=probability)
    write_predictions(run.folder / FILE, rows)
    return [rows[place] for place in test[: len(wrong)]]


def page_of(run: Run, **options: Any) -> Page:
    return Page(render_run(run, run.folder / "report.html", **options))


def shown(page: Page) -> dict[str, Image.Image]:
    """Return the pictures of a page by their alternative text."""
    return {
        str(one["alt"]): Image.open(io.BytesIO(base64.b64decode(str(one["src"]).partition(",")[2])))
        for one in page.named("img")
    }


def test_the_page_shows_the_run_and_needs_nothing_else(tiny_run: Run) -> None:
    page, document = page_of(tiny_run), to_json(tiny_run.document)
    page.assert_needs_nothing_else()
    assert page.links() == []
    accuracy = document["metrics"]["test"]["accuracy"]
    low, high = accuracy["ci95"]
    interval = f"95% interval {100 * low:.1f} to {high:.1%}"
    said = (
        f"Top-1 accuracy {accuracy['top1']:.1%} {interval}, {accuracy['correct']} of {accuracy['photos']} test photos"
    )
    assert said in page.text
    assert "int8 not made yet" in page.text
    assert page.text.index(said) < page.text.index(str(document["command"])) < page.text.index("Mistakes")
    for row in document["metrics"]["test"]["per_class"]:
        low, high = row["recall_ci95"]
        assert f"{row['recall']:.1%} {100 * low:.1f} to {100 * high:.1f} {row['f1']:.3f}" in page.text
    for stage in document["stages"]:
        assert f"{stage['name']} {stage['seconds']:.1f} s" in page.text
    ece = document["metrics"]["test"]["calibration"]["ece"]
    assert f"expected calibration error is {ece:.1%}" in page.text
    for fact in (
        document["model"]["sha256"],
        document["weights"]["sha256"],
        document["dataset"]["fingerprint"],
        document["versions"]["tensorflow"],
        "trainable blocks 6",
    ):
        assert fact in page.text
    # Two charts of the second stage, loss and accuracy, each with training and validation.
    assert len([one for one in page.named("path") if "trace" in str(one.get("class"))]) == 4
    assert "int8 not made yet" in page.text
    assert "Drop, pp" not in page.text


def test_the_page_says_what_the_temperature_changed(tiny_run: Run, tmp_path: Path) -> None:
    page = page_of(tiny_run)
    photos = len(tiny_run.of("val"))
    assert f"The temperature stayed 1: a temperature needs 20 validation photos, and there are {photos}." in page.text
    assert "Before the temperature was applied" not in page.text

    def fitted(document: dict[str, Any]) -> None:
        found = document["temperature"]
        found |= {"value": 1.6, "photos": 60, "mistakes": 9, "why_unchanged": None}
        found["before"]["test"]["brier"] = 0.75
        found["before"]["test"]["calibration"]["ece"] = 0.123

    page = page_of(copied(tiny_run, tmp_path / "run", fitted))
    assert "divided by a temperature of 1.60, fitted on 60 validation photos, so few that" in page.text
    assert "flatter" not in page.text
    assert "the calibration error would be 0.123 instead of" in page.text
    assert "the Brier score 0.750 instead of" in page.text
    assert "Before the temperature was applied" in page.text


def test_a_temperature_that_is_judged_by_its_own_photos_says_so(tiny_run: Run) -> None:
    found = tiny_run.document.temperature
    assert found is not None
    fitted = replace(found, value=1.6, photos=120, why_unchanged=None, before={"val": found.before["val"]})
    note = temperature_note(fitted, "val")
    assert note.endswith("as there are no test photos: they flatter it.")
    assert "so few" not in note
    assert "flatter" not in temperature_note(replace(fitted, before=found.before), "test")


def test_what_could_not_be_measured_is_no_number(tiny_run: Run, tmp_path: Path) -> None:
    unknown = {"unknown": "this class was never predicted"}

    def never_predicted(document: dict[str, Any]) -> None:
        rows = document["metrics"]["test"]["per_class"]
        rows[0] |= {"precision": unknown, "f1": unknown}

    page = page_of(copied(tiny_run, tmp_path / "run", never_predicted))
    label = tiny_run.labels[0]
    assert re.search(rf"{label} \d+ - [\d.]+% [\d.]+ to [\d.]+ - ", page.text)


def test_mistakes_are_shown_the_most_confident_first(tiny_run: Run, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path / "run")
    wrong = with_wrong(run, [0.5, 0.9, 0.7])
    page = page_of(run)
    assert [one["alt"] for one in page.named("img")] == [wrong[place].path for place in (1, 2, 0)]
    for one in wrong:
        assert f"{one.label} predicted: {one.predicted} {one.probability:.2f} {one.path}" in page.text
    for path, picture in shown(page).items():
        with Image.open(run.data_root / path) as original:
            assert picture.width / picture.height == pytest.approx(original.width / original.height, abs=0.03)
            pair = [np.asarray(one.convert("RGB").resize((24, 24)), np.float32) for one in (picture, original)]
        assert np.abs(pair[0] - pair[1]).mean() < 10
    with_wrong(run, [])
    assert "None: all" in page_of(run).text


def test_only_so_many_mistakes_are_shown(tiny_run: Run, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path / "run")
    few = [one for one in read_predictions(run.folder / FILE) if one.split == "test"]
    others = [replace(one, path=f"{index}/{one.path}", predicted="x") for index in range(9) for one in few]
    write_predictions(run.folder / FILE, others)
    page = page_of(run)
    assert len([one for one in page.named("li") if one.get("class") == "card"]) == MISTAKES < len(others)
    assert f"these are the {MISTAKES} with the highest confidence" in page.text


def test_findings_show_their_photos(tiny_run: Run, tmp_path: Path) -> None:
    one, other = (sample.path for sample in tiny_run.samples[:2])

    def change(document: Document) -> None:
        groups = [[one, "copy/a.jpg"], [other, "copy/b.jpg"]]
        document["dataset"]["findings"] = [
            {"kind": "leak", "severity": "warning", "message": "2 photos dropped", "files": [], "groups": groups},
            {"kind": "empty", "severity": "warning", "message": "1 file left out", "files": ["gear/none.jpg"]},
            {"kind": "small", "severity": "info", "message": "many", "files": [other] * 11},
        ]

    page = page_of(copied(tiny_run, tmp_path / "run", change))
    assert f"{one} = copy/a.jpg" in shown(page)
    assert f"{other} = copy/b.jpg" in shown(page)
    assert "no longer exists gear/none.jpg" in page.text
    assert "And 3 more" in page.text


def test_photos_that_are_gone_or_changed_are_named(tiny_run: Run, tmp_path: Path, tiny_photos: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tiny_photos, moved)
    run = copied(tiny_run, tmp_path / "run")
    (run.folder / "data_root.txt").write_text(str(tmp_path / "<b>gone"))
    one, other = with_wrong(run, [0.9, 0.8])
    page = page_of(run)
    assert not page.named("img")
    assert "The photos cannot be shown" in page.text
    assert "<b>gone: the data set of this run is missing" in page.text
    assert str(tmp_path) not in page.text
    assert one.path in page.text
    (moved / one.path).write_bytes(b"another photo")
    page = page_of(run, data=moved)
    assert "The photos cannot be shown" not in page.text
    assert list(shown(page)) == [other.path]
    assert "changed since training" in page.text
    with pytest.raises(InputError, match="missing"):
        page_of(run, data=tmp_path / "nowhere")
    with pytest.raises(InputError, match="was changed since training"):
        page_of(run, data=moved, grad_cam=True)


def test_what_others_wrote_is_text(tiny_run: Run, tmp_path: Path) -> None:
    label, file = '"><img src=x onerror=alert(1)>', "<script>alert(2)</script>.jpg"

    def hostile(document: Document) -> None:
        document["labels"][0] = label
        document["dataset"]["classes"] = {label: {"train": 1, "val": 1, "test": 1}}
        document["dataset"]["findings"] = [
            {"kind": "<s>", "severity": "warning", "message": "<u>why</u>", "files": [file]}
        ]
        document["metrics"]["test"]["per_class"][0]["label"] = label
        document["config"]["augment"] = "<i>"
        document["weights"]["licence"] = "<i>free</i>"

    run = copied(tiny_run, tmp_path / "<em>run", hostile)
    rows = [replace(one, predicted=label, label="<b>x</b>", path=file) for one in read_predictions(run.folder / FILE)]
    write_predictions(run.folder / FILE, rows)
    page = page_of(run)
    page.assert_needs_nothing_else()  # so of the scripts there is only edgetl's
    assert not {"img", "u", "s", "em", "b"} & {tag for tag, _ in page.tags}
    assert not any("onerror" in attributes for _, attributes in page.tags)
    for said in (label, file, "<u>why</u>", "<i>free</i>", "<b>x</b>", "<em>run"):
        assert said in page.text


def test_without_held_out_photos_epochs_or_calibration(tiny_run: Run, tmp_path: Path) -> None:
    def head_alone(document: Document) -> None:
        document["metrics"] = {}
        document["interrupted"] = True

    run = copied(tiny_run, tmp_path / "run", head_alone)
    rows = (run.folder / "history.csv").read_text().splitlines()
    (run.folder / "history.csv").write_text("\n".join(row for row in rows if not row.startswith("blocks")) + "\n")
    page = page_of(run)
    assert "No photos were held out" in page.text
    assert "there are no epochs" in page.text

    def old(document: Document) -> None:
        del document["metrics"]["test"]
        del document["metrics"]["val"]["calibration"]
        document["interrupted"] = True

    page = page_of(copied(tiny_run, tmp_path / "old", old))
    ece = tiny_run.document.metrics["val"].calibration_error.ece
    assert f"expected calibration error is {ece:.1%}" in page.text
    assert "There are no test photos" in page.text
    assert "was interrupted" in page.text


def test_a_model_that_is_too_sure_is_told_how_right_it_is() -> None:
    measured = CalibrationError(ece=0.3, ece_by_chance=0.05, confidence=0.9, bins=())
    verdict = reliability_chart(measured, Accuracy(40, 24, 0.6, (0.45, 0.74))).verdict
    assert verdict.startswith("Overconfident: mean confidence 90%, accuracy 60% (95% interval 45 to")


def test_the_baseline_stands_beside_the_run(tiny_run: Run, tmp_path: Path) -> None:
    def change(document: Document) -> None:
        metrics = json.loads(json.dumps(document["metrics"]))
        metrics["test"]["accuracy"] |= {"correct": 1, "top1": 0.125, "ci95": [0.02, 0.47]}
        document["baseline"] = {"backbone": "simple_cnn", "metrics": metrics, "seconds": 41.25, "parameters": 102405}
        document["baseline"]["interrupted"] = False

    page = page_of(copied(tiny_run, tmp_path / "run", change))
    assert "test, simple_cnn from scratch" in page.text
    assert "12.5% 2.0 to 47.0" in page.text
    assert "102,405 41.2" in page.text


def test_what_quantizing_gave(tiny_bundle: Path, tmp_path: Path) -> None:
    run = Run.open(Path(shutil.copytree(tiny_bundle.parent, tmp_path / "run")))
    document = json.loads((run.folder / "quantize.json").read_text())
    candidate = {
        "name": "third candidate",
        "repair": "none",
        "float_layers": [],
        "passed": True,
        "seconds": 1.5,
        "variants": [document["variants"][-1] | {"latency_ms": 2.5}],
    }
    document["candidates"] = {"judged_on": "val", "taken": "third candidate", "tried": [candidate]}
    (run.folder / "quantize.json").write_text(json.dumps(document))
    page = page_of(run)
    for row in document["variants"]:
        agreement = row["agreement"]
        drop, agree = agreement["drop_ci95_pp"], wilson95(agreement["agree"], agreement["photos"])
        cells = f"{agreement['drop_pp']:+.2f} {drop[0]:+.1f} to {drop[1]:+.1f} "
        cells += f"{agreement['top1']:.1%} {100 * agree[0]:.1f} to {100 * agree[1]:.1f}"
        assert page.text.count(cells) >= 1
    # Once more in its candidate.
    assert page.text.index(f"{cells} yes") > page.text.index("third candidate was chosen")
    layers = tuple(
        ExplainedLayer(
            name=name,
            operator="CONV_2D",
            tensor=name,
            shape=(1, 2, 2, 8),
            sqnr_db=30.5,
            alone_sqnr_db=Unknown("not run"),
            answer_error=error,
            largest_error=0.5,
            float_range=(-1.0, 1.0),
            int8_grid=Grid(-1.0, 1.0, 0.01),
            clipped=Clipped(0, 0.0),
            channels=ChannelCounts(8, 0, 0),
        )
        for name, error in (("<b>first", 0.01), ("second", 0.02), ("unmeasured", Unknown("not run")))
    )
    report = ExplainReport(
        producer="edgetl",
        int8=Int8File("0" * 64, 5),
        classes=(),
        flips=Flips(3, ()),
        photos=3,
        answer_error=0.025,
        layers=layers,
        unmatched=(),
        files=(),
    )
    documents.write(run.folder / "explain.json", report)
    (run.folder / "explain").mkdir(exist_ok=True)
    (run.folder / "explain" / "layers.png").write_bytes(b"")
    page = page_of(run)
    assert page.text.index("second CONV_2D, 0.0200") < page.text.index("<b>first CONV_2D, 0.0100")
    assert "with all layers in int8 it is 0.0250" in page.text
    assert "unmeasured" not in page.text
    assert page.links() == ["explain/layers.png"]
    elsewhere = Page(render_run(run, tmp_path / "pages" / "page.html"))
    assert elsewhere.links() == ["../run/explain/layers.png"]
    # Of which files the page speaks.
    bundle = Bundle.open(run.folder)
    hashes = {one.name: one.sha256[:12] for one in bundle.variants}
    for name, sha256 in hashes.items():
        assert f"{name} {sha256}" in page.text
    assert "The bundle contains these files." in page.text
    assert "Of 000000000000, an earlier int8 file, or one that was refused, and not of the bundle." in page.text
    documents.write(run.folder / "explain.json", replace(report, int8=Int8File(bundle.variant("int8").sha256, 5)))
    assert f"Of {hashes['int8']}, the int8 file of the bundle." in page_of(run).text
    # Refused later: the bundle stayed as it was.
    document["candidates"] |= {"taken": None}
    document["variants"] = document["variants"][:1]
    (run.folder / "quantize.json").write_text(json.dumps(document))
    text = page_of(run).text
    held = ", ".join(f"{name} {sha256}" for name, sha256 in hashes.items())
    refused = "quantize was refused: no int8 candidate is within the bounds"
    assert f"The bundle is of an earlier quantize ({held}); the last {refused}." in text
    shutil.rmtree(run.folder / "bundle")
    assert f"There is no bundle: {refused}." in page_of(run).text


def test_the_page_says_only_of_this_run_what_makes_training_harder(short_run: Run, tmp_path: Path) -> None:
    run = copied(short_run, tmp_path / "run")
    document = json.loads((run.folder / "run.json").read_text())
    for augment, smoothing, said in (
        ("none", 0.0, ""),
        ("light", 0.0, "photos with augmentation (light),"),
        ("none", 0.1, "photos with label smoothing (0.1),"),
        ("strong", 0.05, "photos with augmentation (strong) and label smoothing (0.05),"),
    ):
        document["config"] |= {"augment": augment, "label_smoothing": smoothing}
        (run.folder / "run.json").write_text(json.dumps(document))
        text = page_of(Run.open(run.folder)).text
        assert (said or "Epoch 0 is the state before the first epoch.") in text
        assert ("smoothing (" in text) == (smoothing > 0)


def test_grad_cam_lies_over_each_mistake(tiny_run: Run, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path / "run")
    shutil.copy(tiny_run.folder / "model.keras", run.folder)
    one = _seen_in_one_place(tiny_run)
    # Changing the label turns a real prediction into a mistake.
    one = replace(one, label=next(label for label in run.labels if label != one.predicted))
    write_predictions(run.folder / FILE, [one])
    pictures = shown(page_of(run, grad_cam=True))
    assert list(pictures) == [one.path, f"Grad-CAM of {one.path} for {one.predicted}"]
    photo, heat = pictures.values()
    assert photo.size == heat.size
    # Cold regions of the photo are grey.
    spread = np.ptp(np.asarray(heat).astype(int), axis=-1)
    assert np.percentile(spread, 5) < 20
    assert np.percentile(spread, 99) > 40


def _seen_in_one_place(run: Run) -> HeldOutPrediction:
    """Return the prediction whose heat map has the largest cold part; other maps may be all hot, or empty."""
    test = [one for one in read_predictions(run.folder / FILE) if one.split == "test"]
    pixels = np.stack([preprocess(run.data_root / one.path, run.preprocess) for one in test])
    maps = grad_cam(run.load_model(), pixels, np.array([run.labels.index(one.predicted) for one in test]))
    cold = np.where(maps.max((1, 2)) > 0, (maps < 0.1).mean((1, 2)), 0)
    return test[int(cold.argmax())]


def test_the_command(tiny_run: Run, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path / "run")
    done = small.edgetl("report", run.folder)
    page = run.folder / "report.html"
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{page} ({page.stat().st_size / 1000:.0f} KB)\n"
    before = sha256_file(page)
    assert "Traceback" not in done.stderr
    out = tmp_path / "deep" / "page.html"
    assert small.edgetl("report", run.folder, "-o", out).returncode == 0
    assert out.read_text().startswith("<!doctype html>")
    (run.folder / "history.csv").write_text("stage\nhead,1,2\n")
    for arguments, said in (
        ((run.folder,), "not a training history"),
        ((run.folder, "result.json"), "is a run"),
        ((run.folder, "--bundle", tmp_path), "is for bench results"),
        ((tmp_path / "none.json", "--grad-cam"), "is for runs"),
    ):
        assert said in small.refused(small.edgetl("report", *arguments))
    assert sha256_file(page) == before
    assert small.left_over(run.folder) == []


def test_written_beside_the_run(tiny_run: Run, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path / "run")
    assert write_run_report(run) == run.folder / "report.html"
    assert write_run_report(run, tmp_path / "other.html").read_text() == (run.folder / "report.html").read_text()


def test_without_jinja_a_run_is_complete_and_says_so_in_one_line(tiny_run: Run, tmp_path: Path) -> None:
    run = copied(tiny_run, tmp_path / "run")
    done = small.python(f"""
import sys
sys.modules["jinja2"] = None
from pathlib import Path
from edgetl.reports.run import written_page
from edgetl.runs.directory import Run
print("report   ", written_page(Run.open(Path({str(run.folder)!r}))))
""")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "none: this command needs jinja2" in line
    assert "'.[report]'" in line
    assert not (run.folder / "report.html").exists()
