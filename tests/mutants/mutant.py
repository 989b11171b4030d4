"""What a mutant is, and all of them: small wrong changes of the code, each of which a named test must notice."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """A wrong change of one file.

    Attributes:
        what: What is wrong then, in a few words; unique.
        file: The file, relative to the repository.
        old: Text that occurs once in it.
        new: What takes its place.
        tests: Ids of the tests that must fail, without parameters.
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def mutated(mutant: Mutant, source: str) -> str:
    """Return the source with the change.

    Raises:
        ValueError: The text to change does not occur exactly once, the change is none, or it is no Python.
    """
    count = source.count(mutant.old)
    if count != 1:
        raise ValueError(f"{mutant.what}: its text occurs {count} times in {mutant.file}")
    if mutant.old == mutant.new:
        raise ValueError(f"{mutant.what}: changes nothing")
    changed = source.replace(mutant.old, mutant.new)
    try:
        ast.parse(changed)
    except SyntaxError as error:
        raise ValueError(f"{mutant.what}: is no Python: {error}") from None
    return changed


@cache
def functions_of(file: Path) -> frozenset[str]:
    """Return the names of the test functions of a file."""
    body = ast.parse(file.read_text("utf-8")).body
    return frozenset(one.name for one in body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"))


def by_area() -> dict[str, tuple[Mutant, ...]]:
    """Return all mutants by the area of the code that they break."""
    # Not at the top: the tables import this module.
    import broken_bundles
    import broken_device
    import broken_measurements
    import broken_pipeline
    import broken_search
    import broken_security

    return {
        "From photos to models": (*broken_pipeline.MUTANTS, *broken_search.MUTANTS),
        "Bundles, files and the cache": broken_bundles.MUTANTS,
        "Photos and models on the device": broken_device.MUTANTS,
        "Measurements and comparisons": broken_measurements.MUTANTS,
        "Hostile input, signatures and updates": broken_security.MUTANTS,
    }


def all_mutants() -> tuple[Mutant, ...]:
    """Return all mutants."""
    return tuple(one for area in by_area().values() for one in area)
