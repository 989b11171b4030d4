"""A model file, and photos if there are any, to a run directory: scan, convert, find the input, compare, write."""

from __future__ import annotations

import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgetl import __version__
from edgetl._lib.extras import check_installed, require
from edgetl._lib.progress import note, step, track
from edgetl.backbones.weights import WeightsRecord
from edgetl.data import (
    SPLITS,
    Dataset,
    Sample,
    Split,
    load_dataset,
    refuse_inside,
    stratified_sample,
    targets_of,
    write_split,
)
from edgetl.data.pixels import PhotoFacts, decode_files, hash_files
from edgetl.reports import plots
from edgetl.reports.text import top1_text
from edgetl.runs import float_model
from edgetl.runs.confusion import FILE as CONFUSION
from edgetl.runs.confusion import Confusion, confusion_of, write_confusion
from edgetl.runs.directory import DOCUMENT, DRAWN, Run, check_new_run, check_run_replaceable, write_data_root
from edgetl.runs.document import RunDocument, TrainedModel, TrainedSettings
from edgetl.runs.history import write_history
from edgetl.runs.import_record import Fit, ImportAgreement, ImportRecord, LabelOrder
from edgetl.runs.metrics import Metrics, classification_report
from edgetl.runs.model_file import write_model
from edgetl.runs.predictions import FILE, HeldOutPrediction, predictions_of, write_predictions
from edgetl.runs.provenance import StageTimer, library_versions
from edgetl.runs.temperature import FittedTemperature
from edgetl_device._lib import documents
from edgetl_device._lib.files import atomic_path, sha256_file
from edgetl_device._lib.times import created
from edgetl_device.errors import InputError
from edgetl_device.input_size import InputSize, parse_size, size_value
from edgetl_device.options import Value, command_text
from edgetl_device.preprocess import Preprocess

from . import agreement, inputs, keras_config, keras_graph, labels, saved_model_file
from .drawn import PICTURES, draw_pictures
from .onnx_graph import network_of
from .options import AUTO, ImportOptions
from .original import KerasOriginal, OnnxOriginal, Original, SavedModelOriginal, TFLiteOriginal
from .plain import End, Finished, Keras, Names, class_scores, ends_in, finished
from .scan import Scanned, scanned
from .source import Source, open_source
from .temperature import calibrate, check_last_layer
from .trusted_code import without_code

# More change nothing in the choice of the input, and take as long again.
_MOST_CHOOSING = 400
_MODEL, _ORIGINAL = "model.keras", "original"
_LIBRARIES = ("onnx", "onnxruntime")


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model file, converted but not yet given an input.

    Attributes:
        source: The file.
        scanned: What it says of itself.
        network: Flat Keras graph, float32 [None, H, W, C] to the outputs of the original.
        original: The original in its own runtime.
        size: Height, width and channels of the input.
        scales_pixels: The layer that scales raw pixels; empty if there is none.
        fit: The fit of photos that the model did itself; empty if it did none.
        kept: Bytes of the file that the run keeps.
    """

    source: Source
    scanned: Scanned
    network: Keras
    original: Original
    size: InputSize
    scales_pixels: str
    fit: str
    kept: bytes

    @property
    def ends_in(self) -> End:
        """What the original ends in."""
        return ends_in(self.network)

    @property
    def classes(self) -> int:
        """Number of classes that it tells apart: one score is for two."""
        return max(2, int(np.prod(self.network.outputs[0].shape[1:])))


@dataclass(frozen=True, eq=False)
class Proof:
    """The photos that an import is proved on, and what they or the user say of the model.

    Attributes:
        dataset: The photos, or drawn pictures, in the fit of the model.
        names: Labels in the order of the outputs.
        choosing: Photos that no result is reported on; none of drawn pictures.
        choice: The input.
        order: Whether the labels look permuted; None for drawn pictures.
    """

    dataset: Dataset
    names: tuple[str, ...]
    choosing: tuple[Sample, ...]
    choice: inputs.Choice
    order: LabelOrder | None


def import_model(path: Path, data: Path | None, out: Path, options: ImportOptions, *, overwrite: bool = False) -> Run:
    """Import a model file or SavedModel and write a run directory, which appears once it is complete.

    The input of the model is chosen on the training and validation photos, and results are reported on the test photos
    (on the validation photos if there are none). Without photos the user or the model states it, and the conversion is
    proved on drawn pictures.

    Args:
        path: The model file, or the folder of a SavedModel.
        data: The data set, in any form that training takes; None without photos.
        out: The run directory to write.
        options: Options of the import.
        overwrite: Replace an existing run.

    Raises:
        InputError: The file, the photos or the options are invalid, or ``out`` exists.
        GateFailed: The imported model differs from the original.
        Unavailable: A package is missing.
    """
    started = time.perf_counter()
    if data is None:
        options.check_without_photos()
    else:
        refuse_inside(data, out)
    check_new_run(out, overwrite=overwrite)
    check_installed("tensorflow")
    timer = StageTimer()
    with timer.stage("model"):
        loaded = load(path, options)
    with tempfile.TemporaryDirectory(prefix="edgetl-") as scratch:
        if data is None:
            proof = _drawn(loaded, options, Path(scratch) / DRAWN, timer)
        else:
            proof = _on_photos(loaded, data, options, timer)
        with timer.stage("conversion"), step("Converting"):
            scaling = None if proof.choice.scaling == inputs.RAW else proof.choice.scaling
            made = finished(loaded.network, scaling, size=loaded.size, name=_name(path))
            if options.temperature:
                check_last_layer(made.model)
            compared = _compared(made, loaded, proof, options)
        fitted = None
        if options.temperature:
            with timer.stage("temperature"):
                fitted = calibrate(made.model, proof.dataset, proof.choosing, proof.names)
        with atomic_path(out, directory=True, replaceable=check_run_replaceable) as folder:
            _write(folder, loaded, made, proof, options, compared, fitted, timer, started)
    return Run.open(out)


def _on_photos(loaded: Loaded, data: Path, options: ImportOptions, timer: StageTimer) -> Proof:
    with timer.stage("data"):
        dataset = _dataset(data, loaded, options, fit="stretch")
        names = _labels(loaded, options, dataset.labels, data)
        choosing = _choosing(dataset, options)
    with timer.stage("input"):
        choice, order = _choose(loaded, dataset, choosing, names, options)
        dataset = _dataset(data, loaded, options, fit=choice.record.fit)
    return Proof(dataset, names, choosing, choice, order)


def _drawn(loaded: Loaded, options: ImportOptions, folder: Path, timer: StageTimer) -> Proof:
    """Draw pictures into a folder, and take the answers of the original for their classes."""
    with timer.stage("input"):
        choice = inputs.stated(
            options, scales_pixels=loaded.scales_pixels, fit=loaded.fit, channels=loaded.size.channels
        )
        names = _labels(loaded, options, (), None)
    if options.fit == AUTO and not loaded.fit:
        note("note: photos will be stretched to the input; if the model was trained on cropped ones, give --fit crop")
    if not options.labels and not loaded.scanned.scan.labels:
        note(f"note: the labels are the numbers of the outputs, 0 to {len(names) - 1}; --labels FILE names them")
    with timer.stage("data"):
        with track("Drawing pictures", PICTURES) as advance:
            paths = draw_pictures(folder, advance)
        spec = Preprocess(size=loaded.size, fit=choice.record.fit)
        hashes = [one for one in hash_files(paths) if isinstance(one, str)]
        cache = decode_files(dict(zip(hashes, paths, strict=True)), spec)
        rows = np.array([cache.row[one] for one in hashes], np.int64)
        outputs = loaded.original.outputs(inputs.feed(np.asarray(cache.array[rows]), choice.scaling))
        inputs.check_outputs([outputs] if np.isfinite(outputs).all() else [], loaded.ends_in, tried=1)
        answers = class_scores(outputs, loaded.ends_in).argmax(axis=1)
    facts = [one for one in (cache.facts[sha256] for sha256 in hashes) if isinstance(one, PhotoFacts)]
    samples = tuple(
        Sample(path.name, names[answer], "test", sha256, fact.digest)
        for path, answer, sha256, fact in zip(paths, answers, hashes, facts, strict=True)
    )
    present = {one.label for one in samples}
    kinds = tuple(name for name in names if name in present)
    return Proof(Dataset(folder, folder, kinds, samples, (), cache, spec, "model"), names, (), choice, None)


def _labels(loaded: Loaded, options: ImportOptions, of_photos: Sequence[str], data: Path | None) -> tuple[str, ...]:
    return labels.resolved(
        options.labels,
        of_photos,
        of_model=loaded.scanned.scan.labels,
        outputs=loaded.classes,
        shown=str(loaded.source.path),
        data=data,
    )


def load(path: Path, options: ImportOptions) -> Loaded:
    """Scan, check and convert a model file.

    Raises:
        InputError: It cannot be imported; the message says why, and what to do.
    """
    source = open_source(path)
    with step("Reading the model"):
        found = scanned(source, size=_asked(options))
        code = keras_config.code_in(found.scan.config, str(path)) if found.scan.config else ()
        if code and options.trust_code:
            source = without_code(source, Path(options.code) if options.code else None, needed=code)
            found = scanned(source, size=_asked(options))
        return _keras(source, found, options) if source.format in ("keras", "h5") else graph_of(source, found)


def _asked(options: ImportOptions) -> InputSize | None:
    """Return height and width that the user gave; the channels are the model's."""
    return None if options.size is None else parse_size(options.size)


def graph_of(source: Source, found: Scanned) -> Loaded:
    """Convert what was scanned as ONNX, and open the original in its own runtime."""
    scan, shown = found.scan, str(source.path)
    assert scan.size is not None
    nchw = scan.layout == "nchw"
    network = network_of(found.simplified, nchw=nchw, size=scan.size, shown=shown).network
    if source.format == "onnx":
        original: Original = OnnxOriginal(found.whole, nchw=nchw, batch=scan.batch)
        return Loaded(source, found, network, original, scan.size, "", "", found.whole)
    if source.format == "saved_model":
        original = SavedModelOriginal(
            saved_model_file.function_of(found.whole, *scan.tensors), nchw=nchw, batch=scan.batch
        )
        return Loaded(source, found, network, original, scan.size, "", "", source.data)
    # LiteRT rounds activations to int8 where weights are int8; it takes float16 as float32.
    instead_of = scan.weights_type if scan.weights_type == "int8" else ""
    original = TFLiteOriginal(found.whole, size=scan.size, nchw=nchw, instead_of=instead_of)
    return Loaded(source, found, network, original, scan.size, "", "", source.data)


def _keras(source: Source, found: Scanned, options: ImportOptions) -> Loaded:
    keras_config.check_config(found.scan.config, source.path)
    architecture = keras_config.prepared(found.scan.config)
    keras_graph.check_weights(architecture, found.scan.weights, shown=source.path)
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        # The bytes that were checked; Keras goes by the suffix.
        copy = Path(folder) / f"{_ORIGINAL}{source.suffix}"
        _write_copy(source, architecture, copy)
        model = keras_graph.load_keras(copy, shown=source.path)
    flat = keras_graph.flat_network(model, size=_asked(options), shown=source.path)
    original = KerasOriginal(model, instead_of=keras_config.mixed_precision(found.scan.config))
    return Loaded(source, found, flat.network, original, flat.size, flat.scales_pixels, flat.fit, source.data)


def _write_copy(source: Source, architecture: str, copy: Path) -> None:
    """Write a Keras file with the architecture that was checked."""
    if source.format == "h5":
        copy.write_bytes(source.data)
        with require("h5py").File(copy, "r+") as file:
            file.attrs["model_config"] = architecture
        return
    with zipfile.ZipFile(BytesIO(source.data)) as archive, zipfile.ZipFile(copy, "w") as written:
        written.writestr("config.json", architecture)
        for name in ("metadata.json", "model.weights.h5"):
            written.writestr(name, archive.read(name) if name in archive.namelist() else "{}")


def _dataset(data: Path, loaded: Loaded, options: ImportOptions, *, fit: Fit) -> Dataset:
    return load_dataset(
        data,
        Preprocess(size=loaded.size, fit=fit),
        seed=options.seed,
        val=options.val,
        test=options.test,
        on_conflict=options.on_conflict,  # type: ignore[arg-type]  # one of its choices
    )


def _reported(dataset: Dataset) -> Split:
    return "test" if dataset.of("test") else "val"


def _choosing(dataset: Dataset, options: ImportOptions) -> tuple[Sample, ...]:
    """Return the photos that the input is chosen on: none that results are reported on."""
    reported = _reported(dataset)
    photos = [one for one in dataset.samples if one.split != reported]
    if not dataset.of(reported):
        raise InputError(
            f"{dataset.root}: no photos were held out",
            why="an import is proved on photos that nothing was chosen on",
            hint="Give {test} a share greater than 0, or more photos: at least 3 a class.",
            options={"test": options.test},
        )
    if not photos:
        raise InputError(
            f"{dataset.root}: has {reported} photos only",
            why="the input of the model, and the ranges of int8, are set on other photos than those reported on",
            hint="Add a train folder, or put the class folders directly under it to have them split.",
        )
    return stratified_sample(photos, count=_MOST_CHOOSING, seed=options.seed)


def _choose(
    loaded: Loaded, dataset: Dataset, choosing: Sequence[Sample], names: Sequence[str], options: ImportOptions
) -> tuple[inputs.Choice, LabelOrder]:
    scalings, fits = inputs.candidates(
        options, scales_pixels=loaded.scales_pixels, fit=loaded.fit, channels=loaded.size.channels
    )
    targets = targets_of(choosing, names)
    photos = {fit: pixels_of(dataset, choosing, fit) for fit in fits}
    tried = inputs.try_inputs(loaded.original, loaded.ends_in, photos, targets, scalings)
    choice = inputs.chosen(tried, scalings, options, by_model=bool(loaded.scales_pixels))
    held_out = stratified_sample(dataset.of(_reported(dataset)), count=_MOST_CHOOSING, seed=options.seed)
    outputs = loaded.original.outputs(inputs.feed(pixels_of(dataset, held_out, choice.record.fit), choice.scaling))
    predicted = class_scores(outputs, loaded.ends_in).argmax(axis=1)
    order = labels.check_order(
        (tried[0].scores.argmax(axis=1), targets), (predicted, targets_of(held_out, names)), names
    )
    return choice, order


def pixels_of(dataset: Dataset, samples: Sequence[Sample], fit: Fit) -> npt.NDArray[np.uint8]:
    """Return photos in another fit than that of the data set, uint8 [n, H, W, C]."""
    if fit == dataset.spec.fit:
        cache = dataset.pixels
    else:
        files = {sample.sha256: dataset.folder / sample.path for sample in dataset.samples}
        cache = decode_files(files, replace(dataset.spec, fit=fit))
    return np.asarray(cache.array[cache.rows(samples)])


def _compared(made: Finished, loaded: Loaded, proof: Proof, options: ImportOptions) -> ImportAgreement:
    dataset = proof.dataset
    most = agreement.PHOTOS if dataset.truth == "labels" else PICTURES
    photos = stratified_sample(dataset.of(_reported(dataset)), count=most, seed=options.seed)
    pixels = pixels_of(dataset, photos, proof.choice.record.fit)
    found = agreement.agreement(made, loaded.original, proof.choice.scaling, pixels)
    agreement.gate(found, shown=str(loaded.source.path), runtime=loaded.original.runtime)
    return found


def _name(path: Path) -> str:
    return Names().of(path.stem)


def _write(
    folder: Path,
    loaded: Loaded,
    made: Finished,
    proof: Proof,
    options: ImportOptions,
    compared: ImportAgreement,
    fitted: FittedTemperature | None,
    timer: StageTimer,
    started: float,
) -> None:
    source, scan = loaded.source, loaded.scanned.scan
    dataset, names, choice = proof.dataset, proof.names, proof.choice
    without_photos = dataset.truth == "model"
    write_model(made.model, folder / _MODEL)
    seconds_to_model = time.perf_counter() - started
    original = folder / f"{_ORIGINAL}{source.suffix}"
    original.write_bytes(loaded.kept)
    write_history(folder / "history.csv", ())
    write_split(folder / "split.csv", dataset.samples)
    if without_photos:
        shutil.copytree(dataset.folder, folder / DRAWN)
    else:
        write_data_root(folder, dataset.root)
    with timer.stage("report"):
        metrics, scores = _report(made.model, dataset, names, folder)
    targets = {split: targets_of(dataset.of(split), names) for split in scores}
    files = {"labels": options.labels, "code": options.code}
    settings: dict[str, Value] = options.by_name() | {name: one and Path(one).name for name, one in files.items()}
    base: dict[str, Value] = {
        "backbone": source.path.stem,
        "width": 1.0,
        "augment": "none",
        "size": size_value(loaded.size),
        "grey": loaded.size.channels == 1,
    }
    document = RunDocument(
        producer=f"edgetl {__version__}",
        created=created(),
        config=TrainedSettings.of(settings | base | {"fit": choice.record.fit}),
        labels=names,
        preprocess=dataset.spec,
        dataset=replace(dataset.describe(), root=dataset.root.resolve().name),
        weights=WeightsRecord("file", source.path.name, source.sha256, "not known: the model was imported"),
        model=TrainedModel(
            file=_MODEL,
            bytes=(folder / _MODEL).stat().st_size,
            sha256=sha256_file(folder / _MODEL),
            parameters=int(made.model.count_params()),
            cut_layer=None,
            best_epoch=0,
        ),
        interrupted=False,
        metrics=metrics,
        temperature=fitted.described(scores, targets) if fitted else None,
        stages=tuple(timer.stages),
        seconds_to_model=round(seconds_to_model, 3),
        seconds=round(time.perf_counter() - started, 3),
        versions=library_versions(*_LIBRARIES),
        command=command_text(
            ["edgetl", "import", str(source.path), *([] if without_photos else ["--data", str(dataset.root)])], options
        ),
        imported=ImportRecord(
            name=source.path.name,
            format=source.format,
            sha256=source.sha256,
            file=original.name,
            code_run=source.code_run,
            runtime=loaded.original.runtime,
            producer=scan.producer,
            opset=scan.opset,
            layout="nchw" if scan.layout == "nchw" else "nhwc",
            ends_in=made.ends_in,
            labels_from=_labels_from(loaded, proof, options),
            held_out="user" if options.held_out else "unknown",
            input=choice.record,
            label_order=proof.order,
            agreement=compared,
        ),
    )
    documents.write(folder / DOCUMENT, document)


def _labels_from(
    loaded: Loaded, proof: Proof, options: ImportOptions
) -> Literal["file", "metadata", "photos", "numbers"]:
    if options.labels:
        return "file"
    if loaded.scanned.scan.labels:
        return "metadata"
    return "photos" if proof.dataset.truth == "labels" else "numbers"


def _report(
    model: Any, dataset: Dataset, names: tuple[str, ...], folder: Path
) -> tuple[dict[Split, Metrics], dict[Split, npt.NDArray[np.float32]]]:
    """Write predictions, confusion and plots of the held-out photos; return metrics and logits of each split."""
    metrics: dict[Split, Metrics] = {}
    logits: dict[Split, npt.NDArray[np.float32]] = {}
    confusion: dict[Split, Confusion] = {}
    predictions: list[HeldOutPrediction] = []
    for split in SPLITS[1:]:
        samples = dataset.of(split)
        if not samples:
            continue
        rows = dataset.pixels.rows(samples)
        scores = float_model.logits(model, dataset.pixels.array, rows, description=f"Evaluating on {split}")
        logits[split] = scores
        probabilities = float_model.softmax(scores)
        metrics[split] = classification_report(probabilities, targets_of(samples, names), names)
        found = predictions_of(samples, names, probabilities)
        predictions += found
        confusion[split] = confusion_of(((one.label, one.predicted) for one in found), names)
    write_predictions(folder / FILE, predictions)
    write_confusion(folder / CONFUSION, confusion)
    if dataset.truth == "model":  # no classes that could be confused
        return metrics, logits
    (folder / "plots").mkdir()
    with step("Drawing plots"):
        for split, report in metrics.items():
            accuracy = report.accuracy
            title = f"{split}: {accuracy.correct} of {accuracy.photos} photos right, {top1_text(accuracy)}"
            target = folder / "plots" / f"confusion_{split}.png"
            plots.confusion_matrix(confusion[split], names, title=title, target=target)
    return metrics, logits
