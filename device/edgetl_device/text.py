"""Normalize untrusted text (labels, file names, output of other programs), and make it safe for a terminal.

JSON (``jsonfile``), HTML and CSV have their own escaping.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

# The guides, for messages: whoever installed edgetl from an index has no docs/ folder.
GUIDES = "https://github.com/edgetl/edgetl/blob/main/docs/guides"
# Maximum number of classes in sentences and tables.
LISTED = 20
# Longest name that a user may give a class, in characters.
_LONGEST_LABEL = 200
# Control characters, which a terminal obeys; lone surrogates, by which Python represents bytes that are not UTF-8; line
# and paragraph separators.
_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
# Characters that change the direction of text (Unicode Standard Annex 9); see "Trojan Source", CVE-2021-42574.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def normal(name: str) -> str:
    """Return a label in the form that edgetl stores: composed (Unicode NFC), without surrounding whitespace.

    macOS and some archives decompose names: they look the same, but their bytes differ.
    """
    return unicodedata.normalize("NFC", name).strip() or name


def normal_names(names: Sequence[str]) -> tuple[str, ...]:
    """Apply :func:`normal` to a model's labels; leave all unchanged if two would become equal."""
    changed = tuple(map(normal, names))
    return changed if len(set(changed)) == len(changed) else tuple(names)


def why_no_label(name: str) -> str:
    """Return why a user cannot give a class this name, which is :func:`normal`; "" if it is a good one."""
    if not name.strip():
        return "it is empty"
    if len(name) > _LONGEST_LABEL:
        return f"it has over {_LONGEST_LABEL} characters"
    return "it has characters that are not shown" if any(map(is_steering, name)) or not is_utf8(name) else ""


def closest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the hint for a name that does not exist: the most similar of those that do, else ``otherwise``."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else otherwise


def shown(text: str) -> str:
    """Escape text for one line of a terminal: control characters become Python escapes such as ``\\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(one) if is_steering(one) else one for one in text)


def shown_lines(text: str) -> str:
    """Escape edgetl's own text of several lines, as :func:`shown`, keeping line breaks."""
    return "\n".join(map(shown, text.split("\n")))


def listed(names: Sequence[str], *, most: int = LISTED) -> str:
    """Return names as one text, ``a, b``, as :func:`shown`; of more than ``most`` the first, and how many more."""
    more = len(names) - most
    return ", ".join(map(shown, names[:most])) + (f" and {more:,} more" if more > 0 else "")


def is_steering(character: str) -> bool:
    """Whether a character moves the cursor, ends a line, changes colours or direction, or is a lone surrogate."""
    return character in _DIRECTIONS or unicodedata.category(character) in _CATEGORIES


def is_utf8(text: str) -> bool:
    """Whether a name can be written to a text file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
