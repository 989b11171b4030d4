"""Options of a training run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgetl_device.errors import OptionError
from edgetl_device.input_size import MUST_BE as SIZE_BOUNDS
from edgetl_device.input_size import size_value
from edgetl_device.options import Form, Options, option
from edgetl_device.text import GUIDES

from .devices import check_devices
from .strategy import AUTO, STRATEGIES, check_start, check_strategy

# Copies of edgetl.features.augment.PRESETS and edgetl_device.preprocess.FITS, which load NumPy; a test compares them.
AUGMENT = (
    "none", "light", "standard", "strong", "no-flip", "colour", "erase", "rand-augment", "mixup", "cutmix",
)  # fmt: skip
FITS = ("stretch", "crop", "pad")

_NETWORK, _PHOTOS, _OPTIMIZER = "Network", "Photos", "Optimizer"
_THIRD_STAGE, _TEACHER, _MACHINE, _REPORT = "Third stage", "Teacher", "Machine", "Report"
_EPOCHS = 100_000
# Of what a run that training starts from has already decided.
BACKBONE, WIDTH, SIZE, FIT = "mobilenet_v2", 1.0, 160, "stretch"
_OR_OF_RUN = "or as in from_run"
_MAX_DEPTH_VALUE = 65_535


@dataclass(frozen=True)
class TrainOptions(Options):
    """Options of :func:`edgetl.training.train`; None leaves a value to the plan.

    Raises:
        OptionError: A value is out of bounds, or two options contradict each other.
    """

    backbone: str | None = option(
        None,
        metavar="NAME",
        unset=f"{BACKBONE}, {_OR_OF_RUN}",
        help="Backbone, as edgetl models lists it; auto, with --strategy auto.",
    )
    width: float | None = option(
        None,
        group=_NETWORK,
        above=0,
        high=10,
        unset=f"{WIDTH:g}, {_OR_OF_RUN}",
        help="Width multiplier of the backbone.",
    )
    size: int | str | None = option(
        None,
        form=Form(size_value, SIZE_BOUNDS),
        metavar="PIXELS",
        unset=f"{SIZE}, {_OR_OF_RUN}",
        help="Height and width of the input: 96, or 240x320 where they differ.",
    )
    grey: bool | None = option(
        None,
        group=_NETWORK,
        unset=f"RGB, {_OR_OF_RUN}",
        help="Give the network one channel, grey (the luma of ITU-R BT.601-2).",
    )
    fit: str | None = option(
        None, group=_NETWORK, choices=FITS, unset=f"{FIT}, {_OR_OF_RUN}", help="How photos are fitted to the input."
    )
    weights: str = option("auto", metavar="SOURCE", help="auto, imagenet, none (train from scratch) or a weights file.")
    from_run: str | None = option(
        None,
        group=_NETWORK,
        metavar="RUN",
        aliases=("--from",),
        help="Start from the model of a run: trained by edgetl, or imported.",
    )
    strategy: str | None = option(
        None,
        choices=(*STRATEGIES, AUTO),
        metavar="NAME",
        unset="blocks",
        help="Which layers to train; auto: as edgetl advise recommends.",
    )
    trainable_blocks: int | None = option(
        None,
        group=_NETWORK,
        low=0,
        high=1000,
        unset="6, or all but one if fewer",
        help="Number of last blocks to train; 0: only the head.",
    )
    truncate: str | None = option(
        None,
        group=_NETWORK,
        metavar="BLOCK",
        help="End the backbone after this block: its name, or the number of blocks to keep.",
    )
    epochs: int | None = option(
        None,
        low=0,
        high=_EPOCHS,
        unset="16, fewer above 500 photos",
        help="Maximum number of epochs after the head is fitted.",
    )
    augment: str = option(
        "standard", choices=AUGMENT, metavar="PRESET", help=f"Augmentation preset: {GUIDES}/training.md."
    )
    views: int | None = option(
        None,
        group=_PHOTOS,
        low=0,
        high=1000,
        unset="4, or 2 from 1,000 photos",
        help="Augmented views of each training photo.",
    )
    batch_size: int = option(32, low=1, high=65_536, help="Photos per step, over all devices.")
    lr: float | None = option(
        None,
        above=0,
        high=1,
        metavar="RATE",
        unset="3e-4, scratch 1e-3, all layers 2e-4 (truncated 1e-3)",
        help="Peak learning rate.",
    )
    label_smoothing: float | None = option(
        None,
        group=_OPTIMIZER,
        low=0,
        high=0.9,
        metavar="SHARE",
        unset="0, all layers and scratch 0.1",
        help="Label smoothing.",
    )
    dropout: float = option(
        0.2, group=_NETWORK, low=0, high=0.95, metavar="SHARE", help="Dropout before the last layer."
    )
    class_weights: bool = option(False, group=_PHOTOS, help="Weight classes by their inverse frequency.")
    patience: int = option(
        8,
        group=_OPTIMIZER,
        low=1,
        high=_EPOCHS,
        metavar="EPOCHS",
        help="Stop after N epochs without a lower validation loss.",
    )
    val: float = option(
        0.15,
        group=_PHOTOS,
        low=0,
        high=0.9,
        metavar="SHARE",
        help="Share of validation photos, if the folder has no val/.",
    )
    test: float = option(
        0.15, group=_PHOTOS, low=0, high=0.9, metavar="SHARE", help="Share of test photos, if the folder is not split."
    )
    on_conflict: str = option(
        "error", group=_PHOTOS, choices=("error", "drop"), help="How to handle a photo that has two labels."
    )
    depth_range: str | None = option(
        None,
        group=_PHOTOS,
        metavar="LO..HI|auto",
        unset="the upper 8 of 16 bits",
        help="Values of 16-bit greys that become black and white; auto: what the training photos use.",
    )
    seed: int = option(0, low=0, high=2**31 - 1, help="The same seed on the same machine gives the same weights.")
    compare_baseline: bool = option(
        False, group=_REPORT, help="Also train a small CNN from scratch on the same split, to compare."
    )
    optimizer: str = option("adamw", group=_OPTIMIZER, choices=("adamw", "adam", "sgd"), help="Optimizer.")
    weight_decay: float = option(
        0.0, group=_OPTIMIZER, low=0, high=1, help="Decoupled weight decay of kernels, with adamw or sgd."
    )
    schedule: str = option(
        "cosine", group=_OPTIMIZER, choices=("cosine", "constant"), help="Learning rate after the warm-up."
    )
    warmup: float = option(
        0.1, group=_OPTIMIZER, low=0, high=0.9, metavar="SHARE", help="Share of the steps spent on warm-up."
    )
    ema: bool = option(
        True, group=_OPTIMIZER, help="Use a moving average of the weights for validation and the saved model."
    )
    precision: str = option(
        "auto",
        group=_MACHINE,
        choices=("auto", "float32", "mixed_float16", "mixed_bfloat16"),
        metavar="DTYPE",
        help="Compute precision; auto: mixed float16 on GPUs with fast float16, else float32.",
    )
    finetune_epochs: int = option(
        0, group=_THIRD_STAGE, low=0, high=_EPOCHS, help="Epochs of a third stage that trains every layer, on pixels."
    )
    finetune_lr: float | None = option(
        None, group=_THIRD_STAGE, above=0, high=1, metavar="RATE", unset="a tenth of lr", help="Its peak learning rate."
    )
    teacher: str | None = option(None, group=_TEACHER, metavar="RUN", help="Finished run to distill from.")
    teacher_weight: float = option(
        0.5, group=_TEACHER, low=0, high=1, metavar="SHARE", help="Weight of the teacher in the loss."
    )
    teacher_temperature: float = option(
        2.0, group=_TEACHER, low=1, high=20, help="Temperature that softens the logits of teacher and student."
    )
    unknown: bool = option(
        False,
        group=_REPORT,
        help="Let every bundle of the run tell photos of nothing that it was taught, as quantize --unknown.",
    )
    tensorboard: bool = option(False, group=_REPORT, help="Write TensorBoard logs to RUN/tensorboard.")
    mlflow: bool = option(
        False, group=_REPORT, help="Log the run to MLflow: at $MLFLOW_TRACKING_URI, or in the folder mlruns."
    )
    devices: str = option(
        "auto", group=_MACHINE, help="Devices that share each step: auto (every GPU), the first N, or GPU:0,GPU:2."
    )

    def check_together(self) -> None:
        """Refuse options that contradict each other for any backbone and photos."""
        if self.val + self.test > 0.9:
            raise OptionError("{val=} and {test=}: leave less than a tenth for training", val=self.val, test=self.test)
        check_devices(self.devices)
        self.depth_limits()
        if self.optimizer == "adam" and self.weight_decay:
            raise OptionError(
                "{weight_decay=} with {optimizer=}",
                hint="Adam with weight decay is adamw.",
                weight_decay=self.weight_decay,
                optimizer=self.optimizer,
            )
        check_strategy(
            self.strategy,
            trainable_blocks=self.trainable_blocks,
            weights=self.weights,
            truncate=self.truncate,
            backbone=self.backbone,
        )
        check_start(self.from_run, strategy=self.strategy, weights=self.weights, truncate=self.truncate)
        if self.backbone == AUTO and (self.weights != "auto" or self.width not in (None, WIDTH)):
            raise OptionError(
                "{backbone=}: it compares backbones with embedded weights, so leave out {width} and {weights}",
                backbone=AUTO,
            )
        if self.finetune_epochs and self.from_scratch:
            raise OptionError(
                "{finetune_epochs=} from scratch: every layer is trained already", finetune_epochs=self.finetune_epochs
            )

    def depth_limits(self) -> tuple[int, int] | None:
        """Return the two values of ``depth_range``; None if it is not given, or ``auto``.

        Raises:
            OptionError: It is neither.
        """
        if self.depth_range in (None, "auto"):
            return None
        found = re.fullmatch(r"(\d{1,5})\.\.(\d{1,5})", str(self.depth_range))
        limits = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 0 <= limits[0] < limits[1] <= _MAX_DEPTH_VALUE:
            raise OptionError(
                "{depth_range=}: must be LO..HI with LO below HI, or auto",
                hint=f"12 bits are 0..4095; the largest value is {_MAX_DEPTH_VALUE}.",
                depth_range=self.depth_range,
            )
        return limits

    @property
    def from_scratch(self) -> bool:
        """Whether every layer starts from random weights."""
        return self.weights == "none" or self.strategy == "scratch"
