"""Retired words: the code, its tests, messages and docs use the field's terms."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RETIRED = (
    "rehears", "far_end", "far-end", "far end", "take_turns", "take turns", "taking turns", "run_together", "misfit",
    "rung", "rungs", "ladder", "Parcel", "equalize_streams", "narrow_ranges", "answers_of", "could not be had",
    "cannot be had", "be content", "in so many words", "desk", "speaks against",
)  # fmt: skip
# Version 1 of quantize.json, which is still read, has fields with these names; the changelog lists their replacements.
EXCEPT = {
    "edgetl/runs/quantize_report.py",
    "tests/edgetl/test_documents_fuzz.py",
    "tests/project/test_words.py",
    "CHANGELOG.md",
}
TEXT = {".py", ".md", ".html", ".ipynb", ".toml", ".yml", ".sh", ".c"}


def test_no_retired_word_is_left() -> None:
    words = re.compile(rf"(?<![a-z])(?:{'|'.join(RETIRED[1:])})(?![a-z])|{RETIRED[0]}", re.IGNORECASE)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = [name for name in tracked.splitlines() if Path(name).suffix in TEXT and not name.startswith("site/")]
    assert len(texts) > 100
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in texts
        if name not in EXCEPT and (ROOT / name).exists()
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert not found, "\n".join(found)
