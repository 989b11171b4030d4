"""Runs in MLflow: settings, a metric for every number of every epoch, the pictures of the report, held-out metrics."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgetl._lib.extras import require
from edgetl.data import Split
from edgetl.runs.history import Epoch, HistoryRow
from edgetl.runs.metrics import Metrics
from edgetl_device._lib.documents import to_json
from edgetl_device.errors import InputError
from edgetl_device.options import Value

EXTRA = "mlflow"
# Where MLflow's own programs look, too.
_STORE, _EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
_FOLDER = "mlruns"
# Of the fields of a row, these are no measurements.
_NOT_METRICS = ("stage", "epoch", "fitted_on")


def store_folder(store: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder of a store as :class:`MLflowTracker` takes it; None for a server or a database."""
    place = os.fspath(store or _named_store())
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path)).resolve()
    return None if "://" in place or place == "databricks" else Path(place).resolve()


def _named_store() -> str:
    return os.environ.get(_STORE) or _FOLDER


class MLflowTracker:
    """A run in an MLflow store; MLflow's own state in this process is not touched.

    Args:
        store: Folder, or URI of a server or database; ``$MLFLOW_TRACKING_URI``, else the folder ``mlruns``, when None.
        experiment: Name of the experiment; ``$MLFLOW_EXPERIMENT_NAME``, else ``edgetl``, when None.
        name: Name of the run; MLflow makes one up when None.

    Raises:
        InputError: The store cannot be opened.
        Unavailable: MLflow is not installed.
    """

    def __init__(
        self, store: str | os.PathLike[str] | None = None, *, experiment: str | None = None, name: str | None = None
    ) -> None:
        place, folder = os.fspath(store or _named_store()), store_folder(store)
        if folder is not None:
            place = folder.as_uri()
            # Since 3.13 MLflow opens folders only where this is set.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        client = require("mlflow", extra=EXTRA).MlflowClient
        self._entities = require("mlflow.entities", extra=EXTRA)
        self._name, self._run = name, ""
        self._counts: dict[str, int] = {}
        wanted = experiment or os.environ.get(_EXPERIMENT) or "edgetl"
        try:
            self._client: Any = client(tracking_uri=place)
            found = self._client.get_experiment_by_name(wanted)
            self._experiment: str = found.experiment_id if found else self._client.create_experiment(wanted)
        except (require("mlflow.exceptions", extra=EXTRA).MlflowException, OSError) as error:
            hint = f"${_STORE} names a folder, or the URI of a server or database."
            raise InputError(f"{place}: no MLflow store", why=str(error), hint=hint) from None

    def started(self, settings: Mapping[str, Value]) -> None:
        """Start a run with the settings as its parameters."""
        self._counts.clear()
        self._run = self._client.create_run(self._experiment, run_name=self._name).info.run_id
        given = [self._entities.Param(name, str(value)) for name, value in settings.items() if value is not None]
        self._client.log_batch(self._run, params=given)

    def row(self, row: HistoryRow) -> None:
        """Add a row as ``stage/name``; the step is its epoch, or for the head the number of the fit."""
        count = self._counts[row.stage] = self._counts.get(row.stage, -1) + 1
        values = {name: value for name, value in to_json(row).items() if name not in _NOT_METRICS}
        self._add({f"{row.stage}/{name}": value for name, value in values.items()}, _step(row, count))

    def picture(self, name: str, png: bytes) -> None:
        """Add a picture of the report as an artifact."""
        with tempfile.TemporaryDirectory(prefix="edgetl-mlflow-") as folder:
            file = Path(folder) / f"{name}.png"
            file.write_bytes(png)
            self._client.log_artifact(self._run, str(file))

    def finished(self, metrics: Mapping[Split, Metrics]) -> None:
        """Add the metrics as ``split/name`` and mark the run as finished."""
        for split, found in metrics.items():
            values = {"accuracy": found.accuracy.top1, "macro_f1": found.macro_f1}
            if found.calibration_error:
                values["ece"] = found.calibration_error.ece
            self._add({f"{split}/{name}": value for name, value in values.items()}, 0)
        self._end("FINISHED")

    def close(self) -> None:
        """Mark a run that did not get to its end as failed."""
        if self._run:
            self._end("FAILED")

    def _add(self, values: Mapping[str, float], step: int) -> None:
        now_ms = int(time.time() * 1000)
        added = [self._entities.Metric(name, float(value), now_ms, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=added)

    def _end(self, status: str) -> None:
        self._client.set_terminated(self._run, status=status)
        self._run = ""


def _step(row: HistoryRow, count: int) -> int:
    return row.epoch if isinstance(row, Epoch) else count
