"""How often photos of other sets, and of a class that was left out of training, are taken for known, by int8 files.

For each set: train, quantize with `--unknown`, then classify its test photos and the photos of all others with the
device package. Prints one JSON object with the shares accepted: by the bundle's threshold; and with exactly 95% of the
test photos kept, also by the largest probability. With --left-out, each class of a set in turn is left out and given as
unknown.

Example: python benchmarks/unknown_pairs.py --sets flowers=../shared/data/flowers waste=../shared/data/waste
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_KEPT = 0.95
# Unknown score and largest probability of each photo.
Scores = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME=DIR", help="each is known once")
    parser.add_argument("--others", nargs="*", default=[], metavar="NAME=DIR", help="photos that are only unknown")
    parser.add_argument("--left-out", action="store_true", help="leave out the classes of the sets instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--backbone", default="mobilenet_v2")
    arguments = parser.parse_args()
    options = {"seed": arguments.seed, "size": arguments.size, "backbone": arguments.backbone}
    sets, others = (dict(pair.split("=", 1) for pair in pairs) for pairs in (arguments.sets, arguments.others))
    rows = list(left_out(sets, options) if arguments.left_out else pairs_of(sets, others, options))
    means = {
        key: round(mean(row[key]["share"] for row in rows), 3)
        for key in ("accepted", "accepted_at_95", "accepted_at_95_by_probability")
    }
    print(json.dumps({"mean": {"kept": round(mean(row["kept"]["share"] for row in rows), 3), **means}, "rows": rows}))


def pairs_of(sets: Mapping[str, str], others: Mapping[str, str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each set and each other set."""
    for name, folder in sets.items():
        with tempfile.TemporaryDirectory() as scratch:
            bundle, held_out = trained(Path(folder), Path(scratch), options)
            known = scores(bundle, held_out)
            for other, place in {**sets, **others}.items():
                if other != name:
                    yield {"known": name, "unknown": other, **rates(known, scores(bundle, photos_below(Path(place))))}


def left_out(sets: Mapping[str, str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each class of each set, left out of its training."""
    from edgetl.data import load_dataset
    from edgetl_device.preprocess import Preprocess

    for name, folder in sets.items():
        dataset = load_dataset(folder, Preprocess(), on_conflict="drop")
        for label in dataset.labels:
            with tempfile.TemporaryDirectory() as scratch:
                photos = Path(scratch) / "photos"
                for one in dataset.samples:
                    if one.label != label:
                        link = photos / one.split / one.label / Path(one.path).name
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to((dataset.folder / one.path).resolve())
                bundle, held_out = trained(photos, Path(scratch), options)
                unknown = [dataset.folder / one.path for one in dataset.samples if one.label == label]
                yield {"known": name, "unknown": label, **rates(scores(bundle, held_out), scores(bundle, unknown))}


def trained(photos: Path, scratch: Path, options: dict[str, Any]) -> tuple[Path, list[Path]]:
    """Train and quantize; return the bundle and the set's test photos, or its validation photos without any."""
    import edgetl

    run = edgetl.train(photos, out=scratch / "run", on_conflict="drop", **options)
    edgetl.quantize(run.folder, unknown=True, max_drop=100)
    return run.folder / "bundle", [run.data_root / one.path for one in run.of("test") or run.of("val")]


def photos_below(folder: Path) -> list[Path]:
    """Return the photos at any depth of a folder."""
    from edgetl_device._lib.folders import PHOTO_SUFFIXES, files_below

    return [path for path in files_below(folder) if path.name.lower().endswith(PHOTO_SUFFIXES)]


def scores(bundle: Path, photos: Sequence[Path]) -> Scores:
    """Return the unknown score and the largest probability of each photo, as a device computes them."""
    from edgetl_device import Classifier

    with Classifier(bundle, variant="int8") as classifier:
        answers = [classifier.classify(photo) for photo in photos]
    found = [(answer.unknown_score, answer[0].probability) for answer in answers]
    return np.array([one[0] for one in found], np.float64), np.array([one[1] for one in found], np.float64)


def rates(known: Scores, unknown: Scores) -> dict[str, Any]:
    """Return the shares of known and unknown photos that are accepted."""
    return {
        "kept": share(known[0] <= 1),
        "accepted": share(unknown[0] <= 1),
        "accepted_at_95": share(unknown[0] <= np.quantile(known[0], _KEPT, method="higher")),
        "accepted_at_95_by_probability": share(unknown[1] >= np.quantile(known[1], 1 - _KEPT, method="lower")),
    }


def share(accepted: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the share of photos accepted, with Wilson's interval."""
    from edgetl_device.bench.accuracy import wilson95

    count = int(accepted.sum())
    low, high = wilson95(count, len(accepted))
    return {"share": round(count / len(accepted), 3), "ci95": [round(low, 3), round(high, 3)], "photos": len(accepted)}


if __name__ == "__main__":
    main()
