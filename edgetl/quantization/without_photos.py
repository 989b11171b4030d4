"""What quantizing a model that was imported without photos cannot do, and why."""

from __future__ import annotations

from edgetl.runs.directory import Run
from edgetl_device.errors import InputError

from .options import QuantizeOptions

_REASONS = {
    "max_drop": "accuracy is measured on labelled photos, and it has none",
    "min_agreement": "int8 files are chosen on validation photos: agreement on drawn pictures says little of photos",
    "unknown": "unknown photos are told by the features of training photos, and it has none",
    "explain": "the errors of layers are measured on photos, and it has drawn pictures only",
}


def check_without_photos(run: Run, options: QuantizeOptions) -> None:
    """Refuse options that need photos of a run that was imported without any.

    Raises:
        InputError: One of them was given, or int8 files are to be made without photos to set their ranges on.
    """
    if run.truth == "labels":
        return
    for name in options.changed():
        if name in _REASONS:
            raise InputError(
                f"{{{name}=}}: {run.folder} was imported without photos",
                why=_REASONS[name],
                hint=f"Leave out {{{name}}}, or import the model again with {{data}}.",
                options={name: getattr(options, name)},
            )
    if options.int8 and options.int8_file is None and options.calibration_photos is None:
        raise needs_calibration_photos(run)


def needs_calibration_photos(run: Run) -> InputError:
    """Return the error for int8 files of a run that was imported without photos."""
    return InputError(
        f"{run.folder}: int8 needs photos, and the model was imported without any",
        why="the ranges of its layers are set on photos like those that it will see, which drawn pictures are not",
        hint="Give a folder of photos, without labels: edgetl quantize with {calibration_photos} DIR; or make float "
        "files only: {int8=}; or import the model again with {data}.",
        options={"int8": False},
    )
