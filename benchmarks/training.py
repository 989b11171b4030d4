"""Rows about training: accuracy and time on the shared photos, and time against the usual Keras script.

METHOD.md explains each row. ``keras_baseline.py`` is the Keras script.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from harness import (
    EDGETL,
    SCRIPTS,
    Finished,
    Outcome,
    Workspace,
    alternated,
    in_words,
    read_run,
    run,
    say,
    spread,
)

from edgetl.training import TrainOptions
from edgetl.training.plan import default_epochs

_FLOWERS_TOP1, _FLOWERS_WALL_S = 0.88, 90.0
_AUTO_TOP1, _ADVISE_S = 0.90, 20.0
_FOOD3_CORRECT, _FOOD3_PHOTOS = 14, 15
SYNTHETIC_PHOTOS = 3000
_CLASSES = 6  # of edgetl.synthetic
_TEST_SHARE = 5  # training photos per test photo


def flowers(work: Workspace) -> Outcome:
    """Train on the shared flowers with defaults: top-1 with seed 0, wall time of the whole command."""
    work.warm_up()
    rows = []
    for seed, take in [(0, take) for take in range(work.rounds)] + [(seed, 0) for seed in range(1, work.seeds)]:
        folder, process = work.flowers_run(seed, take)
        rows.append(_edgetl_row(folder, process) | {"seed": seed})
        say(f"flowers, seed {seed}: {rows[-1]['top1']:.3f}, {rows[-1]['wall_s']:.1f} s")
    wall = spread([row["wall_s"] for row in rows])
    top1 = spread([row["top1"] for row in rows if row["seed"] == 0])
    others = [row["top1"] for row in rows if row["seed"]]
    beside = f"; seeds 1 to {len(others)}: {', '.join(f'{value:.3f}' for value in others)}" if others else ""
    return Outcome(
        measured=f"top-1 {in_words(top1, '.3f') if top1['low'] < top1['high'] else format(top1['median'], '.3f')}"
        f"{beside}; {in_words(wall, '.0f', ' s')}",
        met=top1["low"] >= _FLOWERS_TOP1 and wall["median"] < _FLOWERS_WALL_S,
        values={"rounds": rows, "wall_s": wall, "top1": top1, "top1_other_seeds": others},
    )


def auto(work: Workspace) -> Outcome:
    """Train what ``edgetl advise`` recommends for the shared flowers, among all backbones with embedded weights."""
    work.warm_up()
    folder, process = work.train(work.photos_of("flowers"), "--strategy", "auto", "--backbone", "auto", seed=0)
    row = _edgetl_row(folder, process)
    config = read_run(folder)["config"]
    chosen = f"{config['backbone']}, {config['strategy']}"
    return Outcome(
        measured=f"top-1 {row['top1']:.3f} ({chosen}); {row['wall_s']:.0f} s",
        met=row["top1"] >= _AUTO_TOP1,
        values={"rounds": [row], "chosen": chosen},
    )


def advise(work: Workspace) -> Outcome:
    """Time ``edgetl advise`` on the shared flowers; photos are already decoded."""
    photos = work.photos_of("flowers")
    cache = work.new_folder("advise")
    taken = []
    for round in range(work.rounds):
        # A new cache each round, or the features of the last one would be reused.
        own = cache.with_name(f"cache-{round}")
        run([*EDGETL, "data", "check", photos], cache=own)
        taken.append(run([*EDGETL, "advise", photos], cache=own).wall_s)
        say(f"advise: {taken[-1]:.1f} s")
    wall = spread(taken)
    return Outcome(in_words(wall, ".1f", " s"), wall["median"] < _ADVISE_S, {"wall_s": wall})


def food3(work: Workspace) -> Outcome:
    """Train on 45 photos: score on the 15 validation photos, as the tutorial does, and with those 15 kept unseen."""
    shared = work.photos_of("food3")
    # The same photos with the 15 as a test split, so that nothing, not even the epoch, is chosen with them.
    unseen = work.new_folder("food3-unseen")
    shutil.copytree(shared / "train", unseen / "train")
    shutil.copytree(shared / "validation", unseen / "test")
    rows = []
    for seed in range(min(work.seeds, 3)):
        row: dict[str, Any] = {"seed": seed}
        for name, data, split in (("validation", shared, "val"), ("unseen", unseen, "test")):
            folder, _ = work.train(data, seed=seed)
            row[name] = read_run(folder)["metrics"][split]["accuracy"]
        rows.append(row)
        say(f"food3, seed {seed}: {row['validation']['correct']}, kept unseen {row['unseen']['correct']}")
    correct, photos = rows[0]["validation"]["correct"], rows[0]["validation"]["photos"]
    beside = ", ".join(str(row["validation"]["correct"]) for row in rows[1:])
    return Outcome(
        measured=f"{correct} of {photos}"
        + (f"; other seeds: {beside}" if beside else "")
        + f"; with the 15 kept unseen: {', '.join(str(row['unseen']['correct']) for row in rows)}",
        met=photos == _FOOD3_PHOTOS and correct >= _FOOD3_CORRECT,
        values={"rounds": rows},
    )


def flowers_against_keras(work: Workspace) -> Outcome:
    """Time edgetl and the Keras script on the shared flowers."""
    work.warm_up()
    return _against_keras(work, work.photos_of("flowers"), reach=3.0)


def synthetic_against_keras(work: Workspace) -> Outcome:
    """Time edgetl and the Keras script on synthetic photos, 3,000 by default."""
    data = work.new_folder("parts")
    train, test = work.photos // _CLASSES, max(1, work.photos // _CLASSES // _TEST_SHARE)
    say(f"draw {_CLASSES * (train + test)} synthetic photos")
    run([sys.executable, SCRIPTS / "make_photos.py", data, "--train-per-class", train, "--test-per-class", test])
    outcome = _against_keras(work, data, reach=6.0)
    return Outcome(
        outcome.measured if work.photos == SYNTHETIC_PHOTOS else f"{work.photos} photos only: {outcome.measured}",
        outcome.met and work.photos == SYNTHETIC_PHOTOS,
        outcome.values | {"photos": {"train": _CLASSES * train, "test": _CLASSES * test}},
    )


def _against_keras(work: Workspace, data: Path, *, reach: float) -> Outcome:
    photos = sum(1 for _ in (data / "train").glob("*/*"))
    epochs = default_epochs(round((1 - TrainOptions().val) * photos), from_scratch=False)

    def edgetl(index: int) -> dict[str, Any]:
        folder, process = work.train(data, seed=index)
        row = _edgetl_row(folder, process)
        # Pixels and activations of thousands of photos: a gigabyte a round.
        shutil.rmtree(folder.parent)
        say(f"edgetl, round {index + 1}: {row['to_model_s']:.1f} s, {row['top1']:.3f}")
        return row

    def keras(index: int) -> dict[str, Any]:
        row = _keras_row(work, data, seed=index, epochs=epochs)
        say(f"Keras, round {index + 1}: {row['to_model_s']:.1f} s, {row['top1']:.3f}")
        return row

    rounds = alternated(work.rounds, edgetl, keras)
    ours, theirs = [a for a, _ in rounds], [b for _, b in rounds]
    ratio = spread([b["to_model_s"] / a["to_model_s"] for a, b in rounds])
    seconds = {name: spread([row["to_model_s"] for row in rows]) for name, rows in (("e", ours), ("k", theirs))}
    top1 = {name: statistics.median(row["top1"] for row in rows) for name, rows in (("e", ours), ("k", theirs))}
    return Outcome(
        measured=f"{in_words(ratio, '.2f', ' times')}: {seconds['e']['median']:.0f} s against "
        f"{seconds['k']['median']:.0f} s, {epochs} epochs each; top-1 {top1['e']:.3f} against {top1['k']:.3f}",
        met=ratio["median"] >= reach and top1["e"] >= top1["k"],
        values={
            "rounds": [{"seed": index, "edgetl": a, "keras": b} for index, (a, b) in enumerate(rounds)],
            "ratio": ratio,
            "to_model_s": {"edgetl": seconds["e"], "keras": seconds["k"]},
            "top1": {"edgetl": top1["e"], "keras": top1["k"]},
        },
    )


def _edgetl_row(folder: Path, process: Finished) -> dict[str, Any]:
    document = read_run(folder)
    accuracy = document["metrics"]["test"]["accuracy"]
    return {
        "to_model_s": round(process.seconds_to(folder / "model.keras"), 2),
        "wall_s": round(process.wall_s, 2),
        "top1": accuracy["top1"],
        "correct": accuracy["correct"],
        "photos": accuracy["photos"],
        "photos_of": {name: document["dataset"]["photos"][name] for name in ("train", "val", "test")},
        "best_epoch": document["model"]["best_epoch"],
        "stages": document["stages"],
    }


def _keras_row(work: Workspace, data: Path, *, seed: int, epochs: int) -> dict[str, Any]:
    out = work.new_folder("keras")
    folders = ["--train", data / "train", "--val", data / "test", "--out", out]
    process = run([sys.executable, SCRIPTS / "keras_baseline.py", *folders, "--seed", seed, "--fine-epochs", epochs])
    said = process.last_json()
    settings = {name: value for name, value in said.pop("settings").items() if name not in ("train", "val", "out")}
    return {
        "to_model_s": round(process.seconds_to(out / "model.keras"), 2),
        "wall_s_of_process": round(process.wall_s, 2),
        # The better of its two stages: a user would keep that model.
        "top1": max(said["test_top1"], said["test_top1_after_head"]),
        **said,
        "settings": settings,
    }
