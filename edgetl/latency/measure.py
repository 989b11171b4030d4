"""Measure architectures on this machine, and fit a latency model to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgetl._lib.progress import track
from edgetl.backbones import backbone
from edgetl_device._lib.documents import Unknown
from edgetl_device.errors import Unavailable
from edgetl_device.runtime.operator_times import library

from .architectures import Architecture, int8_model, spread
from .document import LatencyModel
from .fit import FEWEST, Profiled, fit, profiled

# Other programs only make an inference slower, so the fastest round counts.
_ROUNDS = 3
# Each is unlike the others in its operators; classic ones take minutes to convert.
BACKBONES_FITTED = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0", "simple_cnn")


def fit_here(
    backbones: Sequence[str] = BACKBONES_FITTED, *, threads: int = 1, say: Callable[[str], None] = lambda _: None
) -> LatencyModel:
    """Build int8 files of some backbones with random weights, time their operators here, and fit a model to them.

    Args:
        backbones: Names of ``edgetl.backbones``; three or four architectures of each.
        threads: CPU threads.
        say: Called with one line about each architecture that could not be used.

    Raises:
        InputError: There is no such backbone.
        Unavailable: LiteRT's profiler, TensorFlow or scikit-learn is missing, or too few architectures could be timed.
    """
    library()
    wanted = list(spread(tuple(backbone(name).name for name in dict.fromkeys(backbones))))
    with track("Building architectures", len(wanted), unit="models") as advance:
        models = {}
        for one in wanted:
            models[one] = int8_model(one)
            advance(1)
    best: dict[Architecture, Profiled] = {}
    failed: dict[Architecture, str] = {}
    with track("Timing architectures", _ROUNDS * len(wanted), unit="models") as advance:
        for _ in range(_ROUNDS):
            for one, model in models.items():
                found = profiled(str(one), one.backbone, model, threads=threads)
                if isinstance(found, Unknown):
                    failed[one] = found.unknown
                elif one not in best or found.times.interpreter_ms < best[one].times.interpreter_ms:
                    best[one] = found
                advance(1)
    for one, why in failed.items():
        if one not in best:
            say(f"{one}: {why}")
    measured = list(best.values())
    for each in measured:
        if not each.times.consistent:
            say(
                f"{each.name}: its operators take {each.times.total_ms:.3f} ms together, an inference "
                f"{each.times.interpreter_ms:.3f} ms: the machine may be busy"
            )
    if len(measured) < FEWEST:
        raise Unavailable(
            f"{len(measured)} architectures could be timed, of {len(wanted)}",
            why=f"a latency model needs at least {FEWEST}",
            hint="Name more backbones, or see the lines above.",
        )
    return fit(measured, threads=threads)
