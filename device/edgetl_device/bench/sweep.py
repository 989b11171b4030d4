"""The combinations of variant, delegate, threads and batch size that a bench measures, and their order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from edgetl_device._lib.documents import Is, optional
from edgetl_device.bundle import Bundle, Variant
from edgetl_device.delegates.delegate import Delegate
from edgetl_device.errors import EdgetlError, InputError, Unavailable
from edgetl_device.runtime import check_batch, check_delegate, check_threads, load_library, open_runtime
from edgetl_device.runtime.trial_run import check_model

T = TypeVar("T")

SEED = 0


@dataclass(frozen=True)
class Way:
    """How a model is run: the delegate (None: the runtime's own choice) and the images per inference."""

    delegate: Delegate | None
    batch: int

    def __str__(self) -> str:
        """Return what differs from the default, such as ``batch 4, xnnpack``; may be empty."""
        named = [f"batch {self.batch}"] if self.batch > 1 else []
        return ", ".join(named + ([self.delegate.name] if self.delegate else []))


@dataclass(frozen=True)
class Setup:
    """One variant with one delegate (None: the runtime's own choice), one number of threads and one batch size."""

    variant: Variant
    delegate: Delegate | None
    threads: int
    batch: int = 1

    def __str__(self) -> str:
        """Return its name: ``int8, 2 threads, batch 4, xnnpack``."""
        name = f"{self.variant.name}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        return ", ".join(filter(None, [name, str(Way(self.delegate, self.batch))]))


@dataclass(frozen=True)
class Skipped:
    """A variant that this machine cannot run.

    Attributes:
        variant: Name of the variant.
        why: The reason.
        delegate: The requested delegate that cannot run it.
        batch: The requested batch size that it cannot run, if not 1.
    """

    variant: str
    why: str
    delegate: str | None = optional()
    batch: Annotated[int, Is(low=2)] | None = optional()

    def __str__(self) -> str:
        """Return its name: ``int8, batch 4 on edgetpu``."""
        batch = f", batch {self.batch}" if self.batch else ""
        return self.variant + batch + (f" on {self.delegate}" if self.delegate else "")


@dataclass(frozen=True)
class Plan:
    """What a bench measures, and what it leaves out."""

    setups: tuple[Setup, ...]
    skipped: tuple[Skipped, ...]


def plan(
    bundle: Bundle,
    *,
    variants: Sequence[str] | None,
    threads: Sequence[int],
    delegates: Sequence[Delegate | None],
    batches: Sequence[int] = (1,),
    prefer: str | None = None,
) -> Plan:
    """Return every combination that this machine can run.

    Args:
        bundle: An open bundle.
        variants: Names, or None for all.
        threads: Numbers of CPU threads, at least one.
        delegates: At least one; None is the runtime's own choice.
        batches: Batch sizes, at least one.
        prefer: For TFLite variants, require ``ai-edge-litert`` or ``tflite-runtime``.

    Raises:
        InputError: A name or a number is wrong, a named variant fits none of the delegates and batch sizes, or no
            variant fits one of them.
        Unavailable: A named variant cannot run here, or a delegate cannot run any variant.
    """
    if not threads or not batches:
        raise InputError(f"no {'batch' if threads else 'number of threads'} given")
    for count in threads:
        check_threads(count)
    for batch in batches:
        check_batch(batch)
    wanted = bundle.variants if variants is None else [bundle.variant(name) for name in dict.fromkeys(variants)]
    if not wanted:
        raise InputError("no variant given", why=f"{bundle.path} has {', '.join(v.name for v in bundle.variants)}")
    ways = [Way(delegate, batch) for delegate in delegates for batch in dict.fromkeys(batches)]
    lacks = {(variant.name, way): _lacks(bundle, variant, prefer, way) for variant in wanted for way in ways}
    for variant in wanted if variants is not None else ():
        _require_one([lacks[variant.name, way] for way in ways])
    for way in ways:
        errors = [lacks[variant.name, way] for variant in wanted]
        if all(errors):
            first = next(filter(None, errors))
            on = f" with a batch of {way.batch}" if way.batch > 1 else ""
            on += f" on {way.delegate.name}" if way.delegate else ""
            raise type(first)(f"no variant of this bundle can run here{on}", why=first.what, hint=first.hint)
    setups = [
        Setup(variant, way.delegate, count, way.batch)
        for way in ways
        for variant in wanted
        if lacks[variant.name, way] is None
        for count in dict.fromkeys(threads)
    ]
    skipped = [
        Skipped(name, error.what, way.delegate.name if way.delegate else None, way.batch if way.batch > 1 else None)
        for (name, way), error in lacks.items()
        if error
    ]
    return Plan(tuple(setups), tuple(skipped))


def shuffled(items: Sequence[T], round_number: int) -> list[T]:
    """Return the items in a seeded random order for one round, so that their order varies from round to round."""
    order = list(items)
    random.Random(f"{SEED} {round_number}").shuffle(order)
    return order


def _require_one(errors: Sequence[EdgetlError | None]) -> None:
    if all(errors):
        raise next(filter(None, errors))


def _lacks(bundle: Bundle, variant: Variant, prefer: str | None, way: Way) -> EdgetlError | None:
    """Return why a variant cannot run here in this way, or None. A damaged file is an error at once."""
    model = bundle.read(variant.file)
    try:
        check_delegate(model, variant.format, way.delegate)
        check_batch(way.batch, variant.format, way.delegate)
        load_library(variant.format, prefer=prefer)
        if way.delegate is None or not way.delegate.external:
            check_model(model, variant.format, variant.sha256, prefer=prefer)
        if way.batch > 1:
            # Only the interpreter knows whether a model can be resized.
            open_runtime(model, variant.format, prefer=prefer, delegate=way.delegate, batch=way.batch).close()
    except (InputError, Unavailable) as error:
        return error
    return None
