"""Prepare a float graph for int8: folding, equalization, range clipping, GPTQ weight rounding, bias correction."""
