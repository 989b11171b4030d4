"""Where int8 loses accuracy: by layer, by channel, by photo, measured on the files.

============  =========================================================================================
``match``     which int8 tensor is which float tensor, by name
``cut``       one operator, or the rest of a file, as a file of its own
``scaling``   input scalings moved into the next kernel: a difference, not an error
``run``       files run with every activation kept
``measure``   the numbers of one operator
``layers``    :func:`explain`: all operators of an int8 file
``predictions`` accuracy lost by class, photos whose prediction changed
``result``    :class:`Explanation`, as objects, JSON and rows
``plots``     the same as pictures
``files``     :func:`explain_export`: all of it for a run, on disk
============  =========================================================================================
"""

from .files import FOLDER, Plain, check_explained, explain_export, explain_run
from .layers import explain
from .result import Channels, Explanation, Kernel, Layer

__all__ = [
    "FOLDER",
    "Channels",
    "Explanation",
    "Kernel",
    "Layer",
    "Plain",
    "check_explained",
    "explain",
    "explain_export",
    "explain_run",
]
