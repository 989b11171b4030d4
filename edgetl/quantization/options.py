"""Quantization options."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.errors import OptionError
from edgetl_device.options import Options, Value, option

# Copied from edgetl.quantization.targets, which imports NumPy; a test compares the two.
TARGET_NAMES = ("generic", "coral", "mcu", "mediapipe")

_CALIBRATION, _MORE, _UNKNOWN = "Calibration", "More files", "Unknown photos"


@dataclass(frozen=True)
class QuantizeOptions(Options):
    """Options of :func:`edgetl.quantization.pipeline.quantize`. float32 TFLite and ONNX are always written.

    Raises:
        OptionError: A value is out of range, or options conflict.
    """

    int8: bool = option(True, help="Write int8 TFLite and ONNX.")
    float16: bool = option(False, group=_MORE, help="Write TFLite with float16 weights.")
    dynamic: bool = option(False, group=_MORE, help="Write TFLite with int8 weights and float activations.")
    int8_file: str | None = option(
        None,
        metavar="FILE",
        help="Take this int8 TFLite file, made of the same model by another program, instead of making int8.",
    )
    repair: bool = option(True, help="Repair int8 (equalization, GPTQ, bias correction, range clipping).")
    calibration: int = option(
        100, group=_CALIBRATION, low=1, high=100_000, metavar="PHOTOS", help="Maximum number of calibration photos."
    )
    calibration_photos: str | None = option(
        None,
        group=_CALIBRATION,
        metavar="DIR",
        help="Folder of your own calibration photos, instead of training photos.",
    )
    max_drop: float | None = option(
        None,
        low=0,
        high=100,
        metavar="POINTS",
        help="Largest allowed accuracy drop of int8 on the validation photos, in percentage points; exit with 3"
        " if no candidate meets it.",
    )
    min_agreement: float | None = option(
        None,
        low=0,
        high=1,
        metavar="SHARE",
        help="Lowest allowed agreement of int8 with the float model on the validation photos, likewise.",
    )
    target: str = option("generic", choices=TARGET_NAMES, metavar="NAME", help="Device that runs int8.")
    seed: int = option(
        0, group=_CALIBRATION, low=0, high=2**31 - 1, help="Seed of the calibration sample and of distillation."
    )
    unknown: bool = option(
        False,
        group=_UNKNOWN,
        help="Let the bundle tell photos of nothing that the model was taught, by outputs of features and a bank.",
    )
    unknown_photos: str | None = option(
        None,
        group=_UNKNOWN,
        metavar="DIR",
        help="With --unknown: photos of other things, to measure how many are taken for known; some go into the"
        " bundle.",
    )
    explain: bool = option(False, help="Measure the error of each layer: RUN/explain.json and plots in RUN/explain.")

    def check_together(self) -> None:
        """Reject int8 options when no int8 file is written, and what cannot tell unknown photos."""
        if self.unknown_photos is not None and not self.unknown:
            raise OptionError(
                "{unknown_photos=} without {unknown=}",
                why="they measure how well it works",
                hint="Add {unknown}.",
                unknown_photos=self.unknown_photos,
                unknown=True,
            )
        if self.unknown and self.target != "generic":
            raise OptionError(
                "{unknown=} with {target=}",
                why="programs for this target expect one output, and telling unknown photos takes more",
                hint="Leave one of them out.",
                unknown=True,
                target=self.target,
            )
        if self.int8_file is not None:
            self._check_int8_file()
        if self.int8:
            return
        for name in ("int8_file", "target", "explain", "max_drop", "min_agreement"):
            if name in self.changed():
                raise OptionError(
                    f"{{{name}=}} with {{int8=}}",
                    why="it is about int8 files",
                    hint="Leave one of them out.",
                    int8=False,
                    **{name: getattr(self, name)},
                )

    def _check_int8_file(self) -> None:
        reasons = dict.fromkeys(("repair", "calibration", "calibration_photos", "seed"), "the file is taken as it is")
        reasons["unknown"] = "telling unknown photos takes outputs of features, and the file is taken as it is"
        reasons["explain"] = "its layers have other names than the float file's"
        for name, why in reasons.items():
            if name in self.changed():
                raise OptionError(
                    f"{{int8_file=}} with {{{name}=}}",
                    why=why,
                    hint="Leave one of them out.",
                    int8_file=self.int8_file,
                    **{name: getattr(self, name)},
                )

    @property
    def gated(self) -> bool:
        """Whether a bound on the int8 loss is set."""
        return self.max_drop is not None or self.min_agreement is not None

    def by_name(self) -> dict[str, Value]:
        """Return all values by name, ``max_drop`` with its unit in the name."""
        return {"max_drop_pp" if name == "max_drop" else name: value for name, value in super().by_name().items()}
