"""From a float Keras model to int8 files that keep its answers: fold, correct, calibrate, convert, check.

===============  ======================================================================================
``calibration``  which photos set the activation ranges, and whether they can
``own_photos``   the user's own for that, kept apart from what is scored
``fold``         BatchNorm into the convolution before it, so that no scale is left between the two
``correct``      biases shifted by what rounding the weights did to each channel's mean
``tflite``       int8 TFLite by TensorFlow's converter; the written file is opened and checked
``onnx``         int8 ONNX by ONNX Runtime's static quantization; the written graph is checked
``graph``        the walk over a flat Keras graph that ``fold`` and ``correct`` share
``explain``      what int8 costs, layer by layer, from the files themselves
``pipeline``     all of these for one run, measured on held-out photos, into a bundle
===============  ======================================================================================

Every stage but the last is a pure function, model in and model or bytes out; accuracy and files are the pipeline's
concern. Not for: float exports (``edgetl.export``).
"""
