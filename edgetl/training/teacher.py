"""Knowledge distillation from a finished run: the teacher's softened predictions on training photos and their views.

Hinton et al. 2015, arXiv:1503.02531.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl.data import Dataset
from edgetl.data.pixels import PixelCache, decode_files
from edgetl.features import frozen_base
from edgetl.features.augment import mixes
from edgetl.runs import float_model
from edgetl.runs.directory import Run
from edgetl_device.errors import InputError, OptionError
from edgetl_device.text import listed, normal_names

from .options import TrainOptions
from .tail import TeacherTargets


def open_teacher(options: TrainOptions) -> Run | None:
    """Open the teacher that the options name, if any.

    Raises:
        InputError: It is not a run, or the augmentation mixes photos.
    """
    if options.teacher is None:
        return None
    if mixes(options.augment):
        raise OptionError(
            "{teacher} with {augment=}",
            why="the teacher cannot classify photos that were mixed at the student's input size",
            hint="Use a preset that does not mix photos.",
            augment=options.augment,
        )
    return Run.open(Path(options.teacher))


def check_teacher(teacher: Run, dataset: Dataset) -> None:
    """Refuse a teacher with other classes, or one trained on photos that the student is evaluated on.

    Raises:
        InputError: Its labels differ, or it was trained on a validation or test photo of this data set.
    """
    if set(normal_names(teacher.labels)) != set(dataset.labels):
        raise InputError(
            f"{teacher.folder}: the teacher has other classes",
            why=f"{listed(teacher.labels)}; the photos have {listed(dataset.labels)}",
        )
    seen = {key for sample in teacher.of("train") for key in (sample.sha256, sample.group)}
    held_out = (*dataset.of("val"), *dataset.of("test"))
    leaked = [sample.path for sample in held_out if sample.sha256 in seen or sample.group in seen]
    if leaked:
        raise InputError(
            f"{teacher.folder}: the teacher was trained on {len(leaked)} photos that are held out here",
            why=f"such as {leaked[0]}: this would leak them to the student",
            hint="Train the teacher on the same split: same photos, --seed, --val and --test.",
        )


def teacher_targets(teacher: Run, dataset: Dataset, options: TrainOptions, *, views: int) -> TeacherTargets:
    """Return the teacher's softened probabilities on the training photos and on their views.

    The teacher gets each photo fitted to its own input size, and the same views at that size: rotations, shifts and
    zooms are relative to the image size, and Keras draws the same ones for every size. Where the ratio of the sides is
    another, a rotation is that of the fitted photo, so that the two see slightly different ones. LiteRT runs the
    teacher, and its logits are cached.

    Args:
        teacher: A run that :func:`check_teacher` accepted.
        dataset: The student's photos.
        options: The student's options.
        views: Number of views of each photo that the student trains on.
    """
    pixels, rows = _pixels(teacher, dataset)
    frozen = frozen_base.freeze_logits(teacher.load_model())
    photos = frozen_base.row_activations(frozen, pixels, rows)
    seen = frozen_base.view_activations(frozen, pixels, rows, preset=options.augment, seed=options.seed, count=views)
    columns = [normal_names(teacher.labels).index(label) for label in dataset.labels]

    def softened(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return float_model.softmax(logits[:, columns] / options.teacher_temperature)

    return TeacherTargets(softened(photos.pooled), [softened(view.pooled) for view in seen])


def _pixels(teacher: Run, dataset: Dataset) -> tuple[PixelCache, npt.NDArray[np.int64]]:
    """Return the training photos as the teacher's input, and their rows."""
    samples = dataset.of("train")
    if teacher.preprocess == dataset.spec:
        return dataset.pixels, dataset.pixels.rows(samples)
    files = {sample.sha256: dataset.folder / sample.path for sample in samples}
    pixels = decode_files(files, teacher.preprocess)
    return pixels, pixels.rows(samples)
