"""Results and runs as HTML pages that need nothing but a browser."""

from .write import render, write_report

__all__ = ["render", "write_report"]
