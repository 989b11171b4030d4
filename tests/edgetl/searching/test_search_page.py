"""The page of a search, from a document: nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import browser
import pytest
from webpage import Page

from edgetl.searching import page
from edgetl.searching.document import (
    Cost,
    FinalModel,
    Lead,
    Price,
    SearchDocument,
    SearchedNetwork,
    SearchRequest,
    Trial,
)
from edgetl_device._lib.documents import Named, Unknown
from edgetl_device.bench.accuracy import accuracy_of


def cost(p95_ms: float, megabytes: float) -> Cost:
    return Cost(
        p50_ms=0.9 * p95_ms,
        p95_ms=p95_ms,
        bytes=int(1e6 * megabytes),
        peak_rss_bytes=50_000_000,
        verdict="degraded",
        source="measured with random weights",
    )


def network(size: int, *, over: bool = False) -> SearchedNetwork:
    return SearchedNetwork(
        backbone="mobilenet_v2",
        width=1.0,
        size=size,
        truncate=None,
        blocks=17,
        int8_bytes=2_700_000,
        multiply_adds=10_000 * size,
        outcome="over budget" if over else "trained",
        cost=cost(size / 40, 2.7),
        broken=("p95_ms<5 (5.6)",) if over else (),
        probe=accuracy_of(80, 100),
    )


def trial(number: int, place: int, correct: int | None) -> Trial:
    return Trial(
        number=number,
        network=place,
        trainable_blocks=6,
        augment="standard",
        lr=3e-4,
        state="ended" if correct is None else "trained",
        epochs=4,
        val_loss=0.5,
        val=None if correct is None else accuracy_of(correct, 50),
        flags="--size 96",
        rejected="",
    )


@pytest.fixture
def search() -> SearchDocument:
    winner = FinalModel(
        name="mobilenet_v2 at 128 px",
        trial=1,
        flags="--size 128",
        test=accuracy_of(90, 100),
        drop_pp=0.0,
        cost=cost(3.2, 2.7),
        energy_mj=Unknown("no sensor"),
    )
    lead = Lead(difference_pp=1.0, ci95_pp=(-2.0, 4.0), photos=100)
    return SearchDocument(
        producer=Named("edgetl", "0"),
        state="finished",
        request=SearchRequest(
            data="<b>photos",
            fingerprint="0" * 64,
            budget=("p95_ms<5", "mb<3"),
            seed=0,
            backbones=(),
            sizes=(96, 128, 224),
            depths=0,
            epochs=None,
            fit=None,
            on_board=False,
        ),
        machine="a board",
        networks=(network(96), network(128), network(224, over=True)),
        trials=(trial(0, 0, 40), trial(1, 1, 45), trial(2, 1, None)),
        price=Price(network=2, probe=lead),
        winner=winner,
        baseline=replace(winner, name="edgetl train", trial=None),
        against_baseline=lead,
        conclusion="The budget costs 1.0 pp.",
    )


def test_the_page_has_all_trials_and_needs_nothing_else(search: SearchDocument) -> None:
    made = Page(page.render(search))
    made.assert_needs_nothing_else()
    said = " ".join(made.words)
    for text in ("<b>photos", "Baseline", "p95_ms<5 (5.6)", "The budget costs 1.0 pp.", "ended after 4 epochs"):
        assert text in said
    dots = [one["href"] for one in made.named("a") if str(one.get("class")).startswith("dot")]
    # The trial that was ended has no accuracy: it is no point.
    assert sorted(map(str, dots)) == ["#trial-1", "#trial-1", "#trial-2", "#trial-2"]
    assert "Not finished" not in said


def test_a_search_that_is_not_finished_says_so(search: SearchDocument) -> None:
    begun = replace(search, state="interrupted", winner=None, baseline=None, against_baseline=None, conclusion="")
    assert "Not finished" in " ".join(Page(page.render(begun)).words)
    none = replace(begun, state="no model fits", trials=(), price=None)
    made = Page(page.render(none))
    made.assert_needs_nothing_else()
    assert "keeps the budget" in " ".join(made.words)


@pytest.mark.needs_program("chromium")
def test_a_point_opens_its_trial(search: SearchDocument, tmp_path: Path) -> None:
    file = tmp_path / "search.html"
    file.write_text(page.render(search), "utf-8")
    with browser.tab(tmp_path / "profile") as tab:
        tab.open(file.as_uri(), width=1000)
        # That of the winner is open already.
        details = "[...document.querySelectorAll('details')].map(one => one.open)"
        assert tab.value(details) == [True, False, False]
        tab.value("document.querySelector('a.dot[href=\"#trial-1\"]').click()")
        assert tab.wait_for(f"{details}.filter(Boolean).length", lambda count: count == 2) == 2
        assert tab.value("document.querySelector('#trial-1').closest('details').open") is True
        assert tab.messages == []
