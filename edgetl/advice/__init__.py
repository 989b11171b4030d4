"""What to train on these photos: linear probes at every depth of a frozen base, and a recommendation.

Not for: training.
"""

from .run import Advice, BackboneAdvice, advise, embedded_backbones

__all__ = ["Advice", "BackboneAdvice", "advise", "embedded_backbones"]
