"""``edgetl data check --labels``: estimates without the photo itself, wrong labels first, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small
from PIL import Image
from typer.testing import CliRunner

from edgetl.cli import app
from edgetl.data import Dataset, load_dataset
from edgetl.labels.check import features_of, rank
from edgetl.labels.leave_one_out import PENALTY, estimates
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

ANGLES = {"falling": 45, "level": 90, "upright": 0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes in three directions, of random width and colours: classes that nobody mistakes."""
    folder = tmp_path_factory.mktemp("labels") / "photos"
    random = np.random.default_rng(0)
    down, across = np.mgrid[:96, :96]
    for label, angle in ANGLES.items():
        (folder / label).mkdir(parents=True)
        for place in range(14):
            along = across * np.cos(np.radians(angle)) + down * np.sin(np.radians(angle))
            wave = 0.5 + 0.5 * np.sin(along / random.uniform(2, 4) + random.uniform(0, 6))
            dark, bright = random.integers(0, 90, 3), random.integers(150, 256, 3)
            pixels = dark + wave[..., None] * (bright - dark) + random.normal(0, 9, (96, 96, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / label / f"{place:02}.png")
    return folder


@pytest.fixture(scope="module")
def dataset(photos: Path) -> Dataset:
    return load_dataset(photos, Preprocess(size=square(64)))


# Estimates


def fitted_without(features: list[np.ndarray], targets: np.ndarray, held_out: np.ndarray, classes: int) -> np.ndarray:
    """Fit the same regression on all other rows, as the definition has it."""
    parts = []
    for part in features:
        standard = (part - part.mean(axis=0)) / part.std(axis=0)
        parts.append(standard / np.linalg.norm(standard, axis=1, keepdims=True))
    rows = np.concatenate(parts, axis=1) / len(features) ** 0.5
    shown = np.eye(classes)[targets]
    share = shown.mean(axis=0)
    others = ~held_out
    gram = rows[others].T @ rows[others] + PENALTY * np.eye(rows.shape[1])
    weights = np.linalg.solve(gram, rows[others].T @ (shown[others] - share))
    return share + rows[held_out] @ weights


def test_estimates_are_those_of_a_fit_without_the_photos_of_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    # Groups that lie in different blocks of rows, too.
    monkeypatch.setattr("edgetl.labels.leave_one_out._ROWS", 7)
    random = np.random.default_rng(0)
    features = [random.normal(size=(40, width)).astype(np.float32) for width in (5, 60)]
    targets = random.integers(0, 3, 40)
    groups = [str(row % 31 if row % 31 < 9 else row) for row in range(40)]
    found = estimates(features, targets, groups, classes=3)
    for group in set(groups):
        held_out = np.array([one == group for one in groups])
        assert np.allclose(found[held_out], fitted_without(features, targets, held_out, 3), atol=1e-4)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-6)


def test_a_photo_does_not_vouch_for_itself_or_its_copies() -> None:
    random = np.random.default_rng(0)
    features = [random.normal(size=(60, 500)).astype(np.float32)]
    features[0][1::2] = features[0][::2]
    targets = np.repeat(np.arange(30) % 2, 2)
    pairs = [str(row // 2) for row in range(60)]
    alone = estimates(features, targets, [str(row) for row in range(60)], classes=2)
    grouped = estimates(features, targets, pairs, classes=2)
    # With more features than photos, copies in other groups tell every label; noise tells none.
    assert (alone.argmax(axis=1) == targets).mean() == 1
    assert (grouped.argmax(axis=1) == targets).mean() < 0.7


# Ranking


def test_wrong_labels_come_first(dataset: Dataset) -> None:
    samples = list(dataset.samples)
    wrong = {}
    for row in range(3, len(samples), len(samples) // 4):
        other = dataset.labels[(dataset.labels.index(samples[row].label) + 1) % len(dataset.labels)]
        wrong[samples[row].path] = samples[row].label
        samples[row] = replace(samples[row], label=other)
    found = rank(replace(dataset, samples=tuple(samples)), features_of(dataset))
    first = found.suspects[: len(wrong)]
    assert {one.path: one.suggested for one in first} == wrong
    assert [one.margin for one in found.suspects] == sorted((one.margin for one in found.suspects), reverse=True)
    assert found.photos == len(samples)
    assert not found.unchecked


def test_copies_of_a_photo_do_not_vouch_for_its_label(photos: Path, tmp_path: Path) -> None:
    data = shutil.copytree(photos, tmp_path / "photos")
    with Image.open(data / "falling" / "00.png") as photo:
        for quality in (95, 85, 75, 65, 55):
            photo.save(data / "upright" / f"copy_{quality}.jpg", quality=quality)
    (data / "falling" / "00.png").unlink()
    copied = load_dataset(data, Preprocess(size=square(64)))
    found = rank(copied, features_of(copied)).suspects
    first = [one.path for one in found[:5]]
    assert sorted(first) == [f"upright/copy_{quality}.jpg" for quality in (55, 65, 75, 85, 95)]


def test_a_class_with_few_photos_is_not_judged_and_named(dataset: Dataset) -> None:
    kept = [one for one in dataset.samples if one.label == "falling"][:4]
    samples = (*kept, *(one for one in dataset.samples if one.label != "falling"))
    few = replace(dataset, samples=samples)
    found = rank(few, features_of(few))
    assert found.unchecked == ("falling",)
    assert found.photos == len(samples) - 4
    assert not {"falling"}.intersection(name for one in found.suspects for name in (one.label, one.suggested))


# The command


def test_the_command_prints_the_suspects_and_shows_them_on_a_page(photos: Path, tmp_path: Path) -> None:
    data, page = tmp_path / "photos", tmp_path / "labels.html"
    shutil.copytree(photos, data)
    moved = sorted((data / "falling").iterdir())[0]
    moved.rename(data / "upright" / f"moved_{moved.name}")
    before = {path: path.read_bytes() for path in data.rglob("*.png")}
    arguments = ["data", "check", str(data), "--labels"]
    done = CliRunner().invoke(app, [*arguments, "--page", str(page), "--out", str(tmp_path / "data.json")])
    assert done.exit_code == 0, done.output
    check = json.loads((tmp_path / "data.json").read_text())["label_check"]
    assert check["suspects"][0]["path"] == f"upright/moved_{moved.name}"
    assert (check["suspects"][0]["label"], check["suspects"][0]["suggested"]) == ("upright", "falling")
    row = next(line for line in done.stdout.splitlines() if f"upright/moved_{moved.name}" in line and "=" not in line)
    assert row.split()[1:3] == ["upright", "falling"]
    text = page.read_text()
    assert text.index(f"moved_{moved.name}") < text.index("looks like: falling") + 2_000
    assert text.count("data:image/jpeg;base64,") == min(len(check["suspects"]), 60)
    assert {path: path.read_bytes() for path in data.rglob("*.png")} == before


def test_without_labels_nothing_of_them_is_said(photos: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", str(photos), "--json"])
    assert "label_check" not in json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--page", "labels.html"], "--page: needs --labels"),
        (["--labels"], "too few photos to check labels"),
        (["--labels", "--page", "few/falling"], "is not a file"),
    ],
)
def test_refused(photos: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    for label in ("falling", "upright"):
        (tmp_path / "few" / label).mkdir(parents=True)
        for photo in sorted((photos / label).iterdir())[:4]:
            shutil.copy(photo, tmp_path / "few" / label)
    done = small.edgetl("data", "check", tmp_path / "few", *arguments, cwd=tmp_path)
    assert said in small.refused(done)
    assert [path.name for path in tmp_path.iterdir()] == ["few"]
