"""Compare the recommendation of ``edgetl advise`` with every fixed strategy, each trained and scored on held-out data.

Four data sets: the shared flowers and food3 (like ImageNet, few photos), scikit-learn's digits and Fashion-MNIST
(unlike it). Then, on digits, compare a network truncated to half the time with the best whole one: int8 latency and
accuracy. When tuning the rules of advise, use ``--inside-train``: it holds out a part of the training photos instead.

Example: python benchmarks/advise.py --data ../shared/data --fashion /usr/share/datasets/fashion-mnist
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from advise_photos import FASHION, DataSet, digits, fashion, flowers, food3
from harness import EDGETL, REPO, SHARED_DATA, RowFailed, run, say
from results import Results

from edgetl.advice import advise
from edgetl.data import load_dataset
from edgetl.runs.predictions import FILE, read_predictions
from edgetl.training import train
from edgetl.training.start import start_of
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.jsonfile import write_json
from edgetl_device.bench import result
from edgetl_device.bench.accuracy import paired_drop

SCHEMA = "edgetl.advice-benchmark/1"
_WITHIN_PP = 1.0
_TRUNCATED_RATIO, _TRUNCATED_PP = 2.0, 0.5
# Share of the multiply-adds. Early layers take longer per multiply-add, so half the time allows less than half of them.
_FAST_SHARE = 0.42
_BENCH_S = 2.0

STRATEGIES: dict[str, dict[str, Any]] = {
    "head": {"strategy": "head"},
    "blocks": {"strategy": "blocks"},
    "all": {"strategy": "all"},
    "scratch": {"strategy": "scratch"},
}


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="edgetl-advise-", dir=arguments.work) as name:
        scratch = Path(name)
        os.environ["EDGETL_CACHE"] = str(scratch / "cache")
        settings = {name: getattr(arguments, name) for name in ("photos", "test_photos", "seed", "inside_train")}
        start = Results.start(REPO / "benchmarks" / "results", (), settings=settings, trial=arguments.inside_train)
        target = arguments.out or start.file.with_stem(f"{start.file.stem}-advise")
        document = {name: value for name, value in start.document.items() if name != "rows"}
        document |= {"schema": SCHEMA, "data_sets": [], "absent": [], "truncated": None}
        for make in (food3, flowers, digits, fashion):
            try:
                data = make(arguments, scratch / "photos")
            except RowFailed as why:
                say(str(why))
                document["absent"].append(str(why))
                continue
            if arguments.only is None or data.name in arguments.only:
                document["data_sets"].append(measure(data, scratch / "runs"))
                write_json(target, document)
                if data.name == "digits":
                    document["truncated"] = _latency(data, document["data_sets"][-1], scratch / "runs")
                    write_json(target, document)
                shutil.rmtree(scratch / "runs")
    print(table(document))


def measure(data: DataSet, runs: Path) -> dict[str, Any]:
    """Train every fixed strategy and the recommended one; return accuracies and the paired difference to the best."""
    start = start_of(data.options)
    advice = advise(load_dataset(data.folder, start.preprocess, test=0.0), backbones=[start.backbone])
    chosen = advice.recommendation
    probed = advice.backbones[0].probed
    whole = probed[-1]
    # The recommended truncation, else the one advise would try: the cheapest that probes as well as the whole network.
    near = [one for one in probed if one.top1 >= whole.top1 - 0.005]
    cut = chosen.truncate or min(near, key=lambda one: one.depth.multiply_adds).depth.block
    wanted = dict(STRATEGIES)
    if cut:
        wanted["truncated"] = {"strategy": "all", "truncate": cut}
    recommended = {"strategy": chosen.strategy} | ({"truncate": chosen.truncate} if chosen.truncate else {})
    name = next((name for name, changes in wanted.items() if changes == recommended), "recommended")
    wanted.setdefault(name, recommended)

    rows, right = {}, {}
    for strategy, changes in wanted.items():
        rows[strategy], right[strategy] = _train(data, runs / strategy, changes)
        say(f"{data.name}, {strategy}: {rows[strategy]['top1']:.3f}, {rows[strategy]['seconds']:.0f} s")
    best = max((one for one in rows if one != "recommended"), key=lambda one: rows[one]["top1"])
    behind = paired_drop(right[best], right[name])
    return {
        "name": data.name,
        "training_photos": advice.photos.count,
        "fewest_a_class": advice.photos.fewest,
        "classes": advice.photos.classes,
        "size": str(start.preprocess.size),
        "advice": to_json(advice.document),
        "strategies": rows,
        "recommended": name,
        "best_fixed": best,
        "behind_best_pp": behind.drop_pp,
        "behind_best_ci95_pp": list(behind.ci95_pp),
        "met": behind.drop_pp <= _WITHIN_PP,
    }


def table(document: dict[str, Any]) -> str:
    """Return the Markdown table for docs/guides/training.md."""
    names = (*STRATEGIES, "truncated")
    lines = [f"| data | {' | '.join(names)} | recommended | behind the best, pp |", "|---" * (len(names) + 3) + "|"]
    for data in document["data_sets"]:
        cells = []
        for name in names:
            row = data["strategies"].get(name)
            cells.append("" if row is None else f"{100 * row['top1']:.1f}" + (f" ({row['cut']})" if row["cut"] else ""))
        low, high = data["behind_best_ci95_pp"]
        about = f"{data['name']}: {data['training_photos']} photos, {data['size']} px"
        behind = f"{data['behind_best_pp']:.1f} ({low:+.1f} to {high:+.1f})"
        lines.append(f"| {about} | {' | '.join(cells)} | {data['recommended']} | {behind} |")
    if short := document["truncated"]:
        low, high = short["drop_ci95_pp"]
        lines.append(
            f"\n{short['data']}, int8, ending at {short['cut']}: {short['latency_ratio']:.2f} times as fast as the "
            f"whole network, {short['bytes_ratio']:.2f} of the bytes, drop {short['drop_pp']:.1f} pp "
            f"({low:+.1f} to {high:+.1f})"
        )
    return "\n".join(lines)


def _train(data: DataSet, out: Path, changes: dict[str, Any]) -> tuple[dict[str, Any], npt.NDArray[np.bool_]]:
    document = train(data.folder, out, replace(data.options, **changes)).document
    predictions = [one for one in read_predictions(out / FILE) if one.split == "test"]
    cut = document.strategy.truncated
    row = vars(document.metrics["test"].accuracy) | {
        "seconds": document.seconds,
        "parameters": document.model.parameters,
        "trainable_blocks": document.config.trainable_blocks,
        "best_epoch": document.model.best_epoch,
        "cut": cut.block if cut else None,
    }
    predictions.sort(key=lambda one: one.path)
    return row, np.array([one.label == one.predicted for one in predictions])


def _latency(data: DataSet, measured: dict[str, Any], runs: Path) -> dict[str, Any]:
    """Train a network truncated to half the time; compare its int8 latency and accuracy with the best whole one."""
    depths = measured["advice"]["backbones"][0]["depths"]
    share = _FAST_SHARE * depths[-1]["multiply_adds"]
    cut = max((row for row in depths if row["multiply_adds"] <= share), key=lambda row: row["multiply_adds"])["block"]
    row, _ = _train(data, runs / "fast", {"strategy": "all", "truncate": cut})
    whole = max(("head", "blocks", "all", "scratch"), key=lambda name: measured["strategies"][name]["top1"])
    rows, right = {}, {}
    for name in (whole, "fast"):
        say(f"quantize and bench {measured['name']}, {name}")
        run([*EDGETL, "quantize", runs / name])
        out = runs / f"{name}.json"
        run([*EDGETL, "bench", runs / name / "bundle", "--variants", "int8", "--duration", _BENCH_S, "--out", out])
        (rows[name],) = result.read(out).to_json()["runs"]
        right[name] = _int8_right(runs / name)
    p50 = {name: row["latency_ms"]["invoke"]["p50"] for name, row in rows.items()}
    drop = paired_drop(right[whole], right["fast"])
    ratio = p50[whole] / p50["fast"]
    return {
        "data": measured["name"],
        "cut": cut,
        "whole": whole,
        "float": row,
        "p50_ms": p50,
        "latency_ratio": ratio,
        "bytes_ratio": rows["fast"]["bytes"] / rows[whole]["bytes"],
        "int8_top1": {name: float(one.mean()) for name, one in right.items()},
        "drop_pp": drop.drop_pp,
        "drop_ci95_pp": list(drop.ci95_pp),
        "met": ratio >= _TRUNCATED_RATIO and drop.drop_pp <= _TRUNCATED_PP,
    }


def _int8_right(folder: Path) -> npt.NDArray[np.bool_]:
    from edgetl_device.bundle import Bundle
    from edgetl_device.classifier import Classifier

    bundle = Bundle.open(folder / "bundle")
    with Classifier(bundle, "int8") as classifier:
        return np.array(
            [classifier.classify(bundle.read(one.file), top=1)[0].index == one.index for one in bundle.photos()]
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of shared photos")
    parser.add_argument("--fashion", type=Path, default=FASHION, help="folder of Fashion-MNIST's four IDX files")
    parser.add_argument("--photos", type=int, default=1000, help="training photos of the larger sets")
    parser.add_argument("--test-photos", type=int, default=2000, help="held-out photos of Fashion-MNIST")
    parser.add_argument("--only", nargs="*", help="digits, Fashion-MNIST, flowers, food3")
    parser.add_argument("--inside-train", action="store_true", help="hold out training photos instead of test photos")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of photos")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--work", type=Path, help="folder for scratch files")
    arguments = parser.parse_args()
    known = ("digits", "Fashion-MNIST", "flowers", "food3")
    if unknown := set(arguments.only or ()) - set(known):
        parser.error(f"unknown data set {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return arguments


if __name__ == "__main__":
    main()
