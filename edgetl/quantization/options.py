"""What ``edgetl quantize`` is asked to do, resolved once and saved with the report. Not for: how it is done."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgetl_device.errors import InputError

from .targets import TARGETS


@dataclass(frozen=True)
class QuantizeConfig:
    """What to write.

    Attributes:
        int8: Write int8 variants.
        float16: Write TFLite with float16 weights.
        dynamic: Write TFLite with int8 weights and float activations.
        repair: Equalize, round, correct and narrow before int8; False shows the plain result.
        calibration: How many photos set the activation ranges, at most.
        calibration_photos: Folder of the photos that do, in place of the training split.
        max_drop_pp: Refuse int8 files that lose more accuracy than this on the validation photos, in percentage points.
        min_agreement: Refuse int8 files that give fewer of the float model's answers there, 0..1.
        target: A name in :data:`edgetl.quantization.targets.TARGETS`.
        seed: Of the choice of calibration photos and of distillation.
        explain: Measure what each layer of the int8 TFLite file costs, and write ``RUN/explain.json``.
    """

    int8: bool = True
    float16: bool = False
    dynamic: bool = False
    repair: bool = True
    calibration: int = 100
    calibration_photos: str | None = None
    max_drop_pp: float | None = None
    min_agreement: float | None = None
    target: str = "generic"
    seed: int = 0
    explain: bool = False

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise InputError(f"--target {self.target!r}", why=f"the targets are {', '.join(TARGETS)}")
        if self.target != "generic" and not self.int8:
            raise InputError(f"--target {self.target} without int8", hint="Add --int8.")
        if self.max_drop_pp is not None and not math.isfinite(self.max_drop_pp):
            raise InputError(f"--max-drop {self.max_drop_pp}", why="must be a number of percentage points")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise InputError(f"--min-agreement {self.min_agreement}", why="must be 0 to 1")
        if self.explain and not self.int8:
            raise InputError("an explanation of int8 without int8", hint="Add --int8.")
        if self.gated and not self.int8:
            raise InputError("a bound on what int8 may lose, without int8", hint="Add --int8.")

    @property
    def gated(self) -> bool:
        """Whether there is a bound on what int8 may lose."""
        return self.max_drop_pp is not None or self.min_agreement is not None
