"""Inspect a model file: operators, tensors, types, sizes, and its predicted Edge TPU mapping."""
