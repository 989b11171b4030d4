"""Install a bundle on this board: check it, switch to it, check its health, roll back if that fails."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from edgetl_device._lib.documents import Count, Json, to_json
from edgetl_device._lib.files import atomic_path, reread_from_disk
from edgetl_device.bundle import Bundle, BundleName
from edgetl_device.classifier import Classifier
from edgetl_device.errors import EdgetlError, GateFailed, InputError, OptionError, Unavailable, from_os_error
from edgetl_device.signature import PublicKey, moment, now, read_keys
from edgetl_device.slots import CURRENT, Installed, Slots, SlotsState
from edgetl_device.verify import Check, raise_failures, verify

from .options import UpdateOptions

_SAID_BYTES = 300

Outcome = Literal["installed", "unchanged", "rolled back", "refused", "undone"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class UpdateReport:
    """The result of an update.

    Attributes:
        outcome: ``unchanged``: the bundle was running already; ``refused``: a check failed before the switch;
            ``undone``: a check failed after it, and the board rolled back.
        bundle: The bundle; null if it could not be read.
        why: The reason, if it was refused or undone.
        exit: Exit code of the command.
        checks: The checks that ran.
        slots: The state of the slots afterwards.
    """

    SCHEMA: ClassVar[str] = "edgetl.update/1"

    outcome: Outcome
    bundle: BundleName | None
    why: str | None
    exit: Count
    checks: tuple[Check, ...]
    slots: SlotsState

    def to_json(self) -> Json:
        """Return the document that ``python -m edgetl_device update`` prints."""
        return to_json(self)


def update(
    slots: Slots,
    bundle: str | os.PathLike[str],
    options: UpdateOptions,
    *,
    prefer: str | None = None,
    say: Say = lambda _: None,
) -> UpdateReport:
    """Install an ``.edgetl`` file in the free slot, and switch to it.

    Before the switch, the copy in the slot is checked: signature, version, :func:`edgetl_device.verify.verify`, and
    ``photos`` classifications. After the switch, the health command runs. However this function ends, the running
    bundle is either the new one, which has passed all checks, or the one before.

    Args:
        slots: The slots; created if missing.
        bundle: The file.
        options: The options.
        prefer: For TFLite variants, require ``ai-edge-litert`` or ``tflite-runtime``.
        say: Called with one line for each step.

    Raises:
        InputError: ``options`` names a key that cannot be read, or ``bundle`` is a folder.
        Unavailable: Another update is running.
    """
    source = Path(bundle)
    if source.is_dir():
        raise InputError(f"{source}: is a folder", why="slots hold .edgetl files", hint="Pack it first: edgetl pack.")
    given = read_keys(options.trust)
    with slots.updating():
        if options.min_version and not given and not slots.state().trust:
            raise OptionError(
                "{min_version=} without {trust}",
                why="a version counts only if a trusted key signed it",
                min_version=options.min_version,
            )
        return _Attempt(slots, source.name, options, given, prefer, say).report(lambda attempt: attempt.install(source))


def rollback(slots: Slots, *, prefer: str | None = None, say: Say = lambda _: None) -> UpdateReport:
    """Roll back to the previous bundle, if it still passes its checks.

    Raises:
        InputError: There is no previous bundle, or nothing was ever installed.
        Unavailable: An update is running.
    """
    _check_used(slots)
    with slots.updating():
        state = slots.state()
        if state.previous is None:
            raise InputError(f"{slots.path}: there is no previous bundle to go back to")
        previous = state.previous
        attempt = _Attempt(slots, previous.name, UpdateOptions(), (), prefer, say)
        return attempt.report(lambda attempt: attempt.bring_back(previous))


def recover(slots: Slots) -> SlotsState:
    """Undo an interrupted update, and return the state of the slots.

    Raises:
        InputError: Nothing was ever installed there.
        Unavailable: An update is running.
    """
    _check_used(slots)
    with slots.updating():
        return slots.state()


def raise_failure(report: UpdateReport) -> None:
    """Raise an error if the update failed.

    Raises:
        InputError: The bundle was refused.
        GateFailed: It failed its health check.
        Unavailable: This machine lacks something.
    """
    if not report.exit:
        return
    kind = {InputError.exit_code: InputError, GateFailed.exit_code: GateFailed}.get(report.exit, Unavailable)
    name = report.bundle.name if report.bundle is not None else "the bundle"
    kept = report.slots.confirmed
    raise kind(
        f"{name} was {report.outcome}",
        why=report.why or "",
        hint=f"Still running: {kept.name}, {kept.digest[:12]}." if kept is not None else "No bundle is installed.",
    )


def _check_used(slots: Slots) -> None:
    if not slots.exists:
        raise InputError(f"{slots.path}: no bundle was installed there", hint="Check the path.")


class _Attempt:
    """The state of one update. Use only within :meth:`Slots.updating`."""

    def __init__(
        self,
        slots: Slots,
        name: str,
        options: UpdateOptions,
        given: tuple[PublicKey, ...],
        prefer: str | None,
        say: Say,
    ) -> None:
        self.slots, self.name, self.options, self.given = slots, name, options, given
        self.prefer, self.say = prefer, say
        self.checks: list[Check] = []
        self.about: Installed | None = None
        self.place: Path | None = None

    def report(self, work: Callable[[_Attempt], Outcome]) -> UpdateReport:
        """Do the work; roll back if it fails for any reason."""
        try:
            outcome, why, exit = work(self), None, 0
        except (EdgetlError, OSError) as error:
            known = from_os_error(error) if isinstance(error, OSError) else error
            why, exit = self._reason(known), known.exit_code
            outcome = self._failed(why)
            if exit == EdgetlError.exit_code:
                raise
        except BaseException as error:
            self.slots.abandon("undone", f"the update ended with {type(error).__name__}")
            raise
        bundle = BundleName(self.name, self.about.digest) if self.about is not None else None
        return UpdateReport(outcome, bundle, why, exit, tuple(self.checks), self.slots.state())

    def install(self, source: Path) -> Outcome:
        """Copy a bundle to the free slot, check it, switch, check again, and confirm."""
        slots, before = self.slots, self.slots.state()
        new = self._known(source, before)
        if before.confirmed is not None and replace(new, slot="a", time="") == replace(
            before.confirmed, slot="a", time=""
        ):
            slots.write(self._trusting(before, new))
            return "unchanged"
        self.say(f"copying to slot {before.free}")
        with atomic_path(slots.file(new)) as copy:
            shutil.copyfile(source, copy)
            reread_from_disk(copy)
            # From here on, check only the copy.
            new = self._known(copy, before)
            self.say("verifying")
            self._verify(copy, before)
            slots.begin(new)
        slots.switch()
        self.place = slots.file(new)
        self._check_health()
        slots.confirm("installed", also=lambda state: self._trusting(state, new))
        return "installed"

    def bring_back(self, previous: Installed) -> Outcome:
        """Switch to the previous bundle."""
        slots, before = self.slots, self.slots.state()
        self.about, self.place = previous, slots.file(previous)
        bundle = Bundle.open(self.place)
        if bundle.digest != previous.digest:
            raise InputError(f"{self.place}: is not the bundle that was installed", why="its digest has changed")
        if before.trust:
            bundle.check_signed(before.trust)
        self.say("verifying")
        report = verify(bundle, prefer=self.prefer)
        self.checks += report.checks
        raise_failures(report)
        slots.begin(previous)
        slots.switch()
        slots.confirm("rolled back")
        return "rolled back"

    def _known(self, file: Path, state: SlotsState) -> Installed:
        """Open a bundle and check its signature against the keys that the board trusts and those given."""
        self.place = file
        bundle = Bundle.open(file)
        at = moment(state.at())
        self.about = Installed(state.free, self.name, bundle.digest, None, None, now().isoformat())
        # Given keys do not replace the board's: the bundle must pass both.
        found = [bundle.check_signed(keys, at=at) for keys in (state.trust, self.given) if keys]
        if not found:
            return self.about
        least = self.options.min_version
        worst = min(found, key=lambda one: one.signature.version).signature
        self.about = replace(self.about, version=worst.version, key=worst.key)
        if not self.options.allow_downgrade:
            least = max(least, state.min_version)
        if worst.version < least:
            raise InputError(
                f"{file}: is signed as version {worst.version}",
                why=f"versions below {least} are refused on this board",
                hint="Sign a newer one, or allow the downgrade.",
            )
        return self.about

    def _verify(self, copy: Path, state: SlotsState) -> None:
        bundle = Bundle.open(copy)
        report = verify(bundle, prefer=self.prefer, trust=self.given or state.trust, at=moment(state.at()))
        self.checks += report.checks
        raise_failures(report)
        names = [variant.name for variant in bundle.variants]
        variant = self.options.variant or ("int8" if "int8" in names else names[0])
        if self.options.photos:
            self.say(f"classifying {self.options.photos} photos with {variant}")
            self.checks.append(_trial(bundle, variant, self.options.photos, self.prefer))

    def _check_health(self) -> None:
        if self.options.health is None:
            return
        self.say("waiting for the health command")
        environment = os.environ | {
            "EDGETL_SLOTS": str(self.slots.path.resolve()),
            "EDGETL_BUNDLE": str(self.slots.path.resolve() / CURRENT),
            "EDGETL_DIGEST": self.about.digest if self.about is not None else "",
        }
        said = _run_shell(self.options.health, self.options.health_timeout, environment)
        self.checks.append(Check("health command", "ok", said))

    def _trusting(self, state: SlotsState, new: Installed) -> SlotsState:
        """Return the state with the given keys, the version, and the time of the signature."""
        least = max(state.min_version, self.options.min_version)
        if new.version is not None:
            least = (
                max(new.version, self.options.min_version) if self.options.allow_downgrade else max(new.version, least)
            )
        return replace(state, trust=self.given or state.trust, min_version=least, clock=state.at())

    def _failed(self, why: str) -> Outcome:
        state = self.slots.state()
        if state.pending is not None:
            self.slots.abandon("undone", why)
            return "undone"
        self.slots.write(state.after("refused", self.about, why))
        return "refused"

    def _reason(self, error: EdgetlError) -> str:
        text = "; ".join(filter(None, (error.what, error.why)))
        return text if self.place is None else text.replace(str(self.place), self.name)


def _trial(bundle: Bundle, variant: str, count: int, prefer: str | None) -> Check:
    """Classify held-out photos, starting over when they run out."""
    photos, started = bundle.photos(), time.perf_counter()
    with Classifier(bundle, variant, prefer=prefer) as classifier:
        for _, photo in zip(range(count), itertools.cycle(photos), strict=False):
            classifier.classify(bundle.read(photo.file), top=1)
    each_ms = 1e3 * (time.perf_counter() - started) / count
    return Check(f"trial, {variant}", "ok", f"{count} photos classified, {each_ms:.1f} ms each")


def _run_shell(command: str, timeout_s: float, environment: dict[str, str]) -> str:
    """Run a shell command and return the last line of its output.

    Raises:
        GateFailed: It failed, or was stopped after ``timeout_s``.
    """
    # A file instead of a pipe, which a child of the command could keep open.
    with tempfile.TemporaryFile() as printed:
        child = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            env=environment,
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if code is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - _SAID_BYTES))
        lines = printed.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if code is None:
        raise GateFailed(f"the health command took more than {timeout_s:g} s", why=last)
    if code:
        raise GateFailed(f"the health command ended with {code}", why=last)
    return last or "it succeeded"
