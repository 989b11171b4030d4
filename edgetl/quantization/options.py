"""What quantizing is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetl_device.errors import OptionError
from edgetl_device.options import Options, option

# As edgetl.quantization.targets.TARGETS has them, which loads NumPy; a test compares.
TARGET_NAMES = ("generic", "coral", "mcu", "mediapipe")

_CALIBRATION, _MORE = "Calibration", "More files"


@dataclass(frozen=True)
class QuantizeOptions(Options):
    """Options of :func:`edgetl.quantization.pipeline.quantize`. float32 TFLite and ONNX are written in any case.

    Raises:
        OptionError: A value is out of bounds, or two contradict each other.
    """

    int8: bool = option(False, help="Write int8 TFLite and ONNX.")
    float16: bool = option(False, group=_MORE, help="Write TFLite with float16 weights.")
    dynamic: bool = option(False, group=_MORE, help="Write TFLite with int8 weights and float activations.")
    repair: bool = option(True, help="Repair int8: equalize, round with GPTQ, correct biases, clip ranges.")
    calibration: int = option(
        100, group=_CALIBRATION, low=1, high=100_000, metavar="PHOTOS", help="Photos that set the ranges, at most."
    )
    calibration_photos: str | None = option(
        None, group=_CALIBRATION, metavar="DIR", help="Your own photos for that, instead of training photos."
    )
    max_drop: float | None = option(
        None,
        low=0,
        high=100,
        metavar="POINTS",
        help="Accuracy that int8 may lose, in percentage points of the validation photos; if no candidate keeps it,"
        " exit with 3.",
    )
    min_agreement: float | None = option(
        None, low=0, high=1, metavar="SHARE", help="Share of the float model's labels that int8 must give, likewise."
    )
    target: str = option("generic", choices=TARGET_NAMES, metavar="NAME", help="What will run it.")
    seed: int = option(
        0, group=_CALIBRATION, low=0, high=2**31 - 1, help="Of the choice of photos, and of distillation."
    )
    explain: bool = option(False, help="Measure what each layer costs: RUN/explain.json and pictures in RUN/explain.")

    def check_together(self) -> None:
        """Refuse what is about int8 where none is written."""
        if self.int8:
            return
        for name in ("target", "explain", "max_drop", "min_agreement"):
            if name in self.changed():
                raise OptionError(f"{{{name}=}} without {{int8}}", hint="Add {int8}.", **{name: getattr(self, name)})

    @property
    def gated(self) -> bool:
        """Whether there is a bound on what int8 may lose."""
        return self.max_drop is not None or self.min_agreement is not None

    def to_json(self) -> dict[str, Any]:
        """Return all values as a JSON object, in documents ``max_drop`` with its unit."""
        return {"max_drop_pp" if name == "max_drop" else name: value for name, value in super().to_json().items()}
