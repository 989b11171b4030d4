"""The augmentation presets, as Keras layers with their arguments."""

from __future__ import annotations

from typing import Any

from edgetl_device.errors import InputError

Step = tuple[str, dict[str, Any]]

_FLIP: Step = ("RandomFlip", {"mode": "horizontal"})

# Operations of `rand-augment`, at about magnitude 9 of 30 of Cubuk et al. 2020, arXiv:1909.13719.
# keras.layers.RandAugment is not used: it ties all strengths to one factor (posterization gets stronger as the others
# get weaker), rotates and shifts in one direction only, gives a whole batch the same two operations, and computes all
# of them for every photo. Solarization is left out: Keras 3.15 scales only one end of the range of thresholds.
_OPERATIONS: tuple[Step, ...] = (
    ("RandomShear", {"x_factor": 0.1, "y_factor": 0.1}),
    ("RandomTranslation", {"height_factor": 0.12, "width_factor": 0.12}),
    ("RandomRotation", {"factor": 0.05}),
    ("RandomBrightness", {"factor": 0.25}),
    ("RandomContrast", {"factor": 0.4}),
    ("RandomColorDegeneration", {"factor": (0.2, 0.9)}),
    ("RandomSharpness", {"factor": (0.1, 0.9)}),
    ("RandomPosterization", {"factor": (4, 8)}),
    ("AutoContrast", {}),
    ("Equalization", {}),
)

_STANDARD: tuple[Step, ...] = (
    _FLIP,
    ("RandomRotation", {"factor": 0.06}),
    ("RandomZoom", {"height_factor": (-0.25, 0.1)}),
    ("RandomTranslation", {"height_factor": 0.1, "width_factor": 0.1}),
    ("RandomBrightness", {"factor": 0.15}),
    ("RandomContrast", {"factor": 0.2}),
)

# Keras layer and its arguments, in the order they are applied. Factors are fractions of the picture's side, of a full
# turn (rotation) or of the value range (brightness, contrast), as Keras defines them.
# SomeOf is not a Keras layer: it draws `count` of its operations for each photo.
PRESETS: dict[str, tuple[Step, ...]] = {
    "none": (),
    "light": (_FLIP, ("RandomTranslation", {"height_factor": 0.05, "width_factor": 0.05})),
    "standard": _STANDARD,
    "strong": (
        _FLIP,
        ("RandomRotation", {"factor": 0.1}),
        ("RandomZoom", {"height_factor": (-0.4, 0.2)}),
        ("RandomTranslation", {"height_factor": 0.15, "width_factor": 0.15}),
        ("RandomBrightness", {"factor": 0.25}),
        ("RandomContrast", {"factor": 0.3}),
        ("RandomSaturation", {"factor": (0.3, 0.7)}),
    ),
    "no-flip": (
        ("RandomRotation", {"factor": 0.03}),
        ("RandomZoom", {"height_factor": (-0.15, 0.1)}),
        ("RandomShear", {"x_factor": 0.1, "y_factor": 0.05}),
        ("RandomTranslation", {"height_factor": 0.08, "width_factor": 0.08}),
        ("RandomBrightness", {"factor": 0.15}),
        ("RandomContrast", {"factor": 0.2}),
    ),
    "colour": (
        _FLIP,
        ("RandomTranslation", {"height_factor": 0.05, "width_factor": 0.05}),
        (
            "RandomColorJitter",
            {
                "brightness_factor": 0.2,
                "contrast_factor": 0.3,
                "saturation_factor": (0.3, 0.7),
                "hue_factor": 0.05,
            },
        ),
    ),
    # The patch has the mean of ImageNet's photos, which is close to 0 after the input scaling.
    "erase": (
        *_STANDARD,
        ("RandomErasing", {"factor": (0.5, 0.5), "scale": (0.02, 0.2), "fill_value": (124, 116, 104)}),
    ),
    "rand-augment": (_FLIP, ("SomeOf", {"count": 2, "operations": _OPERATIONS})),
    # Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899.
    "mixup": (*_STANDARD, ("MixUp", {"alpha": 0.4})),
    "cutmix": (*_STANDARD, ("CutMix", {"factor": (1.0, 1.0)})),
}

MIXING = ("MixUp", "CutMix")


def check_preset(name: str) -> None:
    """Raise InputError when there is no preset of this name."""
    if name not in PRESETS:
        raise InputError(f"unknown augmentation {name!r}", why=f"the presets are {', '.join(PRESETS)}")


def mixes(preset: str) -> bool:
    """Return whether views of a preset mix photos, so that their labels are shares of classes."""
    return any(name in MIXING for name, _ in PRESETS[preset])
