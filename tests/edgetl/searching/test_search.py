"""A whole search on drawn photos: its document, bundle and page, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small
from jsonschema import Draft202012Validator
from searched import BUDGET, FLAGS, SPACE

import edgetl
from edgetl import documents
from edgetl.runs.directory import Run
from edgetl.searching import run as searching
from edgetl.searching.document import SearchDocument
from edgetl_device._lib.documents import Unknown, read
from edgetl_device.bench import result
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError, OptionError
from edgetl_device.verify import verify


@pytest.fixture(scope="module")
def found(tiny_search: Path) -> SearchDocument:
    return read(SearchDocument, tiny_search / "search.json")


def test_the_winner_is_a_bundle_that_keeps_the_budget(tiny_search: Path, found: SearchDocument) -> None:
    assert found.state == "finished"
    winner, baseline = found.winner, found.baseline
    assert winner is not None
    assert baseline is not None
    assert verify(Bundle.open(tiny_search / "bundle")).ok
    measured = result.read(tiny_search / "result.json")
    assert measured.bundle.digest == Bundle.open(tiny_search / "bundle").digest
    (run,) = measured.runs
    assert (run.variant, run.bytes) == ("int8", winner.cost.bytes)
    assert winner.cost.bytes < 2.2e6 < baseline.cost.bytes
    assert winner.cost.source == "measured"
    assert not isinstance(winner.cost.p95_ms, Unknown)
    assert winner.test == run.accuracy
    assert found.machine
    assert found.seconds > 0


def test_the_network_over_the_budget_is_not_trained(found: SearchDocument) -> None:
    by_name = {one.truncate: one for one in found.networks}
    whole, short = by_name[None], by_name["block_12"]
    # Its estimated size was enough.
    assert (whole.outcome, whole.cost) == ("over budget", None)
    assert whole.probe is not None
    assert short.outcome == "trained"
    assert {found.networks[one.network].truncate for one in found.trials} == {"block_12"}


def test_random_weights_cost_what_trained_ones_do(found: SearchDocument) -> None:
    short = next(one for one in found.networks if one.outcome == "trained")
    assert short.cost is not None
    assert found.winner is not None
    assert short.cost.source == "measured with random weights"
    # The finished file has the names of the classes, too, and tensors of other names.
    assert abs(found.winner.cost.bytes - short.cost.bytes) < 0.01 * short.cost.bytes


def test_validation_photos_choose_and_no_trial_sees_the_test_photos(tiny_search: Path, found: SearchDocument) -> None:
    assert found.winner is not None
    trained = [one for one in found.trials if one.val is not None]
    best = next(one for one in trained if one.number == found.winner.trial)
    assert best.val is not None
    assert all(one.val.correct <= best.val.correct for one in trained if one.val)
    final = Run.open(tiny_search / "final" / f"{best.number:04d}")
    test = {one.sha256 for one in final.of("test")}
    assert test
    assert test == {one.sha256 for one in Run.open(tiny_search / "baseline").of("test")}
    for place in (tiny_search / "trials").glob("*/run.json"):
        run = Run.open(place.parent)
        assert test.isdisjoint(one.sha256 for one in run.samples)
        assert {one.sha256 for one in run.of("val")} == {one.sha256 for one in final.of("val")}
    # The same photos, options and seed give the same weights.
    trial = Run.open(tiny_search / "trials" / f"{best.number:04d}")
    assert final.metrics("val").accuracy == trial.metrics("val").accuracy
    assert found.winner.test.photos == len(test)


def test_the_document_fits_its_schema_and_says_what_the_budget_costs(tiny_search: Path, found: SearchDocument) -> None:
    document = json.loads((tiny_search / "search.json").read_text())
    errors = Draft202012Validator(documents.schema("search")).iter_errors(document)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []
    assert found.conclusion.startswith("The budget costs ")
    assert found.against_baseline is not None
    assert found.winner is not None
    assert found.against_baseline.photos == found.winner.test.photos
    gained = 100 * (found.winner.test.top1 - found.baseline.test.top1)  # type: ignore[union-attr]
    assert found.against_baseline.difference_pp == pytest.approx(gained)
    home = str(Path(small.__file__).parents[2])
    assert home not in (tiny_search / "search.json").read_text()


def test_every_point_of_the_page_opens_its_trial(tiny_search: Path, found: SearchDocument) -> None:
    html = (tiny_search / "search.html").read_text("utf-8")
    trained = [one.number + 1 for one in found.trials if one.val is not None]
    for number in trained:
        # One in the chart of latency, one in that of size.
        assert len(re.findall(f'class="dot [^>]*href="#trial-{number}"', html)) == 2
        assert html.count(f'id="trial-{number}"') == 1
    assert html.rstrip().endswith("</html>")
    assert found.conclusion in html


def test_a_finished_search_is_not_repeated(
    tiny_search: Path, found: SearchDocument, tiny_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_again(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(searching.trials, "run_trials", not_again)
    assert edgetl.search(tiny_photos, out=tiny_search, budget=BUDGET, trials=2, **SPACE) == found
    with pytest.raises(AssertionError, match="trained again"):
        edgetl.search(tiny_photos, out=tiny_search, budget=BUDGET, trials=3, **SPACE)


def test_another_search_is_not_mixed_with_it(tiny_search: Path, tiny_photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"another search: budget was p95_ms<1000, mb<2\.2, drop_pp<100"):
        edgetl.search(tiny_photos, out=tiny_search, budget=["mb<2"], trials=2, **SPACE)
    fewer = Path(shutil.copytree(tiny_photos, tmp_path / tiny_photos.name))
    next(fewer.rglob("*.jpg")).unlink()
    with pytest.raises(InputError, match="the photos have changed"):
        edgetl.search(fewer, out=tiny_search, budget=BUDGET, trials=2, **SPACE)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        edgetl.search(tiny_photos, out=mine, budget=BUDGET, **SPACE)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_what_no_search_can_do_is_refused_at_once(tiny_photos: Path, tmp_path: Path) -> None:
    for asked, said in (
        ({}, "nothing to keep"),
        ({"budget": ["speed<3"]}, "no metric is called speed"),
        ({"budget": ["mb<3"], "backbones": ["resnet50"]}, "not on this machine"),
        ({"budget": ["mb<3"], "test": 0}, "no test photos"),
    ):
        with pytest.raises(InputError, match=said):
            edgetl.search(tiny_photos, out=tmp_path / "none", **asked)
    with pytest.raises(OptionError, match="validation photos choose"):
        edgetl.search(tiny_photos, out=tmp_path / "none", budget=["mb<3"], val=0)
    assert not (tmp_path / "none").exists()


def test_an_impossible_budget_names_the_nearest_network(tiny_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = small.edgetl("search", tiny_photos, "--out", out, "--budget", "p95_ms<0.001", *FLAGS)
    text = small.refused(done, 3)
    assert "no network keeps the budget" in text
    assert re.search(r"the nearest one, mobilenet_v2 at 48 px up to block_12, takes p95 [\d.]+ ms and 0\.\d+ MB", text)
    found = read(SearchDocument, out / "search.json")
    assert found.state == "no model fits"
    assert {one.outcome for one in found.networks} == {"over budget"}
    assert not found.trials
    assert not (out / "trials").exists()


def test_ctrl_c_keeps_what_is_done(tiny_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["search", tiny_photos, "--out", out, "--budget", ",".join(BUDGET), *FLAGS[:-1], 500]
    command = [sys.executable, "-m", "edgetl", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ends = time.monotonic() + 120
        while not list((out / "trials").glob("0000.unfinished/checkpoint*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < ends
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command continues the search" in said
    assert "Traceback" not in said
    found = read(SearchDocument, out / "search.json")
    assert found.state == "interrupted"
    (trial,) = found.trials
    assert trial.state == "running"
    assert trial.epochs >= 1
    assert "Not finished" in (out / "search.html").read_text()


def test_a_board_that_cannot_be_reached(tiny_photos: Path, tmp_path: Path) -> None:
    words = ("--budget", "mb<2.2", *FLAGS, "--on", "nobody@127.0.0.1:1")
    shim = tmp_path / "bin" / "ssh"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'ssh: connect to host: Connection refused' >&2\nexit 255\n")
    shim.chmod(0o755)
    environment = {"PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}"}
    done = small.edgetl("search", tiny_photos, "--out", tmp_path / "out", *words, env=environment)
    text = small.refused(done, 4)
    assert "Connection refused" in text
    assert not (tmp_path / "out" / "trials").exists()
