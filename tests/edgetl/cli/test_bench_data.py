"""``edgetl bench --data``: output, gates, comparison and report for a folder's photos, here and on boards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import benched
import pytest
import small
from programs import needs_program
from sshd import Lab
from webpage import Page

from edgetl.comparison import gates
from edgetl.reports import write_report
from edgetl_device._lib import jsonfile
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench import result
from edgetl_device.bundle import Bundle

QUICK = ("--variants", "int8", "--quick", "--duration", "0.05")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven of the tiny bundle's photos as a labelled folder."""
    root = tmp_path_factory.mktemp("data") / "field"
    bundle = Bundle.open(benched.TINY)
    for photo in bundle.photos()[:11]:
        target = root / bundle.labels[photo.index] / Path(photo.file).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(bundle.read(photo.file))
    return root


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle without float32 variants."""
    folder = tmp_path_factory.mktemp("lone") / "lone"
    shutil.unpack_archive(benched.TINY, folder, "zip")
    document = json.loads((folder / "bundle.json").read_text())
    document["variants"] = [one for one in document["variants"] if one["precision"] != "float32"]
    document["digest"] = jsonfile.digest(document)
    (folder / "bundle.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def measured(data: Path) -> tuple[Path, str]:
    """The result and the output of a bench on the folder, with a gate that passes."""
    out = data.parent / "data.json"
    bounds = ("--fail-if", "int8.accuracy_drop_pp>50", "--fail-if", "agreement_pct<10")
    done = small.edgetl("bench", benched.TINY, "--data", data, *QUICK, *bounds, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_table_says_which_photos_and_what_the_drop_is_against(measured: tuple[Path, str]) -> None:
    document, text = result.read(measured[0]).to_json(), measured[1]
    assert "drop and agreement: against float32 on this device" in text
    assert f"accuracy on 11 photos of the folder field (content {document['evalset']['digest'][:8]})" in text
    assert "gate int8.accuracy_drop_pp>50: passed by int8, 1 thread" in text


def test_a_gate_on_the_drop_fails_as_on_the_bundles_own_photos(data: Path) -> None:
    done = small.edgetl("bench", benched.TINY, "--data", data, *QUICK, "--fail-if", "accuracy_drop_pp>-100")
    assert "accuracy_drop_pp>-100: int8, 1 thread" in small.refused(done, 3)


def test_without_a_reference_gates_on_pairs_are_refused_before_the_bench(data: Path, lone: Path) -> None:
    for metric in ("accuracy_drop_pp", "mae"):
        done = small.edgetl("bench", lone, "--data", data, *QUICK, "--fail-if", f"{metric}>1")
        error = small.refused(done)
        assert f"--fail-if '{metric}>1' with --data: there is no reference" in error
        assert "lone has no float32 variant" in error
        assert "measuring" not in done.stderr


def test_what_needs_a_reference_is_what_is_unknown_without_one() -> None:
    run = benched.typed(benched.first_run(agreement={"unknown": "none"})).runs[0]
    unknown = [metric.name for metric in gates.RUN_METRICS if metric.value(run) == Unknown("none")]
    assert unknown == [metric.name for metric in gates.RUN_METRICS if metric.paired]
    assert {"accuracy_drop_pp", "mcnemar_p", "mae"} < set(unknown)


def test_without_a_reference_everything_else_is_told(data: Path, lone: Path, tmp_path: Path) -> None:
    out = tmp_path / "lone.json"
    done = small.edgetl("bench", lone, "--data", data, *QUICK, "--fail-if", "accuracy_pct<1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "drop and agreement: unknown: lone has no float32 variant" in done.stdout
    cells = [
        line.split()[-1] for line in done.stdout.splitlines() if line.strip().startswith(("drop, pp", "agreement"))
    ]
    assert cells == ["-", "-"]
    write_report([out], tmp_path / "page.html")
    text = Page((tmp_path / "page.html").read_text()).text
    assert "Unknown: lone has no float32 variant" in text
    assert "The drop is against" not in text
    assert "Photos of the folder field" in text


def test_the_report_says_which_photos_and_what_the_drop_is_against(measured: tuple[Path, str], tmp_path: Path) -> None:
    write_report([measured[0]], tmp_path / "page.html")
    text = Page((tmp_path / "page.html").read_text()).text
    assert "The drop is relative to float32 on this device" in text
    assert "Photos of the folder field 11, content" in text
    assert "held-out" not in text.lower()


def test_results_on_unlike_photos_are_not_compared(measured: tuple[Path, str], tmp_path: Path) -> None:
    own = benched.save(tmp_path / "own.json")
    error = small.refused(small.edgetl("compare", own, measured[0]))
    assert "own and data cannot be compared: different photos" in error
    assert "12 and 11 photos, 11 of them the same" in error
    assert "Bench both on the same folder: --data DIR." in error


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    for name in ("ssh", "sshd"):
        needs_program(name)
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def test_a_board_gets_the_photos_once(lab: Lab, data: Path, measured: tuple[Path, str], tmp_path: Path) -> None:
    board = lab.board("good")
    options = ("--fleet", lab.fleet(board), "--data", data, "--batch", "2", *QUICK, "--out", tmp_path / "there.json")
    first = small.edgetl("bench", benched.TINY, *options, env=lab.environment)
    assert first.returncode == 0, first.stderr
    assert "good: copying 11 photos" in first.stderr
    there, here = result.read(tmp_path / "there.json").to_json(), result.read(measured[0]).to_json()
    assert there["evalset"] == here["evalset"]
    assert [run["batch"] for run in there["runs"]] == [2]
    again = small.edgetl("bench", benched.TINY, *options, env=lab.environment)
    assert again.returncode == 0, again.stderr
    assert "copying" not in again.stderr
    (kept,) = (board.cache / "edgetl" / "remote" / "photos").iterdir()
    assert len(list(kept.glob("field/*/*"))) == 11
    # A partial file is sent again.
    next(kept.glob("field/*/*")).unlink()
    third = small.edgetl("bench", benched.TINY, *options, env=lab.environment)
    assert third.returncode == 0, third.stderr
    assert "good: copying" in third.stderr
    assert len(list(kept.glob("field/*/*"))) == 11
    assert board.wait_quiet() == []


def test_a_bad_folder_is_refused_before_any_board_is_asked(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "field")
    (tmp_path / "field" / "circle" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    done = small.edgetl("bench", benched.TINY, "--on", "nobody@192.0.2.1", "--data", tmp_path / "field", *QUICK)
    assert "1 of 12 photos cannot be read" in small.refused(done)
    assert "batch 0" in small.refused(small.edgetl("bench", benched.TINY, "--on", "nobody@192.0.2.1", "--batch", "0"))
