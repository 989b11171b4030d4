"""Import options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetl_device.errors import OptionError
from edgetl_device.input_size import MUST_BE as SIZE_BOUNDS
from edgetl_device.input_size import size_value
from edgetl_device.options import Form, Options, option

# Copy of the names in edgetl.importing.inputs, which would load NumPy; a test compares them.
INPUT_NAMES = ("raw", "0..1", "-1..1", "imagenet", "caffe")
AUTO = "auto"

_PHOTOS, _INPUT, _CODE = "Photos", "Input of the model", "Code"


@dataclass(frozen=True)
class ImportOptions(Options):
    """Options of :func:`edgetl.importing.pipeline.import_model`.

    Raises:
        OptionError: A value is out of range, or options conflict.
    """

    labels: str | None = option(
        None,
        metavar="FILE",
        unset="the labels in the model's metadata, else the classes of the photos, sorted by name, else numbers",
        help="Text file with a label a line, in the order of the model's outputs.",
    )
    input: str = option(
        AUTO,
        group=_INPUT,
        choices=(AUTO, *INPUT_NAMES),
        metavar="NAME",
        help="How the model wants its pixels; auto tries all of them on the photos, imagenet and caffe only with RGB.",
    )
    mean: tuple[str, ...] = option(
        (),
        group=_INPUT,
        metavar="R,G,B",
        help="Subtract from pixels of 0 to 1, as torchvision's Normalize does; one number or three.",
    )
    std: tuple[str, ...] = option((), group=_INPUT, metavar="R,G,B", help="Then divide by it; one number or three.")
    bgr: bool = option(False, group=_INPUT, help="Feed the channels as blue, green, red; with {mean} and {std}.")
    fit: str = option(
        AUTO,
        group=_INPUT,
        choices=(AUTO, "stretch", "crop", "pad"),
        help="How photos are fitted to the input; auto tries all three.",
    )
    size: int | str | None = option(
        None,
        group=_INPUT,
        form=Form(size_value, SIZE_BOUNDS),
        metavar="PIXELS",
        unset="what the model says",
        help="Height and width of the input, for models that take any: 224, or 240x320 where they differ.",
    )
    temperature: bool = option(
        False,
        group=_PHOTOS,
        help="Fit one temperature on the photos that the input is chosen on, and fold it into the last layer: labels "
        "stay, probabilities become calibrated, and no longer those of the original.",
    )
    held_out: bool = option(
        False, group=_PHOTOS, help="State that the photos were not used to train the model; the run records your word."
    )
    val: float = option(
        0.15,
        group=_PHOTOS,
        low=0,
        high=0.95,
        metavar="SHARE",
        help="Share of photos for choosing among int8 candidates, if the data set has no such split.",
    )
    test: float = option(
        0.5,
        group=_PHOTOS,
        low=0,
        high=0.95,
        metavar="SHARE",
        help="Share of photos that results are reported on; the input is chosen on the others.",
    )
    on_conflict: str = option(
        "error", group=_PHOTOS, choices=("error", "drop"), help="What to do with a photo under two labels."
    )
    trust_code: bool = option(
        False,
        group=_CODE,
        help="Run the Python code in a Keras file, in a process of its own, to write the model out without it.",
    )
    code: str | None = option(
        None,
        group=_CODE,
        metavar="FILE",
        unset="none",
        help="Python file with the custom layers and functions of a Keras file, run with {trust_code}.",
    )
    seed: int = option(0, group=_PHOTOS, low=0, high=2**31 - 1, help="Seed of the split.")

    def check_without_photos(self) -> None:
        """Refuse options about photos where there are none.

        Raises:
            OptionError: One of them was given.
        """
        for name in ("temperature", "held_out", "val", "test", "on_conflict", "seed"):
            if name in self.changed():
                raise OptionError(
                    f"{{{name}=}} without photos",
                    why="it is about the photos",
                    hint=f"Leave out {{{name}}}, or give photos: {{data}}.",
                    **{name: getattr(self, name)},
                )

    def check_together(self) -> None:
        """Refuse a scaling that is given twice or in part."""
        for name in ("mean", "std"):
            numbers(name, getattr(self, name))
        if bool(self.mean) != bool(self.std):
            given, missing = ("mean", "std") if self.mean else ("std", "mean")
            raise OptionError(f"{{{given}=}} without {{{missing}}}", hint="Give both.", **{given: getattr(self, given)})
        if self.mean and self.input != AUTO:
            raise OptionError("{input=} with {mean=}", hint="Give one of them.", input=self.input, mean=self.mean)
        if self.bgr and not self.mean:
            raise OptionError(
                "{bgr=} without {mean} and {std}", hint="{input} caffe is the usual scaling of BGR.", bgr=True
            )
        if self.code is not None and not self.trust_code:
            raise OptionError(
                "{code=} without {trust_code}",
                why="the file is run as it is",
                hint="If you trust it, give both.",
                code=self.code,
            )
        if self.val + self.test >= 1:
            raise OptionError("{val=} with {test=}: nothing is left", val=self.val, test=self.test)


def numbers(name: str, texts: tuple[str, ...]) -> tuple[float, ...]:
    """Return the numbers of ``mean`` or ``std``: none, one, or three.

    Raises:
        OptionError: They are not numbers of pixels from 0 to 1, or a divisor is 0.
    """
    given: dict[str, Any] = {name: texts}
    try:
        found = tuple(float(text) for text in texts)
    except ValueError:
        raise OptionError(f"{{{name}=}}: must be numbers with commas", **given) from None
    if len(found) not in (0, 1, 3):
        raise OptionError(f"{{{name}=}}: must be one number, or one for each of red, green and blue", **given)
    low_is_wrong = any(one <= 0 for one in found) if name == "std" else any(one < 0 for one in found)
    if low_is_wrong or not all(one <= 1 for one in found):
        raise OptionError(
            f"{{{name}=}}: must be {'over 0' if name == 'std' else '0'} to 1",
            why="they are for pixels of 0 to 1",
            hint="Divide numbers for pixels of 0 to 255 by 255.",
            **given,
        )
    return found
