"""The run directory and what is said about it: its photos, predictions, scores, calibration error."""
