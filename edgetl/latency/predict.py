"""Read a latency model, and predict the latency of files and architectures."""

from __future__ import annotations

import os
from pathlib import Path

from edgetl.inspection.tflite.file import describe
from edgetl_device._lib import documents
from edgetl_device._lib.files import check_regular
from edgetl_device.errors import InputError

from .architectures import Architecture, int8_model
from .document import LatencyModel, PredictedLatency
from .features import work_of
from .fit import sum_ms

_AGAIN = "It is damaged or edited; fit it again with edgetl latency fit."


def load(path: str | os.PathLike[str]) -> LatencyModel:
    """Read the document that ``edgetl latency fit`` wrote.

    Raises:
        InputError: It is missing, damaged, or something else.
    """
    found = documents.read(LatencyModel, path)
    for place, kind in enumerate(found.kinds):
        if len(kind.features) != len(kind.ms):
            what = f"{os.fspath(path)}: kinds[{place}] has {len(kind.features)} features and {len(kind.ms)} costs"
            raise InputError(what, hint=_AGAIN)
    if not found.low <= found.high:
        raise InputError(f"{os.fspath(path)}: low is above high", hint=_AGAIN)
    return found


def predict(model: LatencyModel, target: str | os.PathLike[str] | Architecture) -> PredictedLatency:
    """Predict the median latency of an int8 TFLite file, or of an architecture, which is built with random weights.

    Raises:
        InputError: The file is missing, damaged or not int8, or there is no such architecture.
    """
    if isinstance(target, Architecture):
        name, data = str(target), int8_model(target)
    else:
        check_regular(target)
        name, data = Path(target).name, Path(target).read_bytes()
    kinds, work = {one.kind: one for one in model.kinds}, work_of(describe(data), shown=name)
    p50_ms = model.factor * sum_ms(kinds, work)
    return PredictedLatency(
        model=name,
        p50_ms=p50_ms,
        ci95_ms=(model.low * p50_ms, model.high * p50_ms),
        board=model.board,
        cpu=model.cpu,
        threads=model.threads,
        unseen=tuple(sorted({one.kind for one in work} - set(kinds))),
        latency_model=model.digest,
    )
