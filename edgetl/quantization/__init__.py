"""From a float Keras model to int8 files that keep its predictions: fold, repair, calibrate, convert, check.

===============  ======================================================================================
``options``      the options
``targets``      what kinds of device need of an int8 file
``calibration``  which training photos set the activation ranges, and ``own_photos`` of the user in their place
``fold``         BatchNorm into the convolution before it, so that no scale is left between the two
``equalize``     cross-layer equalization: channels of linear streams scaled to similar ranges
``rounding``     weights rounded to their int8 grid by GPTQ
``correct``      kernels rounded layer by layer, then bias correction
``narrow``       clipped ranges of linear streams
``tflite``       int8 TFLite by TensorFlow's converter; the written file is opened and checked
``onnx``         int8 ONNX by ONNX Runtime's static quantization; the written graph is checked
``distill``      the trained layers fitted to the float predictions through int8 rounding
``graph``        the walk over a flat Keras graph that the stages share
``variants``     which of these make which file of a bundle
``measure``      a file run on photos
``search_result``       candidates tried in order until the files are within the bounds
``pipeline``     all of these for one run: measured on held-out photos, written as a bundle
``explain``      what each layer of an int8 file costs
===============  ======================================================================================

Stages from ``fold`` to ``distill`` are pure functions, model in and model or bytes out; accuracy and files are the
concern of ``search_result`` and ``pipeline``.
"""
