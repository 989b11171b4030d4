"""What was decided about each photo of a folder: kept at once, as a document and as a table for training."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgetl import __version__
from edgetl._lib.csv import write_table
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Text
from edgetl_device.errors import InputError
from edgetl_device.text import is_steering, is_utf8, normal

# What a class may be called: it becomes a cell of a table, where spreadsheets run some texts, and a folder for some.
_MOST_CHARACTERS = 100
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Decision:
    """What was decided about a photo.

    Attributes:
        path: Its path in the folder.
        kind: ``labelled``, or ``rejected``: it is not to be trained on.
        label: Its class, if it was labelled.
    """

    path: Text
    kind: Literal["labelled", "rejected"]
    label: Text | None = documents.optional()


@dataclass(frozen=True)
class ReviewDocument:
    """The decisions about a folder of photos.

    Attributes:
        producer: ``edgetl`` and its version.
        folder: Name of the folder.
        decisions: One for each photo that was decided about, in the order of deciding.
    """

    SCHEMA: ClassVar[str] = "edgetl.review/1"

    producer: Text
    folder: Text
    decisions: tuple[Decision, ...]


class Review:
    """The photos of a folder, some of which are decided about.

    Every decision is written at once: to the table of labels, and to a document beside it from which the next start
    goes on.

    Args:
        folder: The folder.
        out: The table, ``FILE.csv``. It lists labelled photos only.
        photos: Paths of its photos in the folder, in the order to show them.
        labels: Classes to choose from; those of earlier decisions are added.

    Raises:
        InputError: The table exists, but was not written by a review, or the document beside it is damaged.
    """

    def __init__(self, folder: Path, out: Path, photos: Sequence[str], labels: Iterable[str]) -> None:
        self.folder, self.out, self._document = folder, out, document_of(out)
        known = set(photos)
        earlier = documents.read(ReviewDocument, self._document).decisions if self._document.exists() else ()
        if out.exists() and not self._document.exists():
            raise InputError(
                f"{out}: exists, and {self._document.name} does not",
                why="a review goes on from both",
                hint="Give another file: {out}.",
                options={"out": str(out)},
            )
        self._done = {one.path: one for one in earlier if one.path in known}
        self._queue = deque(path for path in photos if path not in self._done)
        # What undo takes back, latest last.
        self._acted = list(self._done)
        self._labels = dict.fromkeys([*labels, *(one.label for one in self._done.values() if one.label)])
        self._total = len(photos)
        if self._done:
            self._save()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes to choose from."""
        return tuple(self._labels)

    @property
    def current(self) -> str | None:
        """The photo to decide about; None when none is left."""
        return self._queue[0] if self._queue else None

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of photos: ``total``, ``labelled``, ``rejected``, ``left``."""
        kinds = Counter(one.kind for one in self._done.values())
        return {
            "total": self._total,
            "labelled": kinds["labelled"],
            "rejected": kinds["rejected"],
            "left": len(self._queue),
        }

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return bool(self._acted)

    def label(self, path: str, label: str) -> None:
        """Give a photo a class, which may be a new one.

        Raises:
            InputError: The class cannot have this name, or the photo is not waiting.
        """
        label = _checked(label)
        self._decide(path, Decision(path, "labelled", label))
        self._labels[label] = None

    def reject(self, path: str) -> None:
        """Leave a photo out for good; its file stays.

        Raises:
            InputError: It is not waiting.
        """
        self._decide(path, Decision(path, "rejected"))

    def skip(self, path: str) -> None:
        """Move a photo to the end of those that wait.

        Raises:
            InputError: It is not waiting.
        """
        self._take(path)
        self._queue.append(path)
        self._acted.append(path)

    def undo(self) -> None:
        """Take the latest decision back, and show its photo again; nothing happens when there is none."""
        if not self._acted:
            return
        path = self._acted.pop()
        decided = self._done.pop(path, None)
        if decided is None:
            self._queue.remove(path)
        self._queue.appendleft(path)
        if decided is not None:
            self._save()

    def _decide(self, path: str, decision: Decision) -> None:
        self._take(path)
        self._done[path] = decision
        self._acted.append(path)
        self._save()

    def _take(self, path: str) -> None:
        if path not in self._queue:
            raise InputError(f"{path}: is not waiting for a label", hint="Reload the page.")
        self._queue.remove(path)

    def _save(self) -> None:
        base = self.out.resolve().parent
        rows = [
            (Path(os.path.relpath(self.folder.resolve() / one.path, base)).as_posix(), one.label)
            for one in self._done.values()
            if one.kind == "labelled"
        ]
        # The document first: it is what the next start goes on from.
        made = ReviewDocument(f"edgetl {__version__}", self.folder.resolve().name, tuple(self._done.values()))
        documents.write(self._document, made)
        write_table(self.out, ("path", "label"), rows, verbatim=True)


def document_of(out: Path) -> Path:
    """Return the place of the document beside a table."""
    return out.with_name(f"{out.stem}.review.json")


def _checked(label: str) -> str:
    found = normal(label)
    why = ""
    if not found.strip():
        why = "it is empty"
    elif len(found) > _MOST_CHARACTERS:
        why = f"it has over {_MOST_CHARACTERS} characters"
    elif any(map(is_steering, found)) or not is_utf8(found):
        why = "it has characters that are not shown"
    elif found.startswith(_FORMULA):
        why = f"spreadsheets run cells that begin with {found[0]}"
    if why:
        raise InputError("a class cannot have this name", why=why, hint="Choose another.")
    return found
