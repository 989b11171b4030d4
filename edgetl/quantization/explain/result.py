"""The result of an explanation, as objects, documents and table rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.inspection.sqnr import decibels
from edgetl.runs.explain_report import (
    BiasShift,
    ChannelCounts,
    Clipped,
    ExplainedLayer,
    Grid,
    KernelSummary,
    LayerErrors,
)
from edgetl_device._lib.documents import Unknown

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]

_NO_COUNTERPART = Unknown("an input of this operator has no counterpart in the float file")


@dataclass(frozen=True, eq=False)
class Kernel:
    """The constants of a convolution or dense layer in both files, dequantized; arrays are [channels].

    Attributes:
        sqnr_db: Signal-to-quantization-noise ratio of the kernel, in dB.
        low: Lowest weight of each output channel in the int8 file.
        high: Highest weight of each output channel.
        scale: Quantization step of each output channel; a single value if all channels share it.
        bias_shift: Bias of the int8 file minus that of the float file, mostly bias correction, plus a little rounding.
            The part that compensates a moved input scaling is left out.
    """

    sqnr_db: float
    low: Floats
    high: Floats
    scale: Floats
    bias_shift: Floats

    @property
    def zero_channels(self) -> int:
        """Output channels whose int8 weights are all zero."""
        return int(np.count_nonzero((self.low == 0) & (self.high == 0)))

    @property
    def summary(self) -> KernelSummary:
        """The summary for documents; the table has the values of each channel."""
        most = int(np.abs(self.bias_shift).argmax())
        return KernelSummary(
            sqnr_db=decibels(self.sqnr_db),
            widest_range=float((self.high - self.low).max()),
            narrowest_range=float((self.high - self.low).min()),
            zero_channels=self.zero_channels,
            bias_shift=BiasShift(
                mean_abs=float(np.abs(self.bias_shift).mean()), largest=float(self.bias_shift[most]), channel=most
            ),
        )


@dataclass(frozen=True, eq=False)
class Channels:
    """An activation, channel by channel, over all photos; arrays are [channels].

    Attributes:
        low: Lowest value in the float file.
        high: Highest value in the float file.
        int8_low: Lowest value in the int8 file, dequantized.
        int8_high: Highest value in the int8 file, dequantized.
        mean_error: Mean of int8 minus float in the whole file, which bias correction reduces.
        clipped: Number of float values beyond the int8 range by more than half a step.
    """

    low: Floats
    high: Floats
    int8_low: Floats
    int8_high: Floats
    mean_error: Floats
    clipped: Counts

    @property
    def dead(self) -> int:
        """Dead channels: those with a single value over all photos and positions in the float file."""
        return int(np.count_nonzero(self.low == self.high))

    @property
    def flattened(self) -> int:
        """Channels that vary in the float file but have a single value in the int8 file: their information is lost."""
        return int(np.count_nonzero((self.low < self.high) & (self.int8_low == self.int8_high)))


@dataclass(frozen=True, eq=False)
class Layer:
    """One operator of the int8 file.

    Attributes:
        name: The Keras layer it computes.
        operator: Its TFLite name, such as ``CONV_2D``.
        tensor: Name of its output in the int8 file.
        float_tensor: Name of the counterpart in the float file.
        shape: Shape of the output.
        scale: Quantization step of the output.
        reach: Lowest and highest value that the quantized output can have.
        values: Number of output values compared.
        sqnr_db: SQNR of its output in the whole file, including the noise of all layers before it; inf without error.
        alone_sqnr_db: SQNR of its output when only this operator is int8; None if an input has no counterpart.
        answer_error: Mean absolute change of the probabilities when only this operator is int8; None as above.
        largest_error: Largest absolute error of its output in the whole file.
        channels: Its output, channel by channel.
        kernel: Its constants; None where it has none.
    """

    name: str
    operator: str
    tensor: str
    float_tensor: str
    shape: tuple[int, ...]
    scale: float
    reach: tuple[float, float]
    values: int
    sqnr_db: float
    alone_sqnr_db: float | None
    answer_error: float | None
    largest_error: float
    channels: Channels
    kernel: Kernel | None

    @property
    def errors(self) -> LayerErrors:
        """The errors of the layer, for documents."""
        return LayerErrors(
            sqnr_db=decibels(self.sqnr_db),
            alone_sqnr_db=_NO_COUNTERPART if self.alone_sqnr_db is None else decibels(self.alone_sqnr_db),
            answer_error=_NO_COUNTERPART if self.answer_error is None else self.answer_error,
        )

    def explained(self, before: Layer | None) -> ExplainedLayer:
        """Return the layer for documents; ``before`` is the same layer before repair."""
        clipped = int(self.channels.clipped.sum())
        return ExplainedLayer(
            name=self.name,
            operator=self.operator,
            tensor=self.tensor,
            shape=self.shape,
            **vars(self.errors),
            largest_error=self.largest_error,
            float_range=(float(self.channels.low.min()), float(self.channels.high.max())),
            int8_grid=Grid(*self.reach, step=self.scale),
            clipped=Clipped(clipped, clipped / self.values),
            channels=ChannelCounts(len(self.channels.low), self.channels.dead, self.channels.flattened),
            kernel=None if self.kernel is None else self.kernel.summary,
            unrepaired=None if before is None else before.errors,
        )


@dataclass(frozen=True, eq=False)
class Explanation:
    """The error of an int8 file, layer by layer.

    Attributes:
        photos: Number of photos used.
        layers: In the order of the int8 file.
        unmatched: Names of the int8 file's activations that have no counterpart in the float file: not measured.
        answer_error: Mean absolute difference of the probabilities between the two whole files.
        unrepaired: The same for the int8 file before repair, against its own float file; None without repair.
    """

    photos: int
    layers: tuple[Layer, ...]
    unmatched: tuple[str, ...]
    answer_error: float
    unrepaired: Explanation | None = None

    def worst(self, count: int = 1) -> tuple[Layer, ...]:
        """Return the layers with the largest effect on the predictions when they alone are int8, largest first."""
        measured = [layer for layer in self.layers if layer.answer_error is not None]
        return tuple(sorted(measured, key=lambda layer: -(layer.answer_error or 0.0))[:count])

    def unrepaired_layer(self, layer: Layer) -> Layer | None:
        """Return ``layer`` as it was before repair; None if unknown."""
        before = self.unrepaired.layers if self.unrepaired else ()
        return next((other for other in before if other.float_tensor == layer.float_tensor), None)

    def channel_rows(self) -> Iterator[dict[str, str | int]]:
        """Yield one row per channel of each layer; kernel fields are empty if a layer has no kernel."""
        for layer in self.layers:
            channels, kernel = layer.channels, layer.kernel
            for place in range(len(channels.low)):
                yield {
                    "layer": layer.name,
                    "operator": layer.operator,
                    "channel": place,
                    "float_low": _short(channels.low[place]),
                    "float_high": _short(channels.high[place]),
                    "int8_low": _short(channels.int8_low[place]),
                    "int8_high": _short(channels.int8_high[place]),
                    "mean_error": _short(channels.mean_error[place]),
                    "clipped": int(channels.clipped[place]),
                    "weight_low": "" if kernel is None else _short(kernel.low[place]),
                    "weight_high": "" if kernel is None else _short(kernel.high[place]),
                    "weight_scale": "" if kernel is None else _short(kernel.scale[place % len(kernel.scale)]),
                    "bias_shift": "" if kernel is None else _short(kernel.bias_shift[place]),
                }


def _short(value: Any) -> str:
    return f"{float(value):.6g}"
