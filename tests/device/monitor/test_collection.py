"""Photos worth labelling: few, small together, unlike each other, without metadata; nothing else is removed."""

from __future__ import annotations

import io
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawing import draw_photo
from PIL import Image

from edgetl_device import Bundle, Classifier
from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.monitor import Monitor, read_records
from edgetl_device.monitor.collection import Candidate, Collection, CollectionDocument, Reason
from edgetl_device.preprocess import Preprocess, decode, preprocess

SPEC = Preprocess(size=square(32))
EXIF = Image.Exif()
EXIF[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
EXIF[0xA431] = "serial number 12345"


@pytest.fixture(scope="module")
def classifier(tiny: Bundle) -> Iterator[Classifier]:
    with Classifier(tiny) as opened:
        yield opened


def jpeg(seed: int, size: int = 48) -> bytes:
    stream = io.BytesIO()
    draw_photo(seed, size, size).save(stream, "JPEG", exif=EXIF, comment=b"secret place")
    return stream.getvalue()


def candidate(seed: int, reason: Reason, place: tuple[float, ...] = (0.0,), photo: object = None) -> Candidate:
    file = isinstance(photo, str | Path)
    return Candidate(
        photo=jpeg(seed) if photo is None else photo,  # type: ignore[arg-type]
        pixels=preprocess(photo, SPEC) if file else np.zeros(SPEC.size.shape, np.uint8),  # type: ignore[arg-type]
        reason=reason,
        hour="2027-01-15T08:00:00+00:00",
        bundle="0" * 64,
        spec=SPEC,
        label="circle",
        confidence=0.4,
        unknown_score=None,
        place=place,
    )


def listed(folder: Path) -> CollectionDocument:
    found = documents.read(CollectionDocument, folder / "photos.json")
    assert {one.file for one in found.photos} == {path.name for path in (folder / "photos").iterdir()}
    return found


def test_it_is_bounded_in_number(tmp_path: Path) -> None:
    collection = Collection(tmp_path, 9, 10**9)
    for seed in range(30):
        collection.add(candidate(seed, ("unknown", "uncertain", "random")[seed % 3], (float(seed),)))
    assert Counter(one.reason for one in listed(tmp_path).photos) == {"unknown": 3, "uncertain": 3, "random": 3}
    # Fewer are asked for at the next start.
    fewer = Collection(tmp_path, 4, 10**9)
    fewer.save()
    assert fewer.removed == 5
    assert len(listed(tmp_path).photos) == 4


def test_places_that_one_reason_does_not_need_are_used_by_the_other(tmp_path: Path) -> None:
    collection = Collection(tmp_path, 9, 10**9)
    for seed in range(10):
        collection.add(candidate(seed, "uncertain", (float(seed),)))
    assert collection.summary().photos == {"unknown": 0, "uncertain": 6, "random": 0}
    for seed in range(10, 15):
        assert collection.add(candidate(seed, "unknown", (float(seed**2),))) or seed > 12
    assert collection.summary().photos == {"unknown": 3, "uncertain": 3, "random": 0}


def test_it_is_bounded_in_bytes(tmp_path: Path) -> None:
    size = len(jpeg(0)) * 6
    collection = Collection(tmp_path, 300, size)
    for seed in range(40):
        collection.add(candidate(seed, ("unknown", "uncertain")[seed % 2], (float(seed),)))
        assert sum(path.stat().st_size for path in (tmp_path / "photos").iterdir()) <= size
    assert 4 <= len(listed(tmp_path).photos) <= 8
    assert not collection.add(candidate(99, "random", photo=jpeg(99, size=1000)))
    Collection(tmp_path, 300, size // 2).save()
    assert sum(one.bytes for one in listed(tmp_path).photos) <= size // 2


def test_photos_that_are_alike_make_place_for_others(tmp_path: Path) -> None:
    collection = Collection(tmp_path, 12, 10**9)
    # Six places, most photos at one of them.
    for seed in range(60):
        place = (float(seed // 10), 0.001 * seed) if seed % 10 == 0 else (0.0, 0.001 * seed)
        collection.add(candidate(seed, "unknown", place))
    assert {round(one.place[0]) for one in listed(tmp_path).photos} == {0, 1, 2, 3, 4, 5}
    # Without anything new nothing is written.
    before = (tmp_path / "photos.json").read_bytes()
    assert not collection.add(candidate(61, "unknown", (5.0, 0.05)))
    assert (tmp_path / "photos.json").read_bytes() == before


def test_random_photos_are_drawn_uniformly(tmp_path: Path) -> None:
    last: Counter[int] = Counter()
    for number in range(300):
        (tmp_path / str(number)).mkdir()
        collection = Collection(tmp_path / str(number), 1, 10**9)
        last[[photo for photo in range(10) if collection.drawn()][-1]] += 1
    assert min(last[photo] for photo in range(10)) > 10


def test_nothing_personal_is_kept(classifier: Classifier, tmp_path: Path) -> None:
    files = [tmp_path / "IMG_secret.jpg", tmp_path / "b.png"]
    files[0].write_bytes(jpeg(1))
    draw_photo(2).save(files[1], exif=EXIF)
    collection = Collection(tmp_path, 90, 10**9)
    upright = Image.open(files[0])
    upright.load()
    for seed, photo in enumerate((files[0], str(files[1]), jpeg(3), upright, np.asarray(draw_photo(5)))):
        assert collection.add(candidate(seed, "unknown", (float(seed),), photo))
    found = listed(tmp_path)
    assert sorted(Path(one.file).suffix for one in found.photos) == [".jpg"] * 4 + [".png"]
    for one in found.photos:
        data = (tmp_path / "photos" / one.file).read_bytes()
        assert one.sha256 == sha256_file(tmp_path / "photos" / one.file)
        with Image.open(io.BytesIO(data)) as image:
            assert dict(image.getexif()) == {}
        for part in (b"secret", b"12345", b"Exif"):
            assert part not in data
    assert "secret" not in (tmp_path / "photos.json").read_text()
    # The bytes are the photo's own: nothing was compressed again.
    kept = tmp_path / "photos" / found.photos[0].file
    assert np.array_equal(np.asarray(decode(kept, SPEC)), np.asarray(decode(files[0], SPEC)))


def test_only_own_photos_are_removed(tmp_path: Path) -> None:
    collection = Collection(tmp_path, 3, 10**9)
    for seed in (1, 2):
        collection.add(candidate(seed, "random"))
    (own,) = (tmp_path / "photos").iterdir()
    mine = tmp_path / "photos" / "mine.jpg"
    mine.write_bytes(jpeg(7))
    forged = tmp_path / "photos" / "random-0123456789abcdef.jpg"
    forged.write_bytes(jpeg(8))
    own.write_bytes(own.read_bytes() + b"edited")
    collection.add(candidate(3, "random"))
    left = {path.name for path in (tmp_path / "photos").iterdir()}
    assert {mine.name, forged.name, own.name} < left
    Collection(tmp_path, 3, 10**9)
    assert left == {path.name for path in (tmp_path / "photos").iterdir()}


def test_photos_that_a_kill_left_unlisted_are_removed(tmp_path: Path) -> None:
    before = Collection(tmp_path, 3, 10**9)
    list_of_none = (tmp_path / "photos.json").read_bytes()
    before.add(candidate(1, "random"))
    (tmp_path / "photos.json").write_bytes(list_of_none)
    Collection(tmp_path, 3, 10**9)
    assert list((tmp_path / "photos").iterdir()) == []


def test_without_their_list_photos_stay(classifier: Classifier, tmp_path: Path) -> None:
    with Monitor(tmp_path, classifier, collect=6) as monitor:
        monitor.classify(draw_photo(1))
    kept = sorted((tmp_path / "photos").iterdir())
    assert kept
    (tmp_path / "photos.json").unlink()
    with pytest.raises(InputError, match=r"no photos\.json"):
        Collection(tmp_path, 6, 10**9)
    said: list[str] = []
    with Monitor(tmp_path, classifier, collect=6, say=said.append) as monitor:
        monitor.classify(draw_photo(2))
    assert "no photos are kept" in said[0]
    assert sorted((tmp_path / "photos").iterdir()) == kept


def test_random_photos_are_drawn_anew_when_some_were_taken_away(tmp_path: Path) -> None:
    collection = Collection(tmp_path, 3, 10**9)
    for seed in range(200):
        if collection.drawn():
            collection.add(candidate(seed, "random", photo=jpeg(seed, 8 + seed % 40)))
    (photo,) = (tmp_path / "photos").iterdir()
    photo.unlink()
    # As after a pull: what comes next has the chances of a first photo.
    collection.add(candidate(999, "uncertain"))
    assert listed(tmp_path).seen == 0
    assert collection.drawn()


def test_a_file_that_has_another_photo_by_now_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "frame.jpg"
    file.write_bytes(jpeg(1))
    collection = Collection(tmp_path, 6, 10**9)
    seen = candidate(1, "unknown", photo=file)
    file.write_bytes(jpeg(2))
    with pytest.raises(InputError, match="another one by now"):
        collection.add(seen)
    assert listed(tmp_path).photos == ()


def test_a_photo_whose_features_are_not_finite_is_not_kept(tmp_path: Path) -> None:
    collection = Collection(tmp_path, 6, 10**9)
    collection.add(candidate(1, "unknown", (1.0,)))
    with pytest.raises(InputError, match="not finite"):
        collection.add(candidate(2, "random", (math.nan,)))
    collection.save()
    assert len(listed(tmp_path).photos) == 1


def test_grey_arrays_are_kept(tmp_path: Path) -> None:
    grey = np.asarray(draw_photo(1).convert("L"))[..., None]
    collection = Collection(tmp_path, 6, 10**9)
    assert collection.add(candidate(1, "unknown", photo=grey))
    (photo,) = (tmp_path / "photos").iterdir()
    with Image.open(photo) as image:
        assert image.size == grey.shape[1::-1]


def test_photos_that_were_taken_away_make_place(tmp_path: Path) -> None:
    collection = Collection(tmp_path, 3, 10**9)
    collection.add(candidate(1, "unknown"))
    collection.add(candidate(2, "uncertain", (1.0,)))
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    assert collection.add(candidate(3, "unknown"))
    assert len(listed(tmp_path).photos) == 1


def test_photos_that_cannot_be_read_again_are_counted(classifier: Classifier, tmp_path: Path) -> None:
    said: list[str] = []
    photo = tmp_path / "a.png"
    with Monitor(tmp_path / "field", classifier, collect=30, say=said.append) as monitor:
        monitor._random.seed(1)
        for seed in range(12):
            draw_photo(seed).save(photo)
            classifier.classify(photo, observer=Removing(monitor, photo))
            time.sleep(0.02)
    record = read_records(tmp_path / "field").records[-1]
    assert record.lost is not None
    assert record.lost.unkept >= 1
    assert "a photo worth labelling is not kept" in said[0]


class Removing:
    """Removes a photo before the monitor's thread can read it."""

    def __init__(self, monitor: Monitor, photo: Path) -> None:
        self.monitor, self.photo = monitor, photo

    def answered(self, observed: object) -> None:
        self.photo.unlink()
        self.monitor.answered(observed)  # type: ignore[arg-type]

    def failed(self) -> None:
        raise AssertionError


def test_it_is_off_by_default_and_says_what_it_has(classifier: Classifier, tmp_path: Path) -> None:
    photos = [classifier.bundle.read(photo.file) for photo in classifier.bundle.photos()]
    with Monitor(tmp_path / "off", classifier) as monitor:
        for photo in photos:
            monitor.classify(photo)
    assert not (tmp_path / "off" / "photos").exists()
    assert read_records(tmp_path / "off").records[0].collected is None
    with Monitor(tmp_path / "on", classifier, collect=6) as monitor:
        for photo in photos:
            monitor.classify(photo)
            while not monitor._jobs.empty():
                time.sleep(0.001)
    collected = read_records(tmp_path / "on").records[0].collected
    assert collected is not None
    assert collected.photos["random"] >= 1
    assert collected.bytes == sum(path.stat().st_size for path in (tmp_path / "on" / "photos").iterdir())
    assert sum(collected.photos.values()) == len(listed(tmp_path / "on").photos) <= 6


def test_a_damaged_list_is_said_and_nothing_is_removed(classifier: Classifier, tmp_path: Path) -> None:
    with Monitor(tmp_path, classifier, collect=6) as monitor:
        monitor.classify(draw_photo(1))
    before = sorted((tmp_path / "photos").iterdir())
    (tmp_path / "photos.json").write_text('{"schema": "edgetl.monitor-photos/1"}')
    with pytest.raises(InputError, match="seen is missing"):
        Collection(tmp_path, 6, 10**9)
    said: list[str] = []
    with Monitor(tmp_path, classifier, collect=6, say=said.append) as monitor:
        assert len(monitor.classify(draw_photo(1))) == 3
    assert "no photos are kept" in said[0]
    assert sorted((tmp_path / "photos").iterdir()) == before
