"""``MODEL_CARD.md``: the fields that a person fills in, and whether a person changed anything else in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetl_device.bundle import CARD
from edgetl_device.errors import InputError

FILE = CARD
_MOST_BYTES = 1_000_000
_LICENCE = re.compile(r"^license: *(.*?) *$", re.MULTILINE)
NO_LICENCE = "unknown"
_LICENCE_PROMPT = "  # to fill in: the licence of this model"
_FIELD = re.compile(r"^<!-- to fill in: ([a-z -]+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
_SEAL = re.compile(r"^<!-- written by edgetl; sha256 of all but the fields: ([0-9a-f]{64}) -->\n?\Z", re.MULTILINE)


@dataclass(frozen=True)
class CardField:
    """A field that a person fills in: its name, and what belongs there."""

    name: str
    prompt: str

    @property
    def placeholder(self) -> str:
        """Its text while it is empty."""
        return f"**To fill in:** {self.prompt}"


FIELDS = (
    CardField("intended use", "what the model is for, who uses it, and what is decided with its predictions."),
    CardField("out of scope", "uses that it was not made for, and that it must not be put to."),
    CardField("training data", "where the photos come from, who took and labelled them, and their licence."),
    CardField("factors", "cameras, light, places, seasons or people that the photos do and do not cover."),
    CardField("ethical considerations", "who may be harmed by a wrong prediction, and what is done against it."),
    CardField("contact", "who answers questions about this model."),
)


@dataclass(frozen=True)
class Words:
    """What a person wrote in a card.

    Attributes:
        licence: Licence of the model, as in the metadata; None if not filled in.
        fields: Text of the fields that are filled in, by name.
    """

    licence: str | None
    fields: Mapping[str, str]

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self.licence is not None or bool(self.fields)


def field_text(name: str, text: str) -> str:
    """Return a field as it stands in a card."""
    return f"<!-- to fill in: {name} -->\n{text}\n<!-- end -->"


def licence_line(licence: str | None) -> str:
    """Return the metadata's line for a licence, with a comment: a person's own, or what to fill in."""
    return f"license: {licence or NO_LICENCE}" + ("" if licence and "#" in licence else _LICENCE_PROMPT)


def sealed(text: str) -> str:
    """Return a card with the hash of everything but its fields."""
    return f"{text}<!-- written by edgetl; sha256 of all but the fields: {_hash(text)} -->\n"


def read_words(path: Path) -> Words:
    """Return what a person wrote in a card; nothing if there is no card.

    Raises:
        InputError: Something else than the fields was changed, so that writing it again would lose words.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return Words(None, {})
    text = data.decode("utf-8", errors="replace").replace("\r\n", "\n")
    seal = _SEAL.search(text)
    if len(data) > _MOST_BYTES or seal is None or _hash(text[: seal.start()]) != seal[1]:
        raise InputError(
            f"{path}: was changed outside of the fields to fill in, so it is not written again",
            hint="Move your words into a field, or rename the file.",
        )
    prompts = {one.name: one.placeholder for one in FIELDS}
    found = {name: words.strip() for name, words in _FIELD.findall(text)}
    filled = {name: words for name, words in found.items() if words and words != prompts.get(name)}
    licence = _LICENCE.search(text)
    said = licence[1].removesuffix(_LICENCE_PROMPT.strip()).strip() if licence else ""
    return Words(None if said in ("", NO_LICENCE) else said, filled)


def _hash(text: str) -> str:
    """Return the hash of a card without the content of its fields."""
    bare = _FIELD.sub(lambda found: field_text(found[1], ""), _LICENCE.sub("license:", text, count=1))
    return hashlib.sha256(bare.encode()).hexdigest()
