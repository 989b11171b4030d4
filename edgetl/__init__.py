"""edgetl: from a folder of photos to an int8 image classifier on a small Linux board, with proof."""

__version__ = "0.1.0"
