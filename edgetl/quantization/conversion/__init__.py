"""Prepared graphs converted to int8 TFLite and ONNX files."""
