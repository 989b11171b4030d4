"""Rows about inference: int8, latency, the overhead of the bench, the frozen base, start-up, the device package.

METHOD.md explains each row. ``training.py`` has the rows about training.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import venv
from pathlib import Path
from typing import Any

from harness import (
    EDGETL,
    REPO,
    SCRIPTS,
    Outcome,
    RowFailed,
    Workspace,
    alternated,
    in_words,
    read_quantize,
    run,
    say,
    spread,
)

from edgetl_device.bench import result

_MAX_DROP_PP, _MIN_AGREEMENT = 0.5, 0.98
_FROZEN_RATIO = 4.0
_INT8_SPEED_UP, _INT8_SIZE = 1.7, 0.32
_BENCH_COST = 0.03
_HELP_S = 0.25
_DEVICE_S, _DEVICE_BYTES = 0.6, 120e6
_BENCH_S = 3.0
# Fields kept of each bench run; raw samples would make the results a hundred times larger.
_KEPT = ("bytes", "latency_ms", "throughput_per_s", "peak_rss_bytes", "verdict", "runtime", "threads")

# ``python -m edgetl_device`` that also prints its peak memory to stderr at the end.
_DEVICE_PROGRAM = """\
import sys
from edgetl_device.__main__ import main
code = main(sys.argv[1:])
from edgetl_device.bench.memory import own_peak_bytes
print(own_peak_bytes(), file=sys.stderr)
sys.exit(code)
"""


def int8(work: Workspace) -> Outcome:
    """Compare the int8 variants of the flowers model with the float one on the 200 test photos."""
    rows = []
    for seed in range(work.seeds):
        report = read_quantize(work.flowers_bundle(seed).parent)
        for variant in report["variants"]:
            if variant["name"].startswith("int8"):
                row = {"seed": seed, "variant": variant["name"], "split": report["held_out"]["split"]}
                rows.append(row | {"accuracy": variant["accuracy"], "agreement": variant["agreement"]})
                say(f"{variant['name']}, seed {seed}: {_agreement(rows[-1])}")
    first = [row for row in rows if row["seed"] == 0]
    others = [row["agreement"] for row in rows if row["seed"]]
    beside = (
        f"; seeds 1 to {work.seeds - 1}: drop {min(row['drop_pp'] for row in others):.1f} to "
        f"{max(row['drop_pp'] for row in others):.1f} pp, agreement {min(row['top1'] for row in others):.1%} to "
        f"{max(row['top1'] for row in others):.1%}"
        if others
        else ""
    )
    return Outcome(
        measured="; ".join(f"{_format(row)}: {_agreement(row)}" for row in first) + beside,
        met=all(
            row["agreement"]["drop_pp"] <= _MAX_DROP_PP and row["agreement"]["top1"] >= _MIN_AGREEMENT for row in first
        ),
        values={"rounds": rows},
    )


def frozen_base(work: Workspace) -> Outcome:
    """Run the frozen base with edgetl and with Keras."""
    photos = work.photos_of("flowers")
    script = [sys.executable, SCRIPTS / "frozen_base.py", "--photos", photos, "--rounds", work.short_rounds]
    values = run(script).last_json()
    ours, theirs = values["edgetl_per_s"], values["keras_per_s"]
    return Outcome(
        measured=f"{in_words(values['ratio'], '.2f', ' times')}: {ours['median']:.0f} against {theirs['median']:.0f} "
        "images/s",
        met=values["ratio"]["median"] >= _FROZEN_RATIO,
        values=values,
    )


def int8_latency(work: Workspace) -> Outcome:
    """Bench float32 and int8 TFLite side by side on one thread."""
    bundle = work.flowers_bundle()
    rows: list[dict[str, Any]] = []
    for index in range(work.rounds):
        runs = _bench(work, bundle, "float32,int8", duration_s=2 * _BENCH_S)
        rows.append({name: {key: run[key] for key in _KEPT} for name, run in runs.items()})
        rows[-1]["ratio"] = _p50_ms(runs["float32"]) / _p50_ms(runs["int8"])
        say(f"latency, round {index + 1}: {rows[-1]['ratio']:.2f} times")
    ratio = spread([row["ratio"] for row in rows])
    size = rows[0]["int8"]["bytes"] / rows[0]["float32"]["bytes"]
    float_ms, int8_ms = (statistics.median(_p50_ms(row[name]) for row in rows) for name in ("float32", "int8"))
    return Outcome(
        measured=f"{in_words(ratio, '.2f', ' times')} faster: {float_ms:.2f} ms against {int8_ms:.2f} ms; "
        f"file {size:.3f} of the size",
        met=ratio["median"] >= _INT8_SPEED_UP and size <= _INT8_SIZE,
        values={"rounds": rows, "ratio": ratio, "size_ratio": size},
    )


def bench_cost(work: Workspace) -> Outcome:
    """Compare the model's median time in ``edgetl bench`` and in a bare loop, interleaved, in new processes."""
    bundle = work.flowers_bundle()
    values: dict[str, Any] = {}
    for variant in ("int8", "float32"):
        rounds = alternated(
            2 * work.short_rounds - 1,  # the difference sought is a few percent, as large as that between two processes
            lambda _, variant=variant: _p50_ms(_bench(work, bundle, variant)[variant]),
            lambda _, variant=variant: _bare_p50_ms(bundle, variant),
        )
        ratio = spread([bench / bare for bench, bare in rounds])
        say(f"bench against a bare loop, {variant}: {in_words(ratio, '.3f')}")
        values[variant] = {
            "ratio": ratio,
            "bench_ms": spread([bench for bench, _ in rounds]),
            "bare_ms": spread([bare for _, bare in rounds]),
        }
    return Outcome(
        measured="; ".join(f"{variant}: {in_words(row['ratio'], '.3f', ' times')}" for variant, row in values.items()),
        met=all(abs(row["ratio"]["median"] - 1) <= _BENCH_COST for row in values.values()),
        values=values,
    )


def help_seconds(work: Workspace) -> Outcome:
    """Time ``edgetl --help`` with the installed script."""
    command = Path(sys.executable).with_name("edgetl")
    if not command.is_file():
        raise RowFailed("no edgetl command beside this Python: edgetl is not installed here")
    run([command, "--help"])
    wall = spread([run([command, "--help"]).wall_s for _ in range(work.processes)])
    return Outcome(in_words(wall, ".3f", " s"), wall["median"] < _HELP_S, {"wall_s": wall})


def device(work: Workspace) -> Outcome:
    """Classify one JPEG with the int8 bundle in a new process, with only the device package installed."""
    bundle = work.flowers_bundle()
    photo = work.a_photo()
    python = _device_python(work)
    call = [python, "-c", _DEVICE_PROGRAM, "classify", bundle, photo]
    run(call)
    rows = []
    for _ in range(work.processes):
        done = run(call)
        if json.loads(done.stdout)["variant"] != "int8":
            raise RowFailed("the device package did not classify with int8")
        rows.append((done.wall_s, int(done.stderr.strip().splitlines()[-1])))
    wall = spread([seconds for seconds, _ in rows])
    peak = spread([peak_bytes / 1e6 for _, peak_bytes in rows])
    packages = json.loads(run([python, "-m", "pip", "list", "--format", "json"]).stdout)
    return Outcome(
        measured=f"{in_words(wall, '.2f', ' s')}; {in_words(peak, '.0f', ' MB')}",
        met=wall["median"] < _DEVICE_S and peak["median"] * 1e6 < _DEVICE_BYTES,
        values={
            "wall_s": wall,
            "peak_rss_mb": peak,
            "photo_bytes": photo.stat().st_size,
            "packages": {package["name"]: package["version"] for package in packages},
        },
    )


def _bench(work: Workspace, bundle: Path, variants: str, *, duration_s: float = _BENCH_S) -> dict[str, dict[str, Any]]:
    out = work.new_folder("bench").with_suffix(".json")
    run([*EDGETL, "bench", bundle, "--variants", variants, "--duration", duration_s, "--out", out])
    return {row["variant"]: row for row in result.read(out).to_json()["runs"]}


def _p50_ms(row: dict[str, Any]) -> float:
    return float(row["latency_ms"]["invoke"]["p50"])


def _bare_p50_ms(bundle: Path, variant: str) -> float:
    script = [sys.executable, SCRIPTS / "bare_loop.py", bundle, "--variant", variant, "--duration", _BENCH_S]
    return float(statistics.median(run(script).last_json()["samples_ns"]) / 1e6)


def _device_python(work: Workspace) -> Path:
    """Return the Python of a new environment with only the device package and its dependencies."""
    folder = work.new_folder("venv")
    source = folder.with_name("device")
    # Build a copy: a build in the repository would leave files there.
    shutil.copytree(REPO / "device", source, ignore=shutil.ignore_patterns("__pycache__", "build", "dist"))
    say("set up an environment with only the device package")
    venv.create(folder, with_pip=True)
    python: Path = folder / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", source])
    found = run([python, "-c", "import importlib.util as u; print(u.find_spec('tensorflow'))"]).stdout.strip()
    if found != "None":
        raise RowFailed("TensorFlow is in the environment that should have only the device package")
    return python


def _format(row: dict[str, Any]) -> str:
    return "ONNX" if row["variant"].endswith("onnx") else "TFLite"


def _agreement(row: dict[str, Any]) -> str:
    agreement = row["agreement"]
    return f"drop {agreement['drop_pp']:.1f} pp, agreement {agreement['top1']:.1%}"
