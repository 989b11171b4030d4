"""The files of a run directory: model, history, split, report, and ``run.json``, which describes them all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgetl import __version__
from edgetl.data import write_split
from edgetl.runs.directory import DOCUMENT, EARLIER, Run, write_data_root
from edgetl.runs.document import (
    Baseline,
    ResumedFrom,
    RunDocument,
    TeacherRecord,
    TrainedModel,
    TrainedSettings,
)
from edgetl.runs.history import write_history
from edgetl.runs.model_file import write_model
from edgetl.runs.provenance import library_versions
from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_file
from edgetl_device._lib.times import created
from edgetl_device.options import command_text

from .plan import Decision, TrainPlan
from .report import write_report
from .resume_state import EVENTS, Request
from .stages import TrainingContext, best_epoch, has_later_stages, rows_of
from .start import earlier_photos
from .temperature import calibrate

_MODEL = "model.keras"
# Options that may be paths. For values such as ``auto`` the last part is the value itself.
_PATHS = ("weights", "from_run", "teacher")
# Frozen layers are run by LiteRT.
LIBRARIES = ("ai-edge-litert",)


def write_run(
    folder: Path,
    context: TrainingContext,
    *,
    request: Request,
    decision: Decision,
    interrupted: bool,
    started: float,
    baseline: Callable[[], Baseline | None] | None,
) -> None:
    """Write all files of a run directory.

    Args:
        folder: An existing empty folder.
        context: The training context after all stages.
        request: The request; TensorBoard's logs are in its folder.
        decision: The training decision, with its reasons.
        interrupted: Whether Ctrl-C ended training early.
        started: Start time by ``time.perf_counter``.
        baseline: Function that trains the baseline; None without one.
    """
    dataset, plan, history, timer = context.dataset, context.plan, context.log.history, context.timer
    with timer.stage("temperature"):
        temperature = calibrate(context.network, dataset)
    write_model(context.network, folder / _MODEL)
    seconds_to_model = time.perf_counter() - started
    write_history(folder / "history.csv", history)
    write_split(folder / "split.csv", dataset.samples)
    if earlier := earlier_photos(decision.start, dataset):
        write_split(folder / EARLIER, earlier)
    write_data_root(folder, dataset.root)
    compared = None
    if baseline:
        with timer.stage("baseline"):
            compared = baseline()
    trackers = context.log.trackers
    with timer.stage("report"):
        metrics, scores = write_report(context.network, dataset, history, folder, trackers)
    for tracker in trackers:
        tracker.finished(metrics)
    context.log.end()
    if request.options.tensorboard:
        shutil.copytree(request.folder / EVENTS, folder / EVENTS)
    start, file = context.log.start, context.log.file
    document = RunDocument(
        producer=f"edgetl {__version__}",
        created=created(),
        run_id=request.run_id,
        config=settings_of(plan),
        labels=dataset.labels,
        preprocess=dataset.spec,
        dataset=replace(dataset.describe(), root=dataset.root.resolve().name),
        weights=decision.weights.record,
        strategy=decision.record,
        model=TrainedModel(
            file=_MODEL,
            bytes=(folder / _MODEL).stat().st_size,
            sha256=sha256_file(folder / _MODEL),
            parameters=int(context.network.count_params()),
            cut_layer=context.cut,
            best_epoch=best_epoch(history, "blocks"),
        ),
        interrupted=interrupted,
        devices=context.devices if has_later_stages(plan) else (),
        metrics=metrics,
        temperature=temperature.described(scores, {split: rows_of(dataset, split)[1] for split in scores}),
        baseline=compared,
        stages=tuple(timer.stages),
        seconds_to_model=round(seconds_to_model, 3),
        seconds=round(time.perf_counter() - started, 3),
        versions=library_versions(*LIBRARIES),
        resumed=ResumedFrom(start.stage, start.epoch, file.moved_from or None) if start and file else None,
        teacher=_describe_teacher(context.teacher) if context.teacher else None,
        started_from=decision.started_from,
        command=command_text(["edgetl", "train", str(dataset.root)], request.options),
    )
    documents.write(folder / DOCUMENT, document)


def settings_of(plan: TrainPlan) -> TrainedSettings:
    """Return the settings of a plan, with only the last part of paths."""
    settings = plan.by_name()
    paths = {name: str(settings[name]) for name in _PATHS if settings[name]}
    return TrainedSettings.of(settings | {name: Path(path).resolve().name for name, path in paths.items()})


def _describe_teacher(teacher: Run) -> TeacherRecord:
    config, metrics = teacher.document.config, teacher.document.metrics
    return TeacherRecord(
        sha256=teacher.document.model.sha256,
        backbone=config.backbone,
        width=config.width,
        size=teacher.preprocess.size,
        metrics={split: one.accuracy for split, one in metrics.items()} if teacher.truth == "labels" else {},
    )
