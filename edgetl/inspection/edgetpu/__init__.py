"""Coral's Edge TPU: what of a model it can run, the compiler's log, and the compiled variant of a bundle.

Not for: running a compiled model (``edgetl_device.delegates.delegate``).
"""
