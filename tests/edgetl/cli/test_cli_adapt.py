"""``edgetl adapt`` and ``edgetl.adapt``: what tests/device/adapt tests, from a workstation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small
from PIL import Image, ImageDraw

import edgetl
from edgetl_device.errors import GateFailed, OptionError

SOURCE = Path(__file__).parents[2] / "golden" / "teachable.edgetl"


@pytest.fixture(scope="module")
def triangles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of blue triangles on a noisy ground: do not write to it."""
    folder = tmp_path_factory.mktemp("triangles") / "photos"
    folder.mkdir()
    for seed in range(10):
        random = np.random.default_rng(seed)
        image = Image.fromarray(np.clip(190 + random.normal(0, 20, (48, 56, 3)), 0, 255).astype(np.uint8))
        x, y = int(random.integers(12, 44)), int(random.integers(12, 36))
        ImageDraw.Draw(image).polygon([(x, y - 11), (x - 11, y + 11), (x + 11, y + 11)], fill=(50, 80, 200))
        image.save(folder / f"{seed}.jpg", quality=90)
    return folder


def test_the_command_says_what_was_gained_and_lost(triangles: Path, tmp_path: Path) -> None:
    out = tmp_path / "three.edgetl"
    done = small.edgetl("adapt", SOURCE, triangles, "--add-class", "triangle", "--max-drop", 100, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "8 photos, 2 held out" in done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["variant", "float32", "int8"]
    assert "is not signed" in lines[-1]
    # All other commands take the new bundle.
    assert edgetl.verify(out).ok
    result = edgetl.bench(out, variants=["int8"], duration=0.05, quick=True)
    assert result.variant("int8").accuracy.photos == 26
    classified = json.loads(small.edgetl("classify", out, triangles, "--json").stdout)
    assert {photo["predictions"][0]["label"] for photo in classified["photos"]} == {"triangle"}


def test_json_is_the_document(triangles: Path, tmp_path: Path) -> None:
    done = small.edgetl(
        "adapt", SOURCE, triangles, "--add-class=triangle", "--max-drop=100", "--out", tmp_path / "new", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "edgetl.adapted/1"
    assert document["photos"]["shots"] == 8


def test_without_a_place_or_a_class_nothing_happens(triangles: Path, tmp_path: Path) -> None:
    assert small.edgetl("adapt", SOURCE, triangles, "--add-class", "triangle").returncode == 2
    assert "no class to teach" in small.refused(small.edgetl("adapt", SOURCE, triangles, "--out", tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []


def test_the_function_returns_the_result_or_raises(triangles: Path, tmp_path: Path) -> None:
    result = edgetl.adapt(SOURCE, triangles, out=tmp_path / "new", add_class="triangle", max_drop=100)
    assert isinstance(result, edgetl.Adapted)
    assert result.outcome == "written"
    assert edgetl.Bundle.open(tmp_path / "new").labels == ("circle", "square", "triangle")
    with pytest.raises(OptionError, match="is in the bundle already"):
        edgetl.adapt(SOURCE, triangles, out=tmp_path / "other", add_class="circle")
    # The held-out circles of the bundle, turned, are a class that takes circles.
    source, turned = edgetl.Bundle.open(SOURCE), tmp_path / "turned"
    turned.mkdir()
    for place, photo in enumerate(one for one in source.photos() if one.index == 0):
        (tmp_path / "one.jpg").write_bytes(source.read(photo.file))
        Image.open(tmp_path / "one.jpg").rotate(90, expand=True).save(turned / f"{place}.png")
    with pytest.raises(GateFailed, match="loses"):
        edgetl.adapt(source, turned, out=tmp_path / "other", add_class="disc", aim=100, max_drop=0)
    assert not (tmp_path / "other").exists()
