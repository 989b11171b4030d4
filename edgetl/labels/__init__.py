"""Labels that are probably wrong, found by leaving each photo out of a classifier of all others."""

from .check import check_labels

__all__ = ["check_labels"]
