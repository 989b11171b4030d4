"""Pretrained backbones: registry, construction, blocks, and sources of weights.

Importing this package loads neither NumPy nor Keras, so the command line can list names.
"""

from __future__ import annotations

from .blocks import blocks
from .graph import build_base
from .registry import BACKBONES, backbone
from .spec import Backbone, Block
from .weights import ResolvedWeights, WeightsRecord, resolve_weights

__all__ = [
    "BACKBONES",
    "Backbone",
    "Block",
    "ResolvedWeights",
    "WeightsRecord",
    "backbone",
    "blocks",
    "build_base",
    "resolve_weights",
]
