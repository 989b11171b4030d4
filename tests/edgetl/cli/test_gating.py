"""``--fail-if`` and ``--summary-markdown`` of ``evaluate``, ``train``, ``quantize`` and ``bench``."""

from __future__ import annotations

from pathlib import Path

import benched
import pytest
import small
from typer.testing import CliRunner, Result

from edgetl.cli import app
from edgetl.comparison import gates
from edgetl.comparison.results import gate_subjects
from edgetl.runs.directory import Run
from edgetl_device.bundle import Bundle
from edgetl_device.errors import EdgetlError, InputError


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """The photos of the tiny bundle, in a folder for each class."""
    bundle = Bundle.open(benched.TINY)
    for photo in bundle.photos():
        file = tmp_path / "labelled" / bundle.labels[photo.index] / Path(photo.file).name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bundle.read(photo.file))
    return tmp_path / "labelled"


def run(*arguments: object) -> Result:
    """Run ``edgetl`` in this process."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(done: Result, code: int = 2) -> str:
    """Return the error of a command, after checking its exit code."""
    assert isinstance(done.exception, EdgetlError), done.output
    assert done.exception.exit_code == code
    return str(done.exception)


def parsed(text: str) -> gates.Gate:
    (gate,) = gates.parse_gates([text], gates.BENCH_METRICS)
    assert isinstance(gate, gates.Gate)
    return gate


@pytest.mark.parametrize(
    ("text", "variant", "label"),
    [
        ("recall_pct[tulips]<70", None, "tulips"),
        ("int8.recall_low_pct[hex nut] < 70", "int8", "hex nut"),
        ("recall_pct[a.b]<70", None, "a.b"),
        ("int8-onnx.recall_pct[[x]>]<=70", "int8-onnx", "[x]>"),
        ("recall_pct[*]<70", None, "*"),
    ],
)
def test_a_gate_on_a_class(text: str, variant: str | None, label: str) -> None:
    gate = parsed(text)
    assert (gate.variant, gate.label, gate.bound) == (variant, label, 70)
    assert gate.metric.name in ("recall_pct", "recall_low_pct")


def test_a_class_is_named_where_one_is_needed_and_nowhere_else() -> None:
    with pytest.raises(InputError) as refusal:
        parsed("recall_pct<70")
    assert "recall_pct[*]" in refusal.value.hint
    with pytest.raises(InputError, match="accuracy_pct"):
        parsed("accuracy_pct[tulips]<70")
    wanted = gates.parse_gates(["recall_pct[tulip]<70", "size_mb>9"], gates.BENCH_METRICS)
    with pytest.raises(InputError) as refusal:
        gates.check_labels(wanted, ["daisy", "tulips"])
    assert refusal.value.hint == "Did you mean tulips?"
    gates.check_labels(wanted, ["tulip"])


def test_classes_of_a_result_are_those_of_its_predictions() -> None:
    result = benched.typed(lambda document: benched.set_wrong(document, "int8", [0]))
    labels = result.bundle.labels
    lost = labels[result.evalset.photos[0].index]
    photos = sum(labels[photo.index] == lost for photo in result.evalset.photos)
    judged = gates.judge([parsed("int8.recall_pct[*]<100")], gate_subjects(result))
    failed = {one.gate.text: one.value for one in judged if one.failed}
    assert failed == {f"int8.recall_pct[{lost}]<100": pytest.approx(100 * (photos - 1) / photos)}
    assert len(judged) == len(labels)
    (line,) = (line for line in gates.outcome_lines(judged) if "FAILED" in line)
    assert "95% CI" in line
    assert not any(one.failed for one in gates.judge([parsed("float32.recall_pct[*]<100")], gate_subjects(result)))
    # What stands in the result is what confidences and predictions give.
    subject = gate_subjects(result)[0]
    assert 0 <= float(str(subject.values["ece"])) <= 1


def test_evaluate(labelled: Path, tmp_path: Path) -> None:
    summary, out = tmp_path / "comment.md", tmp_path / "evaluation.json"
    asked = ("evaluate", benched.TINY, labelled, "--split", "all", "--out", out, "--summary-markdown", summary)
    wanted = ("--fail-if", "recall_pct[circle]<101", "--fail-if", "accuracy_low_pct<1", "--fail-if", "ece>1")
    done = run(*asked, *wanted)
    error = refused(done, 3)
    assert "1 gate failed" in error
    assert "recall_pct[circle]<101" in error
    assert "accuracy_low_pct<1: passed by int8" in done.stderr
    assert out.exists()
    text = summary.read_text()
    assert text.startswith("### edgetl evaluate tiny.edgetl: 1 of 3 gates failed\n\n- gate recall\\_pct\\[circle\\]")
    assert "| class | photos | precision |" in text
    assert "| circle | " in text


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("acuracy_pct<85", "Did you mean accuracy_pct?"),
        ("recall_pct[circel]<85", "Did you mean circle?"),
        ("p95_ms>40", "no metric is called p95_ms"),
        ("accuracy_pct<high", "is not a number"),
        ("int9.accuracy_pct<85", "there is no int9"),
    ],
)
def test_what_cannot_be_checked_is_refused_before_the_work(gate: str, said: str, tmp_path: Path) -> None:
    # No photos are there: nothing has been read yet.
    done = run("evaluate", benched.TINY, tmp_path / "none", "--fail-if", gate)
    assert said in refused(done)


def test_bench(tmp_path: Path) -> None:
    summary = tmp_path / "comment.md"
    quick = ("--variants", "int8", "--quick", "--duration", "0.05")
    done = run(
        "bench",
        benched.TINY,
        *quick,
        "--fail-if",
        "recall_pct[*]<0",
        "--fail-if",
        "ece>1",
        "--summary-markdown",
        summary,
    )
    assert done.exit_code == 0, done.stderr
    assert summary.read_text().startswith("### edgetl bench tiny.edgetl: all gates passed\n")
    assert "| int8 | 1 | " in summary.read_text()
    done = run("bench", benched.TINY, *quick, "--fail-if", "recall_pct[squar]<0")
    assert "Did you mean square?" in refused(done)


@pytest.mark.no_cover
def test_train_and_quantize(tiny_photos: Path, tmp_path: Path) -> None:
    made, summary = tmp_path / "run", tmp_path / "comment.md"
    asked = ("train", tiny_photos, *small.FLAGS, "--epochs", 0, "--out", made)
    assert "Did you mean washer?" in refused(run(*asked, "--fail-if", "recall_pct[washr]<1"))
    assert "there is no dev" in refused(run(*asked, "--fail-if", "dev.accuracy_pct<1"))
    assert not made.exists()
    wanted = ("--fail-if", "accuracy_low_pct<101", "--fail-if", "val.accuracy_pct<0")
    done = run(*asked, "--overwrite", *wanted, "--summary-markdown", summary)
    assert "accuracy_low_pct<101: test photos" in refused(done, 3)
    assert "gate val.accuracy_pct<0: passed by val photos" in done.stderr
    assert Run.open(made).document.metrics
    assert summary.read_text().startswith("### edgetl train run: 1 of 2 gates failed\n")
    assert "| washer | " in summary.read_text()

    again = ("quantize", made, "--no-int8")
    assert "there is no int8" in refused(run(*again, "--fail-if", "int8.ece>1"))
    done = run(*again, "--fail-if", "float32.size_mb>0.001", "--summary-markdown", summary)
    assert "float32.size_mb>0.001: float32 (" in refused(done, 3)
    assert Bundle.open(made).variants
    assert "| float32-onnx | " in summary.read_text()
    # What the short names of columns mean, on both.
    for text in (done.stdout, summary.read_text()):
        assert "drop pp: accuracy of the float model minus that of the file" in " ".join(text.split())
        assert "MAE: mean absolute difference of a probability" in " ".join(text.split())


def test_without_photos_a_gate_fails() -> None:
    subject = gates.evaluation_subject("val photos", "val", None)
    texts = ["accuracy_pct<1", "recall_pct[tulips]<1", "recall_pct[*]<1"]
    wanted = gates.parse_gates(texts, gates.EVALUATION_METRICS, {})
    assert [one.failed for one in gates.judge(wanted, [subject])] == [True, True, True]
