"""Export a trained model: float TFLite and ONNX, C array, bundle, Edge TPU variant."""
