"""Plot the accuracy of probes by depth over the cost of a network truncated there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetl._lib.extras import plain_figures, require

from .run import Advice, BackboneAdvice

_COLOURS = ("#1f77b4", "#d9822b", "#3a9a5b", "#8e5ea2")


@plain_figures()
def draw(advice: Advice, target: Path) -> None:
    """Write a PNG: probes with their 95% intervals over the multiply-adds and bytes of a network truncated there."""
    figure = require("matplotlib.figure").Figure(figsize=(11.0, 4.6), layout="constrained")
    figure.suptitle(
        f"Linear probes at every block: {advice.probed_photos:,} training photos, {advice.photos.classes} classes, "
        f"{advice.photos.size.px}",
        fontsize=11,
    )
    panels = zip(
        figure.subplots(1, 2, sharey=True),
        (("multiply_adds", "multiply-adds, millions"), ("int8_bytes", "int8 file, MB (estimated)")),
        strict=True,
    )
    for axes, (cost, name) in panels:
        for one, colour in zip(advice.backbones, _COLOURS * len(advice.backbones), strict=False):
            _curve(axes, one, cost, colour)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
        axes.set_title("ring: where the recommended network ends", fontsize=9)
        if cost == "int8_bytes":
            # Most weights are in the last blocks: on a linear axis the others would coincide.
            axes.set_xscale("log")
            ticker = require("matplotlib.ticker")
            axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        if cost == "multiply_adds":
            axes.set_ylabel("top-1 of the probe, %, with its 95% interval")
            axes.legend(loc="lower right", fontsize=9)
    figure.savefig(target, dpi=130, format="png")


def _curve(axes: Any, one: BackboneAdvice, cost: str, colour: str) -> None:
    rows = [probed.record for probed in one.probed]
    costs = [getattr(row, cost) / 1e6 for row in rows]
    top1 = [100 * row.accuracy.top1 for row in rows]
    low, high = ([100 * row.accuracy.ci95[side] for row in rows] for side in (0, 1))
    axes.fill_between(costs, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(costs, top1, marker="o", markersize=4, color=colour, label=one.name)
    ends = one.recommendation.truncate
    place = next((index for index, row in enumerate(rows) if row.block == ends), len(rows) - 1)
    axes.plot(costs[place], top1[place], marker="o", markersize=11, fillstyle="none", color=colour, markeredgewidth=1.8)
    what = f"ends at {ends}" if ends else "whole"
    axes.annotate(
        what,
        (costs[place], top1[place]),
        xytext=(0, 12),
        textcoords="offset points",
        ha="center",
        color=colour,
        fontsize=9,
    )
