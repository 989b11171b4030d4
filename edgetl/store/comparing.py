"""Compare results of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgetl.comparison.document import Comparison
from edgetl.comparison.results import Source, compare_sources
from edgetl_device.bench import result

from .content import body_of
from .engine import Store

_NAME = 12


def compare_stored(store: Store, digests: Sequence[str], *, baseline: str | None = None) -> Comparison:
    """Compare bench results of a store with the first of them, as files are compared.

    Args:
        store: The store.
        digests: Digests of results, or their beginnings.
        baseline: Compare every run with this variant of the first result.

    Raises:
        InputError: One is not there or no result, or they are not comparable.
    """
    return compare_sources([_source(store, one) for one in digests], baseline=baseline)


def _source(store: Store, asked: str) -> Source:
    digest, body = body_of(store, asked)
    name = digest[:_NAME]
    return Source(name, Path(digest), result.parse(body.encode(), name=name))
