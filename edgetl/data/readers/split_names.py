"""The split that a name means: ``train``, ``Training``, ``test_set``, ``ValidationData``."""

from __future__ import annotations

import re

from edgetl.data.types import Split

# The words that Hugging Face's datasets knows too ("Structure your repository"), and what people write for them.
SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "validating": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
}
KNOWN_SPLITS = "train, val or test, in spellings such as Training, valid, test_set"

# Words beside that of the split; "seg" as in seg_train of a well-known set of scenes, which has nothing segmented.
_BESIDE = {"set", "data", "dataset", "image", "images", "img", "imgs", "photo", "photos", "pictures", "split", "seg"}
_JOINED = re.compile(r"(?<=[a-z])(set|data|images|photos)$")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def split_of(name: str) -> Split | None:
    """Return the split that a folder's name, or a value in a table, means; None for any other."""
    words = re.split(r"[\W_]+", _CAMEL.sub(" ", name.strip()).lower())
    words = [part for word in words if word for part in _JOINED.sub(r" \1", word).split()]
    rest = [word for word in words if word not in _BESIDE]
    return SPLIT_WORDS.get(rest[0]) if len(rest) == 1 else None
