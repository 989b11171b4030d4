"""The TFLite file format: what is in a file, its metadata, its tree of objects, and what it needs on a microcontroller.

Not for: making one of a Keras model (``edgetl.export``, ``edgetl.quantization``), or running it (``edgetl_device``).
"""
