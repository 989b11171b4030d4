"""Predictions per photo in a result, and the checks on reading them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl_device._lib import jsonfile
from edgetl_device._lib.documents import to_json
from edgetl_device.bench import result
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.photoset import digest, of_bundle
from edgetl_device.bench.predictions import Predictions, evalset, predicted, top_predictions
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError


@pytest.fixture(scope="module")
def document(tiny: Bundle) -> dict[str, Any]:
    return run_bench(tiny, BenchOptions(variants=["int8"], duration=0.05)).to_json()


def test_the_photos_of_a_result_are_those_of_the_bundle(document: dict[str, Any], tiny: Bundle) -> None:
    found = document["evalset"]
    classes = tuple(tiny.reference().probabilities.argmax(axis=1).tolist())
    assert found == to_json(evalset(of_bundle(tiny), classes, "the float model that the bundle was made from"))
    assert (found["source"], found["name"]) == ("bundle", "tiny.edgetl")
    assert found["reference_name"] == "the float model that the bundle was made from"
    assert [f"evalset/{photo['file']}" for photo in found["photos"]] == [photo.file for photo in tiny.photos()]
    assert [photo["label"] for photo in found["photos"]] == [photo.index for photo in tiny.photos()]
    assert all(tiny.files[f"evalset/{photo['file']}"].sha256 == photo["sha256"] for photo in found["photos"])
    assert found["reference"] == tiny.reference().probabilities.argmax(axis=1).tolist()
    assert document["bundle"]["preprocess"] == tiny.preprocess.to_json()


def test_the_predictions_are_those_of_the_classifier(document: dict[str, Any], tiny: Bundle) -> None:
    (run,) = document["runs"]
    with Classifier(tiny, "int8") as classifier:
        for photo, index, probability in zip(
            tiny.photos(), run["answers"]["predicted"], run["answers"]["probability"], strict=True
        ):
            best = classifier.classify(tiny.read(photo.file))[0]
            assert (best.index, round(best.probability, 4)) == (index, probability)


def test_of_equal_probabilities_the_first_class_counts() -> None:
    assert top_predictions(np.array([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0]], np.float32)) == Predictions((1, 0), (0.4, 0.5))


def test_the_digest_knows_photos_and_labels_but_no_order() -> None:
    photos = [("cat", "a" * 64), ("dog", "b" * 64)]
    assert digest(photos) == digest(photos[::-1])
    for other in (
        photos[:1],
        [*photos, photos[0]],
        [("dog", "a" * 64), ("dog", "b" * 64)],
        [photos[0], ("dog", "c" * 64)],
    ):
        assert digest(other) != digest(photos)


def test_the_board_is_looked_at_between_the_rounds(document: dict[str, Any]) -> None:
    environment = document["environment"]
    states = [environment["before"], *environment["during"], environment["after"]]
    assert len(states) == document["settings"]["rounds"] + 1
    clocks = [state["clock_s"] for state in states]
    assert clocks == sorted(clocks)
    assert len(set(clocks)) == len(clocks)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: d["evalset"]["photos"][0].update(sha256="0" * 64), "evalset.digest does not match"),
        (lambda d: d["evalset"]["photos"][0].update(label=1), "evalset.digest does not match"),
        (lambda d: d["evalset"]["photos"][0].update(label=3), "not one of the labels"),
        (lambda d: d["evalset"]["reference"].__setitem__(0, 3), "evalset.reference does not give"),
        (
            lambda d: d["runs"][0]["answers"]["predicted"].__setitem__(0, 3),
            "names a class that is not",
        ),
        (lambda d: d["evalset"]["reference"].pop(), "evalset.reference does not give"),
        (lambda d: d["runs"][0]["answers"]["predicted"].pop(), "runs[0].answers are 11 to 12 photos"),
        (lambda d: d["runs"][0]["answers"]["probability"].append(0.5), "runs[0].answers are 12"),
        (lambda d: d["runs"][0]["answers"]["predicted"].reverse(), "runs[0].accuracy.correct does not match"),
        (lambda d: d["runs"][0].pop("answers"), "runs[0].answers is missing"),
        (lambda d: d["evalset"].update(reference={"unknown": "gone"}), "a run agrees with a reference that is unknown"),
    ],
)
def test_edited_predictions_are_refused(
    document: dict[str, Any], tmp_path: Path, edit: Callable[[dict[str, Any]], None], said: str
) -> None:
    edited = json.loads(json.dumps(document))
    edit(edited)
    edited["digest"] = jsonfile.digest(edited)
    jsonfile.write_json(tmp_path / "result.json", edited)
    with pytest.raises(InputError) as refusal:
        result.read(tmp_path / "result.json")
    assert said in refusal.value.what


def test_answers_that_are_no_probabilities_are_refused(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with Classifier(tiny, "int8") as classifier:
        for wrong in (np.array([0.5, 3.0, 0.1], np.float32), np.array([np.nan, 0, 1], np.float32)):
            monkeypatch.setattr(classifier.runtime, "probabilities", lambda _row=0, wrong=wrong: wrong)
            with pytest.raises(InputError, match=r"int8\.tflite: the model outputs (numbers from 0\.1 to 3|NaN)"):
                predicted(classifier, of_bundle(tiny))
