"""Mutants of searches: budgets, what is measured, what is trained, and which photos decide."""

from __future__ import annotations

from mutant import Mutant

_SEARCHING, _COMPARISON = "tests/edgetl/searching/", "tests/edgetl/comparison/"

MUTANTS = (
    Mutant(
        "a cost at the bound of a budget keeps it",
        "edgetl/comparison/budget.py",
        '_BROKEN_BY = {"<": ">=", "<=": ">"}',
        '_BROKEN_BY = {"<": ">", "<=": ">="}',
        (_COMPARISON + "test_budget.py::test_a_budget_is_kept_or_not",),
    ),
    Mutant(
        "a network with a larger input is taken for a part",
        "edgetl/searching/space.py",
        "return same and self.size <= other.size and self.blocks <= other.blocks",
        "return same and self.blocks <= other.blocks",
        (_SEARCHING + "test_planning.py::test_a_part_of_a_network_takes_no_longer",),
    ),
    Mutant(
        "the machine is no part of the key of measured costs",
        "edgetl/searching/costs.py",
        "where=self.machine.key, ",
        "",
        (_SEARCHING + "test_planning.py::test_a_network_is_measured_once_whoever_asks",),
    ),
    Mutant(
        "trials see the test photos",
        "edgetl/searching/trials.py",
        "    dataset = without_test(search.photos(options.size))",
        "    dataset = search.photos(options.size)",
        (_SEARCHING + "test_search_trials.py::test_a_trial_that_was_killed_goes_on_from_its_last_epoch",),
    ),
    Mutant(
        "a killed trial is trained anew",
        "edgetl/searching/trials.py",
        "            return resume(place, root=search.data, trackers=[follow], dataset=dataset)",
        '            raise InputError("anew")',
        (_SEARCHING + "test_search_trials.py::test_a_trial_that_was_killed_goes_on_from_its_last_epoch",),
    ),
    Mutant(
        "a less accurate trial wins by its loss",
        "edgetl/searching/trials.py",
        "key=lambda one: (-_correct(one), one.val_loss or 0.0, p95_ms(one))",
        "key=lambda one: (one.val_loss or 0.0, -_correct(one), p95_ms(one))",
        (_SEARCHING + "test_search_trials.py::test_the_most_accurate_comes_first_then_the_surest_then_the_fastest",),
    ),
)
