"""Data sets: list photos from folders, tables or arrays, decode them once, audit and split them."""

from edgetl.data.readers.source import check_source, list_photos, photos_folder, refuse_inside

from .findings import AUDIT, finding
from .load import OnConflict, check_dataset, load_dataset, require_training
from .sampling import stratified_rows, stratified_sample
from .split import kept_splits, kept_where
from .split_table import read_split, write_split
from .types import (
    SPLITS,
    Dataset,
    DatasetDescription,
    Finding,
    LabelCheck,
    LabelSuspect,
    Sample,
    Split,
    SplitCounts,
    targets_of,
)

__all__ = [
    "AUDIT",
    "SPLITS",
    "Dataset",
    "DatasetDescription",
    "Finding",
    "LabelCheck",
    "LabelSuspect",
    "OnConflict",
    "Sample",
    "Split",
    "SplitCounts",
    "check_dataset",
    "check_source",
    "finding",
    "kept_splits",
    "kept_where",
    "list_photos",
    "load_dataset",
    "photos_folder",
    "read_split",
    "refuse_inside",
    "require_training",
    "stratified_rows",
    "stratified_sample",
    "targets_of",
    "write_split",
]
