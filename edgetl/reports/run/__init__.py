"""The self-contained HTML report of a training run."""

from .write import PAGE, refresh_page, render_run, write_run_report, written_page

__all__ = ["PAGE", "refresh_page", "render_run", "write_run_report", "written_page"]
