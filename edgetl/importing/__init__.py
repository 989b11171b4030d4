"""Models that edgetl did not train: a Keras or ONNX file becomes a run like any other.

================  ======================================================================================
``options``       import options
``source``        the file: its format, and what is refused before it is parsed
``scan``          the file in a child process: native parsers meet it there first
``original``      the original model, run by its own runtime: the reference
``keras_config``  architectures in Keras files, checked before Keras reads them
``keras_graph``   Keras models to one flat graph of plain layers
``onnx_graph``    ONNX graphs to the same
``plain``         names, ends and BatchNorms as the rest of edgetl expects them
``inputs``        which scaling and fit of photos the model was made for
``labels``        labels, and whether their order fits the outputs
``agreement``     the result against the original, on photos
``pipeline``      the whole process: from a file and photos to a run directory
================  ======================================================================================

Nothing in a foreign file runs: Keras loads in safe mode, and files with code are refused by the name of the layer.
"""

from .options import ImportOptions

__all__ = ["ImportOptions"]
