from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgetl_device import Bundle, Classifier, Prediction
from edgetl_device.errors import InputError
from edgetl_device.preprocess import PhotoError, preprocess


def test_every_kind_of_photo_gives_the_same_answer(tiny: Bundle, photo_file: Path, variant: str) -> None:
    image = Image.open(photo_file)
    with Classifier(tiny, variant) as classifier:
        wanted = classifier.classify(photo_file)
        kinds = (
            str(photo_file),
            photo_file.read_bytes(),
            image,
            np.asarray(image.convert("RGB")),
            preprocess(photo_file, tiny.preprocess),
        )
        for photo in kinds:
            assert classifier.classify(photo) == wanted
    assert wanted[0].label == "circle"
    assert [type(answer) for answer in wanted] == [Prediction] * 3
    assert [answer.probability for answer in wanted] == sorted((a.probability for a in wanted), reverse=True)
    assert all(tiny.labels[answer.index] == answer.label for answer in wanted)


def test_an_array_of_the_models_size_is_used_as_it_is(tiny: Bundle) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with Classifier(tiny) as classifier:
        assert classifier.pixels(pixels) is pixels
        assert classifier.pixels(np.zeros((50, 40, 3), np.uint8)).shape == (32, 32, 3)


def test_all_held_out_photos_are_right_and_many_keeps_the_order(tiny: Bundle, variant: str) -> None:
    photos = tiny.photos()
    with Classifier(tiny, variant) as classifier:
        predictions = list(classifier.classify_many((tiny.read(photo.file) for photo in photos), top=1))
    assert [answer[0].index for answer in predictions] == [photo.index for photo in photos]
    assert {len(answer) for answer in predictions} == {1}


def test_threads_share_a_classifier(tiny: Bundle, variant: str) -> None:
    photos = [tiny.read(photo.file) for photo in tiny.photos()] * 20
    with Classifier(tiny, variant) as classifier:
        alone = [classifier.classify(photo) for photo in photos]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(classifier.classify, photos)) == alone


def test_closed_is_closed(tiny_file: Path, photo_file: Path) -> None:
    classifier = Classifier(tiny_file)
    classifier.close()
    classifier.close()
    with pytest.raises(ValueError, match="closed"):
        classifier.classify(photo_file)
    with pytest.raises(ValueError, match="closed"), classifier:
        pass


def test_closing_waits_for_other_threads_and_ends_them(tiny: Bundle, photo_file: Path) -> None:
    classifier = Classifier(tiny, "float32")
    expected = classifier.classify(photo_file)
    pixels = classifier.pixels(photo_file)
    running = threading.Barrier(5)

    def work() -> str:
        running.wait()
        try:
            while True:
                assert classifier.ranked(classifier.run(pixels)) == expected
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(work) for _ in range(4)]
        running.wait()
        time.sleep(0.02)
        classifier.close()
        assert all("closed" in end.result(timeout=10) for end in ends)


def test_what_is_not_a_photo(tiny: Bundle, tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("not a photo")
    gif = io.BytesIO()
    Image.new("RGB", (8, 8)).save(gif, "GIF")
    with Classifier(tiny) as classifier:
        with pytest.raises(PhotoError, match=r"notes\.jpg"):
            classifier.classify(text)
        with pytest.raises(PhotoError):
            classifier.classify(gif.getvalue()[:20])
        for array in (np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3), np.float32), np.zeros((9, 9, 4), np.uint8)):
            with pytest.raises(InputError, match="expected uint8"):
                classifier.classify(array)
        for top in (0, -1, 1.5, True):
            with pytest.raises(InputError, match="top"):
                classifier.classify(gif.getvalue(), top=top)  # type: ignore[arg-type]


def test_equal_probabilities_come_in_label_order(tiny: Bundle) -> None:
    with Classifier(tiny) as classifier:
        predictions = classifier.ranked(np.array([0.25, 0.5, 0.25], np.float32))
    assert [answer.label for answer in predictions] == ["square", "circle", "triangle"]


def test_a_model_of_another_size_than_the_bundle_says(
    reseal: Callable[[Callable[[dict[str, Any]], None]], Path],
) -> None:
    bundle = Bundle.open(reseal(lambda document: document["preprocess"].update(size=64)))
    with pytest.raises(InputError, match=r"the model maps \[1, 32, 32, 3\] to \[1, 3\], the bundle says 64 px"):
        Classifier(bundle, "int8")
