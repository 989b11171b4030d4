"""A training run as one HTML page that needs nothing but a browser."""

from .write import PAGE, render_run, write_run_report, written_page

__all__ = ["PAGE", "render_run", "write_run_report", "written_page"]
