"""The notebook of the documentation, executed from top to bottom."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.no_cover

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "quickstart.ipynb"


def texts(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.get("outputs", ()) if output.get("name") != "stderr")


@pytest.mark.slow
def test_every_cell_runs_and_prints_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # The kernel imports edgetl from the same place as this process, and its temporary files are removed with the test.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(path) for path in map(Path, _paths())))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shown = [texts(cell) for cell in notebook.cells]
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    printed = [texts(cell) for cell in notebook.cells]
    # Numbers differ between machines; the number of lines and the error do not.
    assert [text.count("\n") for text in printed] == [text.count("\n") for text in shown]
    assert printed[-1] == shown[-1] == "lr=7: must be over 0 and at most 1\n"
    assert not any(
        output.output_type == "display_data" for cell in notebook.cells for output in cell.get("outputs", ())
    )


def _paths() -> list[str]:
    import edgetl
    import edgetl_device

    return [str(Path(package.__file__).parent.parent) for package in (edgetl, edgetl_device)]
