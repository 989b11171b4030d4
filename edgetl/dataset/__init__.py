"""From a folder of photos to a list of samples: scan, audit, split. Not for: decoding (``edgetl.pixels``)."""

from .load import OnConflict, check_dataset, load_dataset, require_training
from .table import read_split, write_split
from .types import SPLITS, Dataset, Finding, Sample, Split

__all__ = [
    "SPLITS",
    "Dataset",
    "Finding",
    "OnConflict",
    "Sample",
    "Split",
    "check_dataset",
    "load_dataset",
    "read_split",
    "require_training",
    "write_split",
]
