"""Kinds of findings on calibration photos: stable code, severity, advice.

``calibration_photos`` and ``own_photos`` report them.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgetl_device.reasons import Reason

CALIBRATION: Mapping[str, Reason] = {
    "few_photos": Reason(
        "calibration-few-photos",
        "warning",
        "Too few different photos for reliable activation ranges.",
        "Use more: --calibration N, or a larger folder.",
    ),
    "repeated": Reason(
        "calibration-repeated",
        "warning",
        "The same calibration photo more than once.",
        "Remove copies.",
    ),
    "missing_class": Reason(
        "calibration-missing-class", "warning", "A class without a calibration photo.", "Add photos of it."
    ),
    "narrow_range": Reason(
        "calibration-narrow-range",
        "warning",
        "The pixels of the calibration photos cover a narrow range only.",
        "Use photos from all lighting conditions that the device will meet.",
    ),
    "unreadable": Reason(
        "calibration-unreadable", "warning", "Files that cannot be read as photos.", "Replace or remove them."
    ),
    "not_all": Reason(
        "calibration-not-all",
        "info",
        "More photos than requested; the others are not used.",
        "Raise --calibration.",
    ),
}
