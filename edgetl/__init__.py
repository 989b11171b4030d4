"""edgetl: from a folder of photos to a verified int8 image classifier on a small Linux board.

Commands are functions, options are keyword arguments::

    import edgetl

    run = edgetl.train("photos/", out="runs/photos", seed=1)
    bundle = edgetl.quantize(run, int8=True, max_drop=0.5)
    result = edgetl.bench(bundle, variants=["float32", "int8"], threads=[1, 2])

Importing this package is cheap: each name below loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetl_device.adapt.options import AdaptOptions
    from edgetl_device.adapt.result import Adapted
    from edgetl_device.bench.options import BenchOptions
    from edgetl_device.bench.result import Result
    from edgetl_device.bundle import Bundle

    from ._api import adapt, advise, bench, evaluate, import_model, quantize, resume, search, sign, train, verify
    from .importing.options import ImportOptions
    from .quantization.options import QuantizeOptions
    from .runs.directory import Run
    from .search.options import SearchOptions
    from .training.options import TrainOptions

__version__ = "0.1.0"

__all__ = [
    "AdaptOptions",
    "Adapted",
    "BenchOptions",
    "Bundle",
    "ImportOptions",
    "QuantizeOptions",
    "Result",
    "Run",
    "SearchOptions",
    "TrainOptions",
    "__version__",
    "adapt",
    "advise",
    "bench",
    "evaluate",
    "import_model",
    "quantize",
    "resume",
    "search",
    "sign",
    "train",
    "verify",
]

_HOMES = {
    "AdaptOptions": "edgetl_device.adapt.options",
    "Adapted": "edgetl_device.adapt.result",
    "BenchOptions": "edgetl_device.bench.options",
    "Bundle": "edgetl_device.bundle",
    "ImportOptions": "edgetl.importing.options",
    "QuantizeOptions": "edgetl.quantization.options",
    "Result": "edgetl_device.bench.result",
    "Run": "edgetl.runs.directory",
    "SearchOptions": "edgetl.searching.options",
    "TrainOptions": "edgetl.training.options",
}


def __getattr__(name: str) -> Any:
    """Load a name of :data:`__all__` on first access (PEP 562)."""
    import importlib

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "edgetl._api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
