"""The imported model against the original, on photos: the gate of an import."""

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

# Both compute in float32; a larger difference is an error in the conversion.
TOLERANCE = 1e-5
PHOTOS = 50


def agreement(
    finished: Finished, original: Original, scaling: Scaling, pixels: npt.NDArray[np.uint8]
) -> ImportAgreement:
    """Compare an imported model with its original on photos, uint8 [n, S, S, 3]; at least one."""
    rows = np.arange(len(pixels))
    logits = float_model.logits(finished.model, pixels, rows, description="Comparing with the original")
    ours = original_outputs(logits, finished.ends_in)
    theirs = comparable(original.outputs(feed(pixels, scaling)), finished.ends_in)
    if ours.shape[1] == 1:
        agree = (ours[:, 0] > 0.5) == (theirs[:, 0] > 0.5)
    else:
        agree = ours.argmax(axis=1) == theirs.argmax(axis=1)
    return ImportAgreement(len(pixels), int(agree.sum()), float(np.abs(ours - theirs).max()))


def gate(found: ImportAgreement, *, shown: str, runtime: str) -> None:
    """Refuse an import that differs from its original.

    Raises:
        GateFailed: An output differs by more than 1e-5.
    """
    # Written so that NaN fails.
    if not found.max_abs <= TOLERANCE:
        raise GateFailed(
            f"{shown}: the imported model differs from the original in {runtime} by {found.max_abs:.1e}",
            why=f"an output may differ by {TOLERANCE:g}; {found.agree} of {found.photos} photos have the same label",
            hint="This is a defect in edgetl's conversion, or the model puts out NaN; no run was written.",
        )
