"""Train a classifier: the head on a frozen base, the last blocks, on request every layer."""

from typing import TYPE_CHECKING, Any

from .options import TrainOptions

if TYPE_CHECKING:
    from .pipeline import resume, train

__all__ = ["TrainOptions", "resume", "train"]


def __getattr__(name: str) -> Any:
    # The options are for help and configuration files too, where nothing heavy is loaded.
    if name not in ("resume", "train"):
        raise AttributeError(name)
    from . import pipeline

    return getattr(pipeline, name)
