"""``explain.json``: what the int8 file of a run loses, layer by layer and photo by photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgetl_device.documents import Count, Interval, Percentage, Positive, Sha256, Share, Unknown, optional

DOCUMENT = "explain.json"

Decibels = float | Unknown


@dataclass(frozen=True)
class Int8File:
    """The int8 file: its SHA-256 and its size."""

    sha256: Sha256
    bytes: Positive


@dataclass(frozen=True)
class LayerCost:
    """The layer that costs most.

    Attributes:
        name: The Keras layer.
        operator: Its TFLite name.
        answer_error: Mean absolute change of a probability when it alone is int8.
    """

    name: str
    operator: str
    answer_error: Share


@dataclass(frozen=True)
class LayerErrors:
    """What one layer loses in int8.

    Attributes:
        sqnr_db: Signal-to-quantization-noise ratio of its output in the file as it is, in dB.
        alone_sqnr_db: The same when this operator alone is int8.
        answer_error: Mean absolute change of a probability when this operator alone is int8.
    """

    sqnr_db: Decibels
    alone_sqnr_db: Decibels
    answer_error: Share | Unknown


@dataclass(frozen=True)
class RepairedLayerErrors:
    """What a layer loses in int8, with the mean error of its channels.

    Attributes:
        answer_error: Mean absolute change of a probability when this operator alone is int8.
        alone_sqnr_db: Signal-to-quantization-noise ratio then, in dB.
        sqnr_db: The same in the file as it is.
        mean_channel_error: Mean over channels of the absolute mean error: what bias correction lowers.
    """

    answer_error: Share | Unknown
    alone_sqnr_db: Decibels
    sqnr_db: Decibels
    mean_channel_error: float


@dataclass(frozen=True)
class BiasShift:
    """How far repair moved the biases of a layer: on average, at most, and in which channel that was."""

    mean_abs: float
    largest: float
    channel: Count


@dataclass(frozen=True)
class RepairEffect:
    """The layer that cost most before repair, before and after.

    Attributes:
        name: The Keras layer.
        operator: Its TFLite name.
        before: Before repair.
        after: In the file as it is.
        bias_shift: Of its biases, where it has some.
    """

    name: str
    operator: str
    before: RepairedLayerErrors
    after: RepairedLayerErrors
    bias_shift: BiasShift | None = optional()


@dataclass(frozen=True)
class ClassDrop:
    """One class: how many of its photos each model has right, and the difference with its 95% interval.

    Attributes:
        label: Its name.
        photos: How many photos it has.
        float_correct: How many the float model has right.
        int8_correct: How many the int8 file has right.
        drop_pp: The first minus the second, in percentage points.
        drop_ci95_pp: Its 95% interval.
    """

    label: str
    photos: Positive
    float_correct: Count
    int8_correct: Count
    drop_pp: Percentage
    drop_ci95_pp: Interval


@dataclass(frozen=True)
class Flip:
    """A photo with different predictions of the two models.

    Attributes:
        row: Its place among the photos.
        path: Where it is.
        label: What it shows.
        float_answer: Prediction of the float model.
        float_probability: Its probability.
        int8_answer: Prediction of the int8 model.
        int8_probability: Its probability.
        tied: Whether int8 gives another class exactly the same probability; then the class that comes first counts.
    """

    row: Count
    path: str
    label: str
    float_answer: str
    float_probability: Share
    int8_answer: str
    int8_probability: Share
    tied: bool


@dataclass(frozen=True)
class Flips:
    """Photos with different predictions of the two models, and the number of all photos."""

    photos: Positive
    flipped: tuple[Flip, ...]


@dataclass(frozen=True)
class Grid:
    """The values that an int8 tensor can have: the lowest, the highest, and the step."""

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Clipped:
    """Values of the float file beyond the int8 grid by more than half a step: how many, and their share."""

    values: Count
    share: Share


@dataclass(frozen=True)
class ChannelCounts:
    """The channels of an activation.

    Attributes:
        count: How many there are.
        dead: Those that have one value for all photos in the float file.
        flattened: Those that vary in the float file and have one value in the int8 file.
    """

    count: Positive
    dead: Count
    flattened: Count


@dataclass(frozen=True)
class KernelSummary:
    """The constants of a convolution or dense layer.

    Attributes:
        sqnr_db: Signal-to-quantization-noise ratio of the kernel, in dB.
        widest_range: Of the weights of an output channel in the int8 file.
        narrowest_range: Likewise.
        zero_channels: Output channels whose int8 weights are all zero.
        bias_shift: How far repair moved the biases.
    """

    sqnr_db: Decibels
    widest_range: float
    narrowest_range: float
    zero_channels: Count
    bias_shift: BiasShift


@dataclass(frozen=True)
class ExplainedLayer:
    """One operator of the int8 file.

    Attributes:
        name: The Keras layer it computes.
        operator: Its TFLite name.
        tensor: Name of its output in the int8 file.
        shape: Of the output.
        sqnr_db: Signal-to-quantization-noise ratio of its output in the file as it is, in dB.
        alone_sqnr_db: The same when this operator alone is int8.
        answer_error: Mean absolute change of a probability when this operator alone is int8.
        largest_error: Largest absolute error of its output in the file as it is.
        float_range: Lowest and highest value of its output in the float file.
        int8_grid: The values that its output can have in the int8 file.
        clipped: Values beyond that grid.
        channels: Its output's channels.
        kernel: Its constants, where it has some.
        unrepaired: The same layer before repair.
    """

    name: str
    operator: str
    tensor: str
    shape: tuple[int, ...]
    sqnr_db: Decibels
    alone_sqnr_db: Decibels
    answer_error: Share | Unknown
    largest_error: float
    float_range: Interval
    int8_grid: Grid
    clipped: Clipped
    channels: ChannelCounts
    kernel: KernelSummary | None = optional()
    unrepaired: LayerErrors | None = optional()


@dataclass(frozen=True)
class Unrepaired:
    """The int8 file before repair: mean absolute difference of a probability from the float file."""

    answer_error: Share


@dataclass(frozen=True, kw_only=True)
class ExplainReport:
    """What the int8 TFLite file of a run loses against the float model, layer by layer and photo by photo.

    Attributes:
        producer: The version of edgetl that wrote it.
        int8: The file.
        costs_most: The layer that moves the probabilities most when it alone is int8.
        repair: What repair did to the layer that cost most before it.
        classes: Accuracy by class, of classes that have photos.
        flips: Photos whose prediction changed, by falling confidence of the float model.
        photos: How many photos the layers were measured on.
        answer_error: Mean absolute difference of a probability between the two files.
        layers: In the order of the int8 file.
        unmatched: Activations of the int8 file without a counterpart in the float file: not measured.
        unrepaired: The file before repair.
        files: Pictures, and the table of all channels, in the run directory.
    """

    SCHEMA: ClassVar[str] = "edgetl.explain/1"

    producer: str
    int8: Int8File
    costs_most: LayerCost | None = optional()
    repair: RepairEffect | None = optional()
    classes: tuple[ClassDrop, ...]
    flips: Flips
    photos: Positive
    answer_error: Share
    layers: tuple[ExplainedLayer, ...]
    unmatched: tuple[str, ...]
    unrepaired: Unrepaired | None = optional()
    files: tuple[str, ...]

    def costliest(self, count: int) -> list[tuple[ExplainedLayer, float]]:
        """Return the layers that move the probabilities most when they alone are int8, with how far."""
        measured = [(one, one.answer_error) for one in self.layers if not isinstance(one.answer_error, Unknown)]
        return sorted(measured, key=lambda pair: -pair[1])[:count]
