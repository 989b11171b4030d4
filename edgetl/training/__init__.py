"""Train a classifier: the head on a frozen base, then the last blocks, optionally all layers."""

from typing import TYPE_CHECKING, Any

from .options import TrainOptions

if TYPE_CHECKING:
    from .pipeline import resume, train

__all__ = ["TrainOptions", "resume", "train"]


def __getattr__(name: str) -> Any:
    # Help and configuration files use the options too, without loading anything heavy.
    if name not in ("resume", "train"):
        raise AttributeError(name)
    from . import pipeline

    return getattr(pipeline, name)
