"""What a bundle learns of a class that was left out of training, from 1, 5, 10 and 20 photos, against training again.

For each class of a set: train without it, quantize with `--unknown`, and add it with `edgetl_device.adapt` from photos
of its training split, drawn anew for each seed. The new bundle then classifies the test photos of the class, which no
step has seen. Against it stands a run with all classes and all their training photos, and, with `--again-shots`, runs
with as few photos of the class as the bundle learns from. Prints a Markdown table, and writes one JSON with every
round.

Example: python benchmarks/field_adapt.py --data ../shared/data/flowers --classes tulips roses --work work --out .
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SHOTS = (1, 5, 10, 20)
# Drops to aim at: the default, and what is best for all classes alike.
AIMS = (1.0, 100.0)
VARIANTS = ("float32", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a set with train and test folders")
    parser.add_argument("--classes", nargs="+", default=[], metavar="NAME", help="left out in turn; default: each")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="draws of the photos")
    parser.add_argument(
        "--again-shots", type=int, nargs="*", default=[], metavar="N", help="train again with so many of the class, too"
    )
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="runs are kept here, and used again")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the JSON to this folder")
    arguments = parser.parse_args()
    options = {"seed": 0, "epochs": arguments.epochs, "size": arguments.size, "backbone": arguments.backbone}
    classes = arguments.classes or sorted(path.name for path in (arguments.data / "train").iterdir())
    again = retrained(run_without(arguments.data, arguments.work, None, options))
    few = [
        {"label": label, "shots": shots, "seed": seed}
        | retrained(run_without(arguments.data, arguments.work, label, options, shots=shots, draw=seed))[label]
        for label in classes
        for shots in arguments.again_shots
        for seed in range(arguments.seeds)
    ]
    rows = [row for label in classes for row in taught(arguments.data, arguments.work, label, options, arguments.seeds)]
    print(table(rows, again, few, classes))
    if arguments.out is not None:
        print(f"written: {written(arguments.out, arguments.data.name, options, again, few, rows)}")


def run_without(
    data: Path, work: Path, label: str | None, options: dict[str, Any], *, shots: int = 0, draw: int = 0
) -> Any:
    """Return the run on a set without one class, trained unless it is there already.

    With ``shots``, so many of the class's training photos are in it, those of :func:`drawn`, and its photos of the
    other splits.
    """
    import edgetl
    from edgetl.data import load_dataset
    from edgetl.runs.directory import Run
    from edgetl_device.preprocess import Preprocess

    place = work / (f"{data.name}-{label or 'all'}" + (f"-{shots}-{draw}" if shots else ""))
    if (place / "run" / "run.json").exists():
        return Run.open(place / "run")
    dataset = load_dataset(data, Preprocess(), on_conflict="drop")
    few = {path.name for path in drawn(data, label, shots, draw)} if shots and label is not None else set()
    for one in dataset.samples:
        if one.label != label or (shots and (one.split != "train" or Path(one.path).name in few)):
            link = place / "photos" / one.split / one.label / Path(one.path).name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((dataset.folder / one.path).resolve())
    return edgetl.train(place / "photos", out=place / "run", on_conflict="drop", **options)


def drawn(data: Path, label: str, shots: int, seed: int) -> list[Path]:
    """Return so many of a class's training photos."""
    train = sorted((data / "train" / label).iterdir())
    return [train[place] for place in np.random.default_rng(seed).permutation(len(train))[:shots]]


def retrained(run: Any) -> dict[str, dict[str, float]]:
    """Return what training with all classes gives: for each, its accuracy, and that of the others, on test photos."""
    from edgetl_device.preprocess import preprocess

    model, samples = run.load_model(), run.of("test")
    pixels = np.stack([preprocess(run.data_root / one.path, run.preprocess) for one in samples])
    predicted = [run.labels[i] for i in model.predict(pixels.astype(np.float32), verbose=0).argmax(axis=1)]
    right = {
        label: [p == s.label for p, s in zip(predicted, samples, strict=True) if s.label == label]
        for label in run.labels
    }
    return {
        label: {
            "class": float(np.mean(right[label])),
            "others": float(np.mean([one for other, part in right.items() if other != label for one in part])),
        }
        for label in run.labels
    }


def taught(data: Path, work: Path, label: str, options: dict[str, Any], seeds: int) -> list[dict[str, Any]]:
    """Return a row for each number of shots, seed and drop to aim at."""
    import edgetl
    from edgetl_device.adapt.options import AdaptOptions
    from edgetl_device.adapt.run import adapt
    from edgetl_device.classifier import Classifier

    run = run_without(data, work, label, options)
    if not (run.folder / "bundle").exists():
        edgetl.quantize(run.folder, unknown=True, max_drop=100)
    test = sorted((data / "test" / label).iterdir())
    rows = []
    for shots, seed, aim in ((shots, seed, aim) for shots in SHOTS for seed in range(seeds) for aim in AIMS):
        with tempfile.TemporaryDirectory() as scratch:
            photos = Path(scratch) / "photos"
            photos.mkdir()
            # A fifth is held out.
            for photo in drawn(data, label, given(shots), seed):
                (photos / photo.name).symlink_to(photo.resolve())
            asked = AdaptOptions(add_class=label, shots=shots, max_drop=100, aim=aim)
            started = time.perf_counter()
            result = adapt(run.folder / "bundle", photos, Path(scratch) / "new", asked)
            row: dict[str, Any] = {"label": label, "shots": shots, "seed": seed, "aim": aim}
            row["seconds"] = round(time.perf_counter() - started, 2)
            for one in result.variants:
                with Classifier(Path(scratch) / "new", one.name) as classifier:
                    answers = [classifier.classify(photo, top=1) for photo in test]
                row[one.name] = {
                    "class": sum(answer[0].label == label for answer in answers) / len(test),
                    "known": sum(not answer.unknown for answer in answers) / len(test),
                    "before": one.old.before.top1,
                    "drop_pp": one.old.drop_pp,
                }
            rows.append(row)
    return rows


def given(shots: int) -> int:
    """Return the smallest number of photos of which so many are shots and a fifth is held out."""
    return next(count for count in range(2, 1000) if count - max(1, -(-count // 5)) >= shots)


def table(
    rows: Sequence[dict[str, Any]],
    again: dict[str, dict[str, float]],
    few: Sequence[dict[str, Any]],
    classes: Sequence[str],
) -> str:
    """Return the means over classes and seeds as Markdown."""
    lines = [
        "| shots | aim, pp | new class, int8 | float32 | old classes lose, int8, pp | float32 | known | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for shots, aim in ((shots, aim) for aim in AIMS for shots in SHOTS):
        of = [row for row in rows if (row["shots"], row["aim"]) == (shots, aim)]

        def mean(variant: str, key: str, of: Sequence[dict[str, Any]] = of) -> float:
            return float(statistics.mean(row[variant][key] for row in of))

        cells = [
            f"{shots}",
            f"{aim:g}",
            *(f"{mean(variant, 'class'):.3f}" for variant in reversed(VARIANTS)),
            *(f"{mean(variant, 'drop_pp'):.1f}" for variant in reversed(VARIANTS)),
            f"{mean('int8', 'known'):.2f}",
            f"{statistics.median(row['seconds'] for row in of):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    before = {row["label"]: row["float32"]["before"] for row in rows}
    of_class = statistics.mean(again[label]["class"] for label in classes)
    lost = statistics.mean(100 * (before[label] - again[label]["others"]) for label in classes)
    lines.append(f"| training again | | | {of_class:.3f} | | {lost:.1f} | | |")
    for shots in sorted({row["shots"] for row in few}):
        of = [row for row in few if row["shots"] == shots]
        of_class = statistics.mean(row["class"] for row in of)
        lost = statistics.mean(100 * (before[row["label"]] - row["others"]) for row in of)
        lines.append(f"| {shots}, training again | | | {of_class:.3f} | | {lost:.1f} | | |")
    return "\n".join(lines)


def written(
    folder: Path,
    name: str,
    options: dict[str, Any],
    again: dict[str, dict[str, float]],
    few: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
) -> Path:
    """Write everything that was measured, and return the file."""
    from results import machine_name

    from edgetl_device._lib.documents import to_json
    from edgetl_device._lib.jsonfile import write_json
    from edgetl_device.machine import environment

    now, described = datetime.now(timezone.utc), to_json(environment.describe())
    file = folder / f"{now:%Y-%m-%d-%H%M%S}-{machine_name(described)}-field-adapt.json"
    document = {
        "schema": "edgetl.field-adapt/1",
        "created": now.isoformat(timespec="seconds"),
        "data": name,
        "options": options,
        "environment": described,
        "training_again": again,
        "training_again_with_few": list(few),
        "rows": list(rows),
    }
    write_json(file, document)
    return file


if __name__ == "__main__":
    main()
