"""TFLite delegates, such as the Edge TPU's: parse, load and check them.

External delegates are libraries. ``xnnpack`` is the delegate that LiteRT applies to models on the CPU by default, and
``none`` is LiteRT without it. The interface of libraries is TFLite's
``tensorflow/lite/delegates/external/external_delegate_interface.h``. It has no version: a library is built for the
structures of one TFLite, and crashes or misreads memory with another.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edgetl_device._lib import child, documents
from edgetl_device._lib.documents import Unknown
from edgetl_device.errors import EdgetlError, InputError, Unavailable
from edgetl_device.text import GUIDES

NONE, XNNPACK = "none", "xnnpack"
EDGETPU = "edgetpu"
EDGETPU_LIBRARY = "libedgetpu.so.1"

# The custom operator by which the Edge TPU compiler replaces mapped ones; flatbuffer strings end with NUL.
_EDGETPU_OPERATOR = b"edgetpu-custom-op\0"
_CREATE = "tflite_plugin_create_delegate"
_ASK_S = 20.0

# An error has three lines; the guide has the details.
TRAP = "It must be built for the runtime's TFLite ({runtime}); Coral's own 16.0 is for 2.5: " + f"see {GUIDES}/coral.md"


@dataclass(frozen=True)
class Delegate:
    """A delegate to load.

    Attributes:
        name: ``none``, ``xnnpack``, ``edgetpu``, or the file name of the library.
        library: For the system's loader: a path, or a name to search for. Empty if no library is needed.
        options: Keys and values for the library, in order.
    """

    name: str
    library: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def external(self) -> bool:
        """Whether it is an external library."""
        return bool(self.library)

    def __str__(self) -> str:
        """Return the text that :func:`parse_delegate` parses to this delegate."""
        if not self.external:
            return self.name
        options = ",".join(f"{key}={value}" for key, value in self.options)
        return f"{self.library}:{options}" if options else self.library


def parse_delegate(text: str) -> Delegate:
    """Parse ``none``, ``xnnpack``, ``edgetpu[:usb|:pci|:N]`` or ``PATH.so[:key=value,...]``.

    ``edgetpu`` takes any Edge TPU, ``edgetpu:usb`` or ``edgetpu:pci`` any of that kind, ``edgetpu:0`` the first of any
    kind and ``edgetpu:usb:1`` the second on USB, in the order in which libedgetpu finds them.

    Raises:
        InputError: It is none of these.
    """
    if text in (NONE, XNNPACK):
        return Delegate(text, "")
    if text == EDGETPU:
        return Delegate(EDGETPU, EDGETPU_LIBRARY)
    if match := re.fullmatch(rf"{EDGETPU}:((?:usb|pci)(?::\d+)?|\d+)", text):
        device = f":{match[1]}" if match[1].isdigit() else match[1]
        return Delegate(EDGETPU, EDGETPU_LIBRARY, (("device", device),))
    match = re.fullmatch(r"(?P<library>.+?\.so(?:\.\d+)*)(?::(?P<options>.+))?", text)
    pairs = match["options"].split(",") if match and match["options"] else []
    if match is None or not all(re.fullmatch(r"[^=]+=.*", pair) for pair in pairs):
        raise InputError(
            f"delegate {text!r}",
            why="must be none, xnnpack, edgetpu, edgetpu:usb, edgetpu:pci, edgetpu:N, or PATH.so:key=value,...",
            hint="Example: --delegate edgetpu:usb",
        )
    file = Path(match["library"]).name
    name = EDGETPU if file.startswith("libedgetpu") else file
    options = tuple((key, value) for key, _, value in (pair.partition("=") for pair in pairs))
    return Delegate(name, match["library"], options)


def parse_delegates(texts: Sequence[str]) -> list[Delegate | None]:
    """Parse delegates to compare in one bench; without texts ``[None]``, the runtime's own choice.

    Args:
        texts: Each one library with its options, or names with commas: ``none,xnnpack,edgetpu``.

    Raises:
        InputError: One is invalid (:func:`parse_delegate`), or two have libraries, which would share one process.
    """
    names = [name for text in texts for name in ([text] if ".so" in text else text.split(","))]
    found = list(dict.fromkeys(parse_delegate(name.strip()) for name in names if name.strip()))
    if len(libraries := [str(one) for one in found if one.external]) > 1:
        raise InputError(
            f"delegates {' and '.join(libraries)} in one bench",
            why="a bench loads at most one library, beside none and xnnpack",
            hint="Bench each, and compare the results: edgetl compare ONE TWO",
        )
    return [*found] or [None]


def needs_edgetpu(model: bytes) -> bool:
    """Whether a TFLite file was compiled for the Edge TPU, and so needs its delegate."""
    return _EDGETPU_OPERATOR in model


def check_model(delegate: Delegate | None, model: bytes) -> None:
    """Refuse a TFLite model that cannot use the delegate, or cannot run without it.

    Raises:
        InputError: The delegate is the Edge TPU's and the model was not compiled for it: it would silently run on the
            CPU.
        Unavailable: The model was compiled for the Edge TPU and there is no delegate.
    """
    if (delegate is None or not delegate.external) and needs_edgetpu(model):
        raise Unavailable(
            "this model is compiled for the Edge TPU",
            why="the CPU cannot run it",
            hint="Add --delegate edgetpu on a machine that has one, or use a variant for the CPU.",
        )
    if delegate is not None and delegate.name == EDGETPU and not needs_edgetpu(model):
        raise InputError(
            "this model is not compiled for the Edge TPU",
            why="the delegate runs only compiled operators, so the whole model would run on the CPU",
            hint="Compile it on x86-64 Linux: edgetl compile BUNDLE --edgetpu; then use --variant int8-edgetpu.",
        )


def open_delegate(delegate: Delegate, module: ModuleType, runtime: str) -> Any:
    """Load the library and return the runtime's handle for it.

    Args:
        delegate: The delegate to load.
        module: ``ai_edge_litert.interpreter`` or ``tflite_runtime.interpreter``.
        runtime: Name and version of the runtime, for messages.

    Raises:
        Unavailable: The library is missing, cannot be loaded, is not a delegate, or rejects its options.
    """
    library = _place(delegate.library)
    try:
        # Load it here first: if loading fails, the runtimes' own loader prints a traceback from its destructor.
        loaded = ctypes.PyDLL(library)
    except OSError as error:
        raise _not_loaded(delegate, library, str(error), runtime) from None
    if not hasattr(loaded, _CREATE):
        raise Unavailable(
            f"{delegate.library} is not a TFLite delegate",
            why=f"it has no function {_CREATE}",
            hint="Give the library that the vendor calls an external delegate.",
        )
    try:
        return module.load_delegate(library, dict(delegate.options))
    except ValueError as error:
        # The first line is "Failed to load delegate from <library>"; the library's own message may follow.
        reported = " ".join(str(error).splitlines()[1:]).strip()
        raise _refused(delegate, reported) from None


def version(delegate: Delegate) -> str | Unknown:
    """Return the version of a loaded library.

    The interface has no function for that, but libedgetpu exports ``edgetpu_version``.
    """
    try:
        ask = ctypes.CDLL(_place(delegate.library)).edgetpu_version
    except (OSError, AttributeError):
        return Unknown("the external delegate interface has no version")
    ask.restype = ctypes.c_char_p
    answer: bytes = ask() or b""
    return answer.decode(errors="replace") or Unknown("the library gives an empty version")


def version_of(library: Path) -> str | Unknown:
    """Return the :func:`version` of a library that is not loaded, by loading it in a separate process."""
    try:
        done = child.run_module("delegates.delegate", str(library), timeout_s=_ASK_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unknown(f"asking {library} failed: {error}")
    if done.returncode != 0:
        return Unknown(f"it cannot be loaded (exit code {done.returncode})")
    answer = json.loads(done.stdout)
    return answer if isinstance(answer, str) else Unknown(answer["unknown"])


def failed(delegate: Delegate, why: str, runtime: str) -> EdgetlError:
    """Return the error for a model that the runtime cannot prepare or run with the delegate."""
    hint = TRAP.format(runtime=runtime)
    if re.search(r"requires runtime version \(\d+\), which is newer", why):
        hint = "Update libedgetpu, or compile for its version: edgetl compile BUNDLE --edgetpu --min-runtime-version N"
    return Unavailable(f"{delegate.name} cannot run this model", why=why, hint=hint)


def _place(library: str) -> str:
    """Return the path for the loader, which does not search the current folder by itself."""
    return f"./{library}" if os.sep not in library and Path(library).is_file() else library


def _not_loaded(delegate: Delegate, library: str, why: str, runtime: str) -> Unavailable:
    missing = not Path(library).exists() if os.sep in library else why.startswith(f"{library}: cannot open shared")
    if missing and delegate.name == EDGETPU:
        hint = f"Debian: sudo apt install libedgetpu1-std, from Coral's source. {TRAP.format(runtime=runtime)}"
    elif missing:
        hint = "Install it, or give its full path."
    elif delegate.name == EDGETPU:
        hint = f"Debian: sudo apt install libusb-1.0-0; take the build for {platform.machine()} and this system."
    else:
        hint = f"Take the build for {platform.machine()} and this system."
    what = "was not found" if missing else "was found but cannot be loaded"
    return Unavailable(f"the delegate library {delegate.library} {what}", why=why, hint=hint)


def _refused(delegate: Delegate, reported: str) -> Unavailable:
    options = ", ".join(f"{key}={value}" for key, value in delegate.options)
    if delegate.name == EDGETPU:
        hint = "No Edge TPU responds: edgetl doctor shows what is plugged in and who may use it."
    else:
        hint = "Check its options against its documentation."
    return Unavailable(
        f"{delegate.library} refuses to start" + (f" with {options}" if options else ""),
        why=reported or "it gives no reason",
        hint=hint,
    )


if __name__ == "__main__":
    ctypes.CDLL(sys.argv[1])
    print(json.dumps(documents.to_json(version(Delegate(EDGETPU, sys.argv[1])))))
