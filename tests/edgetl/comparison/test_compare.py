"""``edgetl compare`` on bench results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import benched
import numpy as np
import pytest
from benched import environment, first_run, pair

from edgetl.comparison import compare, compare_results, text
from edgetl.comparison.bootstrap import ratio_of_medians
from edgetl.comparison.paired import NO_DIFFERENCE
from edgetl_device.errors import InputError

Document = dict[str, Any]
Change = Callable[[Document], Any]


# Latency


def test_the_ratio_is_that_of_the_medians(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    old = rng.integers(900, 1100, 400)
    files = pair(
        tmp_path,
        before=lambda document: benched.set_times(document, "int8", old.tolist()),
        change=lambda document: benched.set_times(document, "int8", (2 * old).tolist()),
    )
    int8 = compare(files).comparisons[1]
    assert (int8.other.source, int8.other.variant) == ("after", "int8")
    ratio = int8.ratios.model
    assert ratio.ratio == int8.metrics["p50_ms"] / int8.baseline_metrics["p50_ms"] == 2.0
    assert ratio.verdict == "slower"
    assert 1.9 < ratio.ci95[0] < 2 < ratio.ci95[1] < 2.1
    assert int8.metrics["p50_ratio_low"] == ratio.ci95[0]
    back = compare(files[::-1]).comparisons[1]
    assert back.ratios.model.verdict == "faster"
    assert replace(compare(files), created="") == replace(compare(files), created="")


def test_equal_times_show_no_difference(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    files = pair(
        tmp_path,
        before=lambda document: benched.set_times(document, "int8", rng.integers(900, 1100, 400).tolist()),
        change=lambda document: benched.set_times(document, "int8", rng.integers(900, 1100, 400).tolist()),
    )
    model = compare(files).comparisons[1].ratios.model
    assert model.ci95[0] <= 1 <= model.ci95[1]
    assert model.verdict == NO_DIFFERENCE == "no difference that this data can show"
    said = f"int8, 1 thread: {NO_DIFFERENCE} in model time, photo time, accuracy"
    assert said in text.conclusion_lines(compare(files))


def test_samples_that_follow_each_other_are_not_taken_for_independent() -> None:
    rng = np.random.default_rng(2)
    steady = rng.normal(100_000, 1000, 1000).astype(np.int64)
    warming = steady + np.linspace(0, 8000, 1000).astype(np.int64)
    mixed = rng.permutation(warming)
    (low, high), (mixed_low, mixed_high) = (ratio_of_medians(one, steady).ci95 for one in (warming, mixed))
    assert high - low > 2 * (mixed_high - mixed_low)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = [
        low <= 1 <= high
        for low, high in (ratio_of_medians(*rng.gamma(9, 1000, (2, 150)).astype(int)).ci95 for _ in range(40))
    ]
    # Fewer than 33 of 40 intervals at 95% cover once in 10,000 times.
    assert sum(covered) >= 33
    assert ratio_of_medians([7], [7]).ci95 == (1.0, 1.0)


def test_what_the_interval_does_not_cover_is_said(tmp_path: Path) -> None:
    def slower(document: Document) -> None:
        benched.set_times(document, "int8", [9_000_000] * 300)
        benched.run_of(document, "int8")["verdict"] = {"status": "degraded", "reasons": ["noisy"]}

    lines = text.conclusion_lines(compare(pair(tmp_path, slower)))
    assert "int8, 1 thread: model slower (degraded); photo slower (degraded); " in "\n".join(lines)
    assert any(line.startswith("all ran the same bundle") for line in lines)
    other = pair(tmp_path, lambda document: document["bundle"].update(digest="0" * 64))
    assert any(line.startswith("intervals of times cover only these") for line in text.conclusion_lines(compare(other)))


# Accuracy


@pytest.mark.parametrize(
    ("wrong_before", "wrong_after", "p", "verdict"),
    [
        (range(0), range(6), 2 / 2**6, "worse"),
        (range(6), range(0), 2 / 2**6, "better"),
        (range(0), range(5), 2 / 2**5, NO_DIFFERENCE),
        (range(3), range(2, 5), 2 * (1 + 4 + 6) / 2**4, NO_DIFFERENCE),
        (range(4), range(4), 1.0, NO_DIFFERENCE),
    ],
)
def test_accuracy_is_paired_by_photo(
    tmp_path: Path, wrong_before: range, wrong_after: range, p: float, verdict: str
) -> None:
    files = pair(
        tmp_path,
        before=lambda document: benched.set_wrong(document, "int8", wrong_before),
        change=lambda document: benched.set_wrong(document, "int8", wrong_after),
    )
    int8 = compare(files).comparisons[1]
    agreement = int8.agreement
    lost, gained = set(wrong_after) - set(wrong_before), set(wrong_before) - set(wrong_after)
    assert (agreement.lost, agreement.gained) == (len(lost), len(gained))
    assert agreement.mcnemar_p == pytest.approx(min(1.0, p))
    assert agreement.verdict == verdict
    assert int8.metrics["accuracy_drop_pp"] == pytest.approx(100 * (len(lost) - len(gained)) / 12)
    assert [row.file[:2] for row in agreement.changed] == [f"{place:02}" for place in sorted(lost | gained)]
    assert sum(row.correct for row in agreement.per_class) == 12 - len(wrong_after)


def test_photos_in_another_order_and_under_other_names_are_the_same_photos(tmp_path: Path) -> None:
    def reverse(document: Document) -> None:
        benched.set_wrong(document, "int8", [0])
        for place, photo in enumerate(document["evalset"]["photos"]):
            photo["file"] = f"{(5 * place) % 12:02}_renamed.jpg"
        document["evalset"]["photos"].reverse()
        document["evalset"]["reference"].reverse()
        for run in document["runs"]:
            run["answers"] = {key: values[::-1] for key, values in run["answers"].items()}

    files = pair(tmp_path, before=lambda document: benched.set_wrong(document, "int8", [0]), change=reverse)
    assert compare(files).comparisons[1].agreement.agree == 12


# What may be compared


def relabel(document: Document) -> None:
    photo = document["evalset"]["photos"][0]
    photo["label"] = 1 - photo["label"]
    for run in document["runs"]:
        benched.set_wrong(document, run["variant"], [])


def lose_a_photo(document: Document) -> None:
    document["evalset"]["photos"].pop()
    document["evalset"]["reference"].pop()
    for run in document["runs"]:
        run["answers"] = {key: values[:-1] for key, values in run["answers"].items()}
        benched.set_wrong(document, run["variant"], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda d: d["bundle"].update(labels=["circle", "square", "star"]),
            ("different labels", "star", "same classes"),
        ),
        (lambda d: d["bundle"]["labels"].reverse(), ("different labels", "triangle, square, circle")),
        (lambda d: d["bundle"]["preprocess"].update(size=64), ("different preprocessing", "size 32 px / 64 px")),
        (lambda d: d["bundle"]["preprocess"].update(fit="crop"), ("different preprocessing", "fit stretch / crop")),
        (lambda d: d["evalset"]["photos"][3].update(sha256="0" * 64), ("held-out photos", "12 and 12 photos, 11 of")),
        (lose_a_photo, ("held-out photos", "12 and 11 photos, 11 of them", "same data set")),
        (relabel, ("held-out photos", "1 under another label")),
        (
            first_run(verdict={"status": "invalid", "reasons": ["too hot"]}),
            ("after: float32, 1 thread", "too hot", "again"),
        ),
    ],
)
def test_unlike_results_are_refused(tmp_path: Path, change: Change, said: tuple[str, ...]) -> None:
    files = pair(tmp_path, change)
    with pytest.raises(InputError):
        compare(files[::-1])
    with pytest.raises(InputError) as refusal:
        compare(files)
    assert refusal.value.hint
    for part in said:
        assert part in str(refusal.value)


def test_an_invalid_run_that_is_not_compared_is_in_nobodys_way(tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document["runs"][0] |= {"variant": "float16", "verdict": {"status": "invalid", "reasons": ["too hot"]}}

    document = compare(pair(tmp_path, change))
    assert [one.other.variant for one in document.comparisons] == ["int8"]
    assert document.unpaired == ("after: float16, 1 thread", "before: float32, 1 thread")
    with pytest.raises(InputError, match="invalid"):
        compare(pair(tmp_path, change), baseline="int8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (environment(governor="powersave"), "different governors: performance / powersave"),
        (environment(governor={"unknown": "no such file"}), "different governors: performance / unknown"),
        (environment(board="Raspberry Pi 5"), "different boards: unknown / Raspberry Pi 5"),
        (environment(cpu="Cortex-A76"), "different CPUs"),
        (environment(machine="riscv64"), "different processor types"),
        (environment(os="Plan 9"), "different operating systems"),
        (environment(python="2.7.18"), "different versions of Python: "),
        (environment(cores=4096), "different numbers of cores"),
        (environment(packages={"numpy": "1.0", "pillow": "1.0"}), "different versions of pillow"),
        (lambda d: d["producer"].update(version="9"), "different versions of edgetl-device"),
        (first_run(runtime={"name": "ai-edge-litert", "version": "0.1"}), "different runtimes: ai-edge-litert"),
        (first_run(delegate="edgetpu"), "different delegates: xnnpack / edgetpu"),
        (first_run(threads=2), "different numbers of threads: 1 / 2"),
        (first_run(verdict={"status": "degraded", "reasons": ["noisy", "hot"]}), "degraded: noisy (after: float32, 1"),
    ],
)
def test_unlike_circumstances_are_a_line_and_in_the_json(tmp_path: Path, change: Change, said: str) -> None:
    base = environment(governor="performance", board={"unknown": "nobody says"})

    def both(document: Document) -> None:
        base(document)
        change(document)

    document = compare(pair(tmp_path, both, before=base))
    assert any(line.startswith(f"warning: {said}") for line in text.warning_lines(document))
    warnings = [f"{one.text} ({one.about})" for one in document.comparisons[0].warnings]
    assert any(line.startswith(said) for line in warnings)


def test_what_nobody_knows_is_no_difference(tmp_path: Path) -> None:
    files = pair(tmp_path, environment(board={"unknown": "b"}), before=environment(board={"unknown": "a"}))
    assert [one.warnings for one in compare(files).comparisons] == [(), ()]


# What is compared with what


def test_the_variants_of_one_result(tmp_path: Path) -> None:
    file = benched.save(tmp_path / "one.json")
    document = compare([file])
    assert [(one.baseline.variant, one.other.variant) for one in document.comparisons] == [("float32", "int8")]
    document = compare([file], baseline="int8")
    assert [(one.baseline.variant, one.other.variant) for one in document.comparisons] == [("int8", "float32")]
    with pytest.raises(InputError, match=r"--baseline int4: is not in one"):
        compare([file], baseline="int4")


def test_three_results_and_a_baseline(tmp_path: Path) -> None:
    files = [benched.save(tmp_path / f"{name}.json") for name in "abc"]
    found = compare(files, baseline="float32").comparisons
    assert [(one.other.source, one.other.variant) for one in found] == [
        ("a", "int8"), ("b", "float32"), ("b", "int8"), ("c", "float32"), ("c", "int8"),
    ]  # fmt: skip
    assert {(one.baseline.source, one.baseline.variant) for one in found} == {("a", "float32")}
    titles = [title for title, _ in text.groups(compare(files, baseline="float32"))]
    assert titles == [f"{name} against float32 of a, 1 thread" for name in "abc"]


def test_threads_are_paired(tmp_path: Path) -> None:
    def more(document: Document) -> None:
        document["runs"] += [run | {"threads": 2} for run in document["runs"]]

    found = compare(pair(tmp_path, more, before=more)).comparisons
    assert [one.baseline.threads for one in found] == [one.other.threads for one in found] == [1, 1, 2, 2]
    document = compare(pair(tmp_path, more))
    assert [one.other.threads for one in document.comparisons] == [1, 1]
    assert document.unpaired == ("after: float32, 2 threads", "after: int8, 2 threads")


def test_nothing_in_common(tmp_path: Path) -> None:
    files = pair(tmp_path, lambda document: document["runs"].pop(0), before=lambda document: document["runs"].pop(1))
    with pytest.raises(InputError, match="nothing in common to compare") as refusal:
        compare_results(files)
    assert "before has float32, 1 thread; after has int8, 1 thread" in refusal.value.why
    assert compare(files, baseline="float32").comparisons[0].other.variant == "int8"


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    files = [benched.save(tmp_path / folder / "result.json") for folder in ("old", "new")]
    assert [source.name for source in compare(files).sources] == [str(file) for file in files]
