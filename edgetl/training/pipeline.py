"""Photos to a run directory: data, network, stages, files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgetl._lib.extras import check_installed, keras, require
from edgetl._lib.lock import bundle_locked
from edgetl._lib.progress import note
from edgetl.data import Dataset, load_dataset, require_training
from edgetl.data.readers.source import check_source, refuse_inside
from edgetl.runs.directory import Run, check_new_run, check_run_replaceable
from edgetl.runs.document import Baseline
from edgetl.runs.provenance import StageTimer, library_versions
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.files import atomic_path, heal
from edgetl_device.errors import OptionError
from edgetl_device.options import Value

from .baseline import train_baseline
from .checkpoint import CheckpointFile
from .determinism import deterministic
from .devices import hardware_of, training_devices
from .log import TrainingLog
from .mlflow import MLflowTracker, store_folder
from .network import build_network, cut_layer
from .options import TrainOptions
from .plan import Decision, TrainPlan, check_request, decide
from .resume_state import (
    EVENTS,
    Request,
    check_photos,
    check_place,
    discard,
    finished,
    locked,
    read_request,
    refuse_leftover,
)
from .run_files import LIBRARIES, settings_of, write_run
from .stages import TrainingContext, check_teachable, has_later_stages, run_stages
from .start import Start, in_its_order, refuse_own_place, start_of
from .teacher import check_teacher, open_teacher
from .tensorboard import EventLog
from .trackers import AnyTracker, trackers_of

CheckLabels = Callable[[tuple[str, ...]], None]


def train(
    root: Path,
    out: Path,
    options: TrainOptions,
    *,
    overwrite: bool = False,
    check_labels: CheckLabels | None = None,
    trackers: Sequence[AnyTracker] = (),
    dataset: Dataset | None = None,
) -> Run:
    """Train a classifier and write its run directory.

    The directory appears once it is complete. Until then the state after each epoch is kept next to it, in
    ``RUN.unfinished``, for :func:`resume`. Ctrl-C during the later stages ends training: the best weights so far are
    kept, and ``run.json`` records the interruption.

    Args:
        root: The data set.
        out: The run directory to write.
        options: Options of the run.
        overwrite: Replace an existing run, finished or not.
        check_labels: Called with the classes once the photos are read; what it raises ends the run before training.
        trackers: What follows the run; a function is called with each row of the history.
        dataset: The photos of ``root``, or some of them, if they have been read with the same settings.

    Raises:
        InputError: The options or the data are invalid, there is an unfinished run, or the folder to replace contains
            files that are not edgetl's.
        Unavailable: The backbone's weights cannot be loaded or downloaded.
    """
    refuse_inside(root, out)
    refuse_own_place(options, out)
    check_new_run(out, overwrite=overwrite)
    if not overwrite:
        refuse_leftover(out)
    request = Request.new(root, out, options, overwrite=overwrite)
    return _run(request, anew=True, loaded=dataset, check_labels=check_labels, trackers=trackers)


def resume(
    out: Path,
    *,
    given: Mapping[str, Value] | None = None,
    root: Path | None = None,
    overwrite: bool = False,
    check_labels: CheckLabels | None = None,
    trackers: Sequence[AnyTracker] = (),
    dataset: Dataset | None = None,
) -> Run:
    """Resume a run from its last epoch; the weights are the same as without the interruption.

    A run ended by Ctrl-C is resumed and replaced in the same way. A finished run is returned unchanged.

    Args:
        out: The run directory of the unfinished run.
        given: Settings that the user gave again; each must be unchanged.
        root: New path of the photos; None if they have not moved.
        overwrite: Replace another run at the same path, or a bundle made of the interrupted run.
        check_labels: As for :func:`train`.
        trackers: As for :func:`train`.
        dataset: As for :func:`train`.

    Raises:
        InputError: There is nothing to resume, or settings, photos or network have changed.
    """
    heal(out)
    request = read_request(out, given=given or {}, root=root, overwrite=overwrite)
    if finished(request):
        discard(request)
        return Run.open(out)
    if out.exists():
        _check_replaceable(request, out)
    return _run(request, anew=False, loaded=dataset, check_labels=check_labels, trackers=trackers)


def _check_tells(dataset: Dataset) -> None:
    if not dataset.of("val"):
        raise OptionError(
            "{unknown=} needs validation photos, and there are none",
            why="what is unknown is decided by a threshold that is chosen on them",
            hint="Give {val} a share greater than 0, or add a val folder.",
            unknown=True,
            val=0,
        )


def _mlflow(request: Request) -> MLflowTracker:
    folder = store_folder()
    if folder is not None:
        refuse_inside(request.root, folder)
    return MLflowTracker(name=request.out.resolve().name)


def _run(
    request: Request,
    *,
    anew: bool,
    loaded: Dataset | None = None,
    check_labels: CheckLabels | None = None,
    trackers: Sequence[AnyTracker] = (),
) -> Run:
    # loaded: the photos, if they have already been read with the same settings.
    started = time.perf_counter()
    options = request.options
    check_installed("tensorflow")
    start = start_of(options)
    check_request(options, start)
    teacher = open_teacher(options)
    check_source(request.root)  # refuse an invalid data set before spending seconds on imports
    own: list[AnyTracker] = [_mlflow(request)] if options.mlflow else []
    timer = StageTimer()
    with locked(request, anew=anew), ExitStack() as process:
        with timer.stage("data"), _while_importing(keras):
            dataset = loaded or in_its_order(_load(request, start), start)
            require_training(dataset)
            if options.unknown:
                _check_tells(dataset)
            if check_labels is not None:
                check_labels(dataset.labels)
            say_formats(dataset)
            check_photos(request, dataset)
            if teacher:
                check_teacher(teacher, dataset)
        process.enter_context(deterministic(options.seed))
        with timer.stage("network"):
            ready = _prepare(options, start, dataset)
        if options.tensorboard:
            own.append(EventLog(request.folder / EVENTS))
        file = CheckpointFile(
            request.checkpoint, _identity(dataset, ready, teacher), hardware=hardware_of(ready.devices)
        )
        training_log = TrainingLog(file=file, trackers=trackers_of([*own, *trackers]))
        process.callback(training_log.end)
        with closing(training_log) as log:
            for tracker in log.trackers:
                tracker.started(settings_of(ready.decision.plan).by_name())
            log.resume()
            if log.start:
                note(f"resumed after epoch {log.start.epoch} of stage {log.start.stage}")
                if file.moved_from:
                    note(
                        f"warning: started on {', '.join(file.moved_from)}, continues on {', '.join(file.hardware)}: "
                        "the weights will be close, not equal, to an uninterrupted run's (--overwrite starts again)"
                    )
            context = TrainingContext(
                network=ready.network,
                base=ready.decision.base,
                head_kept=ready.decision.head is not None,
                cut=ready.cut,
                dataset=dataset,
                plan=ready.decision.plan,
                teacher=teacher,
                devices=ready.devices,
                timer=timer,
                log=log,
            )
            interrupted = run_stages(context)
        baseline = partial(_baseline, request, context.plan, dataset) if options.compare_baseline else None
        if request.out.is_dir():
            # Not while a bundle is made of the run that is replaced. If refused, the resume state is kept.
            process.enter_context(bundle_locked(request.out / "bundle"))
        with atomic_path(request.out, directory=True, replaceable=partial(_check_replaceable, request)) as folder:
            write_run(
                folder,
                context,
                request=request,
                decision=ready.decision,
                interrupted=interrupted,
                started=started,
                baseline=baseline,
            )
        if not interrupted:
            discard(request)
    return Run.open(request.out)


def say_formats(dataset: Dataset) -> None:
    """Note, before hours of training, that photos are in formats that boards may be unable to read, and which."""
    for finding in dataset.findings:
        if finding.kind == "heif":
            more = f" and {len(finding.files) - 3} more" if len(finding.files) > 3 else ""
            note(f"{finding.message} ({', '.join(finding.files[:3])}{more})")


def _load(request: Request, start: Start) -> Dataset:
    options = request.options
    return load_dataset(
        request.root,
        start.preprocess,
        seed=options.seed,
        val=options.val,
        test=options.test,
        on_conflict=options.on_conflict,  # type: ignore[arg-type]  # checked by the function
        auto_depth=options.depth_range == "auto",
        kept=start.kept,
    )


@dataclass(frozen=True, eq=False)
class _Ready:
    """The input of the stages: plan, devices, network, and the layer where it is cut."""

    decision: Decision
    devices: tuple[str, ...]
    network: Any
    cut: str | None


def _prepare(options: TrainOptions, start: Start, dataset: Dataset) -> _Ready:
    photos = len(dataset.of("train"))
    devices = training_devices(options.devices, step_photos=min(options.batch_size, photos))
    decision = decide(options, start, dataset)
    plan = decision.plan
    check_teachable(plan)
    if len(devices) > 1 and has_later_stages(plan):
        note(f"training on {len(devices)} devices: {', '.join(devices)}")
    network = build_network(decision.base, classes=len(dataset.labels), dropout=options.dropout, head=decision.head)
    cut = None if plan.from_scratch else cut_layer(plan.backbone, decision.blocks, plan.trainable_blocks)
    return _Ready(decision, devices, network, cut)


def _baseline(request: Request, plan: TrainPlan, dataset: Dataset) -> Baseline | None:
    def train_again(out: Path, plain: TrainOptions) -> Run:
        return _run(Request.new(request.root, out, plain, overwrite=False), anew=True, loaded=dataset)

    return train_baseline(train_again, plan)


def _identity(dataset: Dataset, ready: _Ready, teacher: Run | None) -> dict[str, Any]:
    """Return everything that the training state depends on; error messages use the names.

    A resumed run must be bit-identical to an uninterrupted one, so library versions are included: another release may
    sum in another order, or order the optimizer's state differently.
    """
    return {
        "settings": to_json(ready.decision.plan.by_name()),
        "set of photos": dataset.fingerprint,
        "pretrained weights": ready.decision.weights.sha256,
        "network": [list(weight.shape) for weight in ready.network.weights],
        "teacher": teacher.document.model.sha256 if teacher else None,
        "libraries": library_versions(*LIBRARIES),
    }


def _check_replaceable(request: Request, out: Path) -> None:
    # Check again after training, which may have taken hours. If this fails, the resume state is kept.
    check_place(request)
    check_run_replaceable(out)


@contextmanager
def _while_importing(load: Callable[[], Any]) -> Iterator[None]:
    """Run the block while a thread imports TensorFlow, whose seconds decoding photos hides."""
    imported: Future[Any] = Future()

    def import_it() -> None:
        try:
            imported.set_result(load())
        except BaseException as error:
            imported.set_exception(error)

    thread = threading.Thread(target=import_it, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Also after an error: the interpreter must not shut down in the middle of loading a native library.
        thread.join()
    # Raise the first error: a second import after a partial first one would fail with a misleading one.
    imported.result()
    require("sklearn.linear_model")
