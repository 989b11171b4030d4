"""``edgetl quantize --explain --calibration-photos`` on a small run: files, table, exit codes."""

from __future__ import annotations

import csv
import html
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import small
from drawing import draw_photo
from PIL import Image

from edgetl.cli.console.explain import print_explanation
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.reports.run.write import write_run_report
from edgetl.runs.directory import Run
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bundle import Bundle
from edgetl_device.errors import GateFailed, InputError


def test_what_is_written(tiny_explained: Path, tiny_run: Run, tiny_bundle: Path) -> None:
    document = json.loads((tiny_explained / "explain.json").read_text())
    assert document["schema"] == "edgetl.explain/1"
    bundle = Bundle.open(tiny_bundle)
    assert document["int8"]["sha256"] == sha256_bytes(bundle.read(bundle.variant("int8").file))
    assert document["flips"]["photos"] == len(tiny_run.of("test"))
    assert sum(row["photos"] for row in document["classes"]) == len(tiny_run.of("test"))
    assert document["unmatched"] == []
    names = [row["name"] for row in document["layers"]]
    assert "expanded_conv_depthwise" in names
    assert names[-2] == "logits"
    assert document["costs_most"]["answer_error"] == max(row["answer_error"] for row in document["layers"])
    repair = document["repair"]
    (row,) = (row for row in document["layers"] if row["name"] == repair["name"])
    assert repair["before"]["answer_error"] == row["unrepaired"]["answer_error"]
    assert repair["before"]["answer_error"] == max(
        row["unrepaired"]["answer_error"] for row in document["layers"] if "unrepaired" in row
    )
    assert repair["after"]["answer_error"] == row["answer_error"]


def test_pictures_and_channels(tiny_explained: Path) -> None:
    document = json.loads((tiny_explained / "explain.json").read_text())
    written = sorted(f"explain/{path.name}" for path in (tiny_explained / "explain").iterdir())
    assert written == document["files"]
    assert {"explain/layers.png", "explain/costs_most.png", "explain/repaired.png"} <= set(written)
    assert ("explain/flips.png" in written) == bool(document["flips"]["flipped"])
    for name in written:
        if name.endswith(".png"):
            with Image.open(tiny_explained / name) as picture:
                assert min(picture.size) > 300
    with open(tiny_explained / "explain" / "channels.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == sum(row["channels"]["count"] for row in document["layers"])
    assert small.left_over(tiny_explained) == []


def test_the_table(tiny_explained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    document: dict[str, Any] = json.loads((tiny_explained / "explain.json").read_text())
    print_explanation(tiny_explained)
    text = capsys.readouterr().out
    worst = sorted((row["answer_error"] for row in document["layers"]), reverse=True)
    shown = [line.split() for line in text.splitlines()]
    layers = [words for words in shown if len(words) > 5 and words[0] in {row["name"] for row in document["layers"]}]
    assert [float(words[2]) for words in layers] == pytest.approx([round(error, 4) for error in worst[:10]])
    assert layers[0][0] == document["costs_most"]["name"]
    assert f"{len(document['layers'])} layers that change them most" in text
    assert f"flipped   {len(document['flips']['flipped'])} of {document['flips']['photos']} predictions" in text


def test_own_photos_and_an_explanation_that_a_gate_leaves(short_run: Run, tmp_path: Path) -> None:
    run = Run.open(Path(shutil.copytree(short_run.folder, tmp_path / "run")))
    own = tmp_path / "own"
    own.mkdir()
    for number in range(8):
        draw_photo(9000 + number, 96, 96).save(own / f"{number}.png")
    # No model can be 101 points better than another, so every model misses this bound.
    config = small.impossible(calibration_photos=str(own), explain=True, repair=False)
    with pytest.raises(GateFailed):
        quantize(run, config)
    document = json.loads((run.folder / "explain.json").read_text())
    assert "unrepaired" not in document
    assert "repair" not in document
    assert not (run.folder / "bundle").exists()
    calibration = json.loads((run.folder / "quantize.json").read_text())["calibration"]
    assert calibration["folder"] == own.name
    assert calibration["photos"] == calibration["audit"]["unique"] == 8
    assert [finding["kind"] for finding in calibration["audit"]["findings"]] == ["few_photos"]


def test_page_and_documents_tell_one_story_of_a_refusal(short_run: Run, tmp_path: Path) -> None:
    run = Run.open(Path(shutil.copytree(short_run.folder, tmp_path / "run")))
    quantize(run, QuantizeOptions(int8=False))
    held = {one.name: one.sha256[:12] for one in Bundle.open(run.folder).variants}
    page = write_run_report(run)
    with pytest.raises(GateFailed) as caught:
        quantize(run, small.impossible(explain=True, repair=False, calibration=4))
    # The refusal, its two documents, and the bundle of before.
    reason = "no int8 candidate is within the bounds"
    assert str(caught.value).startswith("no int8 candidate is within")
    report = json.loads((run.folder / "quantize.json").read_text())
    assert report["candidates"]["taken"] is None
    explained = json.loads((run.folder / "explain.json").read_text())["int8"]["sha256"]
    assert explained not in [one.sha256 for one in Bundle.open(run.folder).variants]
    # The page, written again by itself.
    text = html.unescape(page.read_text(encoding="utf-8"))
    names = ", ".join(f"{name} {sha256}" for name, sha256 in held.items())
    assert f"The bundle is of an earlier quantize ({names}); the last quantize was refused: {reason}" in text
    assert f"Of {explained[:12]}, an earlier int8 file, or one that was refused, and not of the bundle." in text


def test_the_command_refuses_before_it_works(tiny_run: Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    own = tmp_path / "own"
    own.mkdir()
    scored = tiny_run.of("test")[0]
    shutil.copy(tiny_run.data_root / scored.path, own)
    text = small.refused(small.edgetl("quantize", run, "--int8", "--calibration-photos", own))
    assert scored.path in text
    assert not (run / "bundle").exists()
    assert "--explain with --no-int8" in small.refused(small.edgetl("quantize", run, "--no-int8", "--explain"))
    with pytest.raises(InputError, match="explain=True with int8=False"):
        QuantizeOptions(int8=False, explain=True)
