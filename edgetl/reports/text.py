"""Numbers as words, the same on every page and plot."""

from __future__ import annotations

from edgetl_device.scores import Accuracy


def top1_text(accuracy: Accuracy) -> str:
    """Return the top-1 accuracy in percent, never without its interval."""
    low, high = accuracy.ci95
    return f"top-1 {accuracy.top1:.1%} (95% interval {100 * low:.1f} to {high:.1%})"
