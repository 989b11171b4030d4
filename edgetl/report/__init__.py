"""Bench results as one HTML page that needs nothing but a browser. Not for: comparing numbers (``edgetl.compare``)."""

from .write import render, write_report

__all__ = ["render", "write_report"]
