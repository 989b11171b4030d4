"""What is in a model file: operators, tensors, types, sizes; what the Edge TPU would run."""
