"""The input of a model is found on photos: right when it is sure, and it says when photos cannot tell."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from edgetl.importing.inputs import CONVENTIONS, FITS, RAW, Choice, candidates, chosen, feed, try_inputs
from edgetl.importing.labels import best_order, check_order
from edgetl.importing.options import ImportOptions
from edgetl.importing.plain import End, class_scores, comparable, original_outputs
from edgetl.runs.import_record import Fit
from edgetl_device.errors import InputError

SIDE, CLASSES, NOISE = 8, 4, 45
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Templates:
    """The best classifier of the drawn photos, for one convention: that of normal distributions around the colours."""

    templates: npt.NDArray[np.float32]  # [classes, 3]
    deviation: npt.NDArray[np.float32]  # [3]
    runtime: str = "numpy"

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        differences = (inputs.mean(axis=(1, 2))[:, None] - self.templates) / self.deviation
        return np.asarray(-(differences**2).sum(axis=2) / 2, np.float32)


def _photos(count: int, *, noise: float, seed: int = 0) -> tuple[dict[Fit, Pixels], npt.NDArray[np.int64]]:
    """Return photos of four colours in three fits, of which ``stretch`` has nothing cut off or added."""
    random = np.random.default_rng(seed)
    colours = np.array([(60, 20, 20), (20, 80, 120), (200, 120, 60), (180, 220, 240)])
    targets = np.arange(count) % CLASSES
    whole = colours[targets][:, None, None] + random.normal(0, noise, (count, 1, 1, 3)) + np.zeros((SIDE, SIDE, 1))
    whole = whole.clip(0, 255).astype(np.uint8)
    padded = whole.copy()
    padded[:, :2], padded[:, -2:] = 0, 0
    return {"stretch": whole, "crop": whole[:, :, ::-1], "pad": padded}, targets


def _classifier(convention: str) -> Templates:
    photos, _ = _photos(CLASSES, noise=0)
    scaling = CONVENTIONS[convention]
    templates = feed(photos["stretch"], scaling)[:, 0, 0]
    return Templates(templates, np.array(scaling.factor, np.float32) * NOISE * np.ones(3, np.float32))


def _choose(convention: str, photos: dict[Fit, Pixels], targets: npt.NDArray[np.int64]) -> Choice:
    options = ImportOptions()
    scalings, fits = candidates(options, scales_pixels="", fit="")
    assert fits == FITS
    tried = try_inputs(_classifier(convention), "logits", photos, targets, scalings)
    return chosen(tried, scalings, options, by_model=False)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_each_convention_is_found(convention: str) -> None:
    record = _choose(convention, *_photos(400, noise=NOISE)).record
    assert record.name == convention
    assert not set(record.undecided) & set(CONVENTIONS)
    assert (record.chosen_by, record.photos) == ("photos", 400)
    assert len(record.tried) == 15
    assert record.tried[0].accuracy.ci95[0] > 0.5
    assert record.channels == ("BGR" if convention == "caffe" else "RGB")


def test_it_is_right_whenever_it_is_sure() -> None:
    found = {
        (convention, seed): _choose(convention, *_photos(30, noise=90, seed=seed)).record
        for convention in CONVENTIONS
        for seed in range(4)
    }
    sure = {key: record.name for key, record in found.items() if not set(record.undecided) & set(CONVENTIONS)}
    # Neither never nor always: the photos are few and hard.
    assert 0 < len(sure) < len(found)
    assert all(name == convention for (convention, _), name in sure.items())


def test_mirrored_photos_cannot_tell_a_fit() -> None:
    record = _choose("imagenet", *_photos(60, noise=NOISE)).record
    # A template of one colour is the same from the left and from the right.
    assert {record.fit, *record.undecided} == {"stretch", "crop"}


def test_a_few_hard_photos_leave_it_open() -> None:
    record = _choose("imagenet", *_photos(4, noise=150)).record
    assert record.undecided


def test_a_model_that_does_not_mind_the_scale_leaves_it_open() -> None:
    class Normalizing(Templates):
        def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            return np.asarray((inputs / np.abs(inputs).max()).mean(axis=(1, 2)) @ np.eye(3, CLASSES), np.float32)

    photos, targets = _photos(60, noise=20)
    scalings = {name: CONVENTIONS[name] for name in ("raw", "0..1")}
    model = Normalizing(np.zeros(0, np.float32), np.zeros(0, np.float32))
    record = chosen(
        try_inputs(model, "logits", photos, targets, scalings), scalings, ImportOptions(), by_model=False
    ).record
    assert set(record.undecided) >= {"raw", "0..1"} - {record.name}


def test_what_the_user_or_the_model_says_is_taken() -> None:
    scalings, fits = candidates(ImportOptions(input="caffe", fit="crop"), scales_pixels="", fit="")
    assert (tuple(scalings), fits) == (("caffe",), ("crop",))
    scalings, fits = candidates(ImportOptions(), scales_pixels="rescaling", fit="crop")
    assert (tuple(scalings), fits) == (("raw",), ("crop",))
    options = ImportOptions(mean="0.5,0.4,0.3", std="0.25", bgr=True)
    (scaling,) = candidates(options, scales_pixels="", fit="")[0].values()
    pixel = np.array([[[[255, 0, 51]]]], np.uint8)
    np.testing.assert_allclose(feed(pixel, scaling)[0, 0, 0], [(0.2 - 0.3) * 4, -1.6, 2], atol=1e-6)
    photos, targets = _photos(8, noise=20)
    custom = {"custom": scaling}
    record = chosen(
        try_inputs(_classifier("raw"), "logits", {"crop": photos["crop"]}, targets, custom), custom, options,
        by_model=False,
    ).record  # fmt: skip
    assert (record.name, record.chosen_by, record.photos, record.undecided) == ("custom", "user", 0, ())


@pytest.mark.parametrize("convention", ["imagenet", "caffe"])
def test_permuted_labels_do_not_hide_the_input(convention: str) -> None:
    photos, targets = _photos(60, noise=NOISE)
    permutation = np.array([2, 0, 3, 1])
    record = _choose(convention, photos, permutation[targets]).record
    assert record.name == convention


def test_permuted_labels_are_found_and_shown() -> None:
    labels = ("a", "b", "c", "d", "e")
    random = np.random.default_rng(0)
    outputs = np.array([1, 2, 0, 3, 4])  # the output of each class

    def photos(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        targets = np.arange(count) % 4  # no photos of e
        wrong = random.random(count) < 0.2
        return np.where(wrong, random.integers(0, 5, count), outputs[targets]), targets

    found = check_order(photos(100), photos(60), labels)
    assert found.permuted
    assert found.order == ("c", "a", "b", "d", "e")
    assert found.accuracy < 0.4 < 0.7 < found.assigned_accuracy
    assert found.photos == 60
    right = check_order(*(tuple(reversed((outputs[t], p))) for p, t in (photos(100), photos(60))), labels)
    assert best_order(np.array([0, 0]), np.array([0, 1]), 2).outputs.tolist() == [0, 1]
    assert not check_order((outputs[:4], outputs[:4]), (outputs[:4], outputs[:4]), labels).permuted
    assert right.photos == 60


def test_a_bad_model_does_not_look_permuted() -> None:
    random = np.random.default_rng(1)
    guess = [(random.integers(0, 5, 100), random.integers(0, 5, 100)) for _ in range(20)]
    found = [check_order(one, two, tuple("abcde")).permuted for one, two in zip(guess[:10], guess[10:], strict=True)]
    assert not any(found)


@pytest.mark.parametrize(
    ("end", "outputs"),
    [
        ("softmax", [[0.7, 0.2, 0.1]]),
        ("log-softmax", [np.log([0.7, 0.2, 0.1])]),
        ("logits", [[3.0, 1.0, -2.0]]),
        ("sigmoids", [[0.9, 0.4]]),
        ("one sigmoid", [[0.8]]),
        ("one logit", [[-1.5]]),
    ],
)
def test_outputs_of_each_end_are_scores_of_classes(end: End, outputs: list[list[float]]) -> None:
    given = np.array(outputs, np.float32)
    scores = class_scores(given, end).astype(np.float32)
    assert scores.shape == (1, max(2, given.shape[1]))
    np.testing.assert_allclose(original_outputs(scores, end), comparable(given, end), atol=1e-6)


@dataclass(frozen=True)
class Function:
    """A model that is a function of the mean colours, float32 [n, 3]."""

    function: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    runtime: str = "numpy"

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(self.function(inputs.mean(axis=(1, 2))), np.float32)


def _shares(colours: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean of two softmaxes, [n, 4]."""
    wide = np.concatenate([colours, colours[:, :1]], axis=1).astype(np.float64)
    parts = [np.exp(part - part.max(axis=1, keepdims=True)) for part in (wide, wide[:, ::-1] / 50)]
    return np.asarray(sum(part / part.sum(axis=1, keepdims=True) for part in parts) / 2, np.float32)


@pytest.mark.parametrize(
    ("function", "end", "what"),
    [
        (_shares, "logits", "sum to 1 on every photo"),
        (lambda colours: _shares(colours)[:, 1:2], "one logit", "are from 0 to 1 on every photo"),
    ],
    ids=["several", "one"],
)
def test_probabilities_without_an_end_that_makes_them_are_refused(
    function: Callable[..., npt.NDArray[np.float32]], end: End, what: str
) -> None:
    photos, targets = _photos(30, noise=NOISE)
    with pytest.raises(InputError, match="puts out probabilities, but does not end in a softmax") as refused:
        try_inputs(Function(function), end, photos, targets, {"raw": RAW})
    assert what in refused.value.why
    # As the graph says so, they are taken as they are.
    if end == "logits":
        assert try_inputs(Function(function), "softmax", photos, targets, {"raw": RAW})


def test_an_input_with_outputs_that_are_not_finite_is_out() -> None:
    def overflowing(colours: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores = colours @ np.random.default_rng(0).normal(0, 1, (3, CLASSES))
        return np.asarray(np.where(np.abs(colours).max() > 50, np.nan, scores), np.float32)

    photos, targets = _photos(40, noise=NOISE)
    options = ImportOptions()
    record = chosen(
        try_inputs(Function(overflowing), "logits", photos, targets, CONVENTIONS), CONVENTIONS, options, by_model=False
    ).record
    assert record.name in ("0..1", "-1..1", "imagenet")
    out = {(one.input, one.fit) for one in record.tried if one.accuracy is None}
    assert out == {(name, fit) for name in ("raw", "caffe") for fit in FITS}
    assert not set(record.undecided) & {"raw", "caffe"}
    assert all(one.loss is None for one in record.tried[-6:])
    wrong = {"raw": CONVENTIONS["raw"], "caffe": CONVENTIONS["caffe"]}
    with pytest.raises(InputError, match="NaN or infinite scores") as refused:
        try_inputs(Function(overflowing), "logits", photos, targets, wrong)
    assert "each of the 6 inputs" in refused.value.why


def test_thousands_of_classes_take_memory_with_the_photos() -> None:
    classes, photos = 50_000, 40
    targets = np.arange(photos) * 7 % classes
    predicted = (targets + 1) % classes
    tracemalloc.start()
    try:
        order = best_order(predicted, targets, classes)
        scores = np.zeros((photos, classes), np.float32)
        scores[np.arange(photos), predicted] = 9
        tried = try_inputs(Scores(scores), "logits", {"crop": np.zeros((photos, 1, 1, 3), np.uint8)}, targets,
                           {"raw": RAW})  # fmt: skip
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert order.correct == photos
    assert sorted(order.outputs.tolist()) == list(range(classes))
    # The best order has all photos right, so they are judged in it.
    assert tried[0].correct.all()
    # A matrix of classes by classes would be 20 GB.
    assert most < 400e6


@dataclass(frozen=True)
class Scores:
    """A model that puts out given scores, whatever the photos."""

    scores: npt.NDArray[np.float32]
    runtime: str = "numpy"

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self.scores[: len(inputs)]
