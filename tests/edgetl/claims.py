"""What a text claims of labelled photos. For tests of models that were imported without any."""

from __future__ import annotations

import html
import re
from pathlib import Path

from edgetl_device.truth import NOT_KNOWN

# Words for results on labelled photos.
CLAIMS = re.compile(
    r"accura|top-[15]\b|recall|precision|misclassified|held[- ]out|\bF1\b|\bphotos (are )?right\b"
    r"|calibration error|\bECE\b|\bdrop\b",
    re.IGNORECASE,
)


def claims(text: str) -> list[str]:
    """Return what a text claims of labelled photos, but for the sentence that says that nothing is known."""
    rest = re.sub(re.escape(NOT_KNOWN), "", re.sub(r"\s+", " ", text), flags=re.IGNORECASE)
    return [rest[max(0, at.start() - 40) : at.end() + 40] for at in CLAIMS.finditer(rest)]


def words_of(page: Path) -> str:
    """Return the text of a page."""
    text = re.sub(r"<(style|script)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>|data:image/\S+", " ", text))
