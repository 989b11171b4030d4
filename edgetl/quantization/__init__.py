"""Turn a float Keras model into int8 files that keep its predictions: fold, repair, calibrate, convert, check.

======================  ================================================================================
``options``             quantization options
``targets``             deployment targets and their requirements on an int8 file
``calibration_photos``  calibration photos from the training split, or (``own_photos``) from a user's folder
``preparation``         BatchNorm folding, cross-layer equalization, GPTQ, bias correction, range clipping
``conversion``          int8 TFLite and ONNX; the written files are opened and checked
``distillation``        distillation from the float model through int8 rounding
``variants``            the variants of a bundle and the steps that produce them
``int8_file``           an int8 file that another program made, checked against the run
``measurement``         accuracy, agreement and latency of a file
``candidates``          search for the cheapest candidate within the bounds
``pipeline``            the whole process for a run: quantize, measure on held-out photos, write the bundle
``explain``             quantization error of each layer of an int8 file
``unknown``             feature bank, thresholds and rates of telling photos of nothing that the model was taught
======================  ================================================================================

``preparation``, ``conversion`` and ``distillation`` are pure functions, model in, model or bytes out; accuracy and
files are handled by ``candidates`` and ``pipeline``.
"""
