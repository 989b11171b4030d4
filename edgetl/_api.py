"""The commands of edgetl as functions, with their options as keyword arguments.

Paths are ``str`` or ``os.PathLike``. Errors are those of :mod:`edgetl_device.errors`. Heavy libraries load on use.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgetl.importing.options import ImportOptions
from edgetl.quantization.options import QuantizeOptions
from edgetl.searching.options import SearchOptions
from edgetl.training.options import TrainOptions
from edgetl_device.adapt.options import AdaptOptions
from edgetl_device.bench.options import BenchOptions
from edgetl_device.options import Options, options_of

if TYPE_CHECKING:
    from edgetl.advice import Advice
    from edgetl.runs.directory import Run
    from edgetl.runs.evaluation import Evaluation
    from edgetl.searching.document import SearchDocument
    from edgetl.training.trackers import AnyTracker
    from edgetl_device.adapt.result import Adapted
    from edgetl_device.bench.result import Result
    from edgetl_device.bundle import Bundle
    from edgetl_device.verify import Verification

AnyPath = str | PathLike[str]
F = TypeVar("F", bound=Callable[..., Any])


def _takes(kind: type[Options]) -> Callable[[F], F]:
    """Show the options of a class in the signature of a function, instead of ``**options``."""

    def with_signature(function: F) -> F:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        types = inspect.get_annotations(kind)
        options = [
            inspect.Parameter(
                one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=types.get(one.name)
            )
            for one in options_of(kind)
        ]
        function.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return function

    return with_signature


@_takes(TrainOptions)
def train(
    data: AnyPath,
    *,
    out: AnyPath | None = None,
    overwrite: bool = False,
    trackers: Sequence[AnyTracker] = (),
    **options: Any,
) -> Run:
    """Train a classifier on photos and write its run directory, with a report if Jinja is installed.

    Args:
        data: A folder of photos, a ``.csv``, or arrays, as ``edgetl train`` takes them.
        out: The run directory; ``runs/<name of data>`` when None.
        overwrite: Replace an existing run, finished or not.
        trackers: What follows the run: a :class:`~edgetl.training.trackers.CSVTracker`, a
            :class:`~edgetl.training.mlflow.MLflowTracker`, an object with the methods of
            :class:`~edgetl.training.trackers.Tracker`, or a function that is called with each row of the history.
        **options: Fields of :class:`~edgetl.TrainOptions`.

    Raises:
        InputError: The options or the photos are invalid, or ``out`` exists.
        Unavailable: This machine lacks a package, or the backbone's weights cannot be loaded or downloaded.
    """
    from edgetl.reports.run import written_page
    from edgetl.runs.directory import default_folder
    from edgetl.training import train as run_training

    asked = TrainOptions.of(**options)
    place = Path(out) if out else default_folder(Path(data))
    run = run_training(Path(data), place, asked, overwrite=overwrite, trackers=trackers)
    written_page(run)
    return run


@_takes(TrainOptions)
def resume(
    run: AnyPath,
    *,
    data: AnyPath | None = None,
    overwrite: bool = False,
    trackers: Sequence[AnyTracker] = (),
    **options: Any,
) -> Run:
    """Resume a run from its last epoch; the weights are the same as without the interruption.

    Args:
        run: The run directory of the unfinished run.
        data: New path of the photos; None if they have not moved.
        overwrite: Replace another run at the same path.
        trackers: As for :func:`train`.
        **options: Options given again; each must be unchanged.

    Raises:
        InputError: There is nothing to resume, or options, photos or network have changed.
    """
    from edgetl.reports.run import written_page
    from edgetl.training import resume as resume_training

    checked = TrainOptions.of(**options)
    given = {name: getattr(checked, name) for name in options}
    root = Path(data) if data else None
    finished = resume_training(Path(run), given=given, root=root, overwrite=overwrite, trackers=trackers)
    written_page(finished)
    return finished


@_takes(ImportOptions)
def import_model(
    model: AnyPath, data: AnyPath | None = None, *, out: AnyPath | None = None, overwrite: bool = False, **options: Any
) -> Run:
    """Import a model that edgetl did not train, and write a run directory like that of :func:`train`.

    Args:
        model: A ``.keras``, ``.h5``, ``.onnx`` or ``.tflite`` file, or the folder of a SavedModel.
        data: Labelled photos, in any form that training takes. None: the conversion is proved on drawn pictures, and
            accuracy is not known.
        out: The run directory; ``runs/<name of model>`` when None.
        overwrite: Replace an existing run.
        **options: Fields of :class:`~edgetl.ImportOptions`.

    Raises:
        InputError: The model, the options or the photos are invalid, or ``out`` exists.
        GateFailed: The imported model differs from the original.
        Unavailable: This machine lacks a package.
    """
    from edgetl.importing.pipeline import import_model as run_import
    from edgetl.reports.run import written_page

    asked, path = ImportOptions.of(**options), Path(model)
    photos = None if data is None else Path(data)
    run = run_import(path, photos, Path(out) if out else Path("runs") / path.stem, asked, overwrite=overwrite)
    written_page(run)
    return run


@_takes(QuantizeOptions)
def quantize(run: AnyPath | Run, *, data: AnyPath | None = None, overwrite: bool = False, **options: Any) -> Bundle:
    """Write the bundle of a run: float and int8 files, each measured against the float model on held-out photos.

    Files of an existing bundle that are not made again stay in it.

    Args:
        run: A run, or its directory.
        data: The data set, if it has moved since training.
        overwrite: Replace int8 files that were made with other settings, or a bundle of another model.
        **options: Fields of :class:`~edgetl.QuantizeOptions`.

    Returns:
        The bundle; the report is beside it, in ``RUN/quantize.json``.

    Raises:
        InputError: The options are invalid, the run or its photos have changed since training, or the bundle needs
            ``overwrite``.
        GateFailed: int8 loses more than the bounds allow; the report is written, the bundle is not.
    """
    from edgetl.quantization.pipeline import quantize as run_quantize
    from edgetl_device.bundle import Bundle

    asked, opened = QuantizeOptions.of(**options), _run(run)
    run_quantize(opened, asked, data=Path(data) if data else None, overwrite=overwrite)
    return Bundle.open(opened.folder / "bundle")


def evaluate(
    target: AnyPath | Run | Bundle, data: AnyPath, *, variant: str | None = None, split: str | None = None
) -> Evaluation:
    """Score a run's float model, or a variant of a bundle, on labelled photos.

    Args:
        target: A run, a bundle, or the path of one.
        data: Labelled photos, in any form that training takes; their classes must be among the model's.
        variant: Variant of a bundle, or of a run's bundle. None: int8 of a bundle, the float model of a run.
        split: Which photos of a split data set; by default the test photos, else validation, else all.

    Raises:
        InputError: The photos have other classes, or there is no such split or variant.
    """
    from edgetl.runs.evaluation import evaluate as run_evaluation

    return run_evaluation(_path(target), Path(data), variant=variant, split=split)


def advise(
    data: AnyPath,
    *,
    backbones: Sequence[str] = ("mobilenet_v2",),
    width: float = 1.0,
    size: int | str = 160,
    grey: bool = False,
    fit: str = "stretch",
    weights: str = "auto",
    val: float = 0.15,
    test: float = 0.15,
    on_conflict: str = "error",
    seed: int = 0,
) -> Advice:
    """Recommend what to train on these photos, from linear probes at every block of frozen backbones.

    Args:
        data: As for :func:`train`.
        backbones: Names that ``edgetl models`` lists, at least one.
        width: Width multiplier of the backbones.
        size: Height and width of the input in pixels: 96, or "240x320" where they differ.
        grey: Whether the network gets one channel, grey.
        fit: How photos are fitted to the input: ``stretch``, ``crop`` or ``pad``.
        weights: ``auto``, ``imagenet`` or a weights file.
        val: Share of validation photos, if the data set has none.
        test: Share of test photos, if it is not split.
        on_conflict: For a photo with two labels: raise an ``error``, or ``drop`` it.
        seed: Seed of the split and the folds.

    Raises:
        InputError: A backbone, a number or the photos are invalid.
        Unavailable: This machine lacks a package, or the weights cannot be loaded or downloaded.
    """
    from edgetl.advice.run import advise_on
    from edgetl_device.input_size import parse_size

    return advise_on(
        Path(data),
        backbones=backbones,
        width=width,
        size=parse_size(size, channels=1 if grey else 3),
        fit=fit,
        weights=weights,
        val=val,
        test=test,
        on_conflict=on_conflict,
        seed=seed,
    )


@_takes(SearchOptions)
def search(data: AnyPath, *, out: AnyPath | None = None, on: str | None = None, **options: Any) -> SearchDocument:
    """Find the best int8 model for some photos under a budget; the same call continues a search that was ended.

    Args:
        data: As for :func:`train`.
        out: Folder of the search; ``runs/<name of data>-search`` when None. The winner's bundle is ``bundle`` in it.
        on: Board that models are measured on, over SSH: ``pi@host``; None for this machine.
        **options: Fields of :class:`~edgetl.SearchOptions`.

    Returns:
        All networks and trials, the winner, and what the budget cost.

    Raises:
        InputError: The budget, the options or the photos are invalid, or ``out`` has something else.
        GateFailed: No network, or no trained model, keeps the budget.
        Unavailable: A package, the board or disk space is missing.
    """
    from edgetl.remote.fleet import from_hosts
    from edgetl.searching.run import default_place
    from edgetl.searching.run import search as run_search

    asked = SearchOptions.of(**options)
    (board,) = from_hosts([on]) if on else (None,)
    return run_search(Path(data), Path(out) if out else default_place(Path(data)), asked, board=board)


@_takes(BenchOptions)
def bench(
    bundle: AnyPath | Bundle | Run,
    *,
    log: AnyPath = "loadgen",
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Result:
    """Measure latency, memory, accuracy and agreement of a bundle's variants on this machine, side by side.

    Args:
        bundle: A bundle, a run that has one, or the path of either.
        log: With ``scenario``, the folder for LoadGen's logs.
        say: Called with one line about each step; None is silent.
        **options: Fields of :class:`~edgetl.BenchOptions`.

    Raises:
        InputError: A variant, a number, the bundle or the photos are invalid.
        Unavailable: A named variant or delegate cannot run here.
    """
    from edgetl_device.bench.run import run_bench

    asked = BenchOptions.of(**options)
    return run_bench(_bundle(bundle), asked, log=Path(log), say=say)


@_takes(AdaptOptions)
def adapt(
    bundle: AnyPath | Bundle | Run,
    photos: AnyPath,
    *,
    out: AnyPath,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Adapted:
    """Teach a bundle a class, or more of a class that it has, from a few photos, and write a new bundle.

    Args:
        bundle: A bundle of ``quantize(unknown=True)``, a run that has one, or the path of either.
        photos: Photos of the class: a folder, or a pattern.
        out: The new bundle, which must not exist: a folder, or a file that ends in ``.edgetl``.
        say: Called with one line about each step; None is silent.
        **options: Fields of :class:`~edgetl.AdaptOptions`.

    Returns:
        What was gained and lost, as measured on the held-out photos.

    Raises:
        InputError: The bundle has no outputs of features, or the class or the photos do not fit.
        GateFailed: A variant lost more than ``max_drop``; nothing was written.
    """
    from edgetl_device.adapt.result import raise_refused
    from edgetl_device.adapt.run import adapt as run_adapt

    result = run_adapt(_bundle(bundle), photos, out, AdaptOptions.of(**options), say=say)
    raise_refused(result)
    return result


def verify(bundle: AnyPath | Bundle | Run, *, trust: Sequence[AnyPath] = (), min_version: int = 0) -> Verification:
    """Check a bundle's signature and hashes, and that this machine gives the same pixels and predictions.

    Args:
        bundle: A bundle, a run that has one, or the path of either.
        trust: Public keys from ``edgetl keygen``, or folders of them, one of which must have signed the bundle.
        min_version: With ``trust``: the lowest accepted version of the signature.

    Returns:
        All checks with their outcomes; ``ok`` is true if none failed.

    Raises:
        InputError: It is not a bundle, or a key cannot be read.
    """
    from edgetl_device.signature import check_request, read_keys
    from edgetl_device.verify import verify as run_verification

    check_request(trust, min_version)
    return run_verification(_bundle(bundle), trust=read_keys(trust), min_version=min_version)


def sign(
    bundle: AnyPath | Bundle | Run,
    keys: Sequence[AnyPath],
    *,
    version: int | None = None,
    expires: str | None = None,
) -> Bundle:
    """Sign a bundle in place. Its digest does not change, and signatures by other keys are kept.

    Args:
        bundle: A bundle, a run that has one, or the path of either.
        keys: Private keys from ``edgetl keygen``, at least one.
        version: Version; must exceed that of the release before. None uses the time, such as 20270630120000.
        expires: Last day on which boards accept the signature, such as ``2027-06-30``. None means no expiry.

    Raises:
        InputError: The bundle, a key or a value is wrong, or a key is readable by others.
        Unavailable: ``cryptography`` is not installed.
    """
    from edgetl.export.signature import sign as write_signatures

    opened = _bundle(bundle)
    write_signatures(opened.path, keys, version=version, expires=expires)
    return _bundle(opened.path)


def _run(run: AnyPath | Run) -> Run:
    from edgetl.runs.directory import Run

    return run if isinstance(run, Run) else Run.open(Path(run))


def _bundle(bundle: AnyPath | Bundle | Run) -> Bundle:
    from edgetl_device.bundle import Bundle

    return bundle if isinstance(bundle, Bundle) else Bundle.open(_path(bundle))


def _path(target: AnyPath | Run | Bundle) -> Path:
    from edgetl.runs.directory import Run
    from edgetl_device.bundle import Bundle

    if isinstance(target, Run):
        return target.folder
    return target.path if isinstance(target, Bundle) else Path(target)
