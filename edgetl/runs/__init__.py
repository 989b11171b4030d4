"""Run directories and their documents: photos, predictions, metrics, calibration error."""
