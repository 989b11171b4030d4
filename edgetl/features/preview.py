"""A contact sheet of training photos and their augmented views, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from edgetl._lib.progress import track
from edgetl.data import Dataset, stratified_sample, targets_of
from edgetl.features import frozen_base
from edgetl.features.augment import check_preset
from edgetl_device.preprocess import image_of

_MARGIN, _TEXT = 6, 14
_INK, _PAPER = (23, 28, 36), (255, 255, 255)


@dataclass(frozen=True)
class Row:
    """A photo with its views.

    Attributes:
        captions: Text under the photo and each view.
        pictures: uint8 [1 + views, H, W, C], the photo first.
    """

    captions: tuple[str, ...]
    pictures: npt.NDArray[np.uint8]


def preview(dataset: Dataset, *, preset: str, seed: int, photos: int, views: int) -> list[Row]:
    """Return some training photos with their first views, exactly those that training with the same seed draws.

    A view depends on how many were drawn before it, so all views up to the last one shown are drawn.

    Args:
        dataset: Photos with their split.
        preset: A name in :data:`edgetl.features.augment.PRESETS`.
        seed: Training's seed: it decides the views and which photos are shown, stratified by class.
        photos: Number of rows, at most the number of training photos.
        views: Views per photo.

    Raises:
        InputError: There is no preset of this name.
    """
    check_preset(preset)
    samples = dataset.of("train")
    rows = dataset.pixels.rows(samples)
    places = {sample.path: place for place, sample in enumerate(samples)}
    chosen = sorted(places[sample.path] for sample in stratified_sample(samples, count=photos, seed=seed))
    targets = targets_of(samples, dataset.labels)
    shown = frozen_base.view_targets(
        targets, classes=len(dataset.labels), size=dataset.spec.size, preset=preset, seed=seed, count=views
    )
    found = _views(dataset, rows, chosen, preset, seed, views)
    return [
        Row(
            captions=(f"{preset}: {samples[photo].label}", *_captions(shown, photo, dataset.labels, views)),
            pictures=np.stack([dataset.pixels.array[rows[photo]], *pictures]),
        )
        for photo, pictures in zip(chosen, found, strict=True)
    ]


def grid(rows: Sequence[Row]) -> Image.Image:
    """Draw rows of the same length as one image."""
    columns, height, width = rows[0].pictures.shape[:3]
    cell, line = width + _MARGIN, height + _TEXT + _MARGIN
    sheet = Image.new("RGB", (columns * cell + _MARGIN, len(rows) * line + _MARGIN), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for y, row in enumerate(rows):
        for x, (picture, caption) in enumerate(zip(row.pictures, row.captions, strict=True)):
            left, top = _MARGIN + x * cell, _MARGIN + y * line
            sheet.paste(image_of(picture), (left, top))
            while caption and pen.textlength(caption, font) > width:
                caption = caption[:-1]
            pen.text((left, top + height), caption, _INK, font)
    return sheet


def _views(
    dataset: Dataset, rows: npt.NDArray[np.int64], chosen: Sequence[int], preset: str, seed: int, views: int
) -> npt.NDArray[np.uint8]:
    """Return the views of the chosen photos, uint8 [chosen, views, H, W, C]."""
    wanted = {view * len(rows) + photo: (row, view) for row, photo in enumerate(chosen) for view in range(views)}
    found = np.empty((len(chosen), views, *dataset.spec.size.shape), np.uint8)
    missing = len(wanted)
    with track(f"Views, {preset}", views * len(rows)) as advance:
        for places, pictures in frozen_base.draw_views(dataset.pixels, rows, preset, seed, views):
            for place, picture in zip(places.tolist(), pictures, strict=True):
                if place in wanted:
                    found[wanted[place]] = picture
                    missing -= 1
            advance(len(places))
            if not missing:
                break
    return found


def _captions(shown: list[npt.NDArray[np.float32]] | None, photo: int, labels: Sequence[str], views: int) -> list[str]:
    """Return the label of each mixed view: ``0.70 gear + 0.30 bolt``."""
    if shown is None:
        return [""] * views
    return [
        " + ".join(f"{view[photo][place]:.2f} {labels[place]}" for place in np.argsort(-view[photo])[:2])
        if view[photo].max() < 0.995
        else labels[int(view[photo].argmax())]
        for view in shown
    ]
