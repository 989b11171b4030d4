"""Bench a bundle: load, latency, memory, accuracy and agreement of its variants, taken side by side.

Not for: judging the numbers against a budget, and comparing two benches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgetl_device.bundle import Bundle
from edgetl_device.delegates.delegate import Delegate
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.machine import energy, environment
from edgetl_device.runtime.trial_run import trial_run

from . import (
    loadgen,
    memory,
    overhead,
    percentiles,
    photoset,
    predictions,
    result,
    sweep,
    verdict,
)
from .latency import MIN_INFERENCES
from .measurement import Measurement, load, row, score
from .reference import reference_of

# The duration of each setup is cut into so many pieces, and the setups take turns: a clock or a temperature that
# changes on the way then changes all of them.
ROUNDS = 5
DURATION_S, QUICK_DURATION_S = 10.0, 1.0
MAX_DURATION_S = 3600.0
# A quick run has a p95, not a p99.
QUICK_INFERENCES = percentiles.least_samples(95)

# A sustained run is cut into windows of a second, or longer ones where there would be more of them than this.
_WINDOWS = 300

# Looked for in ai-edge-litert 2.3.0: Interpreter has a switch for profiling delegated nodes and nothing that reads a
# profile; libLiteRt.so has a profiler, for its compiled models, which no Python module reaches.
NO_PROFILER = "the Python interfaces of LiteRT 2.3 and tflite-runtime 2.14 have no profiler that can be read"

Say = Callable[[str], None]


def run_bench(
    bundle: Bundle,
    *,
    variants: Sequence[str] | None = None,
    threads: Sequence[int] = (1,),
    delegates: Sequence[Delegate | None] = (None,),
    batches: Sequence[int] = (1,),
    data: str | os.PathLike[str] | None = None,
    duration_s: float | None = None,
    quick: bool = False,
    sustained_min: float | None = None,
    with_energy: bool = False,
    with_profile: bool = False,
    scenario: str | None = None,
    log: Path | None = None,
    prefer: str | None = None,
    root: Path = Path("/"),
    say: Say | None = None,
) -> dict[str, Any]:
    """Measure variants of a bundle on this machine and return an ``edgetl.result/1`` document.

    Args:
        bundle: With held-out photos and a reference in it.
        variants: Names, or None for every variant that this machine's runtimes and the delegates can run; those left
            out are listed in the result.
        threads: Numbers of CPU threads; each variant is measured with each.
        delegates: Each variant is measured with each that can take it; None is what the runtime does by itself.
        batches: Numbers of images in one inference; each variant is measured with each that it can be resized to.
        data: A labelled folder (:func:`photoset.of_folder`) whose photos take the place of the bundle's own, in the
            times and in the accuracy. Drop and agreement are then against the bundle's float32 variant on this machine.
        duration_s: Sampling time of each setup, above 0 and at most an hour; by default 10 s, in a quick bench 1 s.
            Sampling goes on until there are also 1,024 inferences.
        quick: Be content with 130 inferences; the verdict says so.
        sustained_min: Measure one setup for so many minutes, at most 60, and keep its times second by second.
        with_energy: Measure joules per inference too, where the board has a sensor.
        with_profile: Ask for the time of each operator too. No Python runtime here can tell: the result says why.
        scenario: Let MLPerf's LoadGen run each setup too: ``single-stream`` or ``offline``.
        log: With a scenario, the folder for LoadGen's logs, one folder in it for each setup.
        prefer: For TFLite variants, insist on ``ai-edge-litert`` or ``tflite-runtime``.
        root: Where ``sys`` and ``proc`` are looked for.
        say: Called with one line about each step; None is silent.

    Raises:
        InputError: A variant, a number, the bundle or the folder is wrong.
        Unavailable: A variant that was named, or every one, or a delegate, cannot run here; or there is no LoadGen.
    """
    say = say or _silent
    duration_s, rounds = _pieces(duration_s, quick, sustained_min)
    least = QUICK_INFERENCES if quick else MIN_INFERENCES
    plan = sweep.plan(bundle, variants=variants, threads=threads, delegates=delegates, batches=batches, prefer=prefer)
    if sustained_min is not None and len(plan.setups) > 1:
        raise InputError(
            f"--sustained with {len(plan.setups)} runs",
            why=f"one at a time heats the board as it will be used: {'; '.join(map(str, plan.setups))}",
            hint="Name one: --variants int8 --threads 4",
        )
    if scenario is not None:
        if set(batches) != {1}:
            raise InputError("a batch with a scenario", why="LoadGen gives one photo at a time", hint="Leave one out.")
        loadgen.require(scenario)
        if log is None:
            raise InputError("a scenario without a folder for its log")
        # Better known now than after the measuring: LoadGen ends the process when it cannot write.
        log.mkdir(parents=True, exist_ok=True)
    for left in plan.skipped:
        say(f"left out {sweep.left_out(left)}: {left['why']}")
    for name, delegate in dict.fromkeys((one.variant.name, one.delegate) for one in plan.setups):
        if delegate is not None and delegate.external:
            say(f"trial run of {name} on {delegate.name}")
            trial_run(bundle.read(bundle.variant(name).file), delegate, prefer=prefer)
    if data is not None:
        say(f"reading the photos of {os.fspath(data)}")
    photos = photoset.of_bundle(bundle) if data is None else photoset.of_folder(data, bundle)
    reference = reference_of(bundle, photos, threads=max(threads), prefer=prefer, say=say)
    files = photos.timed()

    described = environment.describe(root)
    cost = overhead.cost(bundle, files)
    meter, why_no_meter = _meter(root, say) if with_energy else (None, "")
    measurements: list[Measurement] = []
    try:
        states = [environment.state(root)]
        for setup in plan.setups:
            # One by one, so that those already loaded are closed when one fails.
            measurements.append(load(bundle, setup, files, prefer))  # noqa: PERF401
        for measurement in measurements:
            say(f"warming up {measurement.setup}")
            measurement.stopwatch.warm_up()
        for number in range(rounds):
            if rounds == ROUNDS or number % 10 == 0:
                say(f"measuring, round {number + 1} of {rounds}")
            for measurement in sweep.shuffled(measurements, number):
                measurement.sample(duration_s / rounds, -(-least // rounds), meter)
            states.append(environment.state(root))
        runs = []
        for measurement in measurements:
            say(f"accuracy and memory of {measurement.setup}")
            run = row(measurement) | score(measurement.classifier, photos, reference)
            run["peak_rss_bytes"] = memory.peak_rss_bytes(
                bundle.path,
                measurement.setup.variant.name,
                measurement.setup.threads,
                batch=measurement.setup.batch,
                prefer=prefer,
                delegate=measurement.setup.delegate,
            )
            if with_energy:
                run["energy"] = meter.summary(measurement.usage) if meter else {"unknown": why_no_meter}
            if with_profile:
                run["operators"] = {"unknown": NO_PROFILER}
            if scenario is not None and log is not None:
                say(f"LoadGen, {scenario}: {measurement.setup}")
                run["loadgen"] = loadgen.drive(
                    measurement.classifier,
                    files,
                    scenario=scenario,
                    duration_s=duration_s,
                    min_inferences=least,
                    expected_ms=run["latency_ms"]["invoke"]["p50"],
                    folder=log / str(measurement.setup).replace(", ", "-").replace(" ", "-"),
                )
            run["verdict"] = verdict.judge(
                measurement.stopwatch.samples,
                states,
                emulated=described["emulated"],
                governor=described["governor"],
                quick=quick,
                # It is measured with one photo; a batch copies as many as it has.
                harness_ns=cost["latency_ms"]["invoke"]["p50"] * 1e6 * measurement.setup.batch,
            )
            runs.append(run)
    finally:
        for measurement in measurements:
            measurement.classifier.close()
        if meter:
            meter.close()
    before, *during, after = states
    return result.assemble(
        bundle,
        evalset=predictions.evalset(photos) | reference.to_json(),
        settings={
            "variants": list(dict.fromkeys(setup.variant.name for setup in plan.setups)),
            "threads": list(threads),
            "delegates": [delegate.name if delegate else "default" for delegate in delegates],
            "batches": list(batches),
            "photos_timed": len(files),
            "duration_s": duration_s,
            "min_inferences": least,
            "quick": quick,
            "sustained": sustained_min is not None,
            "rounds": rounds,
            "order": f"shuffled in each round, seed {sweep.SEED}",
            "percentiles": "nearest rank",
        },
        environment=described
        | {"delegate": _delegate(measurements), "before": before, "during": during, "after": after},
        harness=cost,
        runs=runs,
        skipped=list(plan.skipped),
    )


def parse_variants(text: str) -> list[str] | None:
    """Read ``all`` (None) or names with commas between them."""
    return None if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]


def parse_counts(what: str, text: str) -> list[int]:
    """Read whole numbers with commas between them; ``what`` is what errors call them."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"{what} {text!r}", why="must be whole numbers with commas, such as 1,2") from None


def _pieces(duration_s: float | None, quick: bool, sustained_min: float | None) -> tuple[float, int]:
    """Return the sampling time of each setup and into how many pieces it is cut."""
    if sustained_min is None:
        chosen_s = duration_s if duration_s is not None else QUICK_DURATION_S if quick else DURATION_S
        what, rounds = f"duration {chosen_s!r} s", ROUNDS
    elif duration_s is not None or quick:
        raise InputError("--sustained with --duration or --quick", why="it says how long to measure", hint="Leave one.")
    else:
        chosen_s, what = 60 * sustained_min, f"sustained {sustained_min!r} minutes"
        rounds = _WINDOWS
    if not 0 < chosen_s <= MAX_DURATION_S:
        raise InputError(what, why=f"must be above 0 and at most {MAX_DURATION_S:.0f} s")
    return chosen_s, max(ROUNDS, min(rounds, int(chosen_s))) if sustained_min is not None else rounds


def _meter(root: Path, say: Say) -> tuple[energy.Meter | None, str]:
    """Return a meter that knows the idle power, or why there is none."""
    try:
        sensor = energy.find_sensor(root)
        say(f"idle for {energy.IDLE_S:.0f} s: measuring what the board uses without a model")
        return energy.Meter(sensor, energy.IDLE_S), ""
    except Unavailable as error:
        say(f"no energy: {error}")
        return None, f"{error.what}: {error.why}"


def _delegate(measurements: Sequence[Measurement]) -> dict[str, Any] | str:
    """Return which external delegate a bench used, for its environment; how much it took is in the runs."""
    for measurement in measurements:
        if used := measurement.classifier.runtime.delegate:
            return {key: used[key] for key in ("name", "library", "options", "version")}
    return "none"


def _silent(text: str) -> None:
    del text
