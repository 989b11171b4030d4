"""Writes docs/reference/documents.md from the documents' classes: ``python docs/make_documents.py``."""

from __future__ import annotations

from pathlib import Path

from edgetl.documents import page

PAGE = Path(__file__).parent / "reference" / "documents.md"

if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
