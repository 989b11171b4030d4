"""Numbers and names as text, the same on every page and plot."""

from __future__ import annotations

from edgetl_device.scores import Accuracy
from edgetl_device.text import shown


def top1_text(accuracy: Accuracy) -> str:
    """Return the top-1 accuracy in percent, never without its interval."""
    low, high = accuracy.ci95
    return f"top-1 {accuracy.top1:.1%} (95% interval {100 * low:.1f} to {high:.1%})"


def drawn(name: str) -> str:
    """Escape a label or another external name for a plot: Matplotlib would typeset text between two ``$``."""
    return shown(name).replace("$", r"\$")
