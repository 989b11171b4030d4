"""What was decided about each photo of a folder: kept at once, as a document and as a table for training."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgetl import __version__
from edgetl._lib.csv import table_text
from edgetl._lib.progress import note
from edgetl.data.pixels import hash_files
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Sha256, Text
from edgetl_device._lib.files import atomic_path, sha256_bytes, sha256_file, write_bytes
from edgetl_device.errors import EdgetlError, InputError
from edgetl_device.preprocess import check_file
from edgetl_device.text import is_utf8, normal, shown, why_no_label

# A class becomes a cell of a table, where spreadsheets run some texts.
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Decision:
    """What was decided about a photo.

    Attributes:
        path: Its path in the folder.
        kind: ``labelled``, or ``rejected``: it is not to be trained on.
        label: Its class, if it was labelled.
        sha256: SHA-256 of its file, by which another photo under its name is noticed; none if it could not be read.
    """

    path: Text
    kind: Literal["labelled", "rejected"]
    label: Text | None = documents.optional()
    sha256: Sha256 | None = documents.optional()


@dataclass(frozen=True)
class ReviewDocument:
    """The decisions about a folder of photos.

    Attributes:
        producer: ``edgetl`` and its version.
        folder: Name of the folder.
        decisions: One for each photo that was decided about, in the order of deciding.
        replaced: SHA-256 of the table before the latest decision, if that changed it: the one beside this document if
            the process was killed between writing the two.
    """

    SCHEMA: ClassVar[str] = "edgetl.review/1"

    producer: Text
    folder: Text
    decisions: tuple[Decision, ...]
    replaced: Sha256 | None = documents.optional()


class Review:
    """The photos of a folder, some of which are decided about.

    Every decision is written at once: to the table of labels, and to a document beside it from which the next start
    goes on. One that cannot be written is not made. Decisions about photos that are not there are kept; a photo that
    was replaced by another one is to be decided about again.

    Args:
        folder: The folder.
        out: The table, ``FILE.csv``. It lists labelled photos only.
        photos: Paths of its photos in the folder, in the order to show them.
        labels: Classes to choose from, of any name; those of earlier decisions are added.

    Raises:
        InputError: The table was not written by a review, or edited since; the document beside it is damaged, or about
            another folder; or the folder's name cannot be written to a table.
    """

    def __init__(self, folder: Path, out: Path, photos: Sequence[str], labels: Iterable[str]) -> None:
        self.folder, self.out, self._document = folder, out, document_of(out)
        self._name = folder.resolve().name
        self._prefix = Path(os.path.relpath(folder.resolve(), out.resolve().parent))
        if not is_one_line(str(self._prefix)):
            raise InputError(
                f"{shown(str(folder))}: cannot be written to a table",
                why="a name in its path is not UTF-8, or has a line break",
                hint="Rename it.",
            )
        self._present, self._total = set(photos), len(photos)
        # SHA-256 of the table on the disk.
        self._table: str | None = None
        self._done = self._earlier()
        self._drop_replaced()
        self._queue = deque(path for path in photos if path not in self._done)
        # What undo takes back, latest last.
        self._acted = [path for path in self._done if path in self._present]
        self._labels = dict.fromkeys([*labels, *(one.label for one in self._done.values() if one.label)])
        if absent := self.counts["absent"]:
            note(f"note: photos that were decided about, but are not in {folder}: {absent:,}; the decisions are kept")

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
        """Numbers of photos: ``total``, ``labelled``, ``rejected``, ``left``; and ``absent``, which are none of them.

        Photos are absent that were decided about, but are not in the folder.
        """
        kinds = Counter(one.kind for one in self._done.values() if one.path in self._present)
        return {
            "total": self._total,
            "labelled": kinds["labelled"],
            "rejected": kinds["rejected"],
            "left": len(self._queue),
            "absent": len(self._done) - kinds.total(),
        }

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return bool(self._acted)

    def label(self, path: str, label: str) -> None:
        """Give a photo a class, which may be a new one.

        Raises:
            InputError: The class is new and cannot have this name, or the photo is not waiting.
            OSError: It cannot be written.
        """
        label = self._known_or_checked(label)
        self._decide(path, "labelled", label)
        self._labels[label] = None

    def reject(self, path: str) -> None:
        """Leave a photo out for good; its file stays.

        Raises:
            InputError: It is not waiting.
            OSError: It cannot be written.
        """
        self._decide(path, "rejected")

    def skip(self, path: str) -> None:
        """Move a photo to the end of those that wait.

        Raises:
            InputError: It is not waiting.
        """
        self._take(path)
        self._queue.append(path)
        self._acted.append(path)

    def undo(self) -> None:
        """Take the latest decision back, and show its photo again; nothing happens when there is none.

        Raises:
            OSError: It cannot be written.
        """
        if not self._acted:
            return
        with self._wholly():
            path = self._acted.pop()
            decided = self._done.pop(path, None)
            if decided is None:
                self._queue.remove(path)
            self._queue.appendleft(path)
            if decided is not None:
                self._save()

    def _decide(self, path: str, kind: Literal["labelled", "rejected"], label: str | None = None) -> None:
        with self._wholly():
            self._take(path)
            self._done[path] = Decision(path, kind, label, _sha256_of(self.folder / path))
            self._acted.append(path)
            self._save()

    @contextmanager
    def _wholly(self) -> Iterator[None]:
        """Take changes back that the block raises in, so that what is shown is what is on the disk."""
        before = dict(self._done), deque(self._queue), list(self._acted)
        try:
            yield
        except BaseException:
            self._done, self._queue, self._acted = before
            raise

    def _take(self, path: str) -> None:
        if path not in self._queue:
            raise InputError(f"{path}: is not waiting for a label", hint="Reload the page.")
        self._queue.remove(path)

    def _known_or_checked(self, label: str) -> str:
        """Return a class to choose from as it is spelled there, or the name of a new one."""
        found = normal(label)
        for known in self._labels:
            if normal(known) == found:
                return known
        if why := why_no_class(found):
            raise InputError("a class cannot have this name", why=why, hint="Choose another.")
        return found

    def _earlier(self) -> dict[str, Decision]:
        """Return what was decided before, by path, and write its table where that is missing."""
        if not self._document.exists():
            if self.out.exists():
                raise InputError(
                    f"{self.out}: exists, and {self._document.name} does not",
                    why="a review goes on from both",
                    hint="Give another file: {out}.",
                    options={"out": str(self.out)},
                )
            return {}
        found = documents.read(ReviewDocument, self._document)
        if found.folder != self._name:
            raise InputError(
                f"{self._document}: is about photos in a folder {shown(found.folder)}, not {shown(self._name)}",
                hint="Give another file: {out}.",
                options={"out": str(self.out)},
            )
        done = {one.path: one for one in found.decisions}
        text = self._text(done.values())
        there = self.out.read_bytes() if self.out.exists() else None
        if there is not None and there != text and sha256_bytes(there) != found.replaced:
            raise InputError(
                f"{self.out}: is not the table of {self._document.name}",
                why="it was edited since, or the photos are in another place than then",
                hint="Move it away to have it written again, or give another file: {out}.",
                options={"out": str(self.out)},
            )
        if there != text and (there is not None or done):
            write_bytes(self.out, text)
            there = text
        self._table = None if there is None else sha256_bytes(there)
        return done

    def _drop_replaced(self) -> None:
        """Forget what was decided about photos in whose place there are others."""
        known = [one for one in self._done.values() if one.sha256 and one.path in self._present]
        hashes = hash_files([self.folder / one.path for one in known]) if known else ()
        # Of a file that cannot be read now it is not known.
        others = [
            one.path
            for one, sha256 in zip(known, hashes, strict=True)
            if isinstance(sha256, str) and sha256 != one.sha256
        ]
        if others:
            self._done = {path: one for path, one in self._done.items() if path not in set(others)}
            self._save()
            note(
                f"note: names of photos that were decided about, which others have now: {len(others):,}, such as "
                f"{others[0]}; these are asked for again"
            )

    def _text(self, done: Iterable[Decision]) -> bytes:
        rows = [((self._prefix / one.path).as_posix(), one.label) for one in done if one.kind == "labelled"]
        return table_text(("path", "label"), rows, verbatim=True).encode()

    def _save(self) -> None:
        text = self._text(self._done.values())
        new = sha256_bytes(text)
        replaced = None if self._table == new else self._table
        made = ReviewDocument(f"edgetl {__version__}", self._name, tuple(self._done.values()), replaced)
        # Both are on the disk before either appears. The document is first: it is what the next start goes on from.
        with atomic_path(self.out) as table, atomic_path(self._document) as document:
            with open(table, "wb") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            document.write_bytes(documents.dumps(made).encode())
        self._table = new


def document_of(out: Path) -> Path:
    """Return the place of the document beside a table."""
    return out.with_name(f"{out.stem}.review.json")


def why_no_class(name: str) -> str:
    """Return why a class in a table cannot have this name, which is :func:`.normal`; "" if it can."""
    if why := why_no_label(name):
        return why
    return f"spreadsheets run cells that begin with {name[0]}" if name.startswith(_FORMULA) else ""


def is_one_line(path: str) -> bool:
    """Whether a path can be written to a table: it is UTF-8 without line breaks."""
    return is_utf8(path) and len(path.splitlines()) == 1


def _sha256_of(photo: Path) -> str | None:
    """Return the SHA-256 of a photo; None if it cannot be read, which can be a reason to leave it out."""
    try:
        check_file(photo)
        return sha256_file(photo)
    except (EdgetlError, OSError):
        return None
