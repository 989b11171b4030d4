"""Classify photos with one variant of a bundle."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgetl_device.delegates.delegate import Delegate
from edgetl_device.delegates.share import External, Share
from edgetl_device.runtime.trial_run import check_model, trial_run

from ._lib import documents
from ._lib.documents import Count, Json, Named
from .bundle import Bundle, BundleName, Variant
from .errors import EdgetlError, InputError, Unavailable, from_os_error
from .named_photos import named_photos
from .preprocess import Pixels, Source, image_of, preprocess
from .runtime import (
    Features,
    Predicted,
    Probabilities,
    Runtime,
    check_probabilities,
    check_threads,
    features_in,
    open_runtime,
    predict,
    run_batch,
)
from .signature import PublicKey, now
from .slots import Installed, Slots
from .storage import damaged
from .unknown import finite, is_unknown

PhotoLike = Source | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """A predicted class.

    Attributes:
        label: Name of the class.
        probability: Probability, 0 to 1.
        index: Index of the class in the labels.
    """

    label: str
    probability: float
    index: Count


class Answer(list[Prediction]):
    """The likeliest classes of one photo, likeliest first, and whether it is of nothing that the model was taught.

    Attributes:
        unknown: Whether it is; None if the bundle cannot tell for this variant.
        unknown_score: How far the photo is from all training photos: above 1, it is unknown. None like ``unknown``.
    """

    def __init__(self, predictions: Iterable[Prediction], unknown_score: float | None = None) -> None:
        super().__init__(predictions)
        self.unknown_score = unknown_score
        self.unknown = is_unknown(unknown_score)


@dataclass(frozen=True, eq=False)
class Output:
    """Output of a model for one photo.

    Attributes:
        probabilities: float32 [classes].
        unknown_score: As in :class:`Answer`.
        features: The pooled features that tell unknown photos, float32 [features]; None if the bundle cannot tell.
    """

    probabilities: Probabilities
    unknown_score: float | None
    features: Features | None


@dataclass(frozen=True, eq=False)
class Observed:
    """One photo and what a model said, for an :class:`Observer`.

    Attributes:
        classifier: The classifier that answered.
        photo: The photo as it was given.
        pixels: The model's input, uint8 [H, W, C].
        output: The model's output.
        latency_ms: From the photo's file, or the frame, to the answer.
    """

    classifier: Classifier
    photo: PhotoLike
    pixels: Pixels
    output: Output
    latency_ms: float


class Observer(Protocol):
    """Sees every photo and its answer, such as :class:`edgetl_device.monitor.Monitor`; raises nothing."""

    def answered(self, observed: Observed) -> None:
        """See a photo that was classified."""

    def failed(self) -> None:
        """Count a photo that could not be classified."""


@dataclass(frozen=True)
class Classified:
    """The likeliest classes of one photo.

    Attributes:
        photo: Path as given.
        predictions: Likeliest first; empty on an error.
        error: Why the photo could not be classified.
        unknown: Whether the photo is of nothing that the model was taught, if the bundle can tell.
        unknown_score: How far it is from all training photos: above 1, it is unknown.
    """

    photo: str
    predictions: tuple[Prediction, ...]
    error: str | None = documents.optional()
    unknown: bool | None = documents.optional()
    unknown_score: float | None = documents.optional()


@dataclass(frozen=True)
class UsedDelegate(Share, External):
    """An external delegate, and how much of the model it ran.

    Attributes:
        name: ``edgetpu``, or the file name of the library.
        library: File name of the library; results contain no paths.
        options: Options given to the library; of paths only the last part.
        version: Version reported by the library.
        operators: Operators that the delegate runs.
        of: Operators of the model.
        partitions: Groups of consecutive operators that it runs at once.
    """


@dataclass(frozen=True)
class Predictions:
    """Photos and their predictions by a variant.

    Attributes:
        bundle: The bundle.
        variant: Name of the variant.
        runtime: The runtime that ran it.
        delegate: The external delegate, or none.
        photos: The photos in the given order.
    """

    SCHEMA: ClassVar[str] = "edgetl.predictions/1"

    bundle: BundleName
    variant: str
    runtime: Named
    delegate: UsedDelegate | Literal["none"]
    photos: tuple[Classified, ...]

    def to_json(self) -> Json:
        """Return the document that ``edgetl classify --json`` prints."""
        return documents.to_json(self)


class Classifier:
    """A loaded variant of a bundle. Close it, or use it in a ``with`` statement, to free its memory.

    It is thread-safe: photos are decoded in parallel, inferences run one at a time.

    Args:
        bundle: An open bundle, or the path of one.
        variant: The name of the variant to run.
        threads: CPU threads for the model, 1 to 256.
        prefer: For TFLite variants, require ``ai-edge-litert`` or ``tflite-runtime``.
        delegate: For TFLite variants, a delegate. A library of the wrong version may crash the process;
            :func:`open_classifier` tries it in another process first.
        batch: Images per inference, 1 to 256, for :meth:`run_batch`; above 1 for TFLite variants only.

    Raises:
        InputError: The bundle is damaged, has no such variant, or the variant does not support the delegate or the
            batch size.
        Unavailable: The runtime or the delegate of this variant is not installed, or cannot run it.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        variant: str = "int8",
        threads: int = 1,
        *,
        prefer: str | None = None,
        delegate: Delegate | None = None,
        batch: int = 1,
    ) -> None:
        """Read, check and load the variant."""
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self.variant = self.bundle.variant(variant)
        check_threads(threads)
        self._scorer = self.bundle.unknown_scorer(variant)
        model = self.bundle.read(self.variant.file)
        self.runtime: Runtime = _open(
            self.bundle, self.variant.file, model, self.variant.format, threads, prefer, delegate, batch
        )
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._expect_declared()
        except InputError:
            self.close()
            raise

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the model's output."""
        return self.bundle.labels

    def classify(self, photo: PhotoLike, top: int = 5, *, observer: Observer | None = None) -> Answer:
        """Return the ``top`` likeliest classes of a photo, likeliest first, and whether it is unknown.

        Args:
            photo: A path, the bytes of an image file, a PIL image, or a uint8 array: RGB [H, W, 3], or grey [H, W, 1]
                for a model with one channel. An array of exactly the shape of the model's input counts as preprocessed
                and is used as it is; any other goes through the bundle's preprocessing like a decoded photo.
            top: At least 1; capped at the number of classes.
            observer: Sees the photo and the answer.

        Raises:
            PhotoError: The photo cannot be read.
            InputError: ``top`` or the array is not as above, or the model's output is not probabilities.
            Unavailable: This machine has too little memory for the photo.
        """
        check_top(top)
        started = time.perf_counter()
        try:
            pixels = self.pixels(photo)
            output = self.run_observed(pixels)
        except (EdgetlError, OSError):
            if observer is not None:
                observer.failed()
            raise
        if observer is not None:
            observer.answered(Observed(self, photo, pixels, output, 1e3 * (time.perf_counter() - started)))
        return Answer(self.ranked(output.probabilities, top), output.unknown_score)

    def classify_many(self, photos: Iterable[PhotoLike], top: int = 5) -> Iterator[Answer]:
        """Yield the answer of :meth:`classify` for each photo, in order, one at a time."""
        for photo in photos:
            yield self.classify(photo, top)

    def probabilities(self, photo: PhotoLike) -> Probabilities:
        """Return the probabilities of all classes for a photo, float32 [classes]; ``photo`` as in :meth:`classify`."""
        return self.run(self.pixels(photo))

    def pixels(self, photo: PhotoLike) -> Pixels:
        """Return a photo as the model's input, uint8 [H, W, C]; ``photo`` as in :meth:`classify`."""
        if not isinstance(photo, np.ndarray):
            return preprocess(photo, self.bundle.preprocess)
        size = self.bundle.preprocess.size
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] not in (3, size.channels):
            grey = " or grey [H, W, 1]" if size.channels == 1 else ""
            raise InputError(
                f"an array of type {photo.dtype} and shape {list(photo.shape)}",
                why=f"expected uint8 RGB [H, W, 3]{grey}",
            )
        if photo.shape == size.shape:
            return photo
        return preprocess(image_of(photo), self.bundle.preprocess)

    def run(self, pixels: Pixels) -> Probabilities:
        """Return the probabilities, float32 [classes], for preprocessed pixels, uint8 [H, W, C].

        Raises:
            ValueError: The classifier is closed.
        """
        return self.run_batch([pixels])[0]

    def run_observed(self, pixels: Pixels) -> Output:
        """Return the whole output of the model for preprocessed pixels, uint8 [H, W, C].

        Raises:
            InputError: The model's output is not probabilities.
            ValueError: The classifier is closed.
        """
        return self._outputs([pixels])[0]

    def unknown_score(self, row: int = 0) -> float | None:
        """Return the unknown score of a row of the last run, as in :class:`Answer`; None if there is none.

        For measuring: between a run and this, no other thread may use the classifier; :meth:`run_observed` sees to
        that.
        """
        return self._scored(row)[0]

    def run_batch(self, pixels: Sequence[Pixels]) -> list[Probabilities]:
        """Return the probabilities for several photos in one inference, at most the batch size.

        Raises:
            InputError: The model's output is not probabilities.
            ValueError: There are more photos, or the classifier is closed.
        """
        return [output.probabilities for output in self._outputs(pixels)]

    def _outputs(self, pixels: Sequence[Pixels]) -> list[Output]:
        with self._lock:
            self._expect_open()
            answers = run_batch(self.runtime, pixels)
            outputs = [Output(answer, *self._scored(row)) for row, answer in enumerate(answers)]
        for answer in answers:
            self.check(answer)
        return outputs

    def _scored(self, row: int) -> tuple[float | None, Features | None]:
        if self._scorer is None:
            return None, None
        features = self.runtime.pooled(row)
        return self._scorer.score(features), features

    def predict(self, pixels: Iterable[Pixels], *, advance: Callable[[int], None] = lambda _: None) -> Predicted:
        """Run the model over preprocessed photos, uint8 [H, W, C] each and at least one, in batches.

        Args:
            pixels: One batch of them is in memory at a time.
            advance: Called with the number of photos after each inference.

        Raises:
            InputError: The model's output is not probabilities.
            ValueError: The classifier is closed.
        """
        scores: list[float] = []

        def run(photos: Sequence[Pixels]) -> list[Probabilities]:
            outputs = self._outputs(photos)
            scores.extend(one.unknown_score for one in outputs if one.unknown_score is not None)
            return [one.probabilities for one in outputs]

        found = predict(run, pixels, batch=self.runtime.input.shape[0], advance=advance)
        return replace(found, unknown_scores=np.array(scores)) if scores else found

    def check(self, probabilities: Probabilities) -> None:
        """Refuse an output of the model that is not probabilities; the InputError names the model's file."""
        try:
            check_probabilities(probabilities)
        except InputError as error:
            raise _of_file(error, self.bundle, self.variant.file) from None

    def ranked(self, probabilities: Probabilities, top: int = 5) -> list[Prediction]:
        """Return the ``top`` likeliest classes, see :func:`ranked`."""
        return ranked(probabilities, self.labels, top)

    @classmethod
    def follow(
        cls,
        slots: str | os.PathLike[str],
        variant: str = "int8",
        threads: int = 1,
        *,
        prefer: str | None = None,
        delegate: Delegate | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> Following:
        """Return a classifier that follows the updates of a board's slots; see :class:`Following`."""
        return Following(slots, variant, threads, prefer=prefer, delegate=delegate, say=say)

    @contextmanager
    def hold(self) -> Iterator[Classifier]:
        """Yield this classifier; for the interface of :class:`Following`."""
        yield self

    def close(self) -> None:
        """Free the model's memory, after waiting for an inference in another thread. Calling it again does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.runtime.close()

    def __enter__(self) -> Classifier:
        """Return the classifier."""
        self._expect_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _expect_open(self) -> None:
        if self._closed:
            raise ValueError(f"this classifier of {self.bundle.path.name} is closed; create another one")

    def _expect_declared(self) -> None:
        size, classes = self.bundle.preprocess.size, len(self.labels)
        if self.runtime.input.shape[1:] != size.shape or self.runtime.output.shape[1:] != (classes,):
            raise damaged(
                f"{self.bundle.path}: {self.variant.file}",
                f"the model maps {list(self.runtime.input.shape)} to {list(self.runtime.output.shape)}, "
                f"the bundle says {size.px} and {classes} labels",
            )
        found, unknown = features_in(self.runtime.features), self.bundle.unknown
        if self._scorer and unknown and found != unknown.features:
            raise damaged(
                f"{self.bundle.path}: {self.variant.file}",
                f"the bundle says that it tells unknown photos by {unknown.features} features, "
                + (f"but it has {found}" if found else "but it has no such output"),
            )


@dataclass(eq=False)
class _Loaded:
    """A classifier of a bundle in a slot, and the number of photos that it is processing."""

    installed: Installed
    classifier: Classifier
    photos: int = 0


class Following:
    """A classifier that always runs the current bundle of a board's slots.

    Between photos it checks for an update, and loads the new bundle before it closes the old one: no photo is dropped,
    and each photo is decoded, resized and classified by the same bundle. If a bundle cannot be loaded, or is not signed
    by a key that the slots trust, it reports that and keeps the old one until the next change. After an interrupted
    update it runs the confirmed bundle. It is thread-safe like :class:`Classifier`, and needs no write permission.
    During a change both models are in memory.

    Args:
        slots: The folder that ``python -m edgetl_device update`` or ``edgetl deploy`` filled.
        variant: As for :class:`Classifier`.
        threads: As for :class:`Classifier`.
        prefer: As for :class:`Classifier`.
        delegate: As for :class:`Classifier`.
        say: Called with one line when the bundle has changed, or could not be loaded.

    Raises:
        InputError: There are no slots, or their bundle cannot be loaded.
        Unavailable: As for :class:`Classifier`.
    """

    def __init__(
        self,
        slots: str | os.PathLike[str],
        variant: str = "int8",
        threads: int = 1,
        *,
        prefer: str | None = None,
        delegate: Delegate | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._slots = Slots(slots)
        self._variant, self._threads, self._prefer, self._delegate = variant, threads, prefer, delegate
        self._say = say
        self._lock = threading.Lock()
        self._closed = False
        self._said = ""
        self._mark: tuple[int, int, int] | None = None
        running = self._slots.running()
        if running is None:
            raise InputError(
                f"{self._slots.path}: no bundle is installed there",
                hint="Install one: edgetl deploy, or python -m edgetl_device update.",
            )
        self._loaded = self._load(running)
        # Do not retry a bundle that failed to load.
        self._seen = running

    @property
    def bundle(self) -> Bundle:
        """The bundle that ran last; :meth:`hold` yields the one for the next photo."""
        return self._loaded.classifier.bundle

    @property
    def variant(self) -> Variant:
        """Its variant."""
        return self._loaded.classifier.variant

    @property
    def labels(self) -> tuple[str, ...]:
        """Its class names, in the order of the model's output."""
        return self._loaded.classifier.labels

    @property
    def runtime(self) -> Runtime:
        """Its runtime."""
        return self._loaded.classifier.runtime

    @contextmanager
    def hold(self) -> Iterator[Classifier]:
        """Yield the classifier for the steps of one photo; it stays open until they are done.

        Raises:
            ValueError: The classifier is closed.
        """
        with self._lock:
            if self._closed:
                raise ValueError(f"this classifier of {self._slots.path.name} is closed; create another one")
            self._look()
            loaded = self._loaded
            loaded.photos += 1
        try:
            yield loaded.classifier
        finally:
            with self._lock:
                loaded.photos -= 1
                self._let_go(loaded)

    def classify(self, photo: PhotoLike, top: int = 5, *, observer: Observer | None = None) -> Answer:
        """Return the ``top`` likeliest classes of a photo, as :meth:`Classifier.classify`."""
        with self.hold() as classifier:
            return classifier.classify(photo, top, observer=observer)

    def classify_many(self, photos: Iterable[PhotoLike], top: int = 5) -> Iterator[Answer]:
        """Yield the answer of :meth:`classify` for each photo, in order, one at a time."""
        for photo in photos:
            yield self.classify(photo, top)

    def probabilities(self, photo: PhotoLike) -> Probabilities:
        """Return the probabilities of all classes for a photo, as :meth:`Classifier.probabilities`."""
        with self.hold() as classifier:
            return classifier.probabilities(photo)

    def close(self) -> None:
        """Free the memory, after waiting for photos in other threads. Calling it again does nothing."""
        with self._lock:
            self._closed = True
            self._let_go(self._loaded)

    def __enter__(self) -> Following:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _look(self) -> None:
        """Load the current bundle if it has changed. Call with the lock held."""
        try:
            mark = self._slots.mark
            if mark == self._mark:
                return
            is_settled = self._slots.state().pending is None
            running = self._slots.running()
        except (EdgetlError, OSError) as error:
            self._mark = None
            self._report(f"{self._slots.path}: cannot be read: {_in_one_line(error)}")
            return
        # While an update runs, only the lock shows when it ends.
        self._mark = mark if is_settled else None
        if running is None or running == self._seen:
            return
        self._seen = running
        try:
            loaded = self._load(running)
        except (EdgetlError, OSError) as error:
            self._report(f"{running.name} was not loaded: {_in_one_line(error)}")
            return
        old, self._loaded = self._loaded, loaded
        self._let_go(old)
        self._report(f"now running {running.name}, {running.digest[:12]}")

    def _report(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)

    def _load(self, installed: Installed) -> _Loaded:
        bundle = Bundle.open(self._slots.file(installed))
        if bundle.digest != installed.digest:
            raise damaged(f"{bundle.path}", "its digest has changed since it was installed")
        if trust := self._slots.state().trust:
            bundle.check_signed(trust)
        opened = _open_bundle(bundle, self._variant, self._threads, prefer=self._prefer, delegate=self._delegate)
        return _Loaded(installed, opened)

    def _let_go(self, loaded: _Loaded) -> None:
        """Close a classifier that no photo needs any more. Call with the lock held."""
        if loaded.photos == 0 and (self._closed or loaded is not self._loaded):
            loaded.classifier.close()


AnyClassifier = Classifier | Following


def open_classifier(
    bundle: Bundle | str | os.PathLike[str],
    variant: str = "int8",
    threads: int = 1,
    *,
    prefer: str | None = None,
    delegate: Delegate | None = None,
    trust: Sequence[PublicKey] = (),
    say: Callable[[str], None] = lambda _: None,
) -> AnyClassifier:
    """Return a :class:`Classifier`, or a :class:`Following` if ``bundle`` is a board's slots.

    A delegate is first tried in a separate process, because it may crash.

    Args:
        bundle: An open bundle, or the path of one, or of slots.
        variant: As for :class:`Classifier`.
        threads: As for :class:`Classifier`.
        prefer: As for :class:`Classifier`.
        delegate: As for :class:`Classifier`.
        trust: Trusted keys, one of which must have signed the bundle. Not for slots, which have their own.
        say: As for :class:`Following`.

    Raises:
        InputError: As for :class:`Classifier`, or no trusted key has signed the bundle.
        Unavailable: As for :class:`Classifier`, or the delegate crashed.
    """
    if not isinstance(bundle, Bundle):
        if Slots(bundle).exists:
            if trust:
                raise InputError(
                    f"{bundle}: slots have their own trusted keys",
                    hint="Leave the keys out; only an update changes them.",
                )
            return Following(bundle, variant, threads, prefer=prefer, delegate=delegate, say=say)
        bundle = Bundle.open(bundle)
    if trust:
        bundle.check_signed(trust, at=now())
    return _open_bundle(bundle, variant, threads, prefer=prefer, delegate=delegate)


def _open_bundle(
    bundle: Bundle, variant: str, threads: int, *, prefer: str | None, delegate: Delegate | None
) -> Classifier:
    chosen = bundle.variant(variant)
    if delegate is not None and delegate.external and chosen.format == "tflite":
        trial_run(bundle.read(chosen.file), delegate, prefer=prefer)
    return Classifier(bundle, variant, threads, prefer=prefer, delegate=delegate)


def _in_one_line(error: EdgetlError | OSError) -> str:
    known = from_os_error(error) if isinstance(error, OSError) else error
    return known.what + (f" ({known.why})" if known.why else "")


def ranked(probabilities: Probabilities, labels: Sequence[str], top: int = 5) -> list[Prediction]:
    """Return the ``top`` likeliest classes, likeliest first; ties are in the order of the labels."""
    check_top(top)
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [Prediction(labels[i], float(probabilities[i]), int(i)) for i in order]


def check_top(top: int) -> None:
    """Refuse a number of classes that is not a positive whole number."""
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise InputError(f"top {top!r}", why="must be a whole number, 1 or more")


def _open(
    bundle: Bundle,
    file: str,
    model: bytes,
    format: str,
    threads: int,
    prefer: str | None,
    delegate: Delegate | None,
    batch: int,
) -> Runtime:
    try:
        if delegate is None or not delegate.external:
            check_model(model, format, bundle.files[file].sha256, prefer=prefer)
        return open_runtime(model, format, threads=threads, prefer=prefer, delegate=delegate, batch=batch)
    except EdgetlError as error:
        # The runtime sees only bytes; add the bundle and the file to its message.
        raise _of_file(error, bundle, file) from None


def _of_file(error: EdgetlError, bundle: Bundle, file: str) -> EdgetlError:
    return type(error)(f"{bundle.path}: {file}: {error.what}", why=error.why, hint=error.hint)


@dataclass
class Failures:
    """Collects the errors of photos that could not be classified.

    Attributes:
        photos: Number of photos, classified or failed.
        errors: The errors, one per failed photo.
    """

    photos: int = 0
    errors: list[EdgetlError] = field(default_factory=list)

    def add(self, error: EdgetlError | OSError) -> str:
        """Record a photo's error, and return it as one line."""
        self.errors.append(from_os_error(error) if isinstance(error, OSError) else error)
        return _in_one_line(error)

    def raise_any(self) -> None:
        """Raise an error if a photo failed.

        Raises:
            InputError: Some photos could not be classified.
            Unavailable: All of them failed because this machine lacks something.
        """
        if self.errors:
            kind = Unavailable if all(isinstance(error, Unavailable) for error in self.errors) else InputError
            first = self.errors[0]
            why = first.what + (f": {first.why}" if first.why else "")
            raise kind(f"{len(self.errors)} of {self.photos} photos could not be classified", why=why, hint=first.hint)


def classify_each(
    classifier: AnyClassifier,
    photos: Iterable[str],
    failures: Failures,
    top: int = 5,
    *,
    observer: Observer | None = None,
) -> Iterator[Classified]:
    """Yield the predictions for each photo, or its error, which is also added to ``failures``.

    Args:
        classifier: Classifies the photos.
        photos: What :func:`edgetl_device.named_photos.named_photos` takes: paths, folders, patterns, ``-``.
        failures: Collects the errors.
        top: Number of classes, likeliest first.
        observer: Sees every photo and its answer.
    """
    check_top(top)
    for photo in named_photos(photos):
        failures.photos += 1
        try:
            if isinstance(photo.source, EdgetlError):
                raise photo.source
            answer = classifier.classify(photo.source, top, observer=observer)
            yield Classified(
                photo.name, tuple(answer), unknown=answer.unknown, unknown_score=finite(answer.unknown_score)
            )
        except (EdgetlError, OSError) as error:
            yield Classified(photo.name, (), failures.add(error))


def predictions(classifier: AnyClassifier, rows: Iterable[Classified]) -> Predictions:
    """Return the document that ``classify`` prints as JSON, from rows of :func:`classify_each`."""
    runtime = classifier.runtime
    used: UsedDelegate | Literal["none"] = "none"
    if runtime.external is not None and runtime.share is not None:
        used = UsedDelegate(**vars(runtime.external), **vars(runtime.share))
    return Predictions(
        bundle=BundleName(classifier.bundle.path.name, classifier.bundle.digest),
        variant=classifier.variant.name,
        runtime=Named(runtime.name, runtime.version),
        delegate=used,
        photos=tuple(rows),
    )
