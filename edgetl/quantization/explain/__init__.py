"""Where int8 loses accuracy: by layer, by channel, by photo, measured on the files.

============  =========================================================================================
``match``     pairs of int8 and float tensors, by name
``cut``       one operator, or the rest of a file, as a file of its own
``scaling``   input scalings that repair moved into the next kernel; they are not counted as errors
``run``       inference that keeps all activations
``measure``   the measurements of one operator
``layers``    :func:`explain`: all operators of an int8 file
``predictions`` accuracy lost by class, photos whose prediction changed
``result``    :class:`Explanation` as objects, JSON and rows
``plots``     plots of an explanation
``files``     :func:`explain_export`: explain a run and write the files
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
