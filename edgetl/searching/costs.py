"""The costs of an architecture, measured by the bench on its int8 model with random weights, here or on a board.

Latency, size and memory depend on the layers and not on what their weights say, so nothing has to be trained.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from edgetl import __version__
from edgetl._lib.cache import entry, key_of
from edgetl._lib.progress import note, step
from edgetl._lib.quiet import quietly
from edgetl.export.bundle import PhotoFile, VariantFile, write_bundle
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.measurement import predict_file
from edgetl.remote.board import Upload, bench_board
from edgetl.remote.fleet import Board
from edgetl.remote.parallel import on_boards
from edgetl.remote.wheel import device_wheel
from edgetl.synthetic import CLASSES, draw_photo
from edgetl_device._lib.documents import Unknown, write
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bench import result
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle, ReferenceArrays
from edgetl_device.errors import EdgetlError, Unavailable
from edgetl_device.input_size import square
from edgetl_device.machine.environment import describe
from edgetl_device.preprocess import Preprocess, preprocess

from .space import Architecture

# Increment when the same architecture gives another file or another measurement.
_FORMAT = 1
_PICTURES, _SIDE = 8, 160
_RESULT, _MODEL = "result.json", "model.tflite"
_TRIES = 3
# Codes of verdicts by which a quick bench is repeated.
_DISTURBED = frozenset({"noisy-latency", "drifting-latency"})


@dataclass(frozen=True)
class Latency:
    """Time of one inference of an int8 model: pixels in, probabilities out.

    Attributes:
        p50_ms: Median.
        p95_ms: 95th percentile; None where it is not known.
        source: How it is known.
    """

    p50_ms: float
    p95_ms: float | None
    source: Literal["measured", "predicted"]


class Machine:
    """Where models are measured: this machine, or a board over SSH."""

    def __init__(self, board: Board | None = None, *, offline: bool = False) -> None:
        self._board, self._offline = board, offline

    @property
    def name(self) -> str:
        """Its name in messages."""
        return "this machine" if self._board is None else self._board.name

    @property
    def key(self) -> list[str]:
        """What distinguishes it from other machines, for the cache."""
        if self._board is not None:
            return ["board", self._board.host, self._board.python]
        found = describe()
        return ["here", str(found.cpu), str(found.machine), version("ai-edge-litert")]

    def bench(self, bundle: Bundle, options: BenchOptions) -> Result:
        """Bench a bundle there.

        Raises:
            Unavailable: The board cannot be reached, or lacks something.
            InputError: The bundle or an option is wrong.
        """
        if self._board is None:
            return run_bench(bundle, options)
        with tempfile.TemporaryDirectory(prefix="edgetl-") as scratch:
            upload = Upload(bundle, Path(scratch))
            (outcome,) = on_boards(
                [self._board],
                lambda board, children, say: bench_board(
                    board, upload, options, offline=self._offline, children=children, say=say
                ),
                say=_silent,
                finished=lambda _: None,
            )
        if outcome.document is not None:
            return outcome.document
        error = outcome.error
        assert error is not None
        if error.exit_code == EdgetlError.exit_code:
            raise error
        again = "What was done is kept: run the same command again once the board answers."
        raise Unavailable(f"{self.name}: {error.what}", why=error.why, hint=f"{error.hint} {again}".strip())


class _Disturbed(Exception):
    """A result that is used, as there is none better, and not kept for the next search."""

    def __init__(self, result: Result) -> None:
        self.result = result


class Costs:
    """Measures architectures on a machine, each once: results are cached by the structure of the network.

    Args:
        machine: Where.
        classes: Number of classes of the last layer.
    """

    def __init__(self, machine: Machine, *, classes: int) -> None:
        self.machine, self._classes = machine, classes
        self._known: dict[Architecture, Result] = {}

    def run_of(self, architecture: Architecture) -> ResultRun:
        """Return the bench's run of its int8 model with random weights.

        Raises:
            Unavailable: The machine cannot be reached, or three measurements in a row were invalid.
        """
        if architecture not in self._known:
            self._known[architecture] = self._measured(architecture)
        return self._known[architecture].runs[0]

    def latency_of(self, architecture: Architecture) -> Latency:
        """Return how long its int8 model takes; errors as for :meth:`run_of`."""
        found = self.run_of(architecture).latency
        p95_ms = found.p95_ms
        assert not isinstance(found.p50_ms, Unknown)
        return Latency(found.p50_ms, None if isinstance(p95_ms, Unknown) else p95_ms, "measured")

    def label(self) -> str:
        """Return the board or the CPU that was measured on; empty before the first measurement."""
        for one in self._known.values():
            names = (one.environment.board, one.environment.cpu)
            return ", ".join([*(name for name in names if isinstance(name, str)), one.environment.machine])
        return ""

    def _measured(self, architecture: Architecture) -> Result:
        network = architecture.network(classes=self._classes)
        structure = hashlib.sha256(network.to_json().encode()).hexdigest()
        versions = [version(package) for package in ("tensorflow", "keras")]
        files = key_of(structure=structure, versions=versions, edgetl=__version__, format=_FORMAT)

        def convert(folder: Path) -> None:
            with step(f"int8 model of {architecture.name}, random weights"):
                pixels = np.random.default_rng(0).integers(0, 256, (4, *square(architecture.size).shape), np.uint8)
                (folder / _MODEL).write_bytes(int8_tflite(network, pixels))

        model = (entry("random-models", files, convert) / _MODEL).read_bytes()

        def measure(folder: Path) -> None:
            write(folder / _RESULT, self._bench(architecture, model))

        key = key_of(model=sha256_bytes(model), where=self.machine.key, device=device_wheel().digest, format=_FORMAT)
        try:
            return result.read(entry("costs", key, measure) / _RESULT)
        except _Disturbed as disturbed:
            note(f"{architecture.name}: the best of {_TRIES} measurements is taken, all were disturbed")
            return disturbed.result

    def _bench(self, architecture: Architecture, model: bytes) -> Result:
        with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
            bundle = _bundle(architecture, model, Path(folder), classes=self._classes)
            usable: list[Result] = []
            for attempt in range(_TRIES):
                with step(f"Measuring {architecture.name} on {self.machine.name}"):
                    found = self.machine.bench(bundle, BenchOptions(variants=("int8",), quick=True))
                verdict = found.runs[0].verdict
                if verdict.status != "invalid":
                    usable.append(found)
                    if not _DISTURBED.intersection(verdict.codes or ()):
                        return found
                note(f"attempt {attempt + 1} of {_TRIES}: {'; '.join(verdict.reasons)}")
        if usable:
            # What disturbs adds to the times.
            raise _Disturbed(min(usable, key=lambda one: _p95_ms(one.runs[0])))
        raise Unavailable(
            f"{self.machine.name} gives no valid times",
            why="; ".join(verdict.reasons),
            hint=" ".join(verdict.advice) or "Run the same command again when it is idle.",
        )


def _p95_ms(run: ResultRun) -> float:
    found = run.latency.p95_ms
    return float("inf") if isinstance(found, Unknown) else found


def _bundle(architecture: Architecture, model: bytes, folder: Path, *, classes: int) -> Bundle:
    """Write a bundle with a model and drawn pictures, whose labels are the model's own answers."""
    spec = Preprocess(size=square(architecture.size))
    labels = tuple(f"{place:04d}" for place in range(classes))
    paths = []
    for place in range(_PICTURES):
        path = folder / f"{place}.jpg"
        path.write_bytes(draw_photo(CLASSES[place % len(CLASSES)], place, size=_SIDE, seed=0))
        paths.append(path)
    pixels = np.stack([preprocess(path, spec) for path in paths])
    with quietly():
        probabilities, _ = predict_file(model, "tflite", pixels, description="Answers")
    return write_bundle(
        folder / "bundle",
        labels=labels,
        preprocess=spec,
        variants=[VariantFile("int8", "tflite", "int8", model)],
        evalset=[
            PhotoFile(path, labels[int(row.argmax())], sha256_bytes(path.read_bytes()))
            for path, row in zip(paths, probabilities, strict=True)
        ],
        reference=ReferenceArrays(probabilities=probabilities, logits=np.log(probabilities + 1e-3)),
        provenance={"weights": "random"},
        truth="model",
    )


def _silent(board: Board, text: str) -> None:
    del board, text
