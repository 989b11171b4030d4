"""``edgetl compare`` on bench results: output, refusals and gates."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import benched
import numpy as np
import small
from benched import environment, pair

from edgetl.comparison.paired import NO_DIFFERENCE
from edgetl_device.bench.accuracy import paired_drop

Document = dict[str, Any]


def test_wrong_requests(tmp_path: Path) -> None:
    file = benched.save(tmp_path / "one.json")
    (tmp_path / "text.json").write_text("{}")
    edited = tmp_path / "edited.json"
    edited.write_text(file.read_text().replace('"int8"', '"int9"'))
    for arguments, said in (
        ((tmp_path / "none.json",), "none.json"),
        ((file, tmp_path / "text.json"), "no schema"),
        ((file, edited), "does not match its own digest"),
        ((file, tmp_path), "is a folder"),
        ((tmp_path, tmp_path, "--baseline", "int8"), "--baseline is for results"),
        ((tmp_path,), "no other run to compare"),
        ((file, "--json", "--format", "csv"), "both print on stdout"),
        ((file, "--fail-if", "p50>1"), "p50_ms"),
    ):
        assert said in small.refused(small.edgetl("compare", *arguments)), arguments


def test_a_refusal_prints_no_comparison(tmp_path: Path) -> None:
    done = small.edgetl(
        "compare",
        *pair(tmp_path, lambda document: document["evalset"]["photos"][0].update(sha256="0" * 64)),
        "--fail-if",
        "p50_ratio>9",
    )
    assert "before and after cannot be compared: different held-out photos" in small.refused(done)
    assert done.stdout == ""


def test_warnings_are_seen_in_every_format(tmp_path: Path) -> None:
    files = pair(tmp_path, environment(governor="powersave"), before=environment(governor="performance"))
    said = "warning: different governors: performance / powersave (before / after)"
    assert said in small.edgetl("compare", *files).stdout.splitlines()
    assert f"- {said}" in small.edgetl("compare", *files, "--format", "markdown").stdout.splitlines()
    for arguments in (("--json",), ("--format", "csv")):
        done = small.edgetl("compare", *files, *arguments)
        assert said in done.stderr
        assert said.removeprefix("warning: ").split(" (")[0] in done.stdout


def test_formats(tmp_path: Path) -> None:
    files = pair(tmp_path, lambda document: benched.set_wrong(document, "int8", [0, 1]))
    document = json.loads(small.edgetl("compare", *files, "--json").stdout)
    assert document["schema"] == "edgetl.comparison/1"
    int8 = document["comparisons"][1]
    rows = list(csv.DictReader(io.StringIO(small.edgetl("compare", *files, "--format", "csv").stdout)))
    assert [(row["baseline_variant"], row["variant"]) for row in rows] == [("float32", "float32"), ("int8", "int8")]
    assert float(rows[1]["p50_ratio"]) == int8["metrics"]["p50_ratio"]
    assert float(rows[1]["baseline_p50_ms"]) == int8["baseline_metrics"]["p50_ms"]
    assert rows[1]["accuracy_verdict"] == NO_DIFFERENCE
    markdown = small.edgetl("compare", *files, "--format", "markdown").stdout.splitlines()
    assert markdown[:4] == ["### after against before, 1 thread", "", "|  | float32 | int8 |", "| --- | ---: | ---: |"]
    table = [line for line in markdown if line.startswith("|")]
    assert {line.count(" | ") for line in table} == {2}
    assert any("lost, gained | 0, 0 | 2, 0 |" in line for line in table)
    assert "- int8, 1 thread: photos right by class: circle 4 -> 3 of 4, square 4 -> 3 of 4" in markdown
    plain = small.edgetl("compare", *files).stdout
    assert "after against before, 1 thread" in plain
    assert max(map(len, plain.splitlines()[:18])) <= 80


def test_markdown_of_odd_names_stays_a_table(tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document["bundle"]["labels"][0] = "<img src=x>|*star*"
        for run in document["runs"]:
            run["per_class"][0]["label"] = "<img src=x>|*star*"

    def wrong(document: Document) -> None:
        change(document)
        benched.set_wrong(document, "int8", [0])

    out = small.edgetl("compare", *pair(tmp_path, wrong, before=change), "--format", "markdown").stdout
    assert r"\<img src=x>\|\*star\* 4 -> 3 of 4" in out


def test_gates_print_the_report_and_fail(tmp_path: Path) -> None:
    files = pair(tmp_path, lambda document: benched.set_wrong(document, "int8", [0]))
    gates = ("--fail-if", "accuracy_drop_pp>0.5", "--fail-if", "float32.agreement_pct<100")
    done = small.edgetl("compare", *files, *gates)
    # One photo of twelve is lost.
    low, high = paired_drop(np.ones(12, bool), np.arange(12) > 0).ci95_pp
    assert f"int8, 1 thread (8.333, 95% CI {low:.3g} to {high:.3g})" in small.refused(done, 3)
    assert "gate accuracy_drop_pp>0.5: passed by float32, 1 thread (0, 95% CI " in done.stdout
    assert "gate accuracy_drop_pp>0.5: FAILED by int8, 1 thread (8.333, 95% CI " in done.stdout
    done = small.edgetl("compare", *files, *gates, "--json")
    assert done.returncode == 3
    assert [one["failed"] for one in json.loads(done.stdout)["gates"]] == [False, True, False]
    assert small.edgetl("compare", *files, "--fail-if", "accuracy_drop_pp>9").returncode == 0
    assert "there is no int4" in small.refused(small.edgetl("compare", *files, "--fail-if", "int4.p50_ms>1"))


def test_comparing_needs_no_training_packages(tmp_path: Path) -> None:
    files = [str(file) for file in pair(tmp_path)]
    done = small.python(f"""
import sys
for name in ("tensorflow", "keras", "sklearn", "scipy", "matplotlib", "onnx", "tf2onnx", "jinja2"):
    sys.modules[name] = None
sys.argv = ["edgetl", "compare", *{files!r}]
from edgetl.cli import main
main()
""")
    assert done.returncode == 0, done.stderr
    assert "after against before" in done.stdout
