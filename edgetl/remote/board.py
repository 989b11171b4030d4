"""Work on one board: create a virtual environment if needed, copy a bundle, run a command.

Everything is kept in ``edgetl/remote`` of the board's cache folder.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from edgetl._lib.cache import key_of
from edgetl.remote.agent import About
from edgetl.remote.connection import Children, Connection, Say, in_memory
from edgetl.remote.fleet import Board
from edgetl.remote.offline import Target, fetch_wheels
from edgetl.remote.wheel import Wheel, device_wheel
from edgetl_device import __version__
from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_file
from edgetl_device.bench import result
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.photoset import PhotoSet
from edgetl_device.bench.result import Result
from edgetl_device.bench.run import bench_command
from edgetl_device.bundle import Bundle
from edgetl_device.doctor import Report
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.options import arguments
from edgetl_device.packing import pack

# Number of most recently used items kept on a board.
_VENVS, _BUNDLES, _PHOTO_SETS = 2, 4, 2
# Architectures for which edgetl-device's requirements have wheels.
_MACHINES = ("x86_64", "aarch64", "armv7l")


PRINTED = "what the board printed"


class Upload:
    """Files for boards: the bundle, packed once and only if a board lacks it, and optionally a folder of photos."""

    def __init__(self, bundle: Bundle, folder: Path, photos: PhotoSet | None = None) -> None:
        self.bundle, self.photos = bundle, photos
        # Name the bundle in results as local runs do.
        self.name = bundle.path.resolve().name
        self._target = folder / "packed.edgetl"
        self._lock = threading.Lock()

    def file(self) -> Path:
        """Return the ``.edgetl`` file."""
        if self.bundle.path.is_file():
            return self.bundle.path
        with self._lock:
            return self._target if self._target.exists() else pack(self.bundle.path, self._target)


def bench_board(
    board: Board, upload: Upload, options: BenchOptions, *, offline: bool, children: Children, say: Say
) -> Result:
    """Bench a bundle on a board.

    Args:
        board: The board.
        upload: The bundle, and the photos if the options name a local folder.
        options: Benchmark options.
        offline: Copy all wheels from this machine; pip on the board uses no index.
        children: Registry of the processes started.
        say: Called with one line of progress per step.

    Raises:
        Unavailable: The board is unreachable or lacks something; ``what`` gives the reason in one line.
        InputError: The board's command rejects the request.
    """
    # Install ONNX Runtime only for ONNX variants given by name; "all" skips them, and the result says so.
    asked = options
    named = [variant for variant in upload.bundle.variants if variant.name in options.variants]
    extras = ("onnx",) if any(variant.format == "onnx" for variant in named) else ()
    say("connecting")
    with Connection(board.host, board.python or "python3", children=children, say=say) as link:
        link.lock()
        python = ready_python(link, board, extras, offline, children=children, say=say)
        bundle = send_bundle(link, upload, say)
        if upload.photos:
            options = replace(options, data=_ready_photos(link, upload.photos, say))
        say("starting")
        printed = run_device(link, python, ["bench", bundle, *arguments(options)])
        try:
            found = result.parse(printed, name=PRINTED)
        except InputError as error:
            raise Unavailable("the result was damaged in transfer", why=error.what) from None
        if found.bundle.digest != upload.bundle.digest:
            raise Unavailable("the result is of a different bundle than the one sent")
        if upload.photos and found.evalset.digest != upload.photos.digest:
            # The folder has foreign photos: recreate it next time.
            link.remove(_photos_folder(upload.photos))
            raise Unavailable("the photos on the board differ from those sent", hint="Run it again.")
    # There both have other names.
    return replace(found, settings=replace(found.settings, command=bench_command(upload.bundle, asked)))


def send_bundle(link: Connection, upload: Upload, say: Say) -> str:
    """Copy the bundle unless the board has the same file, and return its path there."""
    bundle = f"bundles/{upload.bundle.digest}/{upload.name}"
    packed = upload.file()
    if link.wanting({bundle: sha256_file(packed)}):
        say("copying the bundle")
        with packed.open("rb") as stream:
            link.put(stream, bundle)
        link.keep("bundles", _BUNDLES)
    return bundle


def _photos_folder(photos: PhotoSet) -> str:
    return f"photos/{key_of(photos=[[photo.file, photo.sha256] for photo in photos.photos])}"


def _ready_photos(link: Connection, photos: PhotoSet, say: Say) -> str:
    """Copy photos that the board lacks (by name and hash) and return their path on the board."""
    folder = _photos_folder(photos)
    by_path = {f"{folder}/{photos.name}/{photo.file}": photo for photo in photos.photos}
    if wanting := link.wanting({path: photo.sha256 for path, photo in by_path.items()}):
        say(f"copying {len(wanting)} photos")
        for path in wanting:
            link.put(in_memory(photos.read(by_path[path])), path)
    # Mark the folder itself as used; checking its photos does not.
    link.has(f"{folder}/{photos.name}")
    link.keep("photos", _PHOTO_SETS)
    return f"{folder}/{photos.name}"


def examine_board(board: Board, *, offline: bool, children: Children, say: Say) -> Report:
    """Report what a board has for edgetl and what it lacks.

    Raises:
        Unavailable: The board is unreachable, or edgetl-device cannot be installed on it.
    """
    say("connecting")
    with Connection(board.host, board.python or "python3", children=children, say=say) as link:
        link.lock()
        python = ready_python(link, board, (), offline, children=children, say=say)
        say("examining")
        return documents.parse(Report, run_device(link, python, ["doctor"]), name=PRINTED)


def run_device(link: Connection, python: str, arguments: Sequence[str]) -> bytes:
    """Run ``python -m edgetl_device`` and return the document it prints, even if it fails (as doctor may)."""
    ended = link.run([python, "-m", "edgetl_device", *arguments], tell=True)
    if ended.stdout.strip():
        return ended.stdout.encode()
    _, found, error = ended.stderr.rpartition("error: ")
    if ended.exit in (InputError.exit_code, Unavailable.exit_code) and found:
        what, _, rest = error.strip().partition("\n")
        raise (InputError if ended.exit == InputError.exit_code else Unavailable)(what, why=rest)
    # After a crash, pick the traceback line that names the exception.
    raised = [line for line in ended.stderr.splitlines() if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    raise Unavailable(f"{arguments[0]} ended with {ended.exit} there", why=(raised or [_last_line(ended.stderr)])[-1])


def ready_python(
    link: Connection, board: Board, extras: Sequence[str], offline: bool, *, children: Children, say: Say
) -> str:
    """Return the path of a Python on the board with edgetl-device; create a virtual environment if needed."""
    wheel = device_wheel()
    if board.python:
        _check_own(link, wheel)
        return link.about.executable
    about = link.about
    version, machine, bits = about.python, about.machine, about.bits
    key = key_of(wheel=wheel.digest, extras=list(extras), python=version[:2], machine=machine, bits=bits)[:16]
    folder = f"venvs/{key}"
    python = f"{about.root}/{folder}/venv/bin/python"
    packages = f"{folder}/venv/lib/python{version[0]}.{version[1]}/site-packages"
    # "ready" is written last, so an incomplete environment is recreated, as is one with other code.
    if link.has(f"{folder}/ready") and not _other_code(link, wheel, packages):
        return python
    _check_installable(about)
    say("creating a virtual environment")
    link.make(folder)
    try:
        asked = ("[" + ",".join(extras) + "]") if extras else ""
        wheels = [(wheel.name, in_memory(wheel.data))]
        _succeed(link, [about.executable, "-m", "venv", f"{folder}/venv"])
        source: list[str] = []
        if offline:
            say("fetching wheels here")
            target = Target(machine, (version[0], version[1]), about.libc[1])
            fetched = fetch_wheels(target, wheel, extras, children=children)
            wheels += [(path.name, in_memory(path.read_bytes())) for path in fetched]
            source = ["--no-index", "--find-links", f"{folder}/wheels"]
        for number, (name, data) in enumerate(wheels, start=1):
            say(f"copying wheels, {number} of {len(wheels)}")
            link.put(data, f"{folder}/wheels/{name}")
        say("installing")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off"]
        _succeed(link, [*pip, "--quiet", *source, f"{folder}/wheels/{wheel.name}{asked}"])
        link.remove(f"{folder}/wheels")
        link.put(in_memory(b""), f"{folder}/ready")
        link.keep("venvs", _VENVS)
    except Unavailable:
        # If the connection failed, this fails too; only the first error is meaningful.
        with contextlib.suppress(Unavailable):
            link.remove(folder)
        raise
    return python


def _other_code(link: Connection, wheel: Wheel, packages: str) -> tuple[str, ...]:
    """Return the files of the device package that differ or are missing on the board."""
    return link.wanting({f"{packages}/{name}": sha for name, sha in wheel.files.items()})


def _check_own(link: Connection, wheel: Wheel) -> None:
    """Check that the user's Python has a byte-identical device package, so that results are comparable."""
    executable = link.about.executable
    ask = "import edgetl_device as e; print(e.__version__); print(e.__file__)"
    ended = link.run([executable, "-c", ask])
    if ended.exit:
        raise Unavailable(
            f"{executable} has no edgetl-device",
            why=_last_line(ended.stderr),
            hint="Install it there, or leave python out of the fleet file.",
        )
    same = "Install the same one there, or leave python out of the fleet file."
    version, file = ended.stdout.strip().splitlines()
    if version != __version__:
        raise Unavailable(f"{executable} has edgetl-device {version}, here it is {__version__}", hint=same)
    if other := _other_code(link, wheel, str(PurePosixPath(file).parents[1])):
        raise Unavailable(
            f"{executable} has edgetl-device {version} with different code",
            why=f"{len(other)} of its files differ, such as {other[0]}",
            hint=same,
        )


def _check_installable(about: About) -> None:
    machine, libc = about.machine, about.libc[0]
    own = "Give a Python that has a runtime: python = ... in the fleet file."
    if machine not in _MACHINES:
        raise Unavailable(f"no TFLite runtime has wheels for {machine}", hint=own)
    if about.bits == 32 and machine != "armv7l":
        raise Unavailable(f"a 32-bit Python on {machine}: pip there would look for 64-bit wheels", hint=own)
    if libc != "glibc":
        raise Unavailable(f"no TFLite runtime has wheels for this C library ({libc or 'not glibc'})", hint=own)
    if not about.venv:
        version = ".".join(map(str, about.python[:2]))
        raise Unavailable(
            "Python there has no venv",
            hint=f"On Debian: sudo apt install python3-venv (or python{version}-venv).",
        )


def _succeed(link: Connection, command: Sequence[str]) -> None:
    ended = link.run(command)
    if ended.exit:
        text = ended.stderr + "\n" + ended.stdout
        errors = [line for line in text.splitlines() if line.startswith("ERROR:")]
        reason = errors[-1].removeprefix("ERROR:").strip() if errors else _last_line(text)
        raise Unavailable(reason or f"{command[2]} ended with {ended.exit}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
