"""Trials: configurations that Optuna samples; ``edgetl.training`` trains each, successive halving ends bad ones.

The store is a file of SQLite, so that several processes share it and a kill at any moment leaves it whole. A trial of a
process that was killed goes on from its last epoch.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetl._lib import lock
from edgetl._lib.extras import require
from edgetl._lib.progress import note
from edgetl.data import Dataset
from edgetl.runs.directory import DOCUMENT as RUN
from edgetl.runs.directory import Run
from edgetl.runs.history import Epoch, HistoryRow
from edgetl.training import TrainOptions
from edgetl.training.pipeline import resume, train
from edgetl.training.plan import default_epochs
from edgetl.training.resume_state import discard, folder_of, read_request
from edgetl.training.tail import Diverged
from edgetl_device.bench.accuracy import accuracy_of
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.options import command_text

from .document import Trial
from .options import SearchOptions
from .space import Architecture

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STORE, FOLDER = "search.db", "trials"
_STUDY = "search"
_NETWORK, _BLOCKS, _AUGMENT, _LR = "network", "trainable_blocks", "augment", "lr"
TRAINABLE_BLOCKS = (3, 6, 9)
AUGMENT = ("light", "standard", "strong")
LR = (1e-4, 1e-3)
_USUAL = {_BLOCKS: 6, _AUGMENT: "standard", _LR: 3e-4}
_SECONDS, _CORRECT, _PHOTOS, _REJECTED = "seconds", "val_correct", "val_photos", "rejected"
# After a quarter of its epochs a trial must be among the better half, or near the best, to go on; again after half.
_FIRST_SHARE, _HALVING = 4, 2
_WAIT_S = 1.0
# Of SQLite: how long a process waits for another one to finish writing.
_BUSY_S = 60


class _Ended(Exception):
    """Successive halving ends a trial."""


@dataclass(frozen=True)
class Search:
    """The folder of a search, with what all its processes share.

    Attributes:
        folder: The folder.
        data: The data set.
        options: The options.
        networks: The networks to train, the one with the best probe first.
        photos: Returns the photos at an input size.
    """

    folder: Path
    data: Path
    options: SearchOptions
    networks: tuple[Architecture, ...]
    photos: Callable[[int], Dataset]

    def options_of(self, architecture: Architecture, *, blocks: int, augment: str, lr: float) -> TrainOptions:
        """Return the options that train a configuration."""
        return replace(
            base_options(self.options),
            backbone=architecture.backbone,
            width=architecture.width,
            size=architecture.size,
            truncate=architecture.truncate,
            strategy="blocks",
            # With all of them trained there would be nothing to cache.
            trainable_blocks=max(1, min(blocks, architecture.blocks - 1)),
            augment=augment,
            lr=lr,
            epochs=self.options.epochs,
        )

    def place(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.folder / FOLDER / f"{number:04d}"


def base_options(options: SearchOptions) -> TrainOptions:
    """Return the defaults of training on the splits of a search: the options of the baseline."""
    return TrainOptions(
        seed=options.seed, fit=options.fit, val=options.val, test=options.test, on_conflict=options.on_conflict
    )


def flags_of(options: TrainOptions) -> str:
    """Return options as flags of ``edgetl train``."""
    return command_text([], options)


def without_test(dataset: Dataset) -> Dataset:
    """Return the photos of a data set without its test photos, which no trial sees."""
    return replace(dataset, samples=tuple(one for one in dataset.samples if one.split != "test"))


def open_store(folder: Path, options: SearchOptions, epochs: int) -> Study:
    """Open or create the store of a search.

    Args:
        folder: The folder of the search.
        options: Its options.
        epochs: From :func:`epochs_of`.

    Raises:
        InputError: The file is no store.
        Unavailable: It cannot be written.
    """
    optuna = _optuna()
    with store_errors(folder), _quiet(), waited(folder / f"{STORE}.lock"):
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{(folder / STORE).absolute()}", engine_kwargs={"connect_args": {"timeout": _BUSY_S}}
        )
        study: Study = optuna.create_study(
            storage=storage,
            study_name=_STUDY,
            direction="minimize",
            load_if_exists=True,
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=max(1, epochs // _FIRST_SHARE), reduction_factor=_HALVING
            ),
        )
        # A process that continues must not draw again what the one before drew.
        seed = options.seed + 1_000 * len(study.trials)
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=4, constant_liar=True)
    return study


def epochs_of(search: Search) -> int:
    """Return the number of epochs of a trial that is not ended."""
    if search.options.epochs is not None:
        return search.options.epochs
    photos = len(search.photos(search.networks[0].size).of("train"))
    return default_epochs(photos, from_scratch=False)


def run_trials(search: Search, study: Study, *, ends_s: float | None, told: Callable[[], object]) -> None:
    """Train trials until there are as many as asked for, together with other processes of the same search.

    Args:
        search: The search.
        study: Its store.
        ends_s: Begin none after this moment of :func:`time.monotonic`, if there is one already; None for no limit.
        told: Called after each trial.

    Raises:
        KeyboardInterrupt: The trial that was running can be continued.
        Unavailable: The disk is full, or the store cannot be written.
    """
    with store_errors(search.folder), _quiet():
        _enqueue(study, search)
        (search.folder / FOLDER).mkdir(exist_ok=True)
        while ends_s is None or time.monotonic() < ends_s or not _any_trained(study):
            with ExitStack() as held:
                trial = _next(study, search, held)
                if trial is None:
                    if not _running(study):
                        return
                    time.sleep(_WAIT_S)  # another process is at the last ones
                    continue
                _train(study, trial, search)
            told()


def _enqueue(study: Study, search: Search) -> None:
    """Begin with each network as ``edgetl train`` would train it, those with the best probes first."""
    with waited(search.folder / f"{STORE}.lock"):
        for one in search.networks:
            study.enqueue_trial({_NETWORK: one.name, **_USUAL}, skip_if_exists=True)


def _next(study: Study, search: Search, held: ExitStack) -> Any | None:
    """Return a trial to train: one that a killed process left, else a new one; None if all are taken."""
    optuna = _optuna()
    with waited(search.folder / f"{STORE}.lock"):
        for left in _running(study):
            if _taken(search, left.number, held):
                note(f"trial {left.number + 1} is continued")
                return optuna.trial.Trial(study, left._trial_id)
        if len([one for one in study.trials if one.state.name != "WAITING"]) >= search.options.trials:
            return None
        trial = study.ask()
        if not _taken(search, trial.number, held):
            raise InputError(f"trial {trial.number} is being trained by a process that lost the store")
        return trial


def _any_trained(study: Study) -> bool:
    return any(one.state.name == "COMPLETE" for one in study.get_trials(deepcopy=False))


def _running(study: Study) -> list[FrozenTrial]:
    return [one for one in study.get_trials(deepcopy=False) if one.state.name == "RUNNING"]


def _taken(search: Search, number: int, held: ExitStack) -> bool:
    """Lock a trial for this process, unless another one has it."""
    file = search.place(number).with_suffix(".lock")
    try:
        held.enter_context(lock.locked(file, what=f"trial {number} is being trained", hint="Wait for it."))
    except InputError:
        return False
    return True


def _train(study: Study, trial: Any, search: Search) -> None:
    optuna = _optuna()
    name = trial.suggest_categorical(_NETWORK, [one.name for one in search.networks])
    architecture = next(one for one in search.networks if one.name == name)
    options = search.options_of(
        architecture,
        blocks=trial.suggest_categorical(_BLOCKS, TRAINABLE_BLOCKS),
        augment=trial.suggest_categorical(_AUGMENT, AUGMENT),
        lr=trial.suggest_float(_LR, *LR, log=True),
    )
    place, started = search.place(trial.number), time.monotonic()
    note(f"trial {trial.number + 1} of {search.options.trials}: {flags_of(options)}")
    known = set(study.trials[trial.number].intermediate_values)

    def follow(row: HistoryRow) -> None:
        # Rows of an earlier process come again.
        if not isinstance(row, Epoch) or row.epoch == 0 or row.val_loss is None or row.epoch in known:
            return
        known.add(row.epoch)
        trial.report(row.val_loss, row.epoch)
        if trial.should_prune() and surely_worse(row, _losses(study, row.epoch)):
            raise _Ended

    try:
        run = _run(place, search, options, follow)
    except _Ended:
        trial.set_user_attr(_SECONDS, time.monotonic() - started)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        if folder_of(place).exists():
            discard(read_request(place, given={}, root=None, overwrite=False))
        note(f"trial {trial.number + 1}: ended after {max(known)} epochs, others are better by then")
        return
    except Diverged as error:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        note(f"trial {trial.number + 1}: {error.what}")
        return
    if run.document.interrupted:
        raise KeyboardInterrupt
    accuracy = run.metrics("val").accuracy
    trial.set_user_attr(_SECONDS, time.monotonic() - started)
    trial.set_user_attr(_CORRECT, accuracy.correct)
    trial.set_user_attr(_PHOTOS, accuracy.photos)
    study.tell(trial, min(study.trials[trial.number].intermediate_values.values()))
    note(f"trial {trial.number + 1}: {accuracy.top1:.1%} of {accuracy.photos} validation photos")


def surely_worse(row: Epoch, losses: Sequence[float]) -> bool:
    """Whether a trial is more than a standard error worse than the best one after as many epochs.

    The worse half may differ by chance only: on 48 validation photos of flowers the loss had a standard error of 0.17.

    Args:
        row: Its last epoch.
        losses: Validation losses of all trials after as many epochs, its own among them.
    """
    assert row.val_loss is not None
    return row.val_loss > min(losses) + (row.val_loss_se or 0.0)


def _losses(study: Study, epoch: int) -> list[float]:
    every = (one.intermediate_values for one in study.get_trials(deepcopy=False))
    return [losses[epoch] for losses in every if epoch in losses]


def _run(place: Path, search: Search, options: TrainOptions, follow: Callable[[HistoryRow], None]) -> Run:
    """Train a configuration, or continue where a killed or interrupted process left it."""
    if (place / RUN).is_file() and not folder_of(place).exists():
        return Run.open(place)
    assert isinstance(options.size, int)
    dataset = without_test(search.photos(options.size))
    if folder_of(place).exists():
        try:
            return resume(place, root=search.data, trackers=[follow], dataset=dataset)
        except InputError as error:
            note(f"trial is trained anew: {error.what}")
    return train(search.data, place, options, overwrite=True, trackers=[follow], dataset=dataset)


def recorded(search: Search, study: Study, places: dict[str, int]) -> tuple[Trial, ...]:
    """Return all trials that have begun, for the document; ``places`` are those of networks by their names."""
    by_name = {one.name: one for one in search.networks}
    states = {"COMPLETE": "trained", "PRUNED": "ended", "FAIL": "failed", "RUNNING": "running"}
    rejected, found = study.user_attrs, []
    for one in study.get_trials(deepcopy=False):
        if one.state.name not in states or {_NETWORK, _BLOCKS, _AUGMENT, _LR} - one.params.keys():
            continue
        losses, attrs = one.intermediate_values, one.user_attrs
        options = search.options_of(
            by_name[one.params[_NETWORK]], blocks=one.params[_BLOCKS], augment=one.params[_AUGMENT], lr=one.params[_LR]
        )
        found.append(
            Trial(
                number=one.number,
                network=places[one.params[_NETWORK]],
                trainable_blocks=options.trainable_blocks or 0,
                augment=options.augment,
                lr=one.params[_LR],
                state=states[one.state.name],  # type: ignore[arg-type]
                epochs=max(losses, default=0),
                val_loss=min(losses.values(), default=None),
                val=accuracy_of(attrs[_CORRECT], attrs[_PHOTOS]) if _CORRECT in attrs else None,
                flags=flags_of(options),
                rejected=rejected.get(f"{_REJECTED}-{one.number}", ""),
            )
        )
    return tuple(found)


def seconds_of(study: Study) -> float:
    """Return the time that all processes spent on finished trials."""
    return float(sum(one.user_attrs.get(_SECONDS, 0.0) for one in study.get_trials(deepcopy=False)))


def reject(study: Study, number: int, why: str) -> None:
    """Record why a trained trial is not the winner."""
    # Of the study, because a finished trial takes no more attributes.
    study.set_user_attr(f"{_REJECTED}-{number}", why)


def best_first(trials: Sequence[Trial], p95_ms: Callable[[Trial], float]) -> list[Trial]:
    """Return the trained trials by accuracy on the validation photos, then by their loss, then by p95."""
    trained = [one for one in trials if one.val is not None and one.state == "trained"]
    return sorted(trained, key=lambda one: (-_correct(one), one.val_loss or 0.0, p95_ms(one)))


def _correct(trial: Trial) -> int:
    assert trial.val is not None
    return trial.val.correct


@contextmanager
def waited(file: Path, *, what: str = "") -> Iterator[None]:
    """Hold a lock while the block runs; wait for another process to release it, and say ``what`` it does meanwhile."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(lock.locked(file, what=what, hint=""))
                break
            except InputError as error:
                if what:
                    note(error.what)
                    what = ""
                time.sleep(0.05)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling what is told here in other words, and that some of it is experimental."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"optuna\.")
        warnings.filterwarnings("ignore", category=_optuna().exceptions.ExperimentalWarning)
        yield


@contextmanager
def store_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the store into errors that say what to do."""
    database = require("sqlalchemy.exc", extra="search").DatabaseError
    internal = require("optuna.exceptions", extra="search").StorageInternalError
    try:
        yield
    except (database, internal) as error:
        cause = error if isinstance(error, database) else error.__cause__ or error
        reason = str(getattr(cause, "orig", cause))
        if "full" in reason or "I/O" in reason or "readonly" in reason or "locked" in reason:
            again = "Free some space, then run the same command again: finished trials are kept."
            raise Unavailable(f"{folder / STORE}: could not be written", why=reason, hint=again) from None
        raise InputError(
            f"{folder / STORE}: is not the store of a search", why=reason, hint="Start again in another folder."
        ) from None


def _optuna() -> Any:
    optuna = require("optuna", extra="search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
