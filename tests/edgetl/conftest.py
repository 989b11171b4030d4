"""A small run and its bundle, made once and shared by all tests here, also across pytest-xdist workers."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import searched
import small
from small import Once
from sshd import Lab, SshBoard

from edgetl.runs.directory import Run


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that makes a folder by calling another one, unless a worker of this session has made it."""
    base = tmp_path_factory.getbasetemp()
    # Each pytest-xdist worker has a folder inside the session's.
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"

    def made(name: str, make: Callable[[Path], object]) -> Path:
        root.mkdir(exist_ok=True)
        finished = root / f"{name}.finished"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                shutil.rmtree(root / name, ignore_errors=True)
                make(root / name)
                finished.touch()
        return root / name

    return made


@pytest.fixture(scope="session")
def tiny_photos(once: Once) -> Path:
    """Three classes of drawn photos, flat layout: do not write to it."""
    from edgetl.synthetic import draw_dataset

    def draw(folder: Path) -> None:
        draw_dataset(folder, per_class=small.PER_CLASS, classes=small.LABELS, size=96)

    return once("photos", draw)


@pytest.fixture(scope="session")
def tiny_run(tiny_photos: Path, once: Once) -> Run:
    """A finished run on ``tiny_photos`` from the embedded weights: do not write to it."""
    from edgetl.training import train

    return Run.open(once("run", lambda folder: train(tiny_photos, folder, small.options())))


@pytest.fixture(scope="session")
def short_run(tiny_photos: Path, once: Once) -> Run:
    """Like ``tiny_run`` on the first blocks: converts in a fifth of the time, accuracy is poor. Do not write to it."""
    from edgetl.training import train

    return Run.open(once("short", lambda folder: train(tiny_photos, folder, small.short())))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Run, once: Once) -> Path:
    """The bundle of a copy of ``tiny_run``; ``quantize.json`` lies beside it. Do not write to it."""
    from edgetl.quantization.options import QuantizeOptions
    from edgetl.quantization.pipeline import quantize

    def make(folder: Path) -> None:
        shutil.copytree(tiny_run.folder, folder)
        quantize(Run.open(folder), QuantizeOptions(int8=True, calibration=12))

    return once("quantized", make) / "bundle"


@pytest.fixture(scope="session")
def tiny_explained(tiny_run: Run, tiny_bundle: Path, once: Once) -> Path:
    """A copy of ``tiny_run`` whose repaired int8 file is explained. Do not write to it."""
    from edgetl.quantization.explain import Plain, explain_export
    from edgetl.quantization.preparation.folding import fold_batch_norm
    from edgetl.runs.held_out import find_photos
    from edgetl_device.bundle import Bundle

    def make(folder: Path) -> None:
        run = Run.open(Path(shutil.copytree(tiny_run.folder, folder)))
        bundle = Bundle.open(tiny_bundle)
        int8 = bundle.read(bundle.variant("int8").file)
        folded = fold_batch_norm(run.load_model())
        calibration = find_photos(run, run.of("train")[:6]).pixels
        expected = bundle.reference().probabilities
        explain_export(run, folded, int8, find_photos(run, run.of("test")), expected, plain=Plain(folded, calibration))

    return once("explained", make)


@pytest.fixture(scope="session")
def tiny_search(tiny_photos: Path, once: Once) -> Path:
    """The folder of a finished search of two trials on ``tiny_photos``: do not write to it."""
    from edgetl.searching.options import SearchOptions
    from edgetl.searching.run import search

    options = SearchOptions(budget=searched.BUDGET, trials=2, **searched.SPACE)
    return once("search", lambda folder: search(tiny_photos, folder, options))


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    folder = tmp_path / "fresh-cache"
    monkeypatch.setenv("EDGETL_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Boards of this module, and the ssh configuration that lists them."""
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def good(lab: Lab) -> SshBoard:
    """A board on which everything works."""
    return lab.board("good")
