"""Output of native libraries, kept off the terminal and shown on a defect."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edgetl_device.errors import EdgetlError


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what native libraries print off the terminal while the block runs; show it when the block has a defect.

    They write from C++ to file descriptor 2, to Python's logging and as warnings. Progress bars go on: while the
    descriptor is away, ``sys.stderr`` writes to where it led before.
    """
    sys.stderr.flush()
    disabled = logging.root.manager.disable
    terminal = os.dup(2)
    # Not closed here: a progress bar in another thread may be about to write to it. It closes with its last reference.
    own = os.fdopen(os.dup(terminal), "w", buffering=1, errors="backslashreplace")
    python_stderr = sys.stderr
    with tempfile.TemporaryFile() as chatter, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Errors too: tf2onnx logs an unmapped operation as one and goes on; edgetl.export.conversion raises it.
        logging.disable(logging.ERROR)
        if python_stderr is sys.__stderr__:
            sys.stderr = own
        os.dup2(chatter.fileno(), 2)
        failed = False
        try:
            yield
        except EdgetlError:
            raise
        except Exception:
            failed = True
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            sys.stderr = python_stderr
            logging.disable(disabled)
            if failed:
                chatter.seek(0)
                sys.stderr.write(chatter.read().decode(errors="replace"))
