"""Train a classifier in two stages: the head on a frozen base, then the last blocks. Not for: exporting it."""

from .config import TrainConfig
from .pipeline import train

__all__ = ["TrainConfig", "train"]
