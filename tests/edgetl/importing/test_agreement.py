"""The gate of an import: equal within 1e-5, or within what rounding explains."""

from __future__ import annotations

import math

import pytest

from edgetl.importing.agreement import gate
from edgetl.runs.import_record import ImportAgreement
from edgetl_device.errors import GateFailed


@pytest.mark.parametrize(
    ("max_abs", "rounding", "passes"),
    [(9e-6, 0, True), (1.1e-5, 1e-7, False), (3e-5, 1e-5, True), (2e-4, 1e-5, False), (math.nan, 1e-7, False)],
)
def test_a_difference_is_allowed_as_far_as_rounding_goes(max_abs: float, rounding: float, passes: bool) -> None:
    found = ImportAgreement(50, 49, max_abs, rounding)
    if passes:
        gate(found, shown="theirs.onnx", runtime="onnxruntime 1")
        return
    with pytest.raises(GateFailed, match=r"theirs\.onnx: the imported model differs from the original") as failed:
        gate(found, shown="theirs.onnx", runtime="onnxruntime 1")
    assert "49 of 50 photos have the same label" in failed.value.why
