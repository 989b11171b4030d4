"""TFLite delegates, such as the Edge TPU's, and how much of a model they run."""
