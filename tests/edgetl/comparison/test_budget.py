"""Budgets: how they are written, and what keeps them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgetl.comparison.budget import broken, drop_bound, excess, parse_budget
from edgetl_device._lib.documents import Unknown
from edgetl_device.errors import InputError


def costs(*, p95_ms: Any = 5.0, size: int = 2_000_000) -> Any:
    """Return a row that takes p95_ms and has a file of some bytes."""
    invoke = SimpleNamespace(p50_ms=4.0, p90_ms=4.5, p95_ms=p95_ms)
    return SimpleNamespace(latency_ms=SimpleNamespace(invoke=invoke), bytes=size, peak_rss_bytes=50_000_000)


def test_a_budget_is_kept_or_not() -> None:
    budget = parse_budget(["p95_ms<8", " mb<=3 ", "drop_pp<0.5"])
    assert drop_bound(budget) == 0.5
    assert broken(budget, "one", costs()) == ()
    assert broken(budget, "one", costs(p95_ms=9.0)) == ("p95_ms<8 (9)",)
    # At the bound itself the sign decides.
    assert broken(budget, "one", costs(p95_ms=8.0)) == ("p95_ms<8 (8)",)
    assert broken(budget, "one", costs(size=3_000_000)) == ()
    assert broken(budget, "one", costs(p95_ms=9.0, size=3_000_001)) == ("p95_ms<8 (9)", "mb<=3 (3)")


def test_what_is_not_known_keeps_no_budget() -> None:
    budget = parse_budget(["p95_ms<8"])
    assert broken(budget, "one", costs(p95_ms=Unknown("too few samples"))) == (
        "p95_ms<8 (unknown, unknown: too few samples)",
    )
    assert excess(budget, costs(p95_ms=Unknown("too few samples"))) == float("inf")
    (said,) = broken(budget, "one", costs(), invalid="the board throttled")
    assert "the board throttled" in said


def test_the_excess_is_that_of_the_worst_cost() -> None:
    budget = parse_budget(["p95_ms<8", "mb<3"])
    assert excess(budget, costs(p95_ms=12.0, size=3_300_000)) == pytest.approx(1.5)
    assert excess(budget, costs(p95_ms=4.0, size=1_500_000)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "nothing to keep"),
        (["p95_m<8"], "no metric is called p95_m"),
        (["accuracy_pct<8"], "no metric is called accuracy_pct"),
        (["p95_ms>8"], "no upper bound"),
        (["p95_ms<"], "not a name, a sign"),
        (["p95_ms<nan"], "not a number"),
        (["int8.p95_ms<8"], "names a variant"),
        (["mb<0"], "no model costs so little"),
        (["mb<3", "size_mb<4"], "bounded twice"),
    ],
)
def test_a_budget_that_is_none(texts: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        parse_budget(texts)
    assert "--budget" in error.value.what
