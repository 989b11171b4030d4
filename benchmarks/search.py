"""Compare ``edgetl search`` with an exhaustive grid: accuracy of what each finds under three budgets, and the time.

The grid trains configurations of the search's own space, whatever they cost, each once; under a budget its best is the
one that is most accurate on the validation photos among those that fit. Both are scored on the same test photos, as
float models. Finished configurations and searches stay in the work folder, so that the script goes on where it ended.

Example: python benchmarks/search.py --data ../shared/data --work grid --grid-size 96
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from harness import SHARED_DATA, say

from edgetl.comparison.budget import broken, parse_budget
from edgetl.runs.directory import Run
from edgetl.runs.predictions import FILE, read_predictions
from edgetl.searching.costs import Costs, Machine
from edgetl.searching.document import SearchDocument
from edgetl.searching.options import SIZES, SearchOptions
from edgetl.searching.run import search
from edgetl.searching.space import Architecture, architectures, networks_at_hand
from edgetl.searching.trials import AUGMENT, TRAINABLE_BLOCKS
from edgetl.training import TrainOptions
from edgetl.training.pipeline import train
from edgetl_device._lib.documents import read
from edgetl_device._lib.files import write_text
from edgetl_device.bench.accuracy import paired_drop
from edgetl_device.errors import GateFailed

BUDGETS = ("p95_ms<1.5,mb<3", "p95_ms<3,mb<3", "p95_ms<6,mb<5")
MOST = 96
_SEED = 0
_DEPTHS = 2


@dataclass(frozen=True)
class Configuration:
    """A point of the grid."""

    architecture: Architecture
    trainable_blocks: int
    augment: str
    lr: float

    def options(self, epochs: int | None) -> TrainOptions:
        """Return the options that train it."""
        one = self.architecture
        return TrainOptions(
            backbone=one.backbone,
            width=one.width,
            size=one.size,
            truncate=one.truncate,
            strategy="blocks",
            trainable_blocks=max(1, min(self.trainable_blocks, one.blocks - 1)),
            augment=self.augment,
            lr=self.lr,
            epochs=epochs,
            seed=_SEED,
        )


def main() -> None:
    arguments = _parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    lines = [
        "| data | budget | grid, fitting | grid's best, % | search, % | behind, pp (95% CI) | grid and search, s |"
    ]
    lines += ["|---" * 7 + "|"]
    for name in arguments.sets:
        lines += compare(arguments.data / name, arguments.work / name, arguments)
        write_text(arguments.work / "search.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def compare(data: Path, work: Path, arguments: argparse.Namespace) -> Iterator[str]:
    """Train the grid on one data set, search under each budget, and yield a row of the table for each."""
    work.mkdir(exist_ok=True)
    classes = len({path.name for path in (data / "train").iterdir() if path.is_dir()})
    costs = Costs(Machine(), classes=classes)
    every = grid(classes, arguments)
    rows = [_trained(data, work / f"{place:03d}", one, arguments.epochs) for place, one in enumerate(every)]
    grid_s = sum(row["seconds"] for row in rows)
    for number, text in enumerate(arguments.budget):
        budget = parse_budget(text.split(","))
        fitting = [
            place
            for place, one in enumerate(every)
            if not broken(budget, one.architecture.name, costs.run_of(one.architecture))
        ]
        if not fitting:
            yield f"| {data.name} | {text} | 0 of {len(every)} | | | | {grid_s:.0f} |"
            continue
        best = max(fitting, key=lambda place: rows[place]["val"])
        yield _row(data, text, work, number, best, (len(fitting), len(every)), grid_s, arguments)


def _row(
    data: Path,
    text: str,
    work: Path,
    number: int,
    best: int,
    counts: tuple[int, int],
    grid_s: float,
    arguments: argparse.Namespace,
) -> str:
    shown, of = f"{counts[0]} of {counts[1]}", _right(work / f"{best:03d}")
    found, search_s = _searched(data, work / f"search-{number}", text, arguments)
    if found is None or found.winner is None or found.winner.trial is None:
        return f"| {data.name} | {text} | {shown} | {100 * of.mean():.1f} | none | | {grid_s:.0f}, {search_s:.0f} |"
    mine = _right(work / f"search-{number}" / "final" / f"{found.winner.trial:04d}")
    drop = paired_drop(of, mine)
    low, high = drop.ci95_pp
    return (
        f"| {data.name} | {text} | {shown} | {100 * of.mean():.1f} | {100 * mine.mean():.1f} | "
        f"{drop.drop_pp:+.1f} ({low:+.1f} to {high:+.1f}) | {grid_s:.0f}, {search_s:.0f} |"
    )


def grid(classes: int, arguments: argparse.Namespace) -> list[Configuration]:
    """Return the grid: all networks with the usual settings first, then others at random, up to its size."""
    networks = networks_at_hand(arguments.backbones)
    space = architectures(networks, arguments.sizes, depths=_DEPTHS, classes=classes)
    shuffled = random.Random(_SEED).sample(space, len(space))
    usual = [Configuration(one, 6, "standard", 3e-4) for one in shuffled]
    others = [Configuration(*one) for one in product(space, TRAINABLE_BLOCKS, AUGMENT, (1.5e-4, 3e-4, 6e-4))]
    left = [one for one in others if one not in set(usual)]
    return [*usual, *random.Random(_SEED).sample(left, len(left))][: arguments.grid_size]


def _trained(data: Path, out: Path, one: Configuration, epochs: int | None) -> dict[str, Any]:
    """Train a configuration, unless an earlier start of this script has, and return its row."""
    file, about = out.with_suffix(".json"), json.loads(json.dumps(asdict(one))) | {"epochs": epochs}
    if file.is_file():
        row: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if row["configuration"] != about:
            raise SystemExit(f"{file}: is of another grid; give another folder with --work")
        return row
    started = time.perf_counter()
    run = train(data, out, one.options(epochs), overwrite=True)
    row = {
        "configuration": about,
        "val": run.metrics("val").accuracy.top1,
        "test": run.metrics("test").accuracy.top1,
        "seconds": time.perf_counter() - started,
    }
    write_text(file, json.dumps(row, indent=1) + "\n")
    say(f"{data.name}, {out.name}, {one.architecture.name}: val {row['val']:.3f}, {row['seconds']:.0f} s")
    return row


def _searched(data: Path, out: Path, budget: str, arguments: argparse.Namespace) -> tuple[SearchDocument | None, float]:
    """Search, or return the finished search of an earlier start of this script, and its time."""
    took = out.with_suffix(".seconds")
    options = SearchOptions(
        budget=tuple(budget.split(",")),
        trials=arguments.trials,
        seed=_SEED,
        backbones=tuple(arguments.backbones),
        sizes=tuple(arguments.sizes),
        depths=_DEPTHS,
        epochs=arguments.epochs,
    )
    if took.is_file():
        return read(SearchDocument, out / "search.json"), float(took.read_text("utf-8"))
    started, found = time.perf_counter(), None
    try:
        found = search(data, out, options)
    except GateFailed as error:
        say(f"{data.name}, {budget}: {error.what}")
    seconds = time.perf_counter() - started
    write_text(took, f"{seconds}\n")
    return found, seconds


def _right(folder: Path) -> npt.NDArray[np.bool_]:
    """Return which test photos a run classifies correctly, in the order of their paths."""
    run = Run.open(folder)
    found = [one for one in read_predictions(run.folder / FILE) if one.split == "test"]
    return np.array([one.predicted == one.label for one in sorted(found, key=lambda one: one.path)])


def _parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder with the data sets")
    parser.add_argument("--sets", nargs="+", default=["flowers", "waste"], help="data sets in it")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps what is finished")
    parser.add_argument("--grid-size", type=int, default=MOST, help=f"configurations, at most {MOST}")
    parser.add_argument("--budget", nargs="+", default=list(BUDGETS), help="budgets")
    parser.add_argument("--trials", type=int, default=12, help="trials of each search")
    parser.add_argument("--backbones", nargs="*", default=[], help="backbones; all at hand by default")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="input sizes")
    parser.add_argument("--epochs", type=int, default=None, help="epochs; as edgetl train by default")
    found = parser.parse_args(given)
    if not 1 <= found.grid_size <= MOST:
        parser.error(f"--grid-size {found.grid_size}: must be 1 to {MOST}")
    return found


if __name__ == "__main__":
    main()
