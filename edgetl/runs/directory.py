"""The run directory: what ``edgetl train`` writes and every later command reads."""

from __future__ import annotations

import glob
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetl._lib.owned import Kind, bundle_files, check_replaceable
from edgetl.data import Sample, Split, photos_folder, read_split
from edgetl_device._lib import documents
from edgetl_device._lib.files import heal, sha256_file
from edgetl_device._lib.given import advice
from edgetl_device.errors import InputError
from edgetl_device.preprocess import Preprocess
from edgetl_device.truth import Truth

from . import confusion, model_card, predictions
from .confusion import Confusion
from .document import RunDocument
from .metrics import Metrics
from .model_file import read_model

DOCUMENT = "run.json"

# Location of the photos on this machine. Leave it out when you share a run.
DATA_ROOT = "data_root.txt"

# Pictures that edgetl drew for a model that was imported without photos.
DRAWN = "drawn"

# Photos of the runs before one that training started from, as in split.csv; only those that are not in it.
EARLIER = "earlier.csv"

# All files that commands write to a run directory by default.
_FILES = (
    "run.json",
    "model.keras",
    "original.*",
    "split.csv",
    DATA_ROOT,
    f"{DRAWN}/*.jpg",
    f"{DRAWN}/*.png",
    EARLIER,
    "history.csv",
    "predictions.csv",
    confusion.FILE,
    "report.html",
    model_card.FILE,
    "plots/curves.png",
    "plots/confusion_*.png",
    "plots/photos_*.png",
    "tensorboard/*/events.out.tfevents.*",
    "quantize.json",
    "explain.json",
    "explain/*.png",
    "explain/channels.csv",
    "bundle.edgetpu.json",
    "bundle.lock",
    "saved_model/*.pb",
    "saved_model/variables/variables.*",
)
_EXPORTS = ("float32", "float16", "dynamic", "int8")


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        folder: The run directory.
        document: Content of ``run.json``.
        samples: All photos with their splits.
    """

    folder: Path
    document: RunDocument
    samples: tuple[Sample, ...]

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read a run directory.

        Raises:
            InputError: ``folder`` is not a run directory, or its files are damaged.
        """
        heal(folder)
        if not (folder / DOCUMENT).is_file():
            found = os.path.lexists(folder)
            raise InputError(
                f"{folder}: {'is not a run' if found else 'no such run'}",
                why=f"it has no {DOCUMENT}" if found else "",
                hint=advice(folder, "Give the folder that edgetl train wrote."),
            )
        document = documents.read(RunDocument, folder / DOCUMENT)
        samples = read_split(folder / "split.csv")
        if unknown := {sample.label for sample in samples} - set(document.labels):
            raise InputError(
                f"{folder / 'split.csv'}: has photos of {min(unknown)}, which is not a class of {DOCUMENT}",
                hint="The run is damaged or edited; train again.",
            )
        return cls(folder, document, samples)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs."""
        return self.document.labels

    @property
    def preprocess(self) -> Preprocess:
        """Preprocessing from photo to model input."""
        return self.document.preprocess

    @property
    def truth(self) -> Truth:
        """What the labels of its photos are: those that people gave, or the answers of the original model."""
        return self.document.dataset.truth

    @property
    def data_root(self) -> Path:
        """Path of the data set, folder or file; photo paths are relative to :meth:`photos_folder`."""
        if self.truth == "model":
            return self.folder / DRAWN
        place = self.folder / DATA_ROOT
        return Path(os.fsdecode(place.read_bytes()) if place.is_file() else self.document.dataset.root)

    def photos_folder(self, data: Path | None = None) -> Path:
        """Return the folder that the photos' paths are relative to.

        Args:
            data: The data set, folder or file, if it has moved since training.

        Raises:
            InputError: The data set no longer exists, or the run was imported without photos.
        """
        if self.truth == "labels":
            return photos_folder(data or self.data_root)
        if data is not None:
            raise InputError(
                f"--data {data}: {self.folder.name} was imported without photos, so there are none to find",
                hint="Leave out --data, or import the model again with it.",
            )
        return self.data_root

    @property
    def labelled(self) -> tuple[Sample, ...]:
        """Its photos, with the labels that people gave them; none of a model that was imported without photos."""
        return self.samples if self.truth == "labels" else ()

    @property
    def earlier(self) -> tuple[Sample, ...]:
        """Photos of the runs that this one goes back to, with the splits that they had; none of its own.

        Raises:
            InputError: Their list is damaged.
        """
        path = self.folder / EARLIER
        return read_split(path) if path.is_file() else ()

    def of(self, split: Split) -> tuple[Sample, ...]:
        """Return the samples of one split."""
        return tuple(sample for sample in self.samples if sample.split == split)

    @property
    def held_out(self) -> Split:
        """The split that metrics are reported on: test, else validation.

        Raises:
            InputError: The run has neither.
        """
        for split in ("test", "val"):
            if self.of(split):
                return split
        raise InputError(
            f"{self.folder}: no photos were held out",
            hint="Train again with at least 3 photos a class, and --val or --test greater than 0.",
        )

    def metrics(self, split: Split) -> Metrics:
        """Return the metrics that training measured on one split.

        Raises:
            InputError: ``run.json`` has none for this split.
        """
        if split not in self.document.metrics:
            raise InputError(
                f"{self.folder / DOCUMENT}: has no metrics of the {split} photos",
                hint="The file is edited; train again.",
            )
        return self.document.metrics[split]

    def confusion(self, split: Split) -> Confusion:
        """Return which classes the model confused on the held-out photos of one split.

        Raises:
            InputError: ``confusion.csv``, or ``predictions.csv`` of an earlier version's run, is damaged, or counts
                other photos than ``run.json``.
        """
        path = self.folder / confusion.FILE
        if path.exists():
            cells = confusion.read_confusion(path).get(split, ())
        else:  # earlier versions had it in run.json as a matrix; their predictions give the same
            path = self.folder / predictions.FILE
            found = [one for one in predictions.read_predictions(path) if one.split == split]
            cells = confusion.confusion_of(((one.label, one.predicted) for one in found), self.labels)
        if unknown := {name for cell in cells for name in (cell.label, cell.predicted)} - set(self.labels):
            raise InputError(f"{path}: names {min(unknown)!r}, which is not a class of {DOCUMENT}", hint="Train again.")
        photos = Counter[str]()
        for cell in cells:
            photos[cell.label] += cell.photos
        metrics = self.metrics(split)
        right = sum(cell.photos for cell in cells if cell.label == cell.predicted)
        measured = {one.label: one.photos for one in metrics.per_class if one.photos}
        if right != metrics.accuracy.correct or photos != measured:
            raise InputError(
                f"{path}: counts other {split} photos than {DOCUMENT}",
                why="the file is damaged, edited, or of another run",
                hint="Train again.",
            )
        return cells

    def load_model(self) -> Any:
        """Return the trained keras.Model.

        Raises:
            InputError: The file is missing or does not match the recorded hash.
            Unavailable: Another version of Keras wrote it, and the installed one cannot build the network.
        """
        path = self.folder / "model.keras"
        if not path.is_file():
            raise InputError(f"{path}: no such file", hint="Train again.")
        if sha256_file(path) != self.document.model.sha256:
            raise InputError(f"{path}: was changed after training", why="its hash differs from run.json")
        return read_model(path, made_with=self.document.versions.get("keras", ""))


def check_run_replaceable(folder: Path) -> None:
    """Check that a folder is a run directory without foreign files, so that it may be replaced.

    Raises:
        InputError: It is not a run, or has files or words that edgetl did not write.
    """
    heal(folder)
    heal(folder / "bundle")
    exports = [f"{name}.tflite" for name in _EXPORTS]
    exports += [f"{name}{layout}.onnx" for name in _EXPORTS for layout in ("", "-nchw")]
    exports += [glob.escape(folder.resolve().name) + suffix for suffix in (".c", ".h")]
    bundle = [f"bundle/{name}" for name in ("bundle.json", *bundle_files(folder / "bundle"))]
    kind = Kind("a run", DOCUMENT, RunDocument.SCHEMA, (*_FILES, *exports, *bundle), tuple(RunDocument.OLDER))
    check_replaceable(folder, kind, hint="Move it away, or choose another place with --out.")
    if model_card.read_words(folder / model_card.FILE).any:
        raise InputError(
            f"{folder / model_card.FILE}: is filled in, and would be lost with the run",
            hint="Move the file away, or choose another place with --out.",
        )


def check_new_run(out: Path, *, overwrite: bool) -> None:
    """Check that a run can be written to ``out``, before the work for it begins.

    Raises:
        InputError: The place is not writable, is no run, or is one and ``overwrite`` is not set.
    """
    parent = next(folder for folder in out.resolve().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: {parent} is not writable", hint="Choose another place with --out.")
    heal(out)
    if not out.exists():
        return
    if not (out / DOCUMENT).is_file():
        raise InputError(f"{out}: exists and is not a run", hint="Choose another place with --out.")
    if not overwrite:
        raise InputError(f"{out}: exists already", hint="Choose another place with --out, or give --overwrite.")
    check_run_replaceable(out)


def default_folder(data: Path) -> Path:
    """Return the default run directory of a data set: ``runs/<its name>``."""
    return Path("runs") / (data.stem if data.is_file() else data.resolve().name)


def write_data_root(folder: Path, root: Path) -> None:
    """Record the data set's path on this machine; ``run.json`` has only its name, so that it can be shared."""
    (folder / DATA_ROOT).write_bytes(os.fsencode(root.resolve()))
