"""Recommend what to train, from linear probes at every depth of a frozen base."""

from .run import Advice, BackboneAdvice, advise, embedded_backbones

__all__ = ["Advice", "BackboneAdvice", "advise", "embedded_backbones"]
