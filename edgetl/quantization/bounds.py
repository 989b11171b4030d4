"""Warnings about accuracy bounds: too few photos to decide, or a bound missed on the test photos.

The bound itself is checked by :func:`edgetl.quantization.candidates.within`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgetl.data import Split
from edgetl.runs.quantize_report import BoundWarning
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.scores import Agreement

from .options import QuantizeOptions

_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def bound_warnings(
    options: QuantizeOptions,
    *,
    judged: Iterable[tuple[str, Agreement]],
    final: Iterable[tuple[str, Agreement]],
    split: Split,
) -> tuple[BoundWarning, ...]:
    """Return the warnings for a candidate that passed.

    Args:
        options: The quantization options, including the bounds.
        judged: Name and agreement of each variant on the validation photos.
        final: Name and agreement of each variant on the photos of ``split``.
        split: ``test``, or ``val`` if there are no test photos; both measurements then use the same photos.
    """
    doubted = _crossings(options, judged, "val", ends=True)
    missed = _crossings(options, final, split, ends=False) if split != "val" else ()
    return (
        *(BoundWarning("uncertain", name, "val", text) for name, text in doubted),
        *(BoundWarning("missed", name, split, text) for name, text in missed),
    )


def _crossings(
    options: QuantizeOptions, variants: Iterable[tuple[str, Agreement]], split: Split, *, ends: bool
) -> Iterator[tuple[str, str]]:
    """Yield name and message of each variant whose value (or, with ``ends``, confidence limit) violates a bound."""
    for name, agreement in variants:
        photos = f"on {agreement.photos} {_SPLITS[split]} photos"
        low, high = agreement.drop_ci95_pp
        number = f"loses {agreement.drop_pp:+.2f} pp {photos} (95% CI {low:+.1f} to {high:+.1f})"
        if options.max_drop is not None and (high if ends else agreement.drop_pp) > options.max_drop:
            yield name, _say(name, number, f"at most {options.max_drop:g} pp", ends=ends)
        low, high = wilson95(agreement.agree, agreement.photos)
        number = f"agrees in {agreement.top1:.1%} {photos} (95% CI {100 * low:.0f} to {high:.0%})"
        if options.min_agreement is not None and (low if ends else agreement.top1) < options.min_agreement:
            yield name, _say(name, number, f"at least {options.min_agreement:.1%}", ends=ends)


def _say(name: str, number: str, bound: str, *, ends: bool) -> str:
    if ends:
        return f"{name} {number}: too few photos to tell whether the bound ({bound}) is met"
    return f"{name} {number}: the bound ({bound}) was met on the validation photos but is not met here"
