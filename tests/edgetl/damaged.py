"""Documents damaged in every way, for tests of their readers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from edgetl_device._lib import jsonfile

Json = Any
Draw = Callable[[st.SearchStrategy[Any]], Any]

SOME = settings(
    max_examples=300,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WRONG: st.SearchStrategy[Json] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["\ud800", "edgetl.run/1", "0" * 64, 10**400, -1, 0, 1, 1e308]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.builds(dict, unknown=st.just("why")),
    st.sampled_from([60, 70, 500]).map(lambda depth: nested(depth)),
)


def nested(depth: int) -> Json:
    """Return nested lists."""
    found: Json = []
    for _ in range(depth):
        found = [found]
    return found


def sealed(document: Json) -> bytes:
    """Return a document with its digest updated, if it has one."""
    with suppress(ValueError, RecursionError, TypeError):
        document["digest"] = jsonfile.digest(document)
    return json.dumps(document).encode()


def edited(draw: Draw, document: Json) -> Json:
    """Return a document with a few values removed or replaced."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        # Choose from the top down, so that a long list is not hit more often than a field.
        inner, key = document, draw(st.sampled_from(list(document)))
        while isinstance(inner[key], (dict, list)) and inner[key] and draw(st.integers(0, 3)):
            inner = inner[key]
            key = draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        if draw(st.booleans()):
            inner[key] = draw(WRONG)
        elif len(document) > 1 or inner is not document:
            del inner[key]
    return document


def damage(draw: Draw, document: Json) -> bytes:
    """Return a document with a few values removed or replaced, or with bytes removed or changed."""
    data = json.dumps(edited(draw, document)).encode()
    if draw(st.integers(0, 4)) == 0:
        start = draw(st.integers(0, len(data)))
        data = data[:start] + draw(st.binary(max_size=4)) + data[start + draw(st.integers(0, 4)) :]
    return data
