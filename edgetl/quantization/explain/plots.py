"""Plots of an explanation: error by layer, the channels of one layer, photos whose prediction changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import plain_figures, require
from edgetl.reports.plots import whole_numbers
from edgetl.reports.text import drawn
from edgetl.runs.explain_report import Flip
from edgetl_device.preprocess import image_of

from .result import Explanation, Layer

_FILE, _ALONE, _BEFORE = "#1f77b4", "#2ca02c", "#9aa5b1"
_MAX_NAMED_LAYERS = 90
_TOP_DB = 60.0
_FLIPS_A_ROW, _MAX_FLIPS = 4, 12


@plain_figures()
def error_by_layer(explanation: Explanation, target: Path) -> None:
    """Draw the SQNR of each layer, in the whole file and alone, and its effect on the predictions when alone int8."""
    layers, before = explanation.layers, [explanation.unrepaired_layer(layer) for layer in explanation.layers]
    places = np.arange(len(layers))
    figure = require("matplotlib.figure").Figure(figsize=(max(8.0, 2 + 0.17 * len(layers)), 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(
        places, [_finite(layer.sqnr_db) for layer in layers], color=_FILE, marker="o", markersize=3, label="the file"
    )
    above.plot(
        places,
        [_finite(layer.alone_sqnr_db) for layer in layers],
        color=_ALONE,
        marker="o",
        markersize=3,
        linestyle="",
        label="this layer alone in int8",
    )
    width = 0.8
    if explanation.unrepaired is not None:
        lines = [_finite(layer.sqnr_db if layer else None) for layer in before]
        above.plot(places, lines, color=_BEFORE, linewidth=1, label="the file before repair")
        costs = [_finite(layer.answer_error if layer else None) for layer in before]
        below.bar(places, costs, color=_BEFORE, width=width, label="before repair")
        width = 0.45
    below.bar(
        places, [_finite(layer.answer_error) for layer in layers], color=_ALONE, width=width, label="the file's layer"
    )
    above.set_ylabel("SQNR of the activation, dB")
    # A layer that is nearly exact would squeeze all others.
    above.set_ylim(top=min(above.get_ylim()[1], _TOP_DB))
    above.set_title(
        f"Signal to quantization noise, {explanation.photos} photos (-6 dB: twice the noise; over 60 dB not drawn)",
        fontsize=10,
    )
    below.set_ylabel("mean change of a probability")
    below.set_title("Change of the predictions when only this layer is int8", fontsize=10)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    below.set_xlim(-0.8, len(layers) - 0.2)
    if len(layers) <= _MAX_NAMED_LAYERS:
        below.set_xticks(places, list(map(drawn, _titles(layers))), rotation=90, fontsize=6)
    else:
        below.xaxis.set_major_locator(whole_numbers())
    figure.savefig(target, dpi=130)


@plain_figures()
def channels_of(layer: Layer, before: Layer | None, target: Path) -> None:
    """Draw one layer channel by channel: range of the output, weights, mean error, bias shift."""
    channels, kernel = layer.channels, layer.kernel
    order = np.argsort(channels.high - channels.low)
    places = np.arange(len(order))
    figure = require("matplotlib.figure").Figure(figsize=(9.6, 8.4 if kernel else 5.6), layout="constrained")
    figure.suptitle(f"{drawn(layer.name)} ({layer.operator}), channels by the range of their output", fontsize=11)
    rows = figure.subplots(3 if kernel else 2, 1, sharex=True)
    rows[0].vlines(places, channels.low[order], channels.high[order], color=_FILE, linewidth=1.5)
    for limit in layer.reach:
        rows[0].axhline(limit, color="black", linewidth=0.8, linestyle="--")
    rows[0].set_ylabel("output, float")
    rows[0].set_title(f"Minimum to maximum value; dashed: limits of the int8 range, step {layer.scale:.3g}", fontsize=9)
    if before is not None:
        rows[1].plot(places, before.channels.mean_error[order], ".", color=_BEFORE, markersize=4, label="before repair")
    rows[1].plot(places, channels.mean_error[order], ".", color=_FILE, markersize=4, label="mean error of the output")
    rows[1].axhline(0, color="black", linewidth=0.6)
    rows[1].set_ylabel("int8 minus float")
    rows[1].set_title("Mean error of each channel, which bias correction reduces", fontsize=9)
    if kernel is not None:
        rows[1].plot(places, kernel.bias_shift[order], "x", color="#d62728", markersize=4, label="bias shift")
        rows[2].vlines(places, kernel.low[order], kernel.high[order], color="#9467bd", linewidth=1.5)
        rows[2].set_ylabel("weights, int8 file")
        rows[2].set_title("Minimum to maximum weight (linear near 0, logarithmic beyond)", fontsize=9)
        # Dead channels may have weights a hundred times as large as all others.
        rows[2].set_yscale("symlog", linthresh=max(float(np.median(kernel.high - kernel.low)), 1e-6))
    rows[1].legend(fontsize=8)
    rows[-1].set_xlabel("channels, narrowest output range first")
    rows[-1].xaxis.set_major_locator(whole_numbers())
    for axes in rows:
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=130)


@plain_figures()
def flipped_photos(flips: Sequence[Flip], pixels: Sequence[npt.NDArray[np.uint8]], target: Path) -> None:
    """Draw up to 12 photos on which the models disagree, with a red title if int8 is wrong.

    Args:
        flips: At least one.
        pixels: uint8 [H, W, C] of each.
        target: The PNG to write.
    """
    shown = min(len(flips), _MAX_FLIPS)
    columns = min(shown, _FLIPS_A_ROW)
    rows = math.ceil(shown / columns)
    figure = require("matplotlib.figure").Figure(figsize=(2.6 * columns, 3.0 * rows + 0.3), layout="constrained")
    more = f"; shown: the {shown} of highest float probability" if shown < len(flips) else ""
    figure.suptitle(f"{len(flips)} predictions changed{more}", fontsize=10)
    panels: Any = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, flip, picture in zip(panels, flips, pixels, strict=False):
        axes.imshow(image_of(picture).convert("RGB"))
        axes.set_title(
            f"{drawn(flip.label)}\nfloat: {drawn(flip.float_answer)} {flip.float_probability:.2f}\n"
            f"int8: {drawn(flip.int8_answer)} {flip.int8_probability:.2f}{' (tie)' if flip.tied else ''}",
            fontsize=8,
            color="black" if flip.int8_answer == flip.label else "firebrick",
        )
    figure.savefig(target, dpi=130)


def _titles(layers: Sequence[Layer]) -> list[str]:
    """Return the layers' names, with the operator where a layer has several."""
    count = Counter(layer.name for layer in layers)
    return [layer.name if count[layer.name] == 1 else f"{layer.name} {layer.operator}" for layer in layers]


def _finite(value: float | None) -> float:
    """Return values with NaN, which matplotlib leaves out, where there is no number."""
    return value if value is not None and math.isfinite(value) else math.nan
