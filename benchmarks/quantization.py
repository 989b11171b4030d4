"""Rows about quantization: the int8 loss of each backbone with embedded weights, and the time it takes.

METHOD.md explains each row. ``inference.py`` has the rows about latency.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from advise_photos import read_idx
from harness import EDGETL, Outcome, RowFailed, Workspace, in_words, read_quantize, run, say, spread

from edgetl.backbones import BACKBONES

_SEEDS = 3
_MEAN_DROP_PP, _SEED_DROP_PP = 0.2, 0.5
# For MobileNetV2; the others are only reported.
_MIN_AGREEMENT, _MAX_MAE = 0.99, 0.004
_SIZE = 0.31
_SECONDS = 60.0
_V3_DROP_PP = 1.0


def backbones(work: Workspace) -> Outcome:
    """Train every backbone with embedded weights on the shared flowers, and quantize it, with three seeds."""
    rows = []
    for backbone in (name for name, row in BACKBONES.items() if row.embedded):
        for seed in range(min(work.seeds, _SEEDS)):
            folder, _ = work.train(work.photos_of("flowers"), "--backbone", backbone, seed=seed)
            run([*EDGETL, "quantize", folder], cache=folder.parent / "cache")
            report = read_quantize(folder)
            bytes_of = {variant["name"]: variant["bytes"] for variant in report["variants"]}
            for variant in report["variants"]:
                if variant["name"].startswith("int8"):
                    row = {"backbone": backbone, "seed": seed, "variant": variant["name"]}
                    row |= {"float": report["reference"], "accuracy": variant["accuracy"]}
                    row |= {"agreement": variant["agreement"], "size": variant["bytes"] / bytes_of["float32"]}
                    rows.append(row)
                    say(f"{backbone}, seed {seed}: {_in_words([row])}")
    parts, met = [], True
    for backbone in dict.fromkeys(row["backbone"] for row in rows):
        for variant in ("int8", "int8-onnx"):
            mine = [row for row in rows if (row["backbone"], row["variant"]) == (backbone, variant)]
            parts.append(f"{backbone} {'TFLite' if variant == 'int8' else 'ONNX'}: {_in_words(mine)}")
            met = met and _met(mine, strict=backbone == "mobilenet_v2")
    return Outcome("; ".join(parts), met, {"rounds": rows})


def mobilenet_v3(work: Workspace) -> Outcome:
    """Train MobileNetV3 large from random weights on a part of Fashion-MNIST; quantize it without and with repair."""
    # .npz exercises the reader of arrays; 9,000 photos keep it to minutes.
    arrays: dict[str, Any] = {}
    for part, name, count in (("train", "train", 9_000), ("test", "t10k", 2_000)):
        for what, kind in (("x", "images-idx3"), ("y", "labels-idx1")):
            file = work.fashion / f"{name}-{kind}-ubyte.gz"
            if not file.is_file():
                raise RowFailed("Fashion-MNIST is absent; install Debian's dataset-fashion-mnist, or give --fashion")
            arrays[f"{what}_{part}"] = read_idx(file)[:count]
    data = work.folder / "fashion.npz"
    np.savez(data, **arrays)
    options = ("--weights", "none", "--size", "64", "--epochs", "8", "--views", "2", "--augment", "light")
    folder, _ = work.train(data, "--backbone", "mobilenet_v3_large", *options, seed=0)
    rows = []
    for repair in ("--no-repair", "--repair"):
        run([*EDGETL, "quantize", folder, repair, "--overwrite"], cache=folder.parent / "cache")
        report = read_quantize(folder)
        rows += [
            {"repair": repair == "--repair", "variant": variant["name"], "float": report["reference"]}
            | {name: variant[name] for name in ("accuracy", "agreement", "bytes")}
            for variant in report["variants"]
            if variant["name"].startswith("int8")
        ]
    words = [
        f"{'TFLite' if row['variant'] == 'int8' else 'ONNX'} {'' if row['repair'] else 'plain '}"
        f"{row['agreement']['drop_pp']:+.1f} pp, agreement {row['agreement']['top1']:.1%}"
        for row in rows
    ]
    met = all(row["agreement"]["drop_pp"] < _V3_DROP_PP for row in rows if row["repair"])
    measured = f"float {rows[0]['float']['top1']:.3f}; {'; '.join(words)}"
    return Outcome(measured, met, {"variants": rows})


def seconds(work: Workspace) -> Outcome:
    """Time ``edgetl quantize`` on a run on the shared flowers, both formats, measured on the test photos."""
    folder, _ = work.flowers_run()
    taken = []
    for _ in range(work.rounds):
        process = run([*EDGETL, "quantize", folder], cache=folder.parent / "cache")
        taken.append(process.wall_s)
        say(f"quantize: {taken[-1]:.1f} s")
    wall = spread(taken)
    return Outcome(in_words(wall, ".0f", " s"), wall["median"] < _SECONDS, {"wall_s": wall})


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(statistics.mean(row["agreement"][name] for row in rows))


def _in_words(rows: list[dict[str, Any]]) -> str:
    return (
        f"drop {_mean(rows, 'drop_pp'):+.2f} pp (worst {max(row['agreement']['drop_pp'] for row in rows):+.1f}), "
        f"agreement {_mean(rows, 'top1'):.1%}, MAE {_mean(rows, 'mae'):.4f}, size {rows[0]['size']:.3f}"
    )


def _met(rows: list[dict[str, Any]], *, strict: bool) -> bool:
    close = _mean(rows, "top1") >= _MIN_AGREEMENT and _mean(rows, "mae") <= _MAX_MAE
    return (
        _mean(rows, "drop_pp") < _MEAN_DROP_PP
        and max(row["agreement"]["drop_pp"] for row in rows) <= _SEED_DROP_PP
        and max(row["size"] for row in rows) <= _SIZE
        and (close or not strict)
    )
