"""Coral's Edge TPU: predicting the mapping, running the compiler, reading its log.

``edgetl_device.delegates.delegate`` runs compiled models.
"""
