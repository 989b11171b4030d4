"""What a training run is asked to do, resolved once and saved with the run. Not for: how it is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from edgetl_device.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run.

    Attributes:
        backbone: A name in :data:`edgetl.backbones.BACKBONES`.
        width: Width multiplier of the backbone.
        size: Input height and width in pixels.
        fit: How photos are fitted to the input, as in :class:`edgetl_device.preprocess.Preprocess`.
        weights: ``auto``, ``imagenet``, ``none`` or the path of a weights file.
        trainable_blocks: How many of the last blocks are trained after the head; 0 trains the head alone. The number of
            all blocks includes the stem. With ``weights="none"`` everything is trained, whatever this says.
        epochs: Of the second stage; every epoch sees each training photo once, as itself or as one of its views. None
            takes fewer the more photos there are (:func:`default_epochs`).
        augment: A preset in :data:`edgetl.augment.PRESETS`.
        views: Augmented views drawn of each training photo.
        batch_size: Photos a step.
        lr: Peak learning rate of the second stage; None takes 3e-4, or 1e-3 from scratch.
        label_smoothing: 0..1, as in Szegedy et al. 2016, arXiv:1512.00567.
        dropout: Of the pooled features, 0..1.
        class_weights: Weigh each photo by the inverse frequency of its class.
        patience: Stop after so many epochs without a lower validation loss.
        val: Share of the training photos held out for validation where the folder has none.
        test: Share held out for the test where the folder is not split at all.
        on_conflict: ``error`` or ``drop``, for a photo under two labels.
        seed: Of the split, the views, the initial weights and the order of photos.
    """

    backbone: str = "mobilenet_v2"
    width: float = 1.0
    size: int = 160
    fit: str = "stretch"
    weights: str = "auto"
    trainable_blocks: int = 6
    epochs: int | None = None
    augment: str = "standard"
    views: int = 4
    batch_size: int = 32
    lr: float | None = None
    label_smoothing: float = 0.1
    dropout: float = 0.2
    class_weights: bool = False
    patience: int = 8
    val: float = 0.15
    test: float = 0.15
    on_conflict: str = "error"
    seed: int = 0

    def __post_init__(self) -> None:
        bounds: dict[str, tuple[float, float]] = {
            "trainable_blocks": (0, 1000),
            "epochs": (0, 100_000),
            "views": (0, 1000),
            "batch_size": (1, 65_536),
            "label_smoothing": (0, 0.9),
            "dropout": (0, 0.95),
            "patience": (1, 100_000),
            "val": (0, 0.9),
            "test": (0, 0.9),
            "seed": (0, 2**31 - 1),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"--{name.replace('_', '-')} {value}", why=f"must be {low} to {high}")
        if self.val + self.test > 0.9:
            raise InputError(f"--val {self.val} and --test {self.test}", why="leave less than a tenth for training")
        if self.lr is not None and not 0 < self.lr <= 1:
            raise InputError(f"--lr {self.lr}", why="must be over 0 and at most 1")

    @property
    def from_scratch(self) -> bool:
        """Whether every layer starts from random weights."""
        return self.weights == "none"

    @property
    def peak_lr(self) -> float:
        """Peak learning rate of the second stage."""
        return self.lr if self.lr is not None else 1e-3 if self.from_scratch else 3e-4

    @property
    def resolved_epochs(self) -> int:
        """Epochs of the second stage, after :meth:`for_photos`."""
        if self.epochs is None:
            raise ValueError("epochs are not resolved yet")
        return self.epochs

    def for_photos(self, photos: int) -> TrainConfig:
        """Return the settings with everything resolved for this number of training photos."""
        epochs = default_epochs(photos, from_scratch=self.from_scratch) if self.epochs is None else self.epochs
        return replace(self, epochs=epochs, lr=self.peak_lr)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)


def default_epochs(photos: int, *, from_scratch: bool) -> int:
    """Return how many epochs the second stage takes at most: 16 up to 500 training photos, 8 from 1,000 on.

    With more photos an epoch has more steps, and fewer of them are needed. From random weights: 60, always.
    """
    return 60 if from_scratch else min(16, max(8, 8_000 // max(1, photos)))
