"""Labels in the metadata of an ONNX file. ONNX has no field for them; exporters write a property of their own."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from contextlib import suppress

from edgetl_device.errors import InputError

# As exporters call it: Ultralytics writes names, Hugging Face's configurations id2label.
PROPERTIES = ("labels", "names", "classes", "class_names", "id2label")
_MOST_CHARACTERS = 1 << 20


def labels_in(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return the labels in the properties of a model, in the order of its outputs; none if it has no such property.

    A property is a list, or an object from the number of an output to its label, in JSON or as Python prints it; or
    text with a label a line, or with commas between them.

    Raises:
        InputError: It is too long, or its numbers are not those of outputs.
    """
    name = next((one for one in PROPERTIES if properties.get(one, "").strip()), None)
    if name is None:
        return ()
    text = properties[name].strip()
    if len(text) > _MOST_CHARACTERS:
        raise InputError(f"its labels, in {name!r}, take over 1 MB")
    found = _parsed(text)
    if isinstance(found, dict):
        numbered = {str(number).strip(): label for number, label in found.items()}
        if set(numbered) != {str(number) for number in range(len(numbered))}:
            raise InputError(f"its labels, in {name!r}, are not numbered from 0 to {len(numbered) - 1}")
        found = [numbered[str(number)] for number in range(len(numbered))]
    if not isinstance(found, (list, tuple)):
        found = text.splitlines() if "\n" in text else text.split(",")
    return tuple(str(label).strip() for label in found)


def _parsed(text: str) -> object:
    """Return the list or object that a text is; the text itself if it is none."""
    if text[0] not in "[{(":
        return text
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.literal_eval(text)
    return text
