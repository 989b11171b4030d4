"""Latency, memory, accuracy and agreement of the variants of a bundle, with a verdict."""
