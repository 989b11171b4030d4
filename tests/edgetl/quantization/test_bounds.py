"""Bounds on the int8 accuracy drop: met by the estimate, exceeded by its interval, missed on the test photos."""

from __future__ import annotations

import numpy as np
import pytest

from edgetl.data import Split
from edgetl.quantization.bounds import bound_warnings
from edgetl.quantization.options import QuantizeOptions
from edgetl_device.bench.accuracy import score
from edgetl_device.scores import Agreement


def agreement(photos: int, lost: int) -> Agreement:
    """Agreement of a variant that gets ``lost`` photos wrong with a float model that gets all right."""
    labels = np.zeros(photos, np.int64)
    right = np.tile(np.float32([0.9, 0.1]), (photos, 1))
    found = right.copy()
    found[:lost] = found[:lost, ::-1]
    measured = score(found, labels, right).agreement
    assert isinstance(measured, Agreement)
    return measured


@pytest.mark.parametrize(
    ("judged", "final", "split", "kinds"),
    [
        # None of 20 photos is lost, but one of 100 might be.
        ((20, 0), (20, 0), "test", ["uncertain"]),
        ((20_000, 10), (20_000, 10), "test", []),
        # Test photos do not select a candidate, but a missed bound is reported.
        ((20_000, 10), (100, 3), "test", ["missed"]),
        ((20, 0), (100, 3), "test", ["uncertain", "missed"]),
        # Without test photos, the final number is that of the validation photos.
        ((20_000, 10), (20_000, 10), "val", []),
    ],
)
def test_max_drop(judged: tuple[int, int], final: tuple[int, int], split: Split, kinds: list[str]) -> None:
    found = bound_warnings(
        QuantizeOptions(int8=True, max_drop=0.5),
        judged=[("int8", agreement(*judged))],
        final=[("int8", agreement(*final))],
        split=split,
    )
    assert [one.kind for one in found] == kinds
    for one in found:
        photos, lost = judged if one.kind == "uncertain" else final
        assert f"loses {100 * lost / photos:+.2f} pp on {photos} " in one.message
        assert "95% CI" in one.message
        assert "the bound (at most 0.5 pp) " in one.message


def test_min_agreement() -> None:
    found = bound_warnings(
        QuantizeOptions(int8=True, min_agreement=0.95),
        judged=[("int8", agreement(40, 0)), ("int8-onnx", agreement(1000, 10))],
        final=[("int8", agreement(100, 8)), ("int8-onnx", agreement(100, 1))],
        split="test",
    )
    assert [(one.kind, one.variant) for one in found] == [("uncertain", "int8"), ("missed", "int8")]
    assert "agrees in 92.0% on 100 test photos (95% CI 85 to 96%)" in found[1].message
    assert found[1].split == "test"
