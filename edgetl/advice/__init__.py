"""Recommend what to train, from linear probes at every depth of a frozen base."""

from .run import Advice, BackboneAdvice, Sampled, advise, embedded_backbones, probe_depths, sample_training

__all__ = [
    "Advice",
    "BackboneAdvice",
    "Sampled",
    "advise",
    "embedded_backbones",
    "probe_depths",
    "sample_training",
]
