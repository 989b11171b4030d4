"""A/B slots for a board's bundles, with a journal that makes an update safe against power loss at any moment.

The folder holds ``a.edgetl`` and ``b.edgetl``, ``current.edgetl``, a link to the running one, and ``slots.json``. An
update marks the free slot as pending, writes it, points the link to it, and confirms it. If the power fails before
that, the confirmed bundle runs: readers detect this themselves, and the next update restores the link. The confirmed
slot is never written.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from ._lib import documents
from ._lib.documents import Sha256, Text, Time
from ._lib.files import remove_file, sweep, write_link
from .errors import InputError, Unavailable
from .signature import KeyId, PublicKey, Version, moment, now

STATE = "slots.json"
CURRENT = "current.edgetl"
LOCK = "lock"

Slot = Literal["a", "b"]

_MAX_STATE_BYTES = 1 << 20
_EVENTS = 20
# Readers hold the lock briefly to see whether an update is running.
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Installed:
    """A bundle in a slot.

    Attributes:
        slot: The slot: its file is ``a.edgetl`` or ``b.edgetl``.
        name: Name of the file that was installed.
        digest: Digest of the bundle.
        version: Version in the signature; null if no signature was required.
        key: Id of the key that signed it; null if no signature was required.
        time: Time of installation, UTC, by the board's clock.
    """

    slot: Slot
    name: Text
    digest: Sha256
    version: Version | None
    key: KeyId | None
    time: Time

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.slot}.edgetl"


@dataclass(frozen=True)
class Event:
    """An entry of the journal.

    Attributes:
        time: Time of the event, UTC, by the board's clock.
        what: ``refused``: a check before the switch failed; ``undone``: a check after it failed; ``interrupted``: the
            update was interrupted after it, and undone; ``rolled back``: on request.
        digest: Digest of the bundle concerned; null if it could not be read.
        version: Its version, if signed.
        why: The reason; null for a success.
    """

    time: Time
    what: Literal["installed", "refused", "undone", "interrupted", "rolled back"]
    digest: Sha256 | None
    version: Version | None
    why: str | None


@dataclass(frozen=True)
class SlotsState:
    """The state of a board's slots: ``slots.json``.

    Attributes:
        confirmed: The bundle that passed all checks; null before the first installation.
        previous: The bundle before it, for a rollback; null if it was overwritten.
        pending: The bundle being tried; ignored unless an update is running.
        trust: Trusted keys: one of them must have signed the bundle. If empty, unsigned bundles are accepted.
        min_version: Bundles signed with a lower version are refused.
        clock: The latest time seen, by the clock or in a signature: a board without a battery boots in the past.
        events: The last 20 events, oldest first.
    """

    SCHEMA: ClassVar[str] = "edgetl.slots/1"

    confirmed: Installed | None = documents.stated(None)
    previous: Installed | None = documents.stated(None)
    pending: Installed | None = documents.stated(None)
    trust: tuple[PublicKey, ...] = documents.stated(())
    min_version: Version = documents.stated(0)
    clock: Time | None = documents.stated(None)
    events: tuple[Event, ...] = documents.stated(())

    def __post_init__(self) -> None:
        both = (self.confirmed, self.previous, self.pending)
        slots = [one.slot for one in both[:2] if one is not None]
        if len(set(slots)) < len(slots) or (
            self.pending and self.confirmed and self.pending.slot == self.confirmed.slot
        ):
            raise InputError("has two bundles in one slot")

    @property
    def free(self) -> Slot:
        """The slot that an update may write."""
        return "b" if self.confirmed is not None and self.confirmed.slot == "a" else "a"

    def at(self) -> str:
        """Return the time: this machine's clock or :attr:`clock`, whichever is later."""
        here = now().isoformat()
        return self.clock if self.clock is not None and moment(self.clock) > moment(here) else here

    def after(
        self,
        what: Literal["installed", "refused", "undone", "interrupted", "rolled back"],
        about: Installed | None,
        why: str | None = None,
    ) -> SlotsState:
        """Return this state with an event added."""
        digest, version = (about.digest, about.version) if about is not None else (None, None)
        event = Event(now().isoformat(), what, digest, version, why)
        return replace(self, events=(*self.events, event)[-_EVENTS:], clock=self.at())


class Slots:
    """The folder of a board's slots.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()

    @property
    def exists(self) -> bool:
        """Whether bundles were ever installed here."""
        return (self.path / STATE).is_file()

    @property
    def mark(self) -> tuple[int, int, int]:
        """A value that changes whenever the state does; reading it costs one system call."""
        status = (self.path / STATE).stat()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def state(self) -> SlotsState:
        """Read the state; it is empty if nothing was ever installed.

        Raises:
            InputError: ``slots.json`` is damaged.
        """
        if not self.exists:
            return SlotsState()
        return documents.read(SlotsState, self.path / STATE, max_bytes=_MAX_STATE_BYTES)

    def running(self) -> Installed | None:
        """Return the bundle to run: the confirmed one, or the pending one while its update is running.

        Raises:
            InputError: ``slots.json`` is damaged.
        """
        state = self.state()
        if state.pending is not None and not self.is_updating():
            state = self.state()  # it may have been confirmed meanwhile
            if state.pending is not None:
                return state.confirmed
        if state.pending is not None and self._leads_to(state.pending):
            return state.pending
        return state.confirmed

    def file(self, installed: Installed) -> Path:
        """Return the file of a bundle in a slot."""
        return self.path / installed.file

    def is_updating(self) -> bool:
        """Whether an update is running; needs no write permission."""
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Lock the slots against other updates, and undo an interrupted one.

        Raises:
            Unavailable: Another update is running.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            ends = time.monotonic() + _PATIENCE_S
            while not _locked(descriptor):
                if time.monotonic() > ends:
                    raise Unavailable(f"{self.path}: another update is running", hint="Try again when it has finished.")
                time.sleep(0.05)
            self._recover()
            yield
        finally:
            os.close(descriptor)

    def write(self, state: SlotsState) -> None:
        """Write the state. Use only within :meth:`updating`."""
        documents.write(self.path / STATE, state)

    def begin(self, new: Installed) -> None:
        """Mark a bundle as pending, before its slot is written. Use only within :meth:`updating`."""
        state = self.state()
        previous = state.previous
        if previous is not None and previous.slot == new.slot and previous.digest != new.digest:
            previous = None
        self.write(replace(state, pending=new, previous=previous))

    def switch(self) -> None:
        """Point the link to the pending bundle. Use only within :meth:`updating`."""
        pending = self.state().pending
        assert pending is not None
        write_link(self.path / CURRENT, pending.file)

    def confirm(
        self, what: Literal["installed", "rolled back"], also: Callable[[SlotsState], SlotsState] = lambda state: state
    ) -> None:
        """Make the pending bundle the confirmed one, and the confirmed one the previous one.

        Args:
            what: The event.
            also: Further changes of the state, written in the same step.
        """
        state = self.state()
        assert state.pending is not None
        done = replace(state, confirmed=state.pending, previous=state.confirmed, pending=None)
        self.write(also(done).after(what, state.pending))

    def abandon(self, what: Literal["undone", "interrupted"], why: str) -> None:
        """Roll back from a pending bundle, if any, to the confirmed one."""
        state = self.state()
        if state.pending is None:
            return
        self._lead_back(state)
        self.write(replace(state, pending=None).after(what, state.pending, why))

    def _recover(self) -> None:
        sweep(self.path)
        self.abandon("interrupted", "the update was interrupted before it was confirmed")
        state = self.state()
        if state.confirmed is not None and not self._leads_to(state.confirmed):
            self._lead_back(state)

    def _lead_back(self, state: SlotsState) -> None:
        if state.confirmed is not None:
            write_link(self.path / CURRENT, state.confirmed.file)
        else:
            remove_file(self.path / CURRENT)

    def _leads_to(self, installed: Installed) -> bool:
        try:
            return (self.path / CURRENT).readlink() == Path(installed.file)
        except OSError:
            return False


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
