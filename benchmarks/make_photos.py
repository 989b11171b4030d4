"""Draw the synthetic photos for speed measurements: ``OUT/train`` and ``OUT/test``, from different seeds.

Example: python benchmarks/make_photos.py parts3000 --train-per-class 500 --test-per-class 100
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgetl._lib.progress import track
from edgetl.synthetic import CLASSES, draw_dataset
from edgetl_device._lib.files import atomic_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train-per-class", type=int, default=500, help="500 gives 3,000 photos of 6 classes")
    parser.add_argument("--test-per-class", type=int, default=100)
    parser.add_argument("--size", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0, help="the test photos use the next one")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists already")

    splits = (("train", arguments.train_per_class), ("test", arguments.test_per_class))
    total = len(CLASSES) * sum(per_class for _, per_class in splits)
    with track("draw photos", total) as advance, atomic_path(arguments.out, directory=True) as folder:
        for offset, (split, per_class) in enumerate(splits):
            draw_dataset(
                folder / split,
                per_class=per_class,
                size=arguments.size,
                seed=arguments.seed + offset,
                progress=advance,
            )


if __name__ == "__main__":
    main()
