"""Seeded augmented views of training photos, a fixed number per photo, drawn once and cached downstream."""

from .draw import augmenter, share_mixer
from .presets import PRESETS, check_preset, mixes

__all__ = ["PRESETS", "augmenter", "check_preset", "mixes", "share_mixer"]
