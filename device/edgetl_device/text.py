"""Text from outside (labels, file names, what other programs print), made safe to show on a terminal.

Not for: JSON, which escapes by its own rules (``jsonfile``), HTML and CSV.
"""

from __future__ import annotations

import unicodedata

# Controls, which a terminal obeys; halves of surrogate pairs, which is how Python keeps bytes that are not UTF-8; and
# the separators of lines and paragraphs.
_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
# What turns the direction of the text around it (Unicode Standard Annex 9), as in "Trojan Source", CVE-2021-42574.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(text: str) -> str:
    """Return text for one line of a terminal: what would steer it becomes an escape of Python, such as ``\\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(one) if is_steering(one) else one for one in text)


def shown_lines(text: str) -> str:
    """Return the same for text of several lines of edgetl's own: its line breaks stay."""
    return "\n".join(map(shown, text.split("\n")))


def is_steering(character: str) -> bool:
    """Whether a character moves the cursor, ends a line, changes colours or the direction, or is no character."""
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
