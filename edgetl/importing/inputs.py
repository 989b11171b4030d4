"""Which scaling of pixels, and which fit of photos, a model was made for: found on labelled photos, not guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import require
from edgetl._lib.progress import track
from edgetl.backbones.spec import CAFFE, TF, TORCH, Scaling
from edgetl.runs.import_record import Fit, InputRecord, TriedInput
from edgetl.runs.temperature import best_inverse
from edgetl_device.bench.accuracy import accuracy_of
from edgetl_device.errors import InputError, OptionError
from edgetl_device.scores import Accuracy

from .labels import best_order, looks_permuted
from .options import AUTO, ImportOptions, numbers
from .original import Original
from .plain import End, are_probabilities, class_scores

RAW = Scaling((1.0,), (0.0,))
CONVENTIONS: Mapping[str, Scaling] = {
    "raw": RAW,
    "0..1": Scaling((1 / 255,), (0.0,)),
    "-1..1": TF,
    "imagenet": TORCH,
    "caffe": CAFFE,
}
CUSTOM = "custom"
FITS: tuple[Fit, ...] = get_args(Fit)
# Levels of the test between two scalings, and between two fits: photos cropped may suit a model no worse than the fit
# that it was made for.
_ALPHA, _ALPHA_OF_FITS = 0.05, 0.01
# Of the inverse temperature: 2e-5.
_BISECTIONS = 20
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Tried:
    """One scaling and fit with its results on the photos used to choose.

    Attributes:
        name: Name of the scaling.
        fit: Fit of the photos.
        finite: Whether all outputs are finite. If not, nothing is correct, and the loss is infinite.
        scores: Log-probabilities or logits, float64 [n, classes].
        correct: bool [n].
        loss: Cross-entropy of each photo, nats, float64 [n].
        brier: Brier score of each photo, 0..2, float64 [n].
        calibrated: The same at the temperature that fits these photos best, 0..2, float64 [n].
    """

    name: str
    fit: Fit
    finite: bool
    scores: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    loss: npt.NDArray[np.float64]
    brier: npt.NDArray[np.float64]
    calibrated: npt.NDArray[np.float64]

    @property
    def accuracy(self) -> Accuracy:
        """Accuracy with its interval."""
        return accuracy_of(int(self.correct.sum()), len(self.correct))

    @property
    def described(self) -> TriedInput:
        """The same for ``run.json``."""
        if not self.finite:
            return TriedInput(self.name, self.fit, None, None)
        return TriedInput(self.name, self.fit, self.accuracy, round(float(self.loss.mean()), 6))

    @property
    def rank(self) -> tuple[bool, float]:
        """Sorts the best first.

        By the Brier score, a proper score of the probabilities, which tells more than the number of photos right: on
        few photos several inputs have nearly all of them right.
        """
        return not self.finite, float(self.brier.mean())


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen input.

    Attributes:
        scaling: From raw pixels to what the model takes.
        record: For ``run.json``.
    """

    scaling: Scaling
    record: InputRecord


def feed(pixels: npt.NDArray[np.uint8], scaling: Scaling) -> npt.NDArray[np.float32]:
    """Return raw pixels, uint8 [n, H, W, C], as a model takes them, float32."""
    order = ["RGB".index(channel) for channel in scaling.channels] if pixels.shape[-1] == 3 else [0]
    ordered = pixels[..., order].astype(np.float32)
    return np.asarray(ordered * np.array(scaling.factor, np.float32) + np.array(scaling.offset, np.float32))


def candidates(
    options: ImportOptions, *, scales_pixels: str, fit: str, channels: Literal[1, 3] = 3
) -> tuple[dict[str, Scaling], tuple[Fit, ...]]:
    """Return the scalings and fits that are possible after what the user and the model say.

    Args:
        options: The user's options.
        scales_pixels: The layer of the model that scales raw pixels; empty without one.
        fit: The fit that the model itself did; empty if it did none.
        channels: Channels of the model's input. Scalings with numbers for red, green and blue are not for grey.

    Raises:
        OptionError: The user's scaling is for three channels, and the model has one.
    """
    if channels == 1:
        _check_grey(options)
    if options.mean:
        mean, std = (np.broadcast_to(numbers(name, getattr(options, name)), channels) for name in ("mean", "std"))
        order = [2, 1, 0] if options.bgr else list(range(channels))
        custom = Scaling(
            tuple(float(1 / (255 * std[place])) for place in order),
            tuple(float(-mean[place] / std[place]) for place in order),
            "BGR" if options.bgr else "RGB",
        )
        scalings = {CUSTOM: custom}
    elif options.input != AUTO:
        scalings = {options.input: CONVENTIONS[options.input]}
    else:
        fitting = {name: one for name, one in CONVENTIONS.items() if channels == 3 or len(one.factor) == 1}
        scalings = {"raw": RAW} if scales_pixels else fitting
    wanted = options.fit if options.fit != AUTO else fit
    return scalings, tuple(one for one in FITS if one == wanted) or FITS


def _check_grey(options: ImportOptions) -> None:
    for name in ("mean", "std"):
        if len(given := getattr(options, name)) > 1:
            raise OptionError(f"{{{name}=}}: the model has one channel", hint="Give one number.", **{name: given})
    if options.bgr:
        raise OptionError("{bgr=}: the model has one channel", hint="Leave out {bgr}.", bgr=True)
    if options.input != AUTO and len(CONVENTIONS[options.input].factor) > 1:
        raise OptionError(
            "{input=}: the model has one channel",
            why="that scaling has numbers for red, green and blue",
            hint="Use {input} raw, 0..1 or -1..1, or {mean} and {std} with one number each.",
            input=options.input,
        )


def try_inputs(
    original: Original,
    ends_in: End,
    photos: Mapping[Fit, npt.NDArray[np.uint8]],
    targets: npt.NDArray[np.int64],
    scalings: Mapping[str, Scaling],
) -> list[Tried]:
    """Run the original on photos in each scaling and fit, best first.

    If another order of the labels fits the outputs far better than the given one, results are judged in that order:
    with permuted labels, the right input looks no better than a wrong one.

    Args:
        original: The model.
        ends_in: What it ends in.
        photos: uint8 [n, H, W, C] for each fit to try.
        targets: Class indices, int64 [n].
        scalings: Scalings to try, by name.

    Raises:
        InputError: All outputs are NaN or infinite, or probabilities that no end of the graph explains.
    """
    found: list[tuple[str, Fit, npt.NDArray[np.float64] | None]] = []
    raw = []
    with track("Trying inputs", len(photos) * len(scalings) * len(targets), unit="photos") as advance:
        for fit, pixels in photos.items():
            for name, scaling in scalings.items():
                parts = []
                for start in range(0, len(pixels), _BATCH):
                    batch = np.asarray(pixels[start : start + _BATCH])
                    parts.append(original.outputs(feed(batch, scaling)))
                    advance(len(batch))
                outputs = np.concatenate(parts)
                finite = bool(np.isfinite(outputs).all())
                found.append((name, fit, class_scores(outputs, ends_in) if finite else None))
                if finite:
                    raw.append(outputs)
    usable = [scores for _, _, scores in found if scores is not None]
    check_outputs(raw, ends_in, tried=len(found))
    permuted = max(
        (best_order(scores.argmax(axis=1), targets, scores.shape[1]) for scores in usable),
        key=lambda order: order.correct,
    )
    most = max(int((scores.argmax(axis=1) == targets).sum()) for scores in usable)
    judged = permuted.outputs[targets] if looks_permuted(most, permuted.correct, len(targets)) else targets
    return sorted((_tried(name, fit, scores, judged) for name, fit, scores in found), key=lambda one: one.rank)


def check_outputs(outputs: Sequence[npt.NDArray[np.float32]], ends_in: End, *, tried: int) -> None:
    """Refuse a model by its finite outputs in each way that it was fed.

    Raises:
        InputError: There are none, or they are probabilities that no end of the graph explains.
    """
    if not outputs:
        raise OptionError(
            "the model puts out NaN or infinite scores",
            why=f"with each of the {tried} inputs that were tried",
            hint="Name the scaling that it was trained with: {input}, or {mean} and {std}. If it was that, import an "
            "earlier checkpoint.",
        )
    if are_probabilities(np.concatenate(outputs), ends_in):
        one = ends_in == "one logit"
        raise InputError(
            "the model puts out probabilities, but does not end in a softmax or sigmoid",
            why=f"its outputs {'are from 0 to 1' if one else 'sum to 1'} on every photo, and the scores that they were "
            "made of are not in its graph",
            hint="Export it so that it ends in one softmax or sigmoid, or in logits. Of an ensemble, take the mean of "
            "the logits.",
        )


def _tried(name: str, fit: Fit, scores: npt.NDArray[np.float64] | None, targets: npt.NDArray[np.int64]) -> Tried:
    if scores is None:
        never = np.full(len(targets), np.inf)
        return Tried(name, fit, False, never[:, None], np.zeros(len(targets), bool), never, never, never)
    loss, brier = _losses(scores, targets)
    _, calibrated = _losses(scores * best_inverse(scores, targets, bisections=_BISECTIONS), targets)
    return Tried(name, fit, True, scores, scores.argmax(axis=1) == targets, loss, brier, calibrated)


def _losses(
    scores: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return cross-entropy and Brier score of each photo."""
    rows = np.arange(len(targets))
    wide = scores - scores.max(axis=1, keepdims=True)
    logarithms = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    probabilities = np.exp(logarithms)
    brier = (probabilities**2).sum(axis=1) + 1 - 2 * probabilities[rows, targets]
    return -logarithms[rows, targets], brier


def chosen(
    tried: Sequence[Tried], scalings: Mapping[str, Scaling], options: ImportOptions, *, by_model: bool
) -> Choice:
    """Return the best input, with the alternatives that the photos cannot tell from it.

    Args:
        tried: From :func:`try_inputs`.
        scalings: The scalings tried, by name.
        options: The user's options.
        by_model: Whether the model itself says what it takes.
    """
    best, usable = tried[0], [one for one in tried if one.finite]
    fits = {one.fit: one.calibrated for one in usable if one.name == best.name}
    named = {name: [one.calibrated for one in usable if one.name == name] for name in {one.name for one in usable}}
    # Over all fits, because a scaling is right or wrong in each: chance has less to say.
    means = {name: np.mean(scores, axis=0) for name, scores in named.items()}
    own = means.pop(best.name)
    undecided = [name for name, scores in means.items() if not _is_better(own, scores, _ALPHA)]
    del fits[best.fit]
    undecided += [fit for fit, scores in fits.items() if not _is_better(best.calibrated, scores, _ALPHA_OF_FITS)]
    choice = _choice(best.name, scalings[best.name], best.fit, options, by_model=by_model)
    record = replace(
        choice.record,
        photos=len(best.loss) if len(tried) > 1 else 0,
        tried=tuple(one.described for one in tried),
        undecided=tuple(sorted(undecided)),
    )
    return replace(choice, record=record)


def stated(options: ImportOptions, *, scales_pixels: str, fit: str, channels: Literal[1, 3] = 3) -> Choice:
    """Return the input that the user or the model states, where there are no photos to find it on.

    Photos are stretched if neither says how they are fitted.

    Args:
        options: The user's options.
        scales_pixels: The layer of the model that scales raw pixels; empty without one.
        fit: The fit that the model itself did; empty if it did none.
        channels: Channels of the model's input.

    Raises:
        OptionError: Neither states the scaling, or it is not for so many channels.
    """
    if options.input == AUTO and not options.mean and not scales_pixels:
        raise OptionError(
            "{input=} without photos",
            why="which numbers the model takes for pixels is found by trying, on labelled photos",
            hint="Say what it was trained with: {input} raw, 0..1, -1..1, imagenet or caffe, or {mean} and {std}. Or "
            "give photos: {data}.",
            input=AUTO,
        )
    scalings, fits = candidates(options, scales_pixels=scales_pixels, fit=fit, channels=channels)
    ((name, scaling),) = scalings.items()
    return _choice(name, scaling, fits[0], options, by_model=bool(scales_pixels))


def _choice(name: str, scaling: Scaling, fit: Fit, options: ImportOptions, *, by_model: bool) -> Choice:
    """Return a choice that nothing was tried for."""
    by_user = name == CUSTOM or options.input != AUTO
    record = InputRecord(
        name=name,
        factor=scaling.factor,
        offset=scaling.offset,
        channels="BGR" if scaling.channels == "BGR" else "RGB",
        fit=fit,
        chosen_by="user" if by_user else "model" if by_model else "photos",
        photos=0,
        tried=(),
        undecided=(),
    )
    return Choice(scaling, record)


def _is_better(best: npt.NDArray[np.float64], other: npt.NDArray[np.float64], alpha: float) -> bool:
    """Return whether one input is better than another by more than chance, on the same photos: a paired t-test.

    Of the Brier scores at each input's own temperature: a wrong scale also makes a model surer, or less sure, of all
    that it says, and then a few photos would decide. Not of the cross-entropy, for the same reason.

    Args:
        best: Brier score of each photo, calibrated, float64 [n].
        other: The same of the other.
        alpha: Level of the one-sided test.
    """
    difference = other - best
    if not np.ptp(difference) > 1e-6:
        return False
    return bool(require("scipy.stats").ttest_1samp(difference, 0.0, alternative="greater").pvalue < alpha)
