"""edgetl on the device: verify, run and bench a bundle with numpy, Pillow and one runtime.

Nothing here imports TensorFlow, Keras, typer, rich or ``edgetl``. Importing this package is cheap: the names below load
on first use.
"""

from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "Bundle": "bundle",
    "Classifier": "classifier",
    "EdgetlError": "errors",
    "Prediction": "classifier",
    "Preprocess": "preprocess",
}
__all__ = ["Bundle", "Classifier", "EdgetlError", "Prediction", "Preprocess", "__version__"]


def __getattr__(name: str) -> Any:
    """Load ``Bundle``, ``Classifier`` and the other names on first access (PEP 562)."""
    import importlib

    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_EXPORTS[name]}")
    return getattr(module, name)
