"""A trained model as files: float TFLite and ONNX, C array, bundle, Edge TPU variant."""
