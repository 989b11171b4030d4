"""Watch a classifier in the field: a record an hour, drift against the held-out photos, photos worth labelling.

The names below load on first use.
"""

from typing import Any

_EXPORTS = {
    "Drift": "record",
    "Monitor": "watching",
    "MonitorOptions": "options",
    "MonitorRecord": "record",
    "Records": "record",
    "read_records": "record",
}
__all__ = ["Drift", "Monitor", "MonitorOptions", "MonitorRecord", "Records", "read_records"]


def __getattr__(name: str) -> Any:
    """Load ``Monitor`` and the other names on first access (PEP 562)."""
    import importlib

    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
