"""``explain.json``: quantization errors of a run's int8 file, by layer and by photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgetl_device._lib.documents import Count, Interval, Percentage, Positive, Sha256, Share, Unknown, optional

DOCUMENT = "explain.json"

Decibels = float | Unknown


@dataclass(frozen=True)
class Int8File:
    """The int8 file: SHA-256 and size in bytes."""

    sha256: Sha256
    bytes: Positive


@dataclass(frozen=True)
class LayerCost:
    """The layer with the largest quantization error.

    Attributes:
        name: Name of the Keras layer.
        operator: TFLite operator.
        answer_error: Mean absolute change of a probability with only this operator in int8.
    """

    name: str
    operator: str
    answer_error: Share


@dataclass(frozen=True)
class LayerErrors:
    """Quantization errors of a layer.

    Attributes:
        sqnr_db: Signal-to-quantization-noise ratio of the output in the full int8 model, in dB.
        alone_sqnr_db: Signal-to-quantization-noise ratio with only this operator in int8, in dB.
        answer_error: Mean absolute change of a probability with only this operator in int8.
    """

    sqnr_db: Decibels
    alone_sqnr_db: Decibels
    answer_error: Share | Unknown


@dataclass(frozen=True)
class RepairedLayerErrors:
    """Quantization errors of a layer, with the mean error of its channels.

    Attributes:
        answer_error: Mean absolute change of a probability with only this operator in int8.
        alone_sqnr_db: Signal-to-quantization-noise ratio with only this operator in int8, in dB.
        sqnr_db: Signal-to-quantization-noise ratio in the full int8 model, in dB.
        mean_channel_error: Absolute mean error of a channel, averaged over channels; bias correction lowers it.
    """

    answer_error: Share | Unknown
    alone_sqnr_db: Decibels
    sqnr_db: Decibels
    mean_channel_error: float


@dataclass(frozen=True)
class BiasShift:
    """Change of a layer's biases by repair: mean, maximum, and the channel of the maximum."""

    mean_abs: float
    largest: float
    channel: Count


@dataclass(frozen=True)
class RepairEffect:
    """Effect of repair on the layer with the largest error before it.

    Attributes:
        name: Name of the Keras layer.
        operator: TFLite operator.
        before: Errors before repair.
        after: Errors after repair.
        bias_shift: Change of the biases, if the layer has any.
    """

    name: str
    operator: str
    before: RepairedLayerErrors
    after: RepairedLayerErrors
    bias_shift: BiasShift | None = optional()


@dataclass(frozen=True)
class ClassDrop:
    """Accuracy drop of one class.

    Attributes:
        label: Class name.
        photos: Number of photos.
        float_correct: Number of correct predictions of the float model.
        int8_correct: Number of correct predictions of the int8 model.
        drop_pp: Accuracy of float minus int8, in percentage points.
        drop_ci95_pp: 95% confidence interval of the drop, in percentage points.
    """

    label: str
    photos: Positive
    float_correct: Count
    int8_correct: Count
    drop_pp: Percentage
    drop_ci95_pp: Interval


@dataclass(frozen=True)
class Flip:
    """A photo whose prediction differs between float and int8.

    Attributes:
        row: Index among the photos.
        path: Path of the photo.
        label: True class.
        float_answer: Class predicted by the float model.
        float_probability: Probability of that class.
        int8_answer: Class predicted by the int8 model.
        int8_probability: Probability of that class.
        tied: Whether int8 gives another class the same probability; the first class then counts.
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
    """Photos whose prediction differs between float and int8, and the total number of photos."""

    photos: Positive
    flipped: tuple[Flip, ...]


@dataclass(frozen=True)
class Grid:
    """Quantization grid of an int8 tensor: lowest value, highest value, step."""

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Clipped:
    """Float values more than half a step outside the int8 grid: count and share."""

    values: Count
    share: Share


@dataclass(frozen=True)
class ChannelCounts:
    """The channels of an activation.

    Attributes:
        count: Number of channels.
        dead: Channels that are constant over all photos in the float model.
        flattened: Channels that vary in the float model but are constant in int8.
    """

    count: Positive
    dead: Count
    flattened: Count


@dataclass(frozen=True)
class KernelSummary:
    """The weights of a convolution or dense layer.

    Attributes:
        sqnr_db: Signal-to-quantization-noise ratio of the kernel, in dB.
        widest_range: Widest weight range of an output channel in the int8 file.
        narrowest_range: Narrowest weight range of an output channel in the int8 file.
        zero_channels: Output channels whose int8 weights are all zero.
        bias_shift: Change of the biases by repair.
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
        name: Name of the Keras layer.
        operator: TFLite operator.
        tensor: Name of the output tensor in the int8 file.
        shape: Shape of the output.
        sqnr_db: Signal-to-quantization-noise ratio of the output in the full int8 model, in dB.
        alone_sqnr_db: Signal-to-quantization-noise ratio with only this operator in int8, in dB.
        answer_error: Mean absolute change of a probability with only this operator in int8.
        largest_error: Largest absolute error of the output in the full int8 model.
        float_range: Lowest and highest output value in the float model.
        int8_grid: Quantization grid of the output.
        clipped: Float values outside that grid.
        channels: Channels of the output.
        kernel: Weights of the layer, if it has any.
        unrepaired: Errors of the layer before repair.
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
    """The int8 file before repair: mean absolute difference of a probability from the float model."""

    answer_error: Share


@dataclass(frozen=True, kw_only=True)
class ExplainReport:
    """Quantization errors of a run's int8 TFLite file, by layer and by photo.

    Attributes:
        producer: Version of edgetl that wrote the file.
        int8: The int8 file.
        costs_most: Layer that changes the probabilities most when only it is int8.
        repair: Effect of repair on the layer with the largest error before it.
        classes: Accuracy drop of each class that has photos.
        flips: Photos whose prediction changed, by descending confidence of the float model.
        photos: Number of photos used to measure the layers.
        answer_error: Mean absolute difference of a probability between float and int8.
        layers: Layers in the order of the int8 file.
        unmatched: Activations of the int8 file without a counterpart in the float file; not measured.
        unrepaired: The int8 file before repair.
        files: Plots and the table of all channels, in the run directory.
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
        """Return the layers with the largest ``answer_error``, and that error."""
        measured = [(one, one.answer_error) for one in self.layers if not isinstance(one.answer_error, Unknown)]
        return sorted(measured, key=lambda pair: -pair[1])[:count]
