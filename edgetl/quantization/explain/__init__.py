"""What int8 costs and where: layer by layer, channel by channel, photo by photo, from the files themselves.

============  =========================================================================================
``match``     which int8 tensor is which float tensor, by name
``cut``       one operator, or the rest of a file, as a file of its own
``scaling``   input scalings that were moved, which is no error
``run``       files run with every activation kept
``measure``   the numbers of one operator
``layers``    :func:`explain`: all operators of an int8 file
``answers``   accuracy lost by class, photos whose answer changed
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
