"""The resume state, ``RUN.unfinished``: kept until the run directory appears, so that a killed run can be resumed."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgetl._lib import lock
from edgetl._lib.owned import Kind, check_replaceable, remove
from edgetl.data import Dataset, read_split, write_split
from edgetl.runs.directory import DOCUMENT as RUN
from edgetl.runs.document import RunDocument
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Text
from edgetl_device.errors import InputError, OptionError
from edgetl_device.options import Value, options_of

from .options import TrainOptions
from .tail import Diverged
from .tensorboard import EVENT_FILES

EVENTS = "tensorboard"
_SUFFIX = ".unfinished"
_REQUEST, _CHECKPOINT, _SPLIT, _LOCK = "request.json", "checkpoint.npz", "split.csv", "lock"
_KEPT = (
    _CHECKPOINT,
    _REQUEST,
    _SPLIT,
    *(f"{EVENTS}/{name}" for name in EVENT_FILES),
    # Partial files of a killed process.
    *(f".{name}.*.tmp/{name}*" for name in (_CHECKPOINT, _REQUEST, _SPLIT)),
)


@dataclass(frozen=True)
class RequestDocument:
    """``request.json``: the request for an unfinished run.

    Attributes:
        run_id: Random id of the run.
        root: Path of the photos.
        overwrite: Whether an existing run may be replaced.
        config: The settings as given, by name.
    """

    SCHEMA: ClassVar[str] = "edgetl.unfinished/1"

    run_id: Text
    root: Text
    overwrite: bool
    config: dict[str, Value]


@dataclass(frozen=True)
class Request:
    """The request for a run.

    Attributes:
        root: The data set.
        out: The run directory to write.
        options: The options as given, before anything was resolved.
        overwrite: Whether an existing run may be replaced.
        run_id: Random id of this run, also in its ``run.json``.
    """

    root: Path
    out: Path
    options: TrainOptions
    overwrite: bool
    run_id: str

    @classmethod
    def new(cls, root: Path, out: Path, options: TrainOptions, *, overwrite: bool) -> Request:
        """Return a request with a new id."""
        return cls(root, out, options, overwrite, secrets.token_hex(6))

    @property
    def folder(self) -> Path:
        """The folder of the unfinished run."""
        return folder_of(self.out)

    @property
    def checkpoint(self) -> Path:
        """The file with the latest checkpoint; missing before the first one."""
        return self.folder / _CHECKPOINT


def folder_of(out: Path) -> Path:
    """Return the folder of the unfinished run of ``out``, next to it."""
    whole = out.absolute()
    return whole.with_name(whole.name + _SUFFIX)


def refuse_leftover(out: Path) -> None:
    """Raise InputError if ``out`` has a resume state with a checkpoint to lose."""
    if (folder_of(out) / _CHECKPOINT).exists():
        raise InputError(
            f"{out}: there is an unfinished run",
            why=f"training was ended early; its last epoch is kept in {folder_of(out).name}",
            hint=f"Resume it with --resume {shlex.quote(str(out))}, or start again with --overwrite.",
        )


def read_request(out: Path, *, given: Mapping[str, Value], root: Path | None, overwrite: bool) -> Request:
    """Return the request for an unfinished run.

    Args:
        out: The run directory of the unfinished run.
        given: Settings that the user gave again; each must be unchanged.
        root: New path of the photos; None if they have not moved.
        overwrite: Replace another run at the same path.

    Raises:
        InputError: There is no unfinished run, or a setting contradicts it.
    """
    path = folder_of(out) / _REQUEST
    if not path.is_file():
        state = "is finished" if (out / RUN).is_file() else "there is no unfinished run"
        raise InputError(
            f"{out}: {state}, nothing to resume", hint=f"Start one: edgetl train PHOTOS --out {shlex.quote(str(out))}"
        )
    document = documents.read(RequestDocument, path)
    saved = document.config
    unknown = set(saved) - {one.name for one in options_of(TrainOptions)}
    if unknown:
        raise InputError(f"{path}: has settings unknown to this version of edgetl", why=", ".join(sorted(unknown)))
    options = TrainOptions.of(**saved)
    for name, value in given.items():
        before = getattr(options, name)
        if value != before:
            raise OptionError(
                f"{{{name}=}}: the unfinished run has {before}",
                why="a resumed run keeps its settings",
                hint="Leave {" + name + "} out, or start again with --overwrite and without --resume.",
                **{name: value},
            )
    where = Path(document.root) if root is None else root
    return Request(where, out, options, overwrite or document.overwrite, document.run_id)


@contextmanager
def locked(request: Request, *, anew: bool) -> Iterator[None]:
    """Lock the resume state for this process while the block runs.

    If the block raises before the first checkpoint, or because training diverged, the folder is removed. Otherwise call
    :func:`discard` at the end.

    Args:
        request: The request for the run.
        anew: Discard the state of an earlier process.

    Raises:
        InputError: Another process is training this run, or the folder contains files that edgetl did not write.
    """
    _check_own(request.folder)
    request.folder.mkdir(parents=True, exist_ok=True)
    busy, hint = f"{request.out}: is being trained", "Choose another place with --out."
    with lock.locked(request.folder / _LOCK, what=busy, hint=hint):
        try:
            if anew:
                _remove_kept(request)
                _write(request)
            yield
        except BaseException as error:
            # Resuming a run that diverged would diverge again.
            if isinstance(error, Diverged) or not request.checkpoint.exists():
                discard(request)
            raise


def discard(request: Request) -> None:
    """Remove the resume state, but no files that are not edgetl's."""
    _remove_kept(request)
    remove(request.folder, (_LOCK,))


def _remove_kept(request: Request) -> None:
    """Remove everything but the lock. The request goes last: it marks the folder as edgetl's."""
    # A kill in between must not leave a checkpoint without its request.
    request.checkpoint.unlink(missing_ok=True)
    remove(request.folder, [pattern for pattern in _KEPT if pattern != _REQUEST])
    remove(request.folder, (_REQUEST,))


def _check_own(folder: Path) -> None:
    """Refuse a folder that is not an unfinished run, or contains anything else.

    A process killed at its beginning or end leaves only the lock, or nothing.
    """
    kind = Kind("an unfinished run", _REQUEST, RequestDocument.SCHEMA, (*_KEPT, _LOCK))
    hint = "Move it away, or choose another place with --out."
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {_LOCK}:
        return
    check_replaceable(folder, kind, hint=hint)


def _write(request: Request) -> None:
    documents.write(
        request.folder / _REQUEST,
        RequestDocument(request.run_id, str(request.root.resolve()), request.overwrite, request.options.by_name()),
    )


def check_photos(request: Request, dataset: Dataset) -> None:
    """Save the list of photos, or check the photos against the saved list, and record their path.

    Raises:
        InputError: They are not the photos that training started with.
    """
    path = request.folder / _SPLIT
    if not request.checkpoint.exists() or not path.exists():
        write_split(path, dataset.samples)
    before, now = (
        {(one.path, one.label, one.split, one.sha256) for one in samples}
        for samples in (read_split(path), dataset.samples)
    )
    if before != now:
        gone, new = before - now, now - before
        example = min(gone or new)[0]
        raise InputError(
            f"{request.root}: the photos have changed since training started",
            why=f"{len(gone)} of them are gone or different, {len(new)} are new or different, such as {example}",
            hint="Restore them, or start again with --overwrite and without --resume.",
        )
    _write(request)


def finished(request: Request) -> bool:
    """Whether the run directory already has this run, complete: a kill came before the resume state was removed."""
    document = _run_document(request.out)
    return document is not None and document.run_id == request.run_id and not document.interrupted


def check_place(request: Request) -> None:
    """Refuse to resume if the run would replace something of value.

    Raises:
        InputError: Another run is there now, or a bundle was made of this one.
    """
    if not request.out.exists() or request.overwrite:
        return
    document = _run_document(request.out)
    if document is None or document.run_id != request.run_id:
        raise InputError(f"{request.out}: now contains another run", hint="Give --overwrite to replace it.")
    if (request.out / "bundle").exists():
        raise InputError(
            f"{request.out}: contains a bundle made of the interrupted run", hint="Give --overwrite to replace both."
        )


def _run_document(out: Path) -> RunDocument | None:
    path = out / RUN
    return documents.read(RunDocument, path) if path.is_file() else None
