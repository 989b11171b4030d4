"""Bundles that tell unknown photos: outputs, feature bank, thresholds, rates, and what a device makes of them."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from PIL import Image

from edgetl._lib import extras
from edgetl.export.bundle import PhotoFile, VariantFile, write_bundle
from edgetl.export.conversion import float32_onnx, float32_tflite
from edgetl.export.edgetpu import prepare
from edgetl.export.features_output import with_features
from edgetl.export.subset import write_subset
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.metadata import read_metadata, with_metadata
from edgetl.inspection.tflite.tree import pack_tree, read_tree
from edgetl.quantization.conversion.onnx import int8_onnx
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.quantization.unknown.bank import BANK_BYTES, feature_bank, threshold
from edgetl.quantization.unknown.distortions import DISTORTIONS, drawn
from edgetl.quantization.unknown.given import read_unknown
from edgetl.quantization.unknown.measure import UnknownPixels, unknown_files
from edgetl.runs.directory import Run
from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bundle import BANK, INDEX, MANIFEST, Bundle, Manifest, ReferenceArrays
from edgetl_device.classifier import Classifier, Observed
from edgetl_device.errors import InputError, OptionError
from edgetl_device.monitor import Drift, Monitor, read_records
from edgetl_device.monitor.record import UnknownPhotos
from edgetl_device.packing import npz, pack
from edgetl_device.preprocess import preprocess
from edgetl_device.runtime import features_in, open_runtime
from edgetl_device.storage import Entry
from edgetl_device.unknown import FeatureBank, UnknownTest, is_unknown
from edgetl_device.verify import verify

SOURCE = Path(__file__).parents[2] / "golden" / "tiny.edgetl"


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of nothing that the models were taught: stripes of strong colours, with a position in their EXIF."""
    folder = tmp_path_factory.mktemp("strange") / "photos"
    (folder / "deep").mkdir(parents=True)
    for place in range(6):
        random = np.random.default_rng(place)
        stripes = np.repeat(random.integers(0, 256, (1, 12, 3)), 10, axis=1).repeat(120, axis=0).astype(np.uint8)
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
        Image.fromarray(stripes).save(folder / "deep" / f"{place}.jpg", exif=exif, comment=b"secret")
    return folder


@pytest.fixture(scope="module")
def telling(strange: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden bundle with outputs of features, a bank and thresholds. Do not write to it."""
    folder = tmp_path_factory.mktemp("telling")
    source = Bundle.open(SOURCE)
    variants = []
    for one in source.variants:
        data = with_features(source.read(one.file), one.format)
        if one.format == "tflite":
            data = with_metadata(data, name="tiny", labels=source.labels)
        variants.append(
            VariantFile(one.name, one.format, one.precision, data, one.calibration, one.accuracy, one.agreement)
        )
    evalset = []
    for photo in source.photos():
        path = folder / Path(photo.file).name
        path.write_bytes(source.read(photo.file))
        evalset.append(PhotoFile(path, source.labels[photo.index], photo.sha256))
    pixels = np.stack([preprocess(photo.path, source.preprocess) for photo in evalset])
    given = read_unknown(strange, source.preprocess, {})
    reference = source.reference()
    return write_bundle(
        folder / "bundle",
        labels=source.labels,
        preprocess=source.preprocess,
        variants=variants,
        evalset=evalset,
        reference=ReferenceArrays(reference.probabilities, reference.logits),
        provenance={},
        unknown=unknown_files(variants, UnknownPixels(pixels, pixels, pixels, given)),
    ).path


def changed(telling: Path, folder: Path, change: Callable[[UnknownTest], UnknownTest], **files: bytes) -> Path:
    """Copy a bundle with another description of unknown photos, or another bank, under a digest that fits."""
    shutil.copytree(telling, folder)
    manifest = documents.read(Manifest, folder / MANIFEST)
    assert manifest.unknown is not None
    for name, data in files.items():
        (folder / "unknown" / name).with_suffix(".npz").write_bytes(data)
        manifest.files[BANK] = Entry(sha256_bytes(data), len(data))
    documents.write(folder / MANIFEST, documents.sealed(replace(manifest, unknown=change(manifest.unknown))))
    return folder


def test_every_variant_has_probabilities_first_and_features_after_them(telling: Path) -> None:
    bundle = Bundle.open(telling)
    assert bundle.unknown is not None
    assert [one.name for one in bundle.unknown.variants] == [one.name for one in bundle.variants]
    assert len(bundle.variants) == 4
    for variant in bundle.variants:
        with Classifier(bundle, variant.name) as classifier:
            assert classifier.runtime.output.shape == (1, len(bundle.labels))
            pooled, other = classifier.runtime.features
            assert pooled.shape[-1] + other.shape[-1] == bundle.unknown.features
            # ONNX averages in the file.
            assert len(other.shape) == (4 if variant.format == "tflite" else 2)
    int8 = bundle.read(bundle.variant("int8").file)
    assert [describe(int8).tensors[index].dtype for index in describe(int8).outputs] == ["uint8", "int8", "int8"]
    metadata = read_metadata(int8)
    assert metadata is not None
    assert metadata.labels == bundle.labels


def test_outputs_of_features_change_no_probability(telling: Path) -> None:
    plain, bundle = Bundle.open(SOURCE), Bundle.open(telling)
    for variant in plain.variants:
        with Classifier(plain, variant.name) as one, Classifier(bundle, variant.name) as other:
            assert one.runtime.features == ()
            for photo in bundle.photos()[:3]:
                data = bundle.read(photo.file)
                np.testing.assert_allclose(one.probabilities(data), other.probabilities(data), atol=1e-6)
                answer = one.classify(data)
                assert (answer.unknown, answer.unknown_score) == (None, None)
    assert plain.unknown is None


def test_rates_are_those_of_a_device(telling: Path, strange: Path) -> None:
    bundle = Bundle.open(telling)
    assert bundle.unknown is not None
    assert bundle.files[BANK].bytes <= BANK_BYTES
    assert len(bundle.unknown.photos) == len(list(strange.rglob("*.jpg")))
    for one in bundle.unknown.variants:
        assert one.validation.share >= 0.95
        assert one.in_bundle is not None
        assert one.unknown is not None
        assert one.unknown.photos == 6
        assert set(one.drawn) == set(DISTORTIONS)
        low, high = one.held_out.ci95
        assert 0 <= low <= one.held_out.share <= high <= 1
        with Classifier(bundle, one.name) as classifier:
            unknown = [classifier.classify(bundle.read(file)).unknown for file in bundle.unknown.photos]
            known = [classifier.classify(bundle.read(photo.file)).unknown for photo in bundle.photos()]
        assert unknown.count(False) == one.in_bundle.accepted
        assert (known.count(False), len(known)) == (one.held_out.accepted, one.held_out.photos)


def test_unknown_photos_travel_small_and_without_metadata(telling: Path) -> None:
    bundle = Bundle.open(telling)
    assert bundle.unknown is not None
    for file in bundle.unknown.photos:
        data = bundle.read(file)
        assert b"Exif" not in data
        assert b"secret" not in data
        assert len(data) < 50_000


def test_verify_counts_again_and_finds_another_rate(telling: Path, tmp_path: Path) -> None:
    report = verify(Bundle.open(telling))
    checks = {check.name: check for check in report.checks}
    assert report.ok, report
    assert "held-out photos are taken for known; " in checks["unknown, int8"].detail

    def strict(unknown: UnknownTest) -> UnknownTest:
        return replace(unknown, variants=tuple(replace(one, threshold=1e-6) for one in unknown.variants))

    forged = verify(Bundle.open(changed(telling, tmp_path / "strict", strict)))
    failed = {check.name for check in forged.checks if check.status == "failed"}
    assert failed == {f"unknown, {name}" for name in ("float32", "float32-onnx", "int8", "int8-onnx")}


def test_verify_notices_a_share_that_is_a_little_off(telling: Path, tmp_path: Path) -> None:
    def optimistic(unknown: UnknownTest) -> UnknownTest:
        # A fifth of the photos that are taken for known should not have been.
        return replace(
            unknown,
            variants=tuple(
                replace(one, held_out=replace(one.held_out, share=0.8 * one.held_out.share)) for one in unknown.variants
            ),
        )

    checks = verify(Bundle.open(changed(telling, tmp_path / "optimistic", optimistic))).checks
    assert [check.status for check in checks if check.name.startswith("unknown, ")] == ["failed"] * 4


def test_verify_says_that_a_bundle_lists_no_photos(telling: Path, tmp_path: Path) -> None:
    folder = changed(telling, tmp_path / "none", lambda unknown: unknown)
    manifest = documents.read(Manifest, folder / MANIFEST)
    data = (folder / INDEX).read_bytes().splitlines(keepends=True)[0]
    (folder / INDEX).write_bytes(data)
    manifest.files[INDEX] = Entry(sha256_bytes(data), len(data))
    documents.write(folder / MANIFEST, documents.sealed(manifest))
    checks = {check.name: check for check in verify(Bundle.open(folder)).checks}
    assert checks["unknown, int8"].status == "failed"
    assert "no photos" in checks["unknown, int8"].detail


def test_pooling_that_keeps_its_dimensions_gives_features_too() -> None:
    keras = extras.keras()
    pixels = keras.Input((32, 32, 3), name="pixels")
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(keras.layers.Conv2D(8, 3)(pixels))
    scores = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(pooled))
    model = keras.Model(pixels, scores)
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    wanted = keras.Model(pixels, pooled).predict(photo[None].astype(np.float32), verbose=0).reshape(-1)
    files = (("tflite", float32_tflite(model)), ("onnx", float32_onnx(model)))
    for format, data in files:
        runtime = open_runtime(with_features(data, format), format)  # type: ignore[arg-type]
        runtime.set_input(photo)
        runtime.invoke()
        assert features_in(runtime.features) == 8 + 8
        # The convolution is the narrowest map, too: its mean is what pooling gives.
        unit = wanted / np.linalg.norm(wanted)
        np.testing.assert_allclose(runtime.pooled(), np.concatenate([unit, unit]), rtol=1e-4, atol=1e-4)


def bottlenecks() -> tuple[Any, list[str]]:
    """Return a network with a narrow layer before and at its last resolution, and the names of its features."""
    keras = extras.keras()
    layers = keras.layers
    at = pixels = keras.Input((32, 32, 3), name="pixels")
    at = layers.Conv2D(4, 3, strides=2, padding="same", name="early")(at)
    at = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(at)
    at = layers.ReLU(6.0)(layers.BatchNormalization()(at))
    narrow = layers.BatchNormalization(name="narrow")(layers.Conv2D(6, 1, use_bias=False)(at))
    again = layers.Conv2D(6, 1, name="again")(layers.ReLU(6.0)(layers.Conv2D(16, 1)(narrow)))
    at = layers.ReLU(6.0)(layers.Conv2D(24, 1)(layers.Add()([narrow, again])))
    pooled = layers.GlobalAveragePooling2D(name="pooled")(at)
    scores = layers.Dense(3, activation="softmax")(pooled)
    return keras.Model(pixels, scores), ["pooled", "narrow"]


def test_the_map_is_the_first_narrow_one_in_every_format() -> None:
    model, names = bottlenecks()
    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    model.set_weights([random.normal(0, 0.3, one.shape) ** (2 if "var" in one.path else 1) for one in model.weights])
    both = extras.keras().Model(model.input, [model.get_layer(name).output for name in names])
    pooled, narrow = (np.asarray(one[0]) for one in both(photos[:1].astype(np.float32)))
    mean = narrow.mean(axis=(0, 1))
    wanted = np.concatenate([pooled / np.linalg.norm(pooled), mean / np.linalg.norm(mean)])
    files = [
        ("tflite", float32_tflite(model), 1e-4),
        ("onnx", float32_onnx(model), 1e-4),
        ("tflite", int8_tflite(model, photos), 0.1),
        ("onnx", int8_onnx(model, photos), 0.1),
    ]
    for format, data, tolerance in files:
        runtime = open_runtime(with_features(data, format), format)  # type: ignore[arg-type]
        runtime.set_input(photos[0])
        runtime.invoke()
        np.testing.assert_allclose(runtime.pooled(), wanted, atol=tolerance, err_msg=format)


def test_a_file_of_an_earlier_version_has_pooled_features_alone() -> None:
    tree = read_tree(with_features(float32_tflite(bottlenecks()[0]), "tflite"))
    (graph,) = tree.subgraphs
    graph.outputs = graph.outputs[:2]
    runtime = open_runtime(pack_tree(tree), "tflite")
    runtime.set_input(np.zeros((32, 32, 3), np.uint8))
    runtime.invoke()
    assert features_in(runtime.features) == len(runtime.pooled()) == 24


def test_classify_shows_it(telling: Path, strange: Path, tmp_path: Path) -> None:
    telling = changed(
        telling,
        tmp_path / "strict",
        lambda unknown: replace(unknown, variants=tuple(replace(one, threshold=0.01) for one in unknown.variants)),
    )
    with Classifier(telling) as classifier:
        found = {str(path): classifier.classify(path) for path in sorted(strange.rglob("*.jpg"))}
    unknown = [path for path, answer in found.items() if answer.unknown]
    assert unknown
    text = small.edgetl("classify", telling, strange).stdout
    assert text.count(": unknown (") == len(unknown)
    rows = json.loads(small.edgetl("classify", telling, strange, "--json").stdout)["photos"]
    assert {row["photo"]: row["unknown"] for row in rows} == {path: answer.unknown for path, answer in found.items()}
    assert all(row["unknown"] == (row["unknown_score"] > 1) for row in rows)
    # Cameras, videos and watched folders share their lines.
    watch = ("classify", telling, "--watch", strange / "deep", "--existing", "--frames", 6)
    assert small.edgetl(*watch).stdout.count(": unknown (") == len(unknown)
    lines = [json.loads(line) for line in small.edgetl(*watch, "--json").stdout.splitlines()]
    answered = [line for line in lines if line.get("unknown_score") is not None]
    assert len(answered) == 6
    assert sum(line["unknown"] for line in answered) == len(unknown)
    assert all(line["unknown"] == (line["unknown_score"] > 1) for line in answered)


def test_evaluate_and_bench_score_the_accepted_photos(telling: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(telling)
    for place, photo in enumerate(bundle.photos()):
        file = tmp_path / "photos" / bundle.labels[photo.index] / f"{place}{Path(photo.file).suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bundle.read(photo.file))
    # Between the scores of the photos, so that some are accepted.
    with Classifier(telling) as classifier:
        answers = [(classifier.classify(path), path.parent.name) for path in tmp_path.rglob("*.*")]
    middle = float(np.median([answer.unknown_score for answer, _ in answers if answer.unknown_score is not None]))
    assert bundle.unknown is not None
    kept_threshold = {one.name: one.threshold for one in bundle.unknown.variants}["int8"]
    half = changed(
        telling,
        tmp_path / "half",
        lambda unknown: replace(
            unknown, variants=tuple(replace(one, threshold=middle * kept_threshold) for one in unknown.variants)
        ),
    )
    accepted = [answer[0].label == label for answer, label in answers if (answer.unknown_score or 0) <= middle]
    assert 0 < len(accepted) < len(answers)

    report = tmp_path / "evaluation.json"
    said = small.edgetl("evaluate", half, tmp_path / "photos", "--split", "all", "--out", report).stdout
    found = json.loads(report.read_text())["among_accepted"]
    assert found["share"] == pytest.approx(len(accepted) / len(answers))
    assert (found["accuracy"]["photos"], found["accuracy"]["correct"]) == (len(accepted), sum(accepted))
    assert f"not unknown: {found['share']:.3f} of {len(answers)} photos" in said

    result = tmp_path / "result.json"
    benched = small.edgetl(
        "bench", half, "--data", tmp_path / "photos", "--variants", "int8", "--quick", "--out", result
    )
    run = json.loads(result.read_text())["runs"][0]
    assert run["among_accepted"] == found
    assert f"{found['share']:.1%}" in benched.stdout


def test_a_packed_subset_keeps_what_its_variants_need(telling: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    subset = write_subset(Bundle.open(telling), tmp_path / "small", variants=["int8"], photos=3)
    assert subset.unknown is not None
    assert [one.name for one in subset.unknown.variants] == ["int8"]
    packed = Bundle.open(pack(subset.path, tmp_path / "small.edgetl"))
    assert verify(packed).ok
    with Classifier(packed) as classifier:
        assert classifier.classify(packed.read(packed.photos()[0].file)).unknown is not None


def test_quantize_makes_a_bundle_that_tells(short_run: Run, strange: Path, tmp_path: Path) -> None:
    run = Run.open(Path(shutil.copytree(short_run.folder, tmp_path / "run")))
    report = quantize(run, QuantizeOptions(calibration=6, unknown=True, unknown_photos=str(strange), explain=True))
    assert json.loads((run.folder / "explain.json").read_text())["unmatched"] == []
    bundle = Bundle.open(run.folder)
    assert verify(bundle).ok
    assert bundle.unknown is not None
    names = [one.name for one in bundle.variants]
    assert [one.name for one in bundle.unknown.variants] == [one.name for one in report.unknown] == names
    assert len(bundle.unknown.photos) == 6
    assert str(strange) not in (bundle.path / MANIFEST).read_text()
    for text in ((run.folder / name).read_text() for name in ("report.html", "MODEL_CARD.md")):
        assert "Share of photos taken for known" in text
        assert text.casefold().count("lens covered") >= 1
        assert "other things" not in text
    # Other settings are not replaced unasked, nor is the bank of files that stay.
    for options in (QuantizeOptions(calibration=6), QuantizeOptions(int8=False)):
        with pytest.raises(InputError, match="other settings") as raised:
            quantize(run, options)
        assert "unknown" in raised.value.why
    # Nor are the rates on photos that were given.
    with pytest.raises(InputError, match="other settings") as raised:
        quantize(run, QuantizeOptions(int8=False, unknown=True))
    assert "unknown-photos" in str(raised.value.for_command_line())
    quantize(run, QuantizeOptions(int8=False, unknown=True, unknown_photos=str(strange)))
    again = Bundle.open(run.folder)
    assert again.unknown is not None
    assert [one.name for one in again.unknown.variants] == names
    assert len(again.unknown.photos) == 6
    with pytest.raises(InputError, match="outputs of features"):
        prepare(again)
    # Without it, no file with two outputs stays.
    quantize(run, QuantizeOptions(int8=False), overwrite=True)
    last = Bundle.open(run.folder)
    assert last.unknown is None
    assert [one.name for one in last.variants] == ["float32", "float32-onnx"]
    for variant in last.variants:
        assert open_runtime(last.read(variant.file), variant.format).features == ()


def test_a_file_with_other_features_gets_no_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    model, _ = bottlenecks()
    whole = with_features(float32_tflite(model), "tflite")
    tree = read_tree(whole)
    tree.subgraphs[0].outputs = tree.subgraphs[0].outputs[:2]
    variants = [
        VariantFile("float32", "tflite", "float32", whole),
        VariantFile("float16", "tflite", "float16", pack_tree(tree)),
    ]
    photos = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    found = unknown_files(variants, UnknownPixels(photos, photos, photos, None))
    assert [one.name for one in found.variants] == ["float32"]
    assert "float16 cannot tell unknown photos: it has 24 features, float32 has 30" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_can_ask_for_it_once(tiny_photos: Path, tmp_path: Path) -> None:
    asked = ("train", tiny_photos, *small.FLAGS, "--epochs", 0, "--unknown", "--out", tmp_path / "run")
    said = small.refused(small.edgetl(*asked, "--val", 0))
    assert "--unknown needs validation photos" in said
    assert "--val" in said
    assert not (tmp_path / "run").exists()
    done = small.edgetl(*asked)
    assert done.returncode == 0, done.stderr
    done = small.edgetl("quantize", tmp_path / "run", "--no-int8")
    assert done.returncode == 0, done.stderr
    assert "photos taken for known" in done.stdout
    bundle = Bundle.open(tmp_path / "run")
    assert bundle.unknown is not None
    assert [one.name for one in bundle.unknown.variants] == ["float32", "float32-onnx"]
    # Where it cannot be, that is said.
    done = small.edgetl("quantize", tmp_path / "run", "--target", "coral", "--calibration", 4, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert "with --target this bundle cannot tell unknown photos" in done.stderr
    assert Bundle.open(tmp_path / "run").unknown is None


@pytest.mark.parametrize(
    ("arrays", "wrong"),
    [
        ({"rows": np.zeros((0,), np.int8)}, "rows is int8"),
        ({"rows": np.zeros((2, 70_000), np.int8)}, "exceed"),
        ({"mean": np.zeros(3, np.float64)}, "mean is float64"),
        ({"components_scales": np.nan}, "not all finite"),
    ],
)
def test_a_damaged_bank_is_refused(telling: Path, tmp_path: Path, arrays: dict[str, Any], wrong: str) -> None:
    with np.load(telling / BANK) as stored:
        found = dict(stored)
    for name, value in arrays.items():
        found[name] = value if isinstance(value, np.ndarray) else np.full_like(found[name], value)
    bundle = Bundle.open(changed(telling, tmp_path / "bad", lambda unknown: unknown, bank=npz(**found)))
    with pytest.raises(InputError) as raised:
        Classifier(bundle)
    assert wrong in str(raised.value)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"rows": 60_000, "components": 60_000}, "a feature bank is smaller"),
        ({"neighbours": 70_000}, "the bank has"),
        ({"file": "elsewhere.npz"}, "files does not list it"),
        ({"photos": ("photo.jpg",)}, "unknown.photos has photo.jpg"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    telling: Path, tmp_path: Path, change: dict[str, object], wrong: str
) -> None:
    with pytest.raises(InputError, match=wrong):
        Bundle.open(changed(telling, tmp_path / "bad", lambda found: replace(found, **change)))


def test_a_variant_without_features_is_refused(telling: Path, tmp_path: Path) -> None:
    bad = changed(telling, tmp_path / "bad", lambda found: replace(found, features=found.features - 1))
    with pytest.raises(InputError):
        Classifier(Bundle.open(bad))


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(OptionError, match="without"):
        QuantizeOptions(unknown_photos="photos")
    with pytest.raises(OptionError, match="target"):
        QuantizeOptions(unknown=True, target="mcu")


def test_unknown_photos_that_are_none(tmp_path: Path) -> None:
    source = Bundle.open(SOURCE)
    known = source.photos()[0]

    def asked(folder: Path) -> str:
        with pytest.raises(InputError) as raised:
            read_unknown(folder, source.preprocess, {known.sha256: "circle/1.png, a photo of circle"})
        return raised.value.what

    assert "no such folder" in asked(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "contains no photos" in asked(tmp_path / "empty")
    (tmp_path / "empty" / "text.jpg").write_text("no photo")
    assert "readable photo" in asked(tmp_path / "empty")
    (tmp_path / "empty" / "known").with_suffix(Path(known.file).suffix).write_bytes(source.read(known.file))
    assert "is circle/1.png, a photo of circle" in asked(tmp_path / "empty")


def test_a_model_without_pooled_features_is_refused() -> None:
    keras = extras.keras()
    pixels = keras.layers.Input((16, 16, 3), name="pixels")
    maps = keras.layers.Conv2D(3, 3, name="logits")(pixels)
    model = keras.Model(pixels, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(maps)))
    with pytest.raises(InputError, match="no pooled features"):
        with_features(float32_tflite(model), "tflite")
    with pytest.raises(InputError, match="no pooled features"):
        with_features(float32_onnx(model), "onnx")


def test_a_bank_is_small_and_measures_the_distance_to_the_nearest_photos() -> None:
    random = np.random.default_rng(0)
    features = random.gamma(0.5, size=(3000, 1280)).astype(np.float32)
    stored = feature_bank(features).arrays
    assert len(npz(**stored)) <= BANK_BYTES
    bank = feature_bank(features[:40]).bank
    unit = features[:41] / np.linalg.norm(features[:41], axis=1, keepdims=True)
    exact = np.sort(np.linalg.norm(unit[:40] - unit[40], axis=1))
    assert bank.distance(features[40]) == pytest.approx(exact[bank.neighbours - 1], rel=0.01)
    # At rank 39 the bank has the photos themselves, but for the rounding of int8.
    assert FeatureBank(bank.mean, bank.components, bank.rows, 1).distance(features[0]) < 0.03
    assert bank.distance(np.zeros(1280, np.float32)) > 0
    assert is_unknown(bank.distance(np.full(1280, np.nan, np.float32)))


def test_the_threshold_keeps_what_it_should() -> None:
    distances = np.arange(1, 101) / 100
    assert threshold(distances, 0.95) == 0.95
    assert threshold(distances[:3], 0.95) == 0.03


def test_distortions_are_reproducible_and_strong() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    for name in DISTORTIONS:
        found = drawn(name, pixels)
        assert found.shape == pixels.shape
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, drawn(name, pixels))
        assert np.abs(found.astype(int) - pixels).mean() > 20


def test_a_monitor_watches_unknown_photos_and_features(telling: Path, strange: Path, tmp_path: Path) -> None:
    telling = changed(
        telling,
        tmp_path / "strict",
        lambda unknown: replace(unknown, variants=tuple(replace(one, threshold=0.01) for one in unknown.variants)),
    )
    with Classifier(telling) as classifier, Monitor(tmp_path / "field", classifier, collect=3) as monitor:
        photos = sorted((strange / "deep").iterdir())
        unknown = 0
        for photo in photos:
            unknown += bool(monitor.classify(photo).unknown)
            time.sleep(0.1)  # for the thread that keeps photos; the first is a random one
        pixels = classifier.pixels(photos[0])
        output = classifier.run_observed(pixels)
        assert output.features is not None
        broken = replace(output, unknown_score=math.nan, features=output.features * math.nan)
        monitor.answered(Observed(classifier, photos[0], pixels, broken, 1.0))
    (record,) = read_records(tmp_path / "field").records
    assert isinstance(record.unknown, UnknownPhotos)
    assert record.unknown.photos == unknown + 1 > 3
    assert record.unknown.share == pytest.approx(record.unknown.photos / record.photos, abs=1e-6)
    assert (record.photos, record.not_finite) == (len(photos) + 1, 1)
    assert isinstance(record.drift, Drift)
    assert record.drift.bank
    assert record.drift.features[:5] == ("confidence", "brightness", "sharpness", "unknown_score", "component 1")
    kept = list((tmp_path / "field" / "photos").iterdir())
    assert any(photo.name.startswith("unknown-") for photo in kept)
    assert not any(word in photo.read_bytes() for photo in kept for word in (b"Exif", b"secret"))
