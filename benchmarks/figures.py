"""Measure all of edgetl's published figures; write ``results/<date>-<machine>.json`` and ``results/FIGURES.md``.

A row that fails is recorded with its reason, and the others are still measured. METHOD.md explains each row. This is
not a test suite: a slow machine fails no test.

Example: python benchmarks/figures.py --only flowers int8
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import classify
import inference
import quantization
import training
from advise_photos import FASHION
from harness import REPO, SHARED_DATA, Outcome, RowFailed, Workspace, others_watched, say
from results import Results, table


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: For ``--only`` and the JSON.
        what: What is measured.
        reach: The target, on 2 x86 cores without a GPU.
        measure: Function that measures it.
    """

    name: str
    what: str
    reach: str
    measure: Callable[[Workspace], Outcome]


ROWS = (
    Row(
        "flowers", "`edgetl train` on the shared flowers, defaults", "top-1 at least 0.88, under 90 s", training.flowers
    ),
    Row("int8", "int8 against float, the same runs", "drop at most 0.5 pp, agreement at least 98%", inference.int8),
    Row(
        "int8-backbones",
        "int8 against float, every backbone with embedded weights, means of 3 seeds",
        "drop under 0.2 pp, no seed over 0.5; size under 0.31; MobileNetV2: agreement at least 99%, MAE at most 0.004",
        quantization.backbones,
    ),
    Row(
        "v3-int8",
        "MobileNetV3 large from random weights on 9,000 photos of Fashion-MNIST, int8 against float",
        "drop under 1 pp",
        quantization.mobilenet_v3,
    ),
    Row(
        "quantize",
        "`edgetl quantize` on a run on the shared flowers, both formats, measured",
        "under 60 s",
        quantization.seconds,
    ),
    Row(
        "auto",
        "`edgetl train` on the shared flowers, `--strategy auto --backbone auto`",
        "top-1 at least 0.90",
        training.auto,
    ),
    Row("advise", "`edgetl advise` on the shared flowers, photos already decoded", "under 20 s", training.advise),
    Row("food3", "`edgetl train` on food3, defaults", "at least 14 of 15", training.food3),
    Row(
        "frozen-base",
        "frozen base, images/s against `keras.Model.predict`",
        "at least 4 times",
        inference.frozen_base,
    ),
    Row(
        "keras-flowers",
        "start to `model.keras` against the usual Keras script, shared flowers",
        "at least 3 times faster, same or better top-1",
        training.flowers_against_keras,
    ),
    Row(
        "keras-synthetic",
        "start to `model.keras` against the usual Keras script, 3,000 synthetic photos",
        "at least 6 times faster, same or better top-1",
        training.synthetic_against_keras,
    ),
    Row(
        "latency",
        "int8 against float TFLite, one thread",
        "at least 1.7 times faster, file at most 0.32 of the size",
        inference.int8_latency,
    ),
    Row(
        "bench-cost",
        "`edgetl bench` against a bare LiteRT loop, median of the model",
        "within 3%",
        inference.bench_cost,
    ),
    Row("help", "`edgetl --help`", "under 0.25 s", inference.help_seconds),
    Row(
        "device",
        "device: start Python, load the int8 bundle, classify one JPEG",
        "under 0.6 s, under 120 MB",
        inference.device,
    ),
    Row(
        "mediapipe",
        "JPEG to label, int8, one thread: edgetl against MediaPipe Tasks",
        "faster",
        classify.against_mediapipe,
    ),
    Row(
        "keras-predict",
        "JPEG to label, int8, one thread: edgetl against Keras' `load_img` and `predict`",
        "at least 20 times faster",
        classify.against_keras,
    ),
    Row(
        "large-jpegs",
        "JPEG to label, 12-megapixel photos: decoding at reduced size against full size",
        "at least 2 times faster",
        classify.large_jpegs,
    ),
    Row("array", "uint8 array to label against `set_tensor`, `invoke`, `get_tensor`", "within 5%", classify.array),
)


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="edgetl-figures-", dir=arguments.work) as scratch:
        work = Workspace(
            folder=Path(scratch),
            data=arguments.data.resolve(),
            fashion=arguments.fashion.resolve(),
            rounds=arguments.rounds,
            short_rounds=1 if arguments.quick else max(5, arguments.rounds),
            processes=3 if arguments.quick else 10,
            seeds=1 if arguments.quick else 5,
            photos=arguments.photos,
        )
        results = Results.start(
            arguments.results,
            tuple(row.name for row in ROWS),
            settings={"rounds": work.rounds, "seeds": work.seeds, "synthetic_photos": work.photos},
            trial=arguments.quick or work.photos != training.SYNTHETIC_PHOTOS,
        )
        for row in ROWS:
            if arguments.only is None or row.name in arguments.only:
                say(f"{row.name}: {row.what}")
                results.add(measured(row, work))
    print(table(results.document))
    say(f"written: {results.file.name}")


def measured(row: Row, work: Workspace) -> dict[str, Any]:
    """Measure a row and return its record; a failed row records the reason."""
    record: dict[str, Any] = {"name": row.name, "what": row.what, "reach": row.reach}
    with others_watched(record):
        try:
            outcome = row.measure(work)
        except Exception as error:
            # Any error is recorded, and the other rows are still measured.
            reason = str(error) if isinstance(error, RowFailed) else f"{type(error).__name__}: {error}"
            record["failed"] = work.scrub(reason)
            say(f"{row.name}: failed: {reason}")
        else:
            record |= {"measured": outcome.measured, "met": outcome.met, "values": outcome.values}
            say(f"{row.name}: {outcome.measured}: {'met' if outcome.met else 'not met'}")
    return record


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, help="rounds of the rows that take minutes (default 3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="one round and one seed; not for publication")
    parser.add_argument("--photos", type=int, default=training.SYNTHETIC_PHOTOS, help="synthetic training photos")
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder with flowers and food3")
    parser.add_argument("--fashion", type=Path, default=FASHION, help="folder of Fashion-MNIST's four IDX files")
    parser.add_argument("--results", type=Path, default=REPO / "benchmarks" / "results", help="folder to write to")
    parser.add_argument("--work", type=Path, help="folder for scratch files, 3 GB (default: the system's)")
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 1 if arguments.quick else 3
    if arguments.rounds < 1 or arguments.photos < 60:
        parser.error("--rounds must be at least 1, --photos at least 60")
    return arguments


if __name__ == "__main__":
    main()
