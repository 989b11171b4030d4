"""``MODEL_CARD.md``: says what the run's records say, keeps a person's words, and shows hostile names as text."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import benched
import pytest
import small
from webpage import Page

from edgetl.reports.run import refresh_page, render_run, write_run_report
from edgetl.reports.run.card import escaped
from edgetl.runs.directory import Run, check_run_replaceable
from edgetl.runs.model_card import FIELDS, FILE, read_words
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError

Document = dict[str, Any]


@pytest.fixture
def run(tiny_bundle: Path, tmp_path: Path) -> Run:
    """A copy of a quantized run, with its card."""
    found = Run.open(Path(shutil.copytree(tiny_bundle.parent, tmp_path / "run")))
    write_run_report(found)
    return found


def card_of(run: Run) -> str:
    return (run.folder / FILE).read_text(encoding="utf-8")


def fill(run: Run, name: str, words: str) -> None:
    prompt = next(one.placeholder for one in FIELDS if one.name == name)
    text = card_of(run)
    assert text.count(prompt) == 1
    (run.folder / FILE).write_text(text.replace(prompt, words), encoding="utf-8")


def result_of(run: Run, path: Path) -> Path:
    """Write a bench result that claims to be of the run's bundle: other photos and times, the same classes."""

    def change(document: Document) -> None:
        document["bundle"] |= {"digest": Bundle.open(run.folder).digest, "labels": list(run.labels)}
        document["environment"]["board"] = "Board <b>5</b>"
        document["runs"][1]["verdict"] = {"status": "degraded", "reasons": ["it was | busy"], "advice": [], "codes": []}

    return benched.save(path, change)


def test_the_card_says_what_the_records_say(run: Run) -> None:
    text, document = card_of(run), run.document
    metadata = text.split("---\n")[1]
    lines = dict(line.split(": ", 1) for line in metadata.splitlines())
    assert lines["license"].startswith("unknown  #")
    assert lines["pipeline_tag"] == "image-classification"
    (model,) = json.loads(lines["model-index"])
    (found,) = model["results"]
    metrics = document.metrics["test"]
    assert found["dataset"] == {"name": document.dataset.root, "type": "imagefolder", "split": "test"}
    assert {one["type"]: one["value"] for one in found["metrics"]} == {
        "accuracy": round(metrics.accuracy.top1, 4),
        "f1": round(metrics.macro_f1, 4),
    }
    low, high = metrics.accuracy.ci95
    assert f"- Top-1 accuracy: {metrics.accuracy.top1:.1%} ({100 * low:.1f} to {high:.1%})" in text
    for row in metrics.per_class:
        low, high = row.recall_ci95
        assert f"| {row.label} | {row.photos} |" in text
        assert f"| {row.recall:.1%} | {100 * low:.1f} to {high:.1%} |" in text
    report = json.loads((run.folder / "quantize.json").read_text())
    for row in report["variants"]:
        cells = [escaped(row["name"]), f"{row['bytes'] / 1e6:.2f}", f"{row['accuracy']['top1']:.1%}"]
        assert f"| {' | '.join(cells)} |" in text
        assert f"`{row['sha256'][:12]}`" in text
    assert document.command is not None
    assert f"```sh\n{document.command}\n```" in text
    assert document.weights.licence in text.replace("\\", "")
    assert text.count("**To fill in:**") == len(FIELDS)
    assert "Not measured yet." in text
    # A table is not torn by empty lines, and each has as many cells in all rows.
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_what_a_person_wrote_stays(run: Run) -> None:
    fill(run, "intended use", "Sorting parts on line 3.\n\n- by staff | only\n- with a *second look*")
    text = card_of(run).replace("license: unknown ", "license: cc-by-4.0 ")
    (run.folder / FILE).write_text(text, encoding="utf-8")
    report = json.loads((run.folder / "quantize.json").read_text())
    report["variants"] = report["variants"][:1]
    (run.folder / "quantize.json").write_text(json.dumps(report))
    refresh_page(run)
    text = card_of(run)
    assert "Sorting parts on line 3.\n\n- by staff | only\n- with a *second look*\n<!-- end -->" in text
    assert "license: cc-by-4.0  #" in text
    assert "int8-onnx" not in text
    assert text.count("**To fill in:**") == len(FIELDS) - 1
    words = read_words(run.folder / FILE)
    assert words.licence == "cc-by-4.0"
    assert set(words.fields) == {"intended use"}
    # Again and again the same.
    refresh_page(run)
    assert card_of(run) == text
    page = Page(render_run(run, run.folder / "report.html"))
    assert "Intended use Sorting parts on line 3. - by staff | only - with a *second look*" in page.text
    assert "cc-by-4.0" in page.text
    # The run is not replaced, for the words would be lost.
    with pytest.raises(InputError, match="is filled in, and would be lost with the run"):
        check_run_replaceable(run.folder)


def test_a_comment_on_the_licence_stays(run: Run) -> None:
    text = re.sub("^license: .*$", "license: mit  # see NOTICE, granted by us", card_of(run), flags=re.MULTILINE)
    (run.folder / FILE).write_text(text, encoding="utf-8")
    refresh_page(run)
    assert card_of(run) == text
    assert read_words(run.folder / FILE).licence == "mit  # see NOTICE, granted by us"


def test_a_page_elsewhere_does_not_need_the_card(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("edgetl.reports.run.write.write_card", full)
    assert write_run_report(run, tmp_path / "page.html").stat().st_size > 1000
    assert "MODEL_CARD.md was not written: Read-only file system" in capsys.readouterr().err


def test_a_field_of_another_version_stays(run: Run) -> None:
    old = "<!-- to fill in: contact -->"
    text = card_of(run)
    prompt = next(one.placeholder for one in FIELDS if one.name == "contact")
    (run.folder / FILE).write_text(text.replace(f"{old}\n{prompt}", f"{old}\nus"), encoding="utf-8")
    words = read_words(run.folder / FILE)
    from dataclasses import replace

    from edgetl.reports.run import card

    renamed = replace(words, fields={"whom to call": "us"})
    made = card.card("run", run.document, "test", None, (), renamed)
    (run.folder / FILE).write_text(made, encoding="utf-8")
    refresh_page(run)
    assert "<!-- to fill in: whom to call -->\nus\n<!-- end -->" in card_of(run)


def test_a_card_that_was_changed_elsewhere_is_not_written_again(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    changed = card_of(run).replace("## Limitations", "## Limitations\n\nNot on Mondays.")
    (run.folder / FILE).write_text(changed, encoding="utf-8")
    before = (run.folder / "report.html").read_bytes()
    refresh_page(run)
    assert "was changed outside of the fields to fill in, so it is not written again" in capfd.readouterr().err
    assert card_of(run) == changed
    page = Page((run.folder / "report.html").read_text(encoding="utf-8"))
    assert "MODEL_CARD.md was changed outside of the fields to fill in: its words are not here." in page.text
    assert (run.folder / "report.html").read_bytes() != before
    with pytest.raises(InputError, match="changed outside of the fields"):
        check_run_replaceable(run.folder)
    for other in (b"\xff" * 10, b"x" * 2_000_000, b""):
        (run.folder / FILE).write_bytes(other)
        with pytest.raises(InputError, match="changed outside of the fields"):
            read_words(run.folder / FILE)


def test_names_from_outside_are_text(run: Run) -> None:
    assert escaped("<!-- end -->\n# x | y `z`\u202e") == r"&lt;!-- end --&gt;\\n\# x \| y \`z\`\\u202e"
    document = json.loads((run.folder / "run.json").read_text())
    document["dataset"]["root"] = "<script>alert(1)</script>\n---\nlicense: mit"
    (run.folder / "run.json").write_text(json.dumps(document))
    write_run_report(Run.open(run.folder))
    text = card_of(run)
    assert "<script>" not in re.sub(r"^model-index: .*$", "", text, flags=re.MULTILINE)
    assert text.count("\nlicense: ") == 1
    assert read_words(run.folder / FILE).licence is None


def test_latency_by_board_is_of_the_results_given_or_in_the_run(run: Run, tmp_path: Path) -> None:
    given = result_of(run, tmp_path / "given.json")
    write_run_report(run, results=[given])
    text = card_of(run)
    assert text.count("| Board &lt;b&gt;5&lt;/b&gt; |") == 2
    assert r"degraded; it was \| busy" in text
    assert "not the run's bundle" not in text
    # Results in the run are always there.
    (run.folder / "bench").mkdir()
    shutil.copy(given, run.folder / "bench" / "pi.json")
    shutil.rmtree(run.folder / "bundle")
    refresh_page(run)
    assert card_of(run).count(", not the run's bundle") == 2
    page = Page((run.folder / "report.html").read_text(encoding="utf-8"))
    assert "Latency by board" in page.text
    assert "not this run's" in page.text
    other = benched.save(tmp_path / "other.json")
    with pytest.raises(InputError, match="is of another model"):
        write_run_report(run, results=[other])
    assert "is for runs" in small.refused(small.edgetl("report", given, "--latency", given))
