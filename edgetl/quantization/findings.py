"""Kinds of findings on calibration photos: stable code, severity, advice.

``calibration_photos`` and ``own_photos`` raise them.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgetl_device.reasons import Reason

CALIBRATION: Mapping[str, Reason] = {
    "few_photos": Reason(
        "calibration-few-photos",
        "warning",
        "Too few different photos to know what values the layers reach.",
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
        "The pixels of the calibration photos reach a narrow range only.",
        "Use photos of every light that the device will see.",
    ),
    "unreadable": Reason(
        "calibration-unreadable", "warning", "Files that are no photos that can be read.", "Replace or remove them."
    ),
    "not_all": Reason(
        "calibration-not-all",
        "info",
        "More photos than asked for; the others are not used.",
        "Raise --calibration.",
    ),
}
