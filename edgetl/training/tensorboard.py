"""TensorBoard logs of a run: scalars of every epoch, confusion matrices, photos with their predictions.

They are written with ``tf.summary``, so neither training nor reading the files back needs TensorBoard.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgetl._lib.extras import tensorflow
from edgetl._lib.owned import remove
from edgetl.data import Split
from edgetl.runs.history import Epoch, HistoryRow
from edgetl.runs.metrics import Metrics
from edgetl_device.options import Value

EVENT_FILES = ("*/events.out.tfevents.*",)
_SCALARS = ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds")


class EventLog:
    """Event files in a folder, one subfolder per stage: TensorBoard draws each as a separate curve.

    Args:
        folder: The folder; existing event files in it are removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        remove(folder, EVENT_FILES)

    def started(self, settings: Mapping[str, Value]) -> None:
        """Do nothing: the settings are in ``run.json``."""

    def row(self, row: HistoryRow) -> None:
        """Add a row of the history; the step is its epoch, or for the head the number of the fit."""
        count = self._counts[row.stage] = self._counts.get(row.stage, -1) + 1
        at = row.epoch if isinstance(row, Epoch) else count
        for name in _SCALARS:
            if (value := getattr(row, name, None)) is not None:
                self._write(row.stage, name, float(value), at, kind="scalars")

    def picture(self, name: str, png: bytes) -> None:
        """Add a picture, a PNG file's bytes."""
        width, height = struct.unpack(">II", png[16:24])  # PNG specification, 11.2.1: IHDR comes first
        self._write("pictures", name, [str(width).encode(), str(height).encode(), png], 0, kind="images")

    def finished(self, metrics: Mapping[Split, Metrics]) -> None:
        """Do nothing: the metrics are in ``run.json``."""

    def close(self) -> None:
        """Flush and close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, stage: str, name: str, value: Any, step: int, *, kind: str) -> None:
        tf = tensorflow()
        if stage not in self._writers:
            # Flush after every epoch: epochs are seconds apart.
            self._writers[stage] = tf.summary.create_file_writer(str(self._folder / stage), max_queue=0)
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data={"plugin_name": kind},
            data_class="DATA_CLASS_SCALAR" if kind == "scalars" else "DATA_CLASS_BLOB_SEQUENCE",
        )
        with self._writers[stage].as_default():
            tf.summary.write(name, tf.constant(value), step=step, metadata=metadata)
