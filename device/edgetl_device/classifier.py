"""Photos in, labels out: one variant of a bundle, ready to run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgetl_device.delegates.delegate import Delegate
from edgetl_device.delegates.share import External, Share
from edgetl_device.runtime.trial_run import check_model, trial_run

from . import documents
from .bundle import Bundle, BundleName
from .documents import Count, Json, Named
from .errors import EdgetlError, InputError, Unavailable, from_os_error
from .preprocess import Pixels, Source, preprocess
from .runtime import (
    Predicted,
    Probabilities,
    Runtime,
    check_probabilities,
    check_threads,
    open_runtime,
    predict,
    run_batch,
)
from .storage import damaged

PhotoLike = Source | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """A class and how likely it is.

    Attributes:
        label: Its name.
        probability: 0 to 1.
        index: Its place in the order of the labels.
    """

    label: str
    probability: float
    index: Count


@dataclass(frozen=True)
class Classified:
    """The likeliest classes of one photo.

    Attributes:
        photo: Its path, as it was given.
        predictions: Likeliest first; none where there is an error.
        error: Why there is no answer.
    """

    photo: str
    predictions: tuple[Prediction, ...]
    error: str | None = documents.optional()


@dataclass(frozen=True)
class UsedDelegate(Share, External):
    """A delegate of a library of its own, and how much of the model it ran.

    Attributes:
        name: ``edgetpu``, or the file name of the library.
        library: The file name of what the system's loader got; results carry no paths.
        options: What the library got; of paths the last part.
        version: What the library says of itself.
        operators: Operators that the delegate took.
        of: Operators of the model.
        partitions: Stretches of operators that it runs at once.
    """


@dataclass(frozen=True)
class Predictions:
    """Photos and their predictions by a variant.

    Attributes:
        bundle: The bundle of the variant.
        variant: Which model was run.
        runtime: What ran it.
        delegate: The external delegate, or none.
        photos: In the order they were given.
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
    """A variant of a bundle, loaded. Close it, or use it in a ``with`` statement, to give its memory back.

    Several threads may share one: photos are decoded at the same time, the model runs them one by one.

    Args:
        bundle: An open bundle, or the path of one.
        variant: The name of the variant to run.
        threads: CPU threads for the model, 1 to 256.
        prefer: For TFLite variants, insist on ``ai-edge-litert`` or ``tflite-runtime``.
        delegate: For TFLite variants, a delegate. A library of the wrong version may end the process:
            :func:`open_classifier` finds that out first.
        batch: Images in one inference, 1 to 256, for :meth:`run_batch`; above 1 for TFLite variants only.

    Raises:
        InputError: The bundle is damaged, has no such variant, or the variant is not made for the delegate or the
            batch.
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

    def classify(self, photo: PhotoLike, top: int = 5) -> list[Prediction]:
        """Return the ``top`` likeliest classes of a photo, likeliest first.

        Args:
            photo: A path, the bytes of an image file, a PIL image, or a uint8 RGB array [H, W, 3]. An array of exactly
                the model's size is taken as already preprocessed and used as it is; any other goes through the
                bundle's preprocessing like a decoded photo.
            top: At least 1; more than there are classes gives all of them.

        Raises:
            PhotoError: The photo cannot be read.
            InputError: ``top`` or the array is not as above, or the model's answer is no probabilities.
            Unavailable: This machine has too little memory for the photo.
        """
        return self.ranked(self.probabilities(photo), top)

    def classify_many(self, photos: Iterable[PhotoLike], top: int = 5) -> Iterator[list[Prediction]]:
        """Yield the predictions of :meth:`classify` for each photo, in order, one at a time."""
        for photo in photos:
            yield self.classify(photo, top)

    def probabilities(self, photo: PhotoLike) -> Probabilities:
        """Return the probabilities of all classes for a photo, float32 [classes]; ``photo`` as in :meth:`classify`."""
        return self.run(self.pixels(photo))

    def pixels(self, photo: PhotoLike) -> Pixels:
        """Return a photo as the model's input, uint8 [S, S, 3]; ``photo`` as in :meth:`classify`."""
        if not isinstance(photo, np.ndarray):
            return preprocess(photo, self.bundle.preprocess)
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise InputError(
                f"an array of type {photo.dtype} and shape {list(photo.shape)}", why="expected uint8 RGB [H, W, 3]"
            )
        size = self.bundle.preprocess.size
        if photo.shape == (size, size, 3):
            return photo
        return preprocess(Image.fromarray(photo), self.bundle.preprocess)

    def run(self, pixels: Pixels) -> Probabilities:
        """Return the probabilities, float32 [classes], for preprocessed pixels, uint8 [S, S, 3].

        Raises:
            ValueError: The classifier is closed.
        """
        return self.run_batch([pixels])[0]

    def run_batch(self, pixels: Sequence[Pixels]) -> list[Probabilities]:
        """Return the same for several photos in one inference: at most as many as the batch.

        Raises:
            InputError: The model's answer is no probabilities.
            ValueError: There are more, or the classifier is closed.
        """
        with self._lock:
            self._expect_open()
            answers = run_batch(self.runtime, pixels)
        for answer in answers:
            self.check(answer)
        return answers

    def predict(self, pixels: Iterable[Pixels], *, advance: Callable[[int], None] = lambda _: None) -> Predicted:
        """Run the model over preprocessed photos, uint8 [S, S, 3] each and at least one, in batches.

        Args:
            pixels: One batch of them is in memory at a time.
            advance: Called with the number of photos after each inference.

        Raises:
            InputError: The model's answer is no probabilities.
            ValueError: The classifier is closed.
        """
        return predict(self.run_batch, pixels, batch=self.runtime.input.shape[0], advance=advance)

    def check(self, probabilities: Probabilities) -> None:
        """Refuse an answer of the model that is no probabilities: the InputError names the model's file."""
        try:
            check_probabilities(probabilities)
        except InputError as error:
            raise _of_file(error, self.bundle, self.variant.file) from None

    def ranked(self, probabilities: Probabilities, top: int = 5) -> list[Prediction]:
        """Return the ``top`` likeliest classes as :func:`ranked` does."""
        return ranked(probabilities, self.labels, top)

    def close(self) -> None:
        """Free the model's memory, after a run that another thread may have started. Calling it again does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.runtime.close()

    def __enter__(self) -> Classifier:
        """Return the classifier, which must be open."""
        self._expect_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _expect_open(self) -> None:
        if self._closed:
            raise ValueError(f"this classifier of {self.bundle.path.name} is closed; make another one")

    def _expect_declared(self) -> None:
        size, classes = self.bundle.preprocess.size, len(self.labels)
        if self.runtime.input.shape[1:] != (size, size, 3) or self.runtime.output.shape[1:] != (classes,):
            raise damaged(
                f"{self.bundle.path}: {self.variant.file}",
                f"the model maps {list(self.runtime.input.shape)} to {list(self.runtime.output.shape)}, "
                f"the bundle says size {size} and {classes} labels",
            )


def open_classifier(
    bundle: Bundle | str | os.PathLike[str],
    variant: str = "int8",
    threads: int = 1,
    *,
    prefer: str | None = None,
    delegate: Delegate | None = None,
) -> Classifier:
    """Return a :class:`Classifier`; with a delegate, after a trial run that may crash without harm.

    Raises:
        InputError: As for :class:`Classifier`.
        Unavailable: As for :class:`Classifier`, or the delegate crashed.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    chosen = opened.variant(variant)
    if delegate is not None and delegate.external and chosen.format == "tflite":
        trial_run(opened.read(chosen.file), delegate, prefer=prefer)
    return Classifier(opened, variant, threads, prefer=prefer, delegate=delegate)


def ranked(probabilities: Probabilities, labels: Sequence[str], top: int = 5) -> list[Prediction]:
    """Return the ``top`` likeliest classes, likeliest first; of equals the one that comes first in the labels."""
    check_top(top)
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [Prediction(labels[i], float(probabilities[i]), int(i)) for i in order]


def check_top(top: int) -> None:
    """Refuse a number of classes that is not a whole number from 1 on."""
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
        # The runtime sees bytes only; say which file of which bundle they are.
        raise _of_file(error, bundle, file) from None


def _of_file(error: EdgetlError, bundle: Bundle, file: str) -> EdgetlError:
    return type(error)(f"{bundle.path}: {file}: {error.what}", why=error.why, hint=error.hint)


@dataclass
class Failures:
    """Photos that have no answer, counted while others are classified.

    Attributes:
        photos: How many were classified or failed.
        errors: Why those without an answer have none.
    """

    photos: int = 0
    errors: list[EdgetlError] = field(default_factory=list)

    def add(self, error: EdgetlError | OSError) -> str:
        """Count why a photo has no answer, and return it in one line."""
        known = from_os_error(error) if isinstance(error, OSError) else error
        self.errors.append(known)
        return known.what + (f" ({known.why})" if known.why else "")

    def raise_any(self) -> None:
        """Return when every photo has an answer.

        Raises:
            InputError: Some have none.
            Unavailable: The same, and only because this machine lacks something.
        """
        if self.errors:
            kind = Unavailable if all(isinstance(error, Unavailable) for error in self.errors) else InputError
            first = self.errors[0]
            why = first.what + (f": {first.why}" if first.why else "")
            raise kind(f"{len(self.errors)} of {self.photos} photos have no answer", why=why, hint=first.hint)


def classify_each(
    classifier: Classifier, photos: Iterable[str], failures: Failures, top: int = 5
) -> Iterator[Classified]:
    """Yield the answer for each file, or the error in its place, which is added to ``failures``."""
    check_top(top)
    for photo in photos:
        failures.photos += 1
        try:
            yield Classified(photo, tuple(classifier.classify(photo, top)))
        except (EdgetlError, OSError) as error:
            yield Classified(photo, (), failures.add(error))


def predictions(classifier: Classifier, rows: Iterable[Classified]) -> Predictions:
    """Return the document that ``classify`` prints as JSON, of rows of :func:`classify_each`."""
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
