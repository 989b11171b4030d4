"""Which variants a bench measures with which delegates and numbers of threads, and in which order.

Not for: measuring (``bench``).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from .bundle import Bundle, Variant
from .delegate import Delegate
from .errors import EdgetlError, InputError, Unavailable
from .runtime import check_delegate, check_threads, load_library

T = TypeVar("T")

SEED = 0


@dataclass(frozen=True)
class Setup:
    """One variant with one delegate (None: what the runtime does by itself) and one number of threads."""

    variant: Variant
    delegate: Delegate | None
    threads: int

    def __str__(self) -> str:
        """Return what people call it: ``int8, 2 threads, xnnpack``."""
        name = f"{self.variant.name}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{name}, {self.delegate.name}" if self.delegate else name


@dataclass(frozen=True)
class Plan:
    """What a bench measures, and what it leaves out: ``variant``, ``why`` and, where one was named, ``delegate``."""

    setups: tuple[Setup, ...]
    skipped: tuple[dict[str, str], ...]


def plan(
    bundle: Bundle,
    *,
    variants: Sequence[str] | None,
    threads: Sequence[int],
    delegates: Sequence[Delegate | None],
    prefer: str | None = None,
) -> Plan:
    """Return every combination that this machine can run.

    Args:
        bundle: An open bundle.
        variants: Names, or None for all.
        threads: Numbers of CPU threads, at least one.
        delegates: At least one; None is what the runtime does by itself.
        prefer: For TFLite variants, insist on ``ai-edge-litert`` or ``tflite-runtime``.

    Raises:
        InputError: A name or a number is wrong, or a variant that was named is made for none of the delegates.
        Unavailable: A variant that was named, or a delegate with every variant, cannot run here.
    """
    if not threads:
        raise InputError("no number of threads given")
    for count in threads:
        check_threads(count)
    wanted = bundle.variants if variants is None else [bundle.variant(name) for name in dict.fromkeys(variants)]
    if not wanted:
        raise InputError("no variant given", why=f"{bundle.path} has {', '.join(v.name for v in bundle.variants)}")
    lacks = {
        (variant.name, delegate): _lacks(bundle, variant, prefer, delegate)
        for variant in wanted
        for delegate in delegates
    }
    for variant in wanted if variants is not None else ():
        _require_one([lacks[variant.name, delegate] for delegate in delegates])
    for delegate in delegates:
        errors = [lacks[variant.name, delegate] for variant in wanted]
        if all(errors):
            first = next(filter(None, errors))
            on = f" on {delegate.name}" if delegate else ""
            raise type(first)(f"no variant of this bundle can run here{on}", why=first.what, hint=first.hint)
    setups = [
        Setup(variant, delegate, count)
        for delegate in delegates
        for variant in wanted
        if lacks[variant.name, delegate] is None
        for count in dict.fromkeys(threads)
    ]
    skipped = [
        {"variant": name, "why": error.what} | ({"delegate": delegate.name} if delegate else {})
        for (name, delegate), error in lacks.items()
        if error
    ]
    return Plan(tuple(setups), tuple(skipped))


def shuffled(items: Sequence[T], round_number: int) -> list[T]:
    """Return the items in the order of one round: random, so that none always follows the same one; seeded."""
    order = list(items)
    random.Random(f"{SEED} {round_number}").shuffle(order)
    return order


def _require_one(errors: Sequence[EdgetlError | None]) -> None:
    if all(errors):
        raise next(filter(None, errors))


def _lacks(bundle: Bundle, variant: Variant, prefer: str | None, delegate: Delegate | None) -> EdgetlError | None:
    """Return why a variant cannot run here, or None. A damaged file is an error at once."""
    model = bundle.read(variant.file)
    try:
        check_delegate(model, variant.format, delegate)
        load_library(variant.format, prefer=prefer)
    except (InputError, Unavailable) as error:
        return error
    return None
