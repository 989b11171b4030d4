"""What a training run is asked to do, resolved once and saved with the run. Not for: how it is done."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgetl_device.errors import InputError

from .devices import check_devices

# A base is cut short where its late features do not help: photos unlike those of its weights, which early layers have
# to fit too. On scikit-learn's digits, 1e-3 for 30 epochs beat 3e-4 for 9 by 0.9 pp (11 blocks) and 1.9 pp (8 blocks).
_ALL_LAYERS_LR, _ALL_LAYERS_LR_TRUNCATED = 2e-4, 1e-3
_SGD_LR, _SGD_SCRATCH_LR = 1e-2, 5e-2
_ALL_LAYERS_SMOOTHING = 0.1

# In fewer epochs a view is hardly seen. On 2,983 photos of Fashion-MNIST (8 epochs, 96 px, two seeds), 2, 3 and 4 views
# gave 0.903 and 0.893, 0.900 and 0.899, 0.896 and 0.897 on 1,500 photos that were held out.
_EPOCHS_A_VIEW, _MOST_VIEWS = 4, 4

# What else than a number a setting may be.
CHOICES = {
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("cosine", "constant"),
    "precision": ("auto", "float32", "mixed_float16", "mixed_bfloat16"),
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run.

    Attributes:
        backbone: A name in :data:`edgetl.backbones.BACKBONES`; with strategy ``auto`` also ``auto``, which compares
            those with embedded weights.
        width: Width multiplier of the backbone.
        size: Input height and width in pixels.
        fit: How photos are fitted to the input, as in :class:`edgetl_device.preprocess.Preprocess`.
        weights: ``auto``, ``imagenet``, ``none`` or the path of a weights file.
        strategy: ``head``, ``blocks``, ``all`` or ``scratch``, as in :class:`edgetl.training.strategy.Plan`; ``auto``
            takes what :func:`edgetl.advice.advise` recommends. None follows from ``weights`` and ``trainable_blocks``.
        trainable_blocks: How many of the last blocks are trained after the head; 0 trains the head alone. The number of
            all blocks includes the stem. None takes 6, or all but one where there are fewer.
        truncate: The last block that is kept, by name or number; None keeps the whole backbone.
        epochs: Of the second stage; every epoch sees each training photo once, as itself or as one of its views. None
            takes fewer the more photos there are (:func:`default_epochs`).
        augment: A preset in :data:`edgetl.features.augment.PRESETS`.
        views: Augmented views drawn of each training photo. None takes one for every four epochs, 4 at most
            (:meth:`for_photos`).
        batch_size: Photos a step, over all devices.
        lr: Peak learning rate of the second stage; None takes 3e-4, 1e-3 from scratch, 2e-4 with strategy ``all``
            (1e-3 on a truncated backbone).
        label_smoothing: 0..1, as in Szegedy et al. 2016, arXiv:1512.00567; None takes 0.1 where every layer is trained
            and 0 otherwise (:attr:`smoothing`).
        dropout: Of the pooled features, 0..1.
        class_weights: Weigh each photo by the inverse frequency of its class.
        patience: Stop after so many epochs without a lower validation loss.
        val: Share of the training photos held out for validation where the folder has none.
        test: Share held out for the test where the folder is not split at all.
        on_conflict: ``error`` or ``drop``, for a photo under two labels.
        seed: Of the split, the views, the initial weights and the order of photos.
        compare_baseline: Also train a small CNN from scratch on the same split, for the report.
        optimizer: ``adamw``, ``adam`` or ``sgd`` (Nesterov momentum 0.9); ``sgd`` has default rates of its own.
        weight_decay: Decoupled, of kernels only, 0..1; none with ``adam``.
        schedule: ``cosine`` to a twentieth of the peak, or ``constant``.
        warmup: Share of all steps in which the rate rises from a twentieth of its peak, 0..0.9.
        ema: Validate and keep the moving average of the weights over about an epoch.
        precision: ``float32``, ``mixed_float16``, ``mixed_bfloat16``, or ``auto``: what the GPU is fast at, float32
            without one. Weights, and the model that is saved, are float32 in any case.
        finetune_epochs: Of the third stage: every layer, on pixels; 0 leaves it out.
        finetune_lr: Its peak learning rate; None takes a tenth of ``lr``.
        teacher: Run directory of a teacher whose probabilities are learnt too; None: labels alone.
        teacher_weight: Share of the teacher in the loss, over 0..1.
        teacher_temperature: What teacher and student are softened by, 1..20.
        tensorboard: Write TensorBoard's logs.
        devices: What shares each step of the later stages: ``auto`` (every GPU, the CPU where there is none), a number
            of GPUs, or TensorFlow's names separated by commas, such as ``GPU:0,GPU:2``.
    """

    backbone: str = "mobilenet_v2"
    width: float = 1.0
    size: int = 160
    fit: str = "stretch"
    weights: str = "auto"
    strategy: str | None = None
    trainable_blocks: int | None = None
    truncate: str | None = None
    epochs: int | None = None
    augment: str = "standard"
    views: int | None = None
    batch_size: int = 32
    lr: float | None = None
    label_smoothing: float | None = None
    dropout: float = 0.2
    class_weights: bool = False
    patience: int = 8
    val: float = 0.15
    test: float = 0.15
    on_conflict: str = "error"
    seed: int = 0
    compare_baseline: bool = False
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: float = 0.1
    ema: bool = True
    precision: str = "auto"
    finetune_epochs: int = 0
    finetune_lr: float | None = None
    teacher: str | None = None
    teacher_weight: float = 0.5
    teacher_temperature: float = 2.0
    tensorboard: bool = False
    devices: str = "auto"

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
            "weight_decay": (0, 1),
            "warmup": (0, 0.9),
            "finetune_epochs": (0, 100_000),
            "teacher_weight": (0, 1),
            "teacher_temperature": (1, 20),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"--{name.replace('_', '-')} {value}", why=f"must be {low} to {high}")
        if self.val + self.test > 0.9:
            raise InputError(f"--val {self.val} and --test {self.test}", why="leave less than a tenth for training")
        for name in ("lr", "finetune_lr"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate <= 1:
                raise InputError(f"--{name.replace('_', '-')} {rate}", why="must be over 0 and at most 1")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"--{name} {getattr(self, name)}", why=f"must be one of {', '.join(choices)}")
        check_devices(self.devices)
        if self.optimizer == "adam" and self.weight_decay:
            raise InputError("--weight-decay with --optimizer adam", hint="Adam with weight decay is adamw.")
        if self.finetune_epochs and self.from_scratch:
            raise InputError("--finetune-epochs from scratch", why="every layer is trained already")

    @property
    def from_scratch(self) -> bool:
        """Whether every layer starts from random weights."""
        return self.weights == "none" or self.strategy == "scratch"

    @property
    def peak_lr(self) -> float:
        """Peak learning rate of the second stage."""
        if self.lr is not None:
            return self.lr
        if self.optimizer == "sgd":
            return _SGD_SCRATCH_LR if self.from_scratch else _SGD_LR
        # Early layers are general already (Yosinski et al. 2014, arXiv:1411.1792): with all of them go slower.
        if self.strategy == "all":
            return _ALL_LAYERS_LR_TRUNCATED if self.truncate else _ALL_LAYERS_LR
        return 1e-3 if self.from_scratch else 3e-4

    @property
    def smoothing(self) -> float:
        """Label smoothing of the second stage.

        On 175 held-out photos of flowers, about 190 trained on: with 0.1 and without, the last blocks reached 0.842 and
        0.845 (means of 8 seeds) with a calibration error of 0.131 and 0.087; all layers 0.842 and 0.833 (6 seeds).
        """
        if self.label_smoothing is not None:
            return self.label_smoothing
        return _ALL_LAYERS_SMOOTHING if self.strategy == "all" or self.from_scratch else 0.0

    def for_finetuning(self) -> TrainConfig:
        """Return the settings of the third stage."""
        rate = self.peak_lr / 10 if self.finetune_lr is None else self.finetune_lr
        return replace(self, epochs=self.finetune_epochs, lr=rate)

    @property
    def blocks(self) -> int:
        """How many of the last blocks are trained, after :func:`edgetl.training.strategy.resolve_strategy`."""
        if self.trainable_blocks is None:
            raise ValueError("the strategy is not resolved yet")
        return self.trainable_blocks

    @property
    def resolved_epochs(self) -> int:
        """Epochs of the second stage, after :meth:`for_photos`."""
        if self.epochs is None:
            raise ValueError("epochs are not resolved yet")
        return self.epochs

    @property
    def resolved_views(self) -> int:
        """Views of each photo, after :meth:`for_photos`."""
        if self.views is None:
            raise ValueError("views are not resolved yet")
        return self.views

    def for_photos(self, photos: int) -> TrainConfig:
        """Return the settings with everything resolved for this number of training photos."""
        epochs = self.epochs
        if epochs is None:
            epochs = default_epochs(photos, from_scratch=self.from_scratch, all_layers=self.strategy == "all")
        views = min(_MOST_VIEWS, max(1, math.ceil(epochs / _EPOCHS_A_VIEW))) if self.views is None else self.views
        return replace(self, epochs=epochs, views=views, lr=self.peak_lr, label_smoothing=self.smoothing)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)


def default_epochs(photos: int, *, from_scratch: bool, all_layers: bool = False) -> int:
    """Return how many epochs the second stage takes at most: 16 up to 500 training photos, 8 from 1,000 on.

    With more photos an epoch has more steps, and fewer of them are needed. All layers take three times as many, and
    early stopping; random weights 60, always.
    """
    few = min(16, max(8, 8_000 // max(1, photos)))
    return 60 if from_scratch else 3 * few if all_layers else few
