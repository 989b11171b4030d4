"""What training starts from: a backbone with pretrained weights, or the model of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgetl.data import Dataset, Sample, Split, SplitCounts, kept_splits, kept_where
from edgetl.runs.directory import Run
from edgetl.runs.document import StartRecord
from edgetl_device.errors import OptionError
from edgetl_device.input_size import parse_size, size_value
from edgetl_device.preprocess import Preprocess
from edgetl_device.text import listed, normal_names

from .options import BACKBONE, FIT, SIZE, WIDTH, TrainOptions


@dataclass(frozen=True)
class Start:
    """What is settled before photos are read.

    Attributes:
        backbone: Name of the backbone; ``auto`` where advice chooses it; of an imported model, the name of its file.
        width: Width multiplier of the backbone.
        preprocess: How photos are decoded; the depth range may still depend on the photos.
        run: The run whose model is trained further; None with pretrained weights.
        kept: Splits that photos of that run, and of those before it, stay in: by hash, as in
            :func:`edgetl.data.kept_splits`.
    """

    backbone: str
    width: float
    preprocess: Preprocess
    run: Run | None
    kept: dict[str, Split]

    @property
    def imported(self) -> bool:
        """Whether the model is an imported one, or goes back to one: what it was trained on is not recorded."""
        if self.run is None:
            return False
        document = self.run.document
        before = document.started_from
        return document.imported is not None or (before is not None and before.origin == "imported")


def start_of(options: TrainOptions) -> Start:
    """Open the run that the options name, or fill in the defaults.

    Raises:
        InputError: It is not a run.
        OptionError: An option contradicts the run.
    """
    if options.from_run is None:
        spec = Preprocess(
            size=parse_size(options.size or SIZE, channels=1 if options.grey else 3),
            fit=options.fit or FIT,  # type: ignore[arg-type]  # one of its choices
            depth_range=options.depth_limits(),
        )
        return Start(options.backbone or BACKBONE, options.width or WIDTH, spec, None, {})
    run = Run.open(Path(options.from_run))
    _check_options(options, run)
    config = run.document.config
    return Start(config.backbone, config.width, run.preprocess, run, kept_splits((*run.labelled, *run.earlier)))


def _check_options(options: TrainOptions, run: Run) -> None:
    """Refuse options that the run has decided otherwise; those that are the same, or not given, are fine."""
    config, spec = run.document.config, run.preprocess
    decided = {"backbone": config.backbone, "width": config.width, "size": size_value(spec.size), "fit": spec.fit}
    decided["grey"] = spec.size.channels == 1
    for name, value in decided.items():
        given = getattr(options, name)
        if given is not None and given != value:
            raise _contradiction(name, given, str(value), run)
    # auto would be that of the new photos.
    if options.depth_range is not None and (options.depth_limits() or "auto") != spec.depth_range:
        shown = "none" if spec.depth_range is None else "{}..{}".format(*spec.depth_range)
        raise _contradiction("depth_range", options.depth_range, shown, run)


def _contradiction(name: str, given: object, decided: str, run: Run) -> OptionError:
    return OptionError(
        f"{{{name}=}} with {{from_run=}}: that run has {decided}",
        why="its model is trained further as it is, with its preprocessing",
        hint=f"Leave {{{name}}} out, or train without {{from_run}}.",
        **{name: given, "from_run": str(run.folder)},
    )


def refuse_own_place(options: TrainOptions, out: Path) -> None:
    """Refuse to replace the run that training starts from: resuming needs it.

    Raises:
        OptionError: ``out`` is that run.
    """
    if options.from_run is not None and Path(options.from_run).resolve() == out.resolve():
        raise OptionError(
            "{from_run=}: is where the new run would be written",
            hint="Choose another place with --out.",
            from_run=options.from_run,
        )


def has_its_classes(start: Start, labels: tuple[str, ...]) -> bool:
    """Return whether these are the classes of the run that training starts from, in any order."""
    return start.run is not None and set(normal_names(start.run.labels)) == set(labels)


def in_its_order(dataset: Dataset, start: Start) -> Dataset:
    """Return the data set with the classes in the order of the run, if it has the same."""
    if start.run is None or not has_its_classes(start, dataset.labels):
        return dataset
    return replace(dataset, labels=normal_names(start.run.labels))


def earlier_photos(start: Start, dataset: Dataset) -> tuple[Sample, ...]:
    """Return the photos of the run and of those before it that are not in this data set."""
    if start.run is None:
        return ()
    here = {key for one in dataset.samples for key in (one.sha256, one.group)}
    everything = (*start.run.labelled, *start.run.earlier)
    return tuple(one for one in everything if one.sha256 not in here and one.group not in here)


def record_of(start: Start, run: Run, dataset: Dataset, *, head_kept: bool) -> StartRecord:
    """Return what ``run.json`` says of the run that training starts from."""
    kept = [one.split for one in dataset.samples if kept_where(one, start.kept)]
    return StartRecord(
        name=run.folder.resolve().name,
        sha256=run.document.model.sha256,
        origin="imported" if start.imported else "trained",
        head="kept" if head_kept else "new",
        kept=SplitCounts(train=kept.count("train"), val=kept.count("val"), test=kept.count("test")),
    )


def described(record: StartRecord, labels: tuple[str, ...], before: tuple[str, ...]) -> str:
    """Say what is done with the run that training starts from, and with its photos.

    Args:
        record: The start.
        labels: Classes of the new photos.
        before: Classes of the run.
    """
    old = normal_names(before)
    new = [label for label in labels if label not in old]
    gone = [label for label in old if label not in labels]
    classes = "the same classes"
    if new or gone:
        changes = [f"new: {listed(new)}"] if new else []
        changes += [f"without {listed(gone)}"] if gone else []
        classes = f"other classes ({'; '.join(changes)})"
    text = f"started from {record.name}, {classes}: {'its head is kept' if record.head == 'kept' else 'a new head'}"
    if count := record.kept.all:
        text += f"; {count} photos stay in the splits that they had there"
    return text
