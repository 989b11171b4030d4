"""Seeded, augmented views of training photos. They are drawn once and cached downstream, so a photo has a fixed number.

Not for: validation or test photos.
"""

from .draw import augmenter, share_mixer
from .presets import PRESETS, check_preset, mixes

__all__ = ["PRESETS", "augmenter", "check_preset", "mixes", "share_mixer"]
