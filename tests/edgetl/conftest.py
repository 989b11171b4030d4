"""A small run and its bundle, made once a process and shared by all tests here: TensorFlow is imported once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small

from edgetl.runs.directory import Run


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of drawn photos, flat layout: do not write to it."""
    from edgetl.synthetic import draw_dataset

    folder = tmp_path_factory.mktemp("tiny") / "photos"
    return draw_dataset(folder, per_class=small.PER_CLASS, classes=small.LABELS, size=96)


@pytest.fixture(scope="session")
def tiny_run(tiny_photos: Path) -> Run:
    """A finished run on ``tiny_photos`` from the embedded weights: do not write to it."""
    from edgetl.training import train

    return train(tiny_photos, tiny_photos.parent / "run", small.options())


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a copy of ``tiny_run``; ``quantize.json`` lies beside it. Do not write to it."""
    from edgetl.quantization.options import QuantizeOptions
    from edgetl.quantization.pipeline import quantize

    folder = tmp_path_factory.mktemp("quantized") / "run"
    shutil.copytree(tiny_run.folder, folder)
    quantize(Run.open(folder), QuantizeOptions(int8=True, calibration=12))
    return folder / "bundle"


@pytest.fixture(scope="session")
def tiny_explained(tiny_run: Run, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``tiny_run`` whose repaired int8 file is explained. Do not write to it."""
    from edgetl.quantization.explain import Plain, explain_export
    from edgetl.quantization.preparation.folding import fold_batch_norm
    from edgetl.runs.held_out import find_photos
    from edgetl_device.bundle import Bundle

    folder = tmp_path_factory.mktemp("explained") / "run"
    run = Run.open(Path(shutil.copytree(tiny_run.folder, folder)))
    bundle = Bundle.open(tiny_bundle)
    int8 = bundle.read(bundle.variant("int8").file)
    folded = fold_batch_norm(run.load_model())
    calibration = find_photos(run, run.of("train")[:6]).pixels
    expected = bundle.reference().probabilities
    explain_export(run, folded, int8, find_photos(run, run.of("test")), expected, plain=Plain(folded, calibration))
    return folder


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    folder = tmp_path / "fresh-cache"
    monkeypatch.setenv("EDGETL_CACHE", str(folder))
    return folder
