"""A float graph made ready for int8: folded, equalized, ranges clipped, weights rounded (GPTQ), biases corrected."""
