"""Self-contained HTML reports of bench results and training runs."""

from .write import render, write_report

__all__ = ["render", "write_report"]
