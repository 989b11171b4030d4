"""A bundle is taught a class on the device: the new file runs, its proof holds, what does not fit is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from signer import Signer, release

from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.adapt.dense_layer import Dense, change_row, read_dense
from edgetl_device.adapt.head import Examples, changed_row, new_row
from edgetl_device.adapt.options import AdaptOptions
from edgetl_device.adapt.photos import digest_of
from edgetl_device.adapt.result import Adapted, raise_refused
from edgetl_device.adapt.run import adapt
from edgetl_device.bundle import Bundle, Manifest
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError, OptionError
from edgetl_device.preprocess import preprocess
from edgetl_device.runtime import open_runtime
from edgetl_device.verify import verify

GOLDEN = Path(__file__).parents[2] / "golden"
SOURCE = GOLDEN / "teachable.edgetl"
COLOURS = {"circle": (200, 50, 40), "square": (50, 160, 70), "triangle": (50, 80, 200)}
TRIANGLE = AdaptOptions(add_class="triangle", max_drop=100)


def draw(shape: str, seed: int) -> Image.Image:
    """A shape as in the golden bundles, in its colour on a noisy ground."""
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(44, 64)), int(rng.integers(40, 56))
    ground = rng.integers(150, 230, 3) + rng.normal(0, 12, (height, width, 3))
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    colour = tuple(int(v) for v in np.clip(np.array(COLOURS[shape]) + rng.normal(0, 25, 3), 0, 255))
    r = int(rng.integers(9, 15))
    x, y = int(rng.integers(r, width - r)), int(rng.integers(r, height - r))
    brush = ImageDraw.Draw(image)
    if shape == "circle":
        brush.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        brush.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    else:
        brush.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    return image


def drawn(folder: Path, shape: str, count: int, first: int = 1000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(count):
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
        draw(shape, first + place).save(folder / f"{place:02}.jpg", quality=90, exif=exif)
    return folder


@pytest.fixture(scope="module")
def triangles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a class that the bundle does not have, with a position in their EXIF: do not write to it."""
    return drawn(tmp_path_factory.mktemp("triangles") / "photos", "triangle", 15)


@pytest.fixture(scope="module")
def taught(triangles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adapted, Bundle]:
    """The bundle with triangles: do not write to it."""
    out = tmp_path_factory.mktemp("taught") / "taught.edgetl"
    result = adapt(SOURCE, triangles, out, TRIANGLE)
    return result, Bundle.open(out)


def test_a_class_is_added_and_the_bundle_proves_itself(taught: tuple[Adapted, Bundle]) -> None:
    result, bundle = taught
    source = Bundle.open(SOURCE)
    assert (result.outcome, result.kind, result.label) == ("written", "added", "triangle")
    assert (result.photos.given, result.photos.shots, result.photos.held_out) == (15, 12, 3)
    assert bundle.labels == (*source.labels, "triangle")
    report = verify(bundle)
    assert report.ok, report
    assert all(check.status == "ok" for check in report.checks if check.name != "signature")
    assert result.bundle is not None
    assert result.bundle.digest == bundle.digest != source.digest
    for variant in ("float32", "int8"):
        with Classifier(bundle, variant) as classifier:
            answers = [classifier.classify(draw("triangle", 2000 + seed)) for seed in range(20)]
            assert sum(answer[0].label == "triangle" for answer in answers) >= 17
            assert sum(not answer.unknown for answer in answers) >= 15
            others = [classifier.classify(draw("circle", 3000 + seed)) for seed in range(20)]
            assert sum(answer[0].label == "circle" for answer in others) >= 18
    (record,) = bundle.provenance["adapted"]
    assert (record["label"], record["shots"], record["source"]) == ("triangle", 12, source.digest)


def test_the_proof_has_the_new_photos_without_their_position(taught: tuple[Adapted, Bundle], triangles: Path) -> None:
    result, bundle = taught
    source = Bundle.open(SOURCE)
    old, new = source.photos(), bundle.photos()
    assert [(photo.file, photo.sha256) for photo in new[: len(old)]] == [(photo.file, photo.sha256) for photo in old]
    held_out = new[len(old) :]
    assert [photo.index for photo in held_out] == [2] * result.photos.held_out
    shots = {shot for record in bundle.provenance["adapted"] for shot in record["shots_pixels_sha256"]}
    given = {digest_of(preprocess(path, bundle.preprocess)) for path in triangles.iterdir()}
    assert len(shots) == 12
    for photo in held_out:
        data = bundle.read(photo.file)
        assert b"Exif" not in data
        assert digest_of(preprocess(data, bundle.preprocess)) in given - shots
    reference = bundle.reference()
    assert reference.logits.shape == (len(new), 3)
    np.testing.assert_array_equal(reference.logits[: len(old), :2], source.reference().logits)
    assert len(old) in reference.golden_rows


def test_old_classes_keep_their_answers_and_the_result_says_so(taught: tuple[Adapted, Bundle]) -> None:
    result, bundle = taught
    source = Bundle.open(SOURCE)
    for measured in result.variants:
        with Classifier(source, measured.name) as before, Classifier(bundle, measured.name) as after:
            was, now = 0, 0
            for photo in source.photos():
                data = source.read(photo.file)
                was += before.probabilities(data).argmax() == photo.index
                now += after.probabilities(data).argmax() == photo.index
        assert (measured.old.before.correct, measured.old.after.correct) == (was, now)
        assert measured.old.lost - measured.old.gained == was - now
        assert measured.taught.correct == measured.taught.photos == 3
        recorded = bundle.variant(measured.name)
        assert recorded.accuracy is not None
        assert recorded.accuracy.correct == now + measured.taught.correct
        assert recorded.agreement == measured.agreement


def test_integers_of_the_other_rows_do_not_change(taught: tuple[Adapted, Bundle]) -> None:
    _, bundle = taught
    source = Bundle.open(SOURCE)
    for name in ("float32", "int8"):
        old = read_dense(source.read(source.variant(name).file))
        new = read_dense(bundle.read(bundle.variant(name).file))
        assert new.weights.shape == (3, old.weights.shape[1])
        np.testing.assert_array_equal(new.weights[:2], old.weights)
        np.testing.assert_array_equal(new.bias[:2], old.bias)


def test_other_programs_find_the_new_label_in_the_file(taught: tuple[Adapted, Bundle]) -> None:
    _, bundle = taught
    file = bundle.path.parent / "int8.tflite"
    file.write_bytes(bundle.read(bundle.variant("int8").file))
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode().splitlines() == [*Bundle.open(SOURCE).labels, "triangle"]


def test_logits_above_the_old_range_are_held() -> None:
    source = Bundle.open(SOURCE)
    model = source.read(source.variant("int8").file)
    dense = read_dense(model)
    pixels = preprocess(draw("circle", 5), source.preprocess)
    # Six times the likeliest class: the old scale would cut it off.
    row = 6 * dense.weights[0], 6 * float(dense.bias[0])
    answers = []
    for highest in (0.0, 20.0):
        runtime = open_runtime(change_row(model, 2, *row, highest=highest, labels=("a", "b", "c")), "tflite")
        runtime.set_input(pixels)
        runtime.invoke()
        logits = dense.with_row(2, row[0], row[1]).logits(runtime.dense_input()[None])[0]
        answers.append((float(runtime.probabilities()[2]), float(np.exp(logits[2]) / np.exp(logits).sum())))
        runtime.close()
    (cut, expected), (held, _) = answers
    assert abs(held - expected) < 0.05
    assert cut < expected - 0.1


def test_more_shots_change_the_row_of_their_class_only(tmp_path: Path) -> None:
    photos = drawn(tmp_path / "more", "square", 10)
    source = Bundle.open(SOURCE)
    result = adapt(source, photos, tmp_path / "more.edgetl", AdaptOptions(more_shots="square", max_drop=100))
    bundle = Bundle.open(tmp_path / "more.edgetl")
    assert (result.kind, bundle.labels) == ("more shots", source.labels)
    assert result.variants[0].taught_before is not None
    old, new = (read_dense(one.read(one.variant("int8").file)) for one in (source, bundle))
    np.testing.assert_array_equal(new.weights[0], old.weights[0])
    assert not np.array_equal(new.weights[1], old.weights[1])
    assert verify(bundle).ok


def test_classes_are_added_one_after_the_other(taught: tuple[Adapted, Bundle], tmp_path: Path) -> None:
    _, bundle = taught
    # Circles in the colour of squares.
    folder = tmp_path / "green"
    folder.mkdir()
    for seed in range(8):
        Image.fromarray(np.asarray(draw("circle", 4000 + seed))[..., [1, 0, 2]]).save(folder / f"{seed}.png")
    result = adapt(bundle, folder, tmp_path / "four", AdaptOptions(add_class="green", shots=5, max_drop=100))
    again = Bundle.open(tmp_path / "four")
    assert again.labels == (*bundle.labels, "green")
    assert (result.photos.shots, result.photos.held_out) == (5, 3)
    assert [record["label"] for record in again.provenance["adapted"]] == ["triangle", "green"]
    assert verify(again).ok


def test_what_was_learned_from_never_becomes_proof(
    taught: tuple[Adapted, Bundle], triangles: Path, tmp_path: Path
) -> None:
    _, bundle = taught
    shots = set(bundle.provenance["adapted"][0]["shots_pixels_sha256"])
    more = drawn(tmp_path / "more", "triangle", 6, first=5000)
    for path in triangles.iterdir():
        shutil.copy(path, more / f"old-{path.name}")
    options = AdaptOptions(more_shots="triangle", max_drop=100)
    result = adapt(bundle, more, tmp_path / "again.edgetl", options)
    again = Bundle.open(tmp_path / "again.edgetl")
    proof = {digest_of(preprocess(again.read(photo.file), again.preprocess)) for photo in again.photos()}
    assert proof & shots == set()
    # Three of the old ones are held out in the bundle; the twelve are shots again.
    assert (result.photos.shots, result.photos.held_out, len(result.photos.set_aside)) == (14, 4, 3)
    few = replace(options, shots=5)
    result = adapt(bundle, more, tmp_path / "few.edgetl", few)
    assert sum("learned from it before" in one.why for one in result.photos.set_aside) == 7
    with pytest.raises(InputError, match=r"(15|12) usable") as refused:
        adapt(bundle, triangles, tmp_path / "none.edgetl", options)
    assert "none is left to check with" in str(refused.value)


def test_a_file_that_appears_meanwhile_is_not_replaced(triangles: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.edgetl"
    with pytest.raises(FileExistsError):
        adapt(SOURCE, triangles, out, TRIANGLE, say=lambda line: out.write_text("mine") if "learned" in line else None)
    assert out.read_text() == "mine"


def test_without_mirror_images_each_photo_counts_once(triangles: Path, tmp_path: Path) -> None:
    plain = adapt(SOURCE, triangles, tmp_path / "plain.edgetl", replace(TRIANGLE, mirror=False))
    assert plain.outcome == "written"
    one, other = (
        read_dense(Bundle.open(file).read("models/float32.tflite"))
        for file in (tmp_path / "plain.edgetl", adapt_to(tmp_path / "both.edgetl", triangles))
    )
    assert not np.array_equal(one.weights[-1], other.weights[-1])


def adapt_to(out: Path, photos: Path) -> Path:
    adapt(SOURCE, photos, out, TRIANGLE)
    return out


def test_a_manifest_that_does_not_fit_its_models_is_refused(triangles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    with zipfile.ZipFile(SOURCE) as archive:
        archive.extractall(folder)
    manifest = documents.read(Manifest, folder / "bundle.json")
    labels = (*manifest.labels, "ghost")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    data = (folder / "labels.txt").read_bytes()
    files = {
        **manifest.files,
        "labels.txt": replace(manifest.files["labels.txt"], sha256=sha256_bytes(data), bytes=len(data)),
    }
    documents.write(folder / "bundle.json", documents.sealed(replace(manifest, labels=labels, files=files)))
    with pytest.raises(InputError):
        adapt(folder, triangles, tmp_path / "new.edgetl", TRIANGLE)


def test_a_bundle_that_loses_too_much_is_refused(
    tmp_path: Path, device: Callable[..., subprocess.CompletedProcess[str]], refuses: Callable[..., None]
) -> None:
    # A class that looks like circles takes some of them.
    photos = drawn(tmp_path / "discs", "circle", 12)
    done = device("adapt", SOURCE, photos, "--add-class", "disc", "--max-drop", 0, "--out", tmp_path / "new")
    refuses(done, 3, "was not taught 'disc'", "the largest allowed drop is 0 pp", "--max-drop")
    report = json.loads(done.stdout)
    assert report["outcome"] == "refused"
    assert report["bundle"] is None
    assert max(one["old"]["drop_pp"] for one in report["variants"]) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["discs"]


def test_the_command_writes_a_bundle_and_prints_the_document(
    triangles: Path, tmp_path: Path, device: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    out = tmp_path / "new"
    done = device("adapt", SOURCE, triangles, "--add-class=triangle", "--shots=5", "--max-drop=100", "--out", out)
    assert done.returncode == 0, done.stderr
    result = documents.parse(Adapted, done.stdout.encode(), name="stdout")
    assert (result.photos.shots, result.photos.held_out) == (5, 10)
    assert Bundle.open(out).labels[-1] == "triangle"
    raise_refused(result)


def adapted(photos: Path, out: Path, **options: Any) -> Adapted:
    return adapt(SOURCE, photos, out, AdaptOptions(**({"add_class": "triangle", "max_drop": 100.0} | options)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"add_class": "square"}, "is in the bundle already"),
        ({"add_class": " square "}, "is in the bundle already"),
        ({"add_class": "Square"}, "upper and lower case only"),
        ({"add_class": "tri\nangle"}, "cannot have this name"),
        ({"add_class": "tri\x1b[31mangle"}, "cannot have this name"),
        ({"add_class": "x" * 201}, "cannot have this name"),
        ({"add_class": None, "more_shots": "triangle"}, "no such class"),
        ({"more_shots": "square"}, "with more_shots='square'"),
        ({"add_class": None}, "exactly one class"),
    ],
)
def test_classes_that_do_not_fit(options: dict[str, Any], said: str, triangles: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=said):
        adapted(triangles, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_photos_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="contains no photos"):
        adapted(tmp_path / "none", tmp_path / "new")
    with pytest.raises(InputError, match="1 usable photo of 1"):
        adapted(drawn(tmp_path / "one", "triangle", 1), tmp_path / "new")
    with pytest.raises(InputError, match="5 shots leave fewer than a fifth"):
        adapted(drawn(tmp_path / "five", "triangle", 5), tmp_path / "new", shots=5)
    # A held-out photo of another class: its file differs, its pixels do not.
    source, leak = Bundle.open(SOURCE), drawn(tmp_path / "leak", "triangle", 4)
    photo = source.photos()[0]
    (leak / "leak.jpg").write_bytes(source.read(photo.file) + b"\0")
    with pytest.raises(InputError, match="is a held-out photo of 'circle'"):
        adapted(leak, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_photos_that_are_set_aside_are_named(tmp_path: Path) -> None:
    source, photos = Bundle.open(SOURCE), drawn(tmp_path / "photos", "circle", 6)
    held_out = next(photo for photo in source.photos() if photo.index == 0)
    (photos / "held-out.jpg").write_bytes(source.read(held_out.file))
    shutil.copy(photos / "00.jpg", photos / "copy.jpg")
    (photos / "broken.jpg").write_bytes((photos / "01.jpg").read_bytes()[:200])
    said: list[str] = []
    options = AdaptOptions(more_shots="circle", max_drop=100)
    result = adapt(source, photos, tmp_path / "new", options, say=said.append)
    assert (result.photos.given, result.photos.shots + result.photos.held_out) == (9, 6)
    aside = {one.photo: one.why for one in result.photos.set_aside}
    assert "nothing may learn from" in aside["held-out.jpg"]
    assert aside["copy.jpg"] == "it shows the same as 00.jpg"
    assert "broken.jpg" in aside
    assert sum(line.startswith("set aside: ") for line in said) == 3


def test_bundles_that_cannot_be_taught(triangles: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="have no outputs of features") as caught:
        adapt(GOLDEN / "tiny.edgetl", triangles, tmp_path / "new", AdaptOptions(add_class="star"))
    assert "quantize RUN --unknown" in caught.value.hint
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        adapt(SOURCE, triangles, tmp_path / "there", TRIANGLE)
    with zipfile.ZipFile(SOURCE) as archive:
        archive.extractall(tmp_path / "folder")
    with pytest.raises(InputError, match="is inside the bundle"):
        adapt(tmp_path / "folder", triangles, tmp_path / "folder" / "new", TRIANGLE)


def test_a_signature_does_not_cover_the_new_bundle(triangles: Path, tmp_path: Path) -> None:
    signed = release(SOURCE, tmp_path / "signed.edgetl", 3, Signer())
    result = adapt(signed, triangles, tmp_path / "new.edgetl", TRIANGLE)
    assert result.was_signed
    assert Bundle.open(tmp_path / "new.edgetl").signatures() == ()


def test_other_variants_are_left_out_by_name(triangles: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(SOURCE) as archive:
        archive.extractall(tmp_path / "folder")
    manifest = documents.read(Manifest, tmp_path / "folder" / "bundle.json")
    other = replace(manifest.variants[0], name="float16", precision="float16")
    changed = replace(manifest, variants=(*manifest.variants, other))
    documents.write(tmp_path / "folder" / "bundle.json", documents.sealed(changed))
    said: list[str] = []
    result = adapt(tmp_path / "folder", triangles, tmp_path / "new", TRIANGLE, say=said.append)
    assert [one.name for one in result.dropped] == ["float16"]
    assert said[0].startswith("left out: float16: ")
    bundle = Bundle.open(tmp_path / "new")
    assert [one.name for one in bundle.variants] == ["float32", "int8"]
    assert bundle.provenance["adapted"][0]["dropped"][0]["name"] == "float16"


def test_a_bundle_of_int8_alone_has_its_reference_from_int8(triangles: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(SOURCE) as archive:
        archive.extractall(tmp_path / "folder")
    manifest = documents.read(Manifest, tmp_path / "folder" / "bundle.json")
    assert manifest.unknown is not None
    (int8,) = (one for one in manifest.variants if one.name == "int8")
    telling = tuple(one for one in manifest.unknown.variants if one.name == "int8")
    changed = replace(manifest, variants=(int8,), unknown=replace(manifest.unknown, variants=telling))
    documents.write(tmp_path / "folder" / "bundle.json", documents.sealed(changed))
    result = adapt(tmp_path / "folder", triangles, tmp_path / "new", TRIANGLE)
    bundle = Bundle.open(tmp_path / "new")
    assert result.reference == bundle.provenance["adapted"][0]["reference"] == "int8"
    assert "models/float32.tflite" not in bundle.files
    assert verify(bundle).ok


def test_damaged_models_are_refused_and_take_no_memory() -> None:
    source = Bundle.open(SOURCE)
    model = source.read(source.variant("int8").file)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(model[: int(random.integers(8, len(model)))] if random.random() < 0.2 else model)
        for place in random.integers(0, min(len(damaged), 9000), 8):
            damaged[place] = int(random.integers(0, 256))
        damaged[4:8] = b"TFL3"
        try:
            dense = read_dense(bytes(damaged))
            change_row(bytes(damaged), 2, dense.weights[0], 0.0, highest=1.0, labels=("a", "b", "c"))
        except InputError:
            refused += 1
    assert refused > 30


def examples(count: int, others: int) -> tuple[Dense, Examples]:
    """A layer, and inputs of it: a class in a direction of its own, and what the layer knows."""
    random = np.random.default_rng(1)
    source = Bundle.open(SOURCE)
    dense = read_dense(source.read(source.variant("float32").file))
    width = dense.weights.shape[1]
    known = np.abs(random.normal(0, 1, (others, width))).astype(np.float32)
    shots = np.abs(random.normal(0, 1, (count, width))).astype(np.float32)
    shots[:, 0] += 1.5
    return dense, Examples(shots, np.arange(count) // 2, known, np.eye(width, dtype=np.float32))


def test_a_new_row_takes_no_more_of_the_others_than_it_aims_at() -> None:
    dense, found = examples(20, 2000)
    lost, kept = [], []
    for aim in (0.01, 0.1, 0.5):
        row = new_row(dense, found, aim=aim)
        layer = dense.with_row(2, *row)
        lost.append(float((layer.logits(found.others).argmax(axis=1) == 2).mean()))
        kept.append(float((layer.logits(found.shots).argmax(axis=1) == 2).mean()))
    assert lost[0] < 0.01
    assert lost == sorted(lost)
    assert kept == sorted(kept)
    assert kept[-1] > 0.5


def test_how_far_a_class_reaches_is_learned_from_shots_left_out() -> None:
    random = np.random.default_rng(2)
    width = 200
    dense = Dense(random.normal(0, 0.3, (3, width)).astype(np.float32), np.zeros(3, np.float32))
    middle = random.normal(0, 0.5, width)
    shots, unseen = ((middle + random.normal(0, 1, (n, width))).astype(np.float32) for n in (6, 200))
    others, more = (random.normal(0, 1, (n, width)).astype(np.float32) for n in (200, 500))
    row = new_row(dense, Examples(shots, np.arange(6), others, np.eye(width, dtype=np.float32)), aim=1.0)
    layer = dense.with_row(3, *row)
    # More features than shots: those that the row was fitted to are far ahead of any others.
    assert (layer.logits(unseen).argmax(axis=1) == 3).mean() > 0.85
    assert (layer.logits(more).argmax(axis=1) == 3).mean() < 0.05


def test_one_shot_is_enough_for_a_row() -> None:
    dense, found = examples(2, 200)
    weights, bias = new_row(dense, found, aim=1.0)
    layer = dense.with_row(2, weights, bias)
    assert np.isfinite(weights).all()
    # Nothing says how far the class reaches, so it takes next to nothing of the others.
    assert (layer.logits(found.others).argmax(axis=1) == 2).mean() < 0.05


def test_a_changed_row_stays_near_itself() -> None:
    dense, found = examples(20, 200)
    near, _ = changed_row(dense, 0, found, penalty=1e6)
    far, _ = changed_row(dense, 0, found, penalty=1e-2)
    np.testing.assert_allclose(near, dense.weights[0], atol=1e-3)
    before, after = dense, dense.with_row(0, far, float(dense.bias[0]))
    taken = [(layer.logits(found.shots).argmax(axis=1) == 0).mean() for layer in (before, after)]
    assert taken[1] > taken[0]
