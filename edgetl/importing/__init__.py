"""Models that edgetl did not train: a Keras, ONNX or TFLite file, or a SavedModel, becomes a run.

====================  ==================================================================================
``options``           import options
``source``            the file: its format, and what is refused before it is parsed
``scan``              the file in a child process: native parsers meet it there first
``original``          the original model, run by its own runtime: the reference
``keras_config``      architectures in Keras files, checked before Keras reads them
``keras_graph``       Keras models to one flat graph of plain layers
``onnx_graph``        ONNX graphs to the same
``tflite_file``       TFLite files to ONNX, their weights to float32
``saved_model_file``  SavedModels to ONNX, after their operators were checked
``with_tf2onnx``      tf2onnx, for both
``plain``             names, ends and BatchNorms as the rest of edgetl expects them
``inputs``            which scaling and fit of photos the model was made for
``labels``            labels, and whether their order fits the outputs
``agreement``         the result against the original, on photos
``pipeline``          the whole process: from a file and photos to a run directory
====================  ==================================================================================

Nothing in a foreign file runs but the arithmetic of known layers and operators: Keras loads in safe mode, and what is
not known is refused by its name.
"""

from .options import ImportOptions

__all__ = ["ImportOptions"]
