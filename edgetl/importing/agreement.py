"""The imported model against the original, on photos or drawn pictures: the gate of an import."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgetl.backbones.spec import Scaling
from edgetl.runs import float_model
from edgetl.runs.import_record import ImportAgreement
from edgetl_device.errors import GateFailed

from .inputs import feed
from .original import Original
from .plain import Finished, comparable, original_outputs

# Both compute in float32, in another order: a larger difference is an error in the conversion. Except in networks that
# amplify rounding: there, as much as the last bit of the inputs changes, and ten times that for the rounding of layers;
# but never so much that a probability is another one.
TOLERANCE = 1e-5
_ROUNDINGS = 10
_CEILING = 1e-3
PHOTOS = 50


def agreement(
    finished: Finished, original: Original, scaling: Scaling, pixels: npt.NDArray[np.uint8]
) -> ImportAgreement:
    """Compare an imported model with its original on photos, uint8 [n, H, W, C]; at least one."""
    rows = np.arange(len(pixels))
    logits = float_model.logits(finished.model, pixels, rows, description="Comparing with the original")
    ours = original_outputs(logits, finished.ends_in)
    inputs = feed(pixels, scaling)
    theirs, nearby = (comparable(original.outputs(one), finished.ends_in) for one in (inputs, _next_to(inputs)))
    max_abs, rounding = float(np.abs(ours - theirs).max()), float(np.abs(nearby - theirs).max())
    if ours.shape[1] == 1:
        ours, theirs = (np.concatenate([1 - one, one], axis=1) for one in (ours, theirs))
    agree = ours.argmax(axis=1) == theirs.argmax(axis=1)
    second, first = np.sort(theirs, axis=1)[:, -2:].T
    return ImportAgreement(
        photos=len(pixels),
        agree=int(agree.sum()),
        max_abs=max_abs,
        rounding=rounding,
        near_ties=int((~agree & (first - second < _allowed(rounding))).sum()),
    )


def _allowed(rounding: float) -> float:
    """Return how much an output may differ where the original's own outputs change this much by rounding."""
    return min(max(TOLERANCE, _ROUNDINGS * rounding), _CEILING)


def _next_to(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return inputs of which each is the next larger or the next smaller float32."""
    larger = np.random.default_rng(0).random(inputs.shape) < 0.5
    return np.nextafter(inputs, np.where(larger, np.inf, -np.inf).astype(np.float32))


def gate(found: ImportAgreement, *, shown: str, runtime: str) -> None:
    """Refuse an import that differs from its original.

    Raises:
        GateFailed: An output differs by more than 1e-5, and by more than rounding explains or by more than 1e-3; or a
            photo has another label, and its two best classes are further apart than that.
    """
    allowed = _allowed(found.rounding)
    same = f"{found.agree} of {found.photos} photos have the same label"
    hint = "This is a defect in edgetl's conversion, or the model puts out NaN; no run was written."
    # Written so that NaN fails.
    if not found.max_abs <= allowed:
        raise GateFailed(
            f"{shown}: the imported model differs from the original in {runtime} by {found.max_abs:.1e}",
            why=f"an output may differ by {allowed:.1e}; {same}",
            hint=hint,
        )
    if found.agree + found.near_ties < found.photos:
        raise GateFailed(
            f"{shown}: the imported model has other labels than the original in {runtime}", why=same, hint=hint
        )
