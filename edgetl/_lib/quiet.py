"""Hide the output of native libraries, and show it if a defect occurs."""

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
    """Hide the output of native libraries while the block runs; show it if the block fails with a defect.

    Covers C++ output to file descriptor 2, Python's logging, and warnings. Progress bars still work: while the
    descriptor is redirected, ``sys.stderr`` writes to its original target.
    """
    sys.stderr.flush()
    disabled = logging.root.manager.disable
    terminal = os.dup(2)
    # Not closed here: a progress bar in another thread may still write to it. It closes with its last reference.
    own = os.fdopen(os.dup(terminal), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    python_stderr = sys.stderr
    with tempfile.TemporaryFile() as chatter, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Errors too: tf2onnx logs an unmapped operation as an error and continues; edgetl.export.conversion raises it.
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
