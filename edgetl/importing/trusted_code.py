"""A Keras file with Python code, written out as a SavedModel without it: ``python -m edgetl.importing.trusted_code``.

The code runs in that child process alone: Lambdas of the file, and a Python file with the model's custom layers. What
comes back is a graph, which is scanned like that of a stranger.
"""

from __future__ import annotations

import builtins
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgetl._lib import extras, reader_process
from edgetl_device.errors import InputError, OptionError
from edgetl_device.text import shown

from .source import Source, zip_of

_TIMEOUT_S = 300.0
_SHOWN = 10


def without_code(source: Source, code: Path | None, *, needed: Sequence[str]) -> Source:
    """Run the code of a Keras file in a child process; return the same model as a SavedModel.

    Args:
        source: A ``.keras`` or ``.h5`` file.
        code: A Python file with its custom layers and functions. It is run as any script is.
        needed: What is code in the file, for messages.

    Returns:
        Source: Path and SHA-256 of the file as given; the data are a SavedModel's.

    Raises:
        InputError: Keras cannot load it with this code, or its graph cannot be written.
    """
    if code is not None and not code.is_file():
        raise OptionError("{code=}: no such file", code=str(code))
    script = str(code.resolve()) if code else ""
    try:
        data = reader_process.read("importing.trusted_code", source.data, source.suffix, script, timeout_s=_TIMEOUT_S)
    except ValueError as error:
        raise InputError(
            f"{source.path}: cannot be written out without its code",
            why=f"{', '.join(map(shown, needed[:_SHOWN]))}: {str(error).partition(' config={')[0][:300]}",
            hint="Give the Python file with its custom layers and functions ({code} FILE), or export the model to ONNX "
            "where its code is.",
            options={"code": str(code) if code else None},
        ) from None
    return replace(source, format="saved_model", data=data, code_run=True)


def _answer(data: bytes) -> bytes:
    _, suffix, code = sys.argv
    keras, tf = extras.keras(), extras.tensorflow()
    # A Lambda is stored without the imports around it.
    usual = {"keras": keras, "np": np, "numpy": np, "tensorflow": tf, "tf": tf}
    custom = _defined_in(code) if code else {}
    for name, one in (usual | custom).items():
        vars(builtins).setdefault(name, one)
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        copy, saved = Path(folder) / f"model{suffix}", Path(folder) / "saved_model"
        copy.write_bytes(data)
        model = keras.saving.load_model(copy, custom_objects=custom, compile=False, safe_mode=False)
        if len(getattr(model, "inputs", None) or ()) != 1:
            raise ValueError("it does not say the shape of one input: begin the model with keras.Input((H, W, C))")
        model.export(saved, verbose=False)
        return zip_of(saved)


def _defined_in(script: str) -> dict[str, Any]:
    """Run a script; return the classes and functions that it has, which a Keras file may name."""
    # As if it were started: what it imports is found beside it.
    sys.path.insert(0, str(Path(script).parent))
    try:
        names = runpy.run_path(script)
    except SystemExit as ended:
        raise ValueError(f"{Path(script).name} ended the process with {ended.code!r}") from None
    return {name: one for name, one in names.items() if callable(one) and not name.startswith("__")}


def _serve() -> None:
    # What the code prints is no part of the answer.
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def write(data: bytes, _: BinaryIO) -> None:
        with answer:
            answer.write(_answer(data))

    reader_process.serve(write)


if __name__ == "__main__":
    _serve()
