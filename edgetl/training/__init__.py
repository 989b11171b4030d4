"""Train a classifier: the head on a frozen base, the last blocks, on request every layer. Not for: exporting it."""

from .options import TrainConfig
from .pipeline import resume, train

__all__ = ["TrainConfig", "resume", "train"]
