"""Results and runs as HTML pages that need nothing but a browser. Not for: comparing numbers (``comparison``)."""

from .write import render, write_report

__all__ = ["render", "write_report"]
