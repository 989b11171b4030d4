"""A service that follows updates: it changes bundles between photos, and drops none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from signer import Signer, release, signed

from edgetl_device import Classifier
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Following, open_classifier
from edgetl_device.errors import InputError
from edgetl_device.live.stream import FramePrediction, classify_photos
from edgetl_device.monitor import Drift, Monitor, read_records
from edgetl_device.slots import Slots
from edgetl_device.update.options import UpdateOptions
from edgetl_device.update.run import rollback, update

MINE = Signer()
QUICK = UpdateOptions(photos=0)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    golden = Path(__file__).parents[1] / "golden" / "tiny.edgetl"
    folder = tmp_path_factory.mktemp("releases")
    one, two = (release(golden, folder / f"v{number}.edgetl", number, MINE) for number in (1, 2))
    return one, two


@pytest.fixture
def slots(tmp_path: Path, releases: tuple[Path, Path]) -> Slots:
    made = Slots(tmp_path / "slots")
    assert update(made, releases[0], QUICK).outcome == "installed"
    return made


def digest(file: Path) -> str:
    return Bundle.open(file).digest


def test_it_changes_between_photos(slots: Slots, releases: tuple[Path, Path], photo_file: Path) -> None:
    said: list[str] = []
    with Classifier.follow(slots.path, "int8", say=said.append) as classifier:
        assert classifier.classify(photo_file, top=1)[0].label == "circle"
        assert classifier.bundle.digest == digest(releases[0])
        with classifier.hold() as held:
            update(slots, releases[1], QUICK)
            with classifier.hold() as newer:
                assert newer.bundle.digest == digest(releases[1])
            # A photo is finished with the bundle that it was started with.
            assert held.bundle.digest == digest(releases[0])
            assert held.classify(photo_file, top=1)[0].label == "circle"
        with pytest.raises(ValueError, match="is closed"):
            held.classify(photo_file)
        rollback(slots)
        assert classifier.classify(photo_file, top=1)[0].label == "circle"
        assert classifier.bundle.digest == digest(releases[0])
        assert (classifier.labels, classifier.variant.name) == (classifier.bundle.labels, "int8")
        assert len(classifier.probabilities(photo_file)) == len(next(classifier.classify_many([photo_file])))
    assert said == [
        f"now running v2.edgetl, {digest(releases[1])[:12]}",
        f"now running v1.edgetl, {digest(releases[0])[:12]}",
    ]
    with pytest.raises(ValueError, match="is closed"):
        classifier.classify(photo_file)


def test_a_monitor_goes_on_with_the_new_bundle(
    slots: Slots, releases: tuple[Path, Path], photo_file: Path, tmp_path: Path
) -> None:
    with Classifier.follow(slots.path, "int8") as classifier, Monitor(tmp_path / "field", classifier) as monitor:
        monitor.classify(photo_file)
        with classifier.hold() as held:
            update(slots, releases[1], QUICK)
            monitor.classify(photo_file)
            held.classify(photo_file, observer=monitor)  # too late to count
        monitor.classify(photo_file)
        ends = time.monotonic() + 20
        while not monitor._watched.test and time.monotonic() < ends:
            time.sleep(0.01)
        rollback(slots)
        monitor.classify(photo_file)
    found = read_records(tmp_path / "field").records
    assert [(one.ended, one.photos) for one in found] == [("bundle", 1), ("bundle", 2), ("stop", 1)]
    assert [one.bundle.digest for one in found] == [digest(releases[place]) for place in (0, 1, 0)]
    assert isinstance(found[1].drift, Drift)


def test_no_photo_is_dropped_by_many_threads(slots: Slots, releases: tuple[Path, Path], photo_file: Path) -> None:
    photo, wanted = photo_file.read_bytes(), {digest(file) for file in releases}
    seen: Counter[str] = Counter()
    answered, stop = [0] * 4, threading.Event()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                with classifier.hold() as one:
                    seen[one.bundle.digest] += 1
                    assert one.classify(photo, top=1)[0].label == "circle"
                    answered[number] += 1
        except BaseException as error:
            failures.append(error)

    with Classifier.follow(slots.path) as classifier:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(6):
            assert update(slots, releases[(turn + 1) % 2], QUICK).outcome == "installed"
            before = sum(answered)
            while sum(answered) < before + 8 and not failures:
                time.sleep(0.002)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(seen) == wanted
    assert sum(seen.values()) == sum(answered)


def test_an_update_that_was_cut_off_does_not_count(slots: Slots, releases: tuple[Path, Path], photo_file: Path) -> None:
    with Classifier.follow(slots.path) as classifier:
        with slots.updating():
            shutil.copy(releases[1], slots.path / "b.edgetl")
            confirmed = slots.state().confirmed
            assert confirmed is not None
            slots.begin(replace(confirmed, slot="b", digest=digest(releases[1])))
            slots.switch()
            classifier.classify(photo_file)
            assert classifier.bundle.digest == digest(releases[1])
        # A kill at this point releases only the lock.
        assert slots.state().pending is not None
        classifier.classify(photo_file)
        assert classifier.bundle.digest == digest(releases[0])


def test_a_bundle_that_cannot_be_loaded_changes_nothing(
    slots: Slots, releases: tuple[Path, Path], photo_file: Path, tiny_file: Path
) -> None:
    said: list[str] = []
    with Classifier.follow(slots.path, say=said.append) as classifier:
        update(slots, releases[1], QUICK)
        # Not written by an update, so the bundle differs from the journal.
        (slots.path / "b.edgetl").unlink()
        shutil.copy(tiny_file, slots.path / "b.edgetl")
        for _ in range(3):
            assert classifier.classify(photo_file, top=1)[0].label == "circle"
        assert classifier.bundle.digest == digest(releases[0])
        (slots.path / "slots.json").write_text("{")
        classifier.classify(photo_file)
    assert len(said) == 2
    assert "v2.edgetl was not loaded" in said[0]
    assert "its digest has changed since it was installed" in said[0]
    assert "cannot be read" in said[1]


def test_slots_that_trust_keys_run_what_they_signed(
    slots: Slots, releases: tuple[Path, Path], photo_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.pub").write_text(MINE.key().line())
    update(slots, releases[1], replace(QUICK, trust=(str(tmp_path / "mine.pub"),)))
    Following(slots.path).close()
    signed(releases[1], tmp_path / "stripped.edgetl")
    (tmp_path / "stripped.edgetl").replace(slots.path / "b.edgetl")
    with pytest.raises(InputError, match="is not signed"):
        Following(slots.path)


def test_opening_slots_and_signed_bundles(slots: Slots, releases: tuple[Path, Path], tmp_path: Path) -> None:
    with open_classifier(slots.path) as one:
        assert isinstance(one, Following)
    with open_classifier(releases[0], trust=[MINE.key()]) as one:
        assert isinstance(one, Classifier)
    with pytest.raises(InputError, match="is trusted"):
        open_classifier(releases[0], trust=[Signer(bytes(32)).key()])
    with pytest.raises(InputError, match="have their own trusted keys"):
        open_classifier(slots.path, trust=[MINE.key()])
    with pytest.raises(InputError, match="no bundle is installed"):
        Following(tmp_path / "nowhere")


def relabelled(source: Path, target: Path) -> Path:
    """The bundle with renamed classes, one of them without photos."""
    from zipfile import ZipFile

    from edgetl_device._lib import jsonfile
    from edgetl_device._lib.files import sha256_bytes

    with ZipFile(source) as old, ZipFile(target, "w") as new:
        files = {name: old.read(name) for name in old.namelist()}
        document = json.loads(files["bundle.json"])
        names = {label: label.upper() for label in document["labels"]}
        document["labels"] = list(names.values())
        for name in ("labels.txt", "evalset/index.csv"):
            text = files[name].decode()
            for label, other in names.items():
                text = text.replace(f",{label},", f",{other},") if name.endswith("csv") else text.replace(label, other)
            files[name] = text.encode()
            document["files"][name] = {"sha256": sha256_bytes(files[name]), "bytes": len(files[name])}
        document["digest"] = jsonfile.digest(document)
        for name, data in (files | {"bundle.json": json.dumps(document).encode()}).items():
            new.writestr(name, data)
    return target


def test_a_stream_over_a_change_of_classes(
    slots: Slots, releases: tuple[Path, Path], photo_file: Path, tmp_path: Path
) -> None:
    other = relabelled(releases[1], tmp_path / "other.edgetl")

    def photos() -> Iterator[Path]:
        yield from [photo_file] * 3
        assert update(slots, other, QUICK).outcome == "installed"
        # What was seen before says nothing of other classes.
        yield from [photo_file.with_name("square0.jpg")] * 3

    with Classifier.follow(slots.path) as classifier:
        lines = list(classify_photos(classifier, photos(), smooth_s=5.0))
    smoothed = [line.smoothed.label for line in lines if isinstance(line, FramePrediction)]
    assert smoothed == ["circle"] * 3 + ["SQUARE"] * 3


def test_a_watched_folder_over_two_updates(
    slots: Slots, releases: tuple[Path, Path], photo_file: Path, tmp_path: Path
) -> None:
    """The command as a service: photos keep coming, each gives one line."""
    inbox, count = tmp_path / "inbox", 30
    inbox.mkdir()
    command = [sys.executable, "-m", "edgetl_device", "classify", slots.path, "--watch", inbox, "--existing"]
    out = tmp_path / "out"
    with open(out, "wb") as file:
        process = subprocess.Popen(
            [*map(str, command), "--frames", str(count)], stdout=file, stderr=subprocess.PIPE, text=True
        )
    for number in range(count):
        shutil.copy(photo_file, inbox / ".part")
        (inbox / ".part").rename(inbox / f"{number:02}.jpg")
        # However long it takes to start: updates come while it runs.
        while number == 0 and process.poll() is None and not out.stat().st_size:
            time.sleep(0.05)
        if number in (10, 20):
            assert update(slots, releases[number // 10 % 2], QUICK).outcome == "installed"
        time.sleep(0.05)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(Path(line["photo"]).name for line in lines) == [f"{number:02}.jpg" for number in range(count)]
    assert {line["label"] for line in lines} == {"circle"}
    assert "now running v" in errors
