"""Measure whether a teacher helps a student: paired runs with and without one, scored on photos that neither has seen.

Use only the training photos of a data set: a third, a different one for each seed, becomes the test split. The teacher
is trained on the same photos as its students.

    python benchmarks/teacher.py PHOTOS/train --out result.json [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import EDGETL, read_run, run, say

from edgetl.runs.predictions import read_predictions
from edgetl_device.bench.accuracy import paired_drop

TEACHER = ("--size", "160")
STUDENTS: dict[str, tuple[str, ...]] = {
    "mobilenet_v2, 96 px": ("--size", "96"),
    "mobilenet_v2 up to block 10, 96 px": ("--size", "96", "--truncate", "block_10", "--trainable-blocks", "4"),
}
WAYS: dict[str, tuple[str, ...]] = {
    "T 2, weight 0.5": ("--teacher-temperature", "2", "--teacher-weight", "0.5"),
    "T 4, weight 0.9": ("--teacher-temperature", "4", "--teacher-weight", "0.9"),
}


def split(photos: Path, target: Path, seed: int) -> None:
    """Copy a random third of each class under ``test`` and the rest under ``train``."""
    for folder in sorted(path for path in photos.iterdir() if path.is_dir()):
        files = sorted(folder.iterdir())
        random.Random(f"{seed}:{folder.name}").shuffle(files)
        third = len(files) // 3
        for side, part in (("test", files[:third]), ("train", files[third:])):
            place = target / side / folder.name
            place.mkdir(parents=True)
            for file in part:
                shutil.copy(file, place)


def right(folder: Path) -> list[bool]:
    """Return for each test photo whether it was classified correctly."""
    return [one.predicted == one.label for one in read_predictions(folder / "predictions.csv") if one.split == "test"]


def measure(photos: Path, work: Path, seeds: int) -> dict[str, Any]:
    predictions: dict[str, dict[str, list[bool]]] = {
        student: {way: [] for way in ("alone", *WAYS)} for student in STUDENTS
    }
    teachers: list[float] = []
    for seed in range(seeds):
        data, cache = work / f"photos-{seed}", work / "cache"
        split(photos, data, seed)
        common = [*EDGETL, "train", data, "--seed", seed, "--out"]
        teacher = work / f"teacher-{seed}"
        run([*common, teacher, *TEACHER], cache=cache)
        teachers.append(read_run(teacher)["metrics"]["test"]["accuracy"]["top1"])
        say(f"seed {seed}: teacher {teachers[-1]:.3f}")
        for number, (student, options) in enumerate(STUDENTS.items()):
            for way in ("alone", *WAYS):
                out = work / f"student-{seed}-{number}-{len(predictions[student])}-{way.replace(' ', '')}"
                taught = ("--teacher", teacher, *WAYS[way]) if way in WAYS else ()
                run([*common, out, *options, *taught], cache=cache)
                found = right(out)
                predictions[student][way] += found
                say(f"seed {seed}: {student}, {way}: {sum(found)} of {len(found)}")
    return {"teacher_top1": teachers, "students": {name: compared(ways) for name, ways in predictions.items()}}


def compared(ways: dict[str, list[bool]]) -> dict[str, Any]:
    """Return the correct photos of each way, and the gain over the student alone with its 95% interval."""
    alone = ways["alone"]
    rows: dict[str, Any] = {"photos": len(alone), "alone": {"correct": sum(alone)}}
    for way in WAYS:
        # The gain is the drop from the distilled student to the one trained alone.
        gain = paired_drop(np.array(ways[way]), np.array(alone))
        rows[way] = {"correct": sum(ways[way]), "gain_pp": gain.drop_pp, "gain_ci95_pp": list(gain.ci95_pp)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="class folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        result = measure(arguments.photos, Path(work), arguments.seeds)
    text = json.dumps(result | {"seeds": arguments.seeds, "teacher": TEACHER, "students_options": STUDENTS}, indent=2)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
