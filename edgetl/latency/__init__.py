"""Predicted latency of architectures on a board, from times of operators that were measured there.

A prediction is a document of its own kind, never a part of a result: measure what you ship with ``edgetl bench``.
"""

from __future__ import annotations

from .document import LatencyModel, PredictedLatency
from .predict import load, predict

__all__ = ["LatencyModel", "PredictedLatency", "load", "predict"]
