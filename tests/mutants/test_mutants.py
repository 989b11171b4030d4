"""The list of mutants is about this code: each changes one place, and its tests exist. ``make mutants`` runs them."""

from __future__ import annotations

import pytest
from mutant import ROOT, Mutant, all_mutants, by_area, functions_of, mutated

FEWEST = 60


def test_there_are_enough_of_each_area_and_none_twice() -> None:
    mutants = all_mutants()
    assert len(mutants) >= FEWEST
    assert min(map(len, by_area().values())) >= 10
    assert len({one.what for one in mutants}) == len(mutants)
    assert len({(one.file, one.old, one.new) for one in mutants}) == len(mutants)


@pytest.mark.parametrize("area", by_area())
def test_each_changes_one_place_and_its_tests_exist(area: str) -> None:
    for mutant in by_area()[area]:
        mutated(mutant, (ROOT / mutant.file).read_text("utf-8"))
        assert mutant.tests, mutant.what
        for test in mutant.tests:
            file, _, name = test.partition("::")
            assert name in functions_of(ROOT / file), f"{mutant.what}: there is no {test}"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("a = 3", "a = 1", "occurs 0 times"),
        ("1", "2", "occurs 2 times"),
        ("a = 1", "a = 1", "changes nothing"),
        ("a = 1", "a = (", "is no Python"),
    ],
)
def test_what_is_no_mutant_is_refused(old: str, new: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        mutated(Mutant("it", "file.py", old, new, ()), "a = 1\nb = 1\n")
