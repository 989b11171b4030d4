"""Bench a bundle: load, latency, memory, accuracy and agreement of its variants, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgetl_device._lib.documents import Unknown
from edgetl_device.bundle import Bundle
from edgetl_device.delegates.delegate import parse_delegates
from edgetl_device.delegates.share import External
from edgetl_device.errors import InputError, OptionError, Unavailable
from edgetl_device.machine import energy, environment
from edgetl_device.machine.cores import usable_cores
from edgetl_device.machine.environment import Environment, State
from edgetl_device.options import command_text
from edgetl_device.runtime.trial_run import trial_run

from . import (
    loadgen,
    memory,
    operators,
    overhead,
    percentiles,
    photoset,
    predictions,
    result,
    sweep,
    verdict,
)
from .latency import MIN_INFERENCES
from .measurement import Measurement, load, row
from .measurement import score as scores
from .options import BenchOptions
from .overhead import Overhead
from .photoset import PhotoSet
from .reference import BenchReference, reference_of
from .result import BenchEnvironment, Result, ResultRun, Settings
from .verdict import Verdict

# Number of rounds. Setups are interleaved, so that a change of clock or temperature affects all of them.
ROUNDS = 5
DURATION_S, QUICK_DURATION_S = 10.0, 1.0
# A quick run has a p95, not a p99.
QUICK_INFERENCES = percentiles.least_samples(95)

# A sustained run is cut into windows of a second, or longer ones if there would be more than this many.
_WINDOWS = 300

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What a bench measures, and for how long.

    Attributes:
        bundle: The bundle to measure.
        options: Options of the bench.
        sweep: Its setups, and those left out.
        duration_s: Sampling time of each setup, over all rounds.
        rounds: Number of rounds.
        min_inferences: Minimum number of samples of each setup, over all rounds.
        prefer: Required runtime for TFLite variants, if any.
    """

    bundle: Bundle
    options: BenchOptions
    sweep: sweep.Plan
    duration_s: float
    rounds: int
    min_inferences: int
    prefer: str | None


@dataclass(frozen=True)
class Measured:
    """The raw measurements of a bench.

    Attributes:
        measurements: Each setup, still loaded.
        states: States of the machine before the first round and after each.
        energy: The energy meter, or why there is none; None if not requested.
    """

    measurements: list[Measurement]
    states: list[State]
    energy: energy.Meter | Unknown | None


def run_bench(
    bundle: Bundle,
    options: BenchOptions | None = None,
    *,
    log: Path | None = None,
    prefer: str | None = None,
    root: Path = Path("/"),
    say: Say | None = None,
) -> Result:
    """Measure variants of a bundle on this machine.

    Args:
        bundle: A bundle with held-out photos and a reference.
        options: Options of the bench; None for the defaults.
        log: With a scenario, the folder for LoadGen's logs, one subfolder per setup.
        prefer: For TFLite variants, require ``ai-edge-litert`` or ``tflite-runtime``.
        root: The folder that contains ``sys`` and ``proc``.
        say: Called with one line about each step; None is silent.

    Raises:
        InputError: A variant, the bundle or the folder is wrong.
        Unavailable: A named variant, all variants, or a delegate cannot run here; LoadGen is missing; or operators were
            to be timed, and those of no setup can be.
    """
    say = say or _silent
    options = options or BenchOptions()
    plan = plan_bench(bundle, options, prefer=prefer)
    if options.scenario is not None:
        _check_loadgen(options.scenario, log)
    if options.profile:
        _check_profiler(plan)
    _try_out(plan, say)
    photos, reference = _photos(plan, say)
    described, cost = environment.describe(root), overhead.cost(bundle, photos.timed())
    with ExitStack() as stack:
        measured = measure(plan, photos.timed(), stack, root=root, say=say)
        runs = []
        for measurement in measured.measurements:
            judged = _verdict(measured, measurement, described, cost, quick=options.quick)
            run = score(plan, measured, measurement, photos, reference, judged, say=say)
            if options.scenario is not None and log is not None:
                run = replace(run, loadgen=_drive_loadgen(plan, measurement, photos.timed(), log, say))
            runs.append(run)
        external = _external(measured.measurements)
    before, *during, after = measured.states
    return result.assemble(
        bundle,
        evalset=predictions.evalset(photos, reference.classes(), reference.name),
        settings=_settings(plan, photos_timed=len(photos.timed())),
        environment=BenchEnvironment(
            **vars(described), delegate=external, before=before, during=tuple(during), after=after
        ),
        harness=cost,
        runs=tuple(runs),
        skipped=plan.sweep.skipped,
    )


def plan_bench(bundle: Bundle, options: BenchOptions, *, prefer: str | None = None) -> Plan:
    """Decide what to measure, for how long and in how many rounds.

    Raises:
        InputError: The bundle has no such variant, or none that supports the options, or a sustained bench would have
            several runs.
        Unavailable: A named variant, all variants, or a delegate cannot run here.
    """
    setups = sweep.plan(
        bundle,
        variants=options.named_variants,
        threads=options.threads,
        delegates=parse_delegates(options.delegates),
        batches=options.batch,
        prefer=prefer,
    )
    if options.sustained is not None and len(setups.setups) > 1:
        raise OptionError(
            f"{{sustained=}} with {len(setups.setups)} runs",
            why=f"a sustained bench is a single run, to heat the board as in use: {'; '.join(map(str, setups.setups))}",
            hint="Name one with {variants}, {threads}, {delegates} and {batch}.",
            sustained=options.sustained,
        )
    if options.sustained is not None:
        duration_s = 60 * options.sustained
        rounds = max(ROUNDS, min(_WINDOWS, int(duration_s)))
    else:
        usual_s = QUICK_DURATION_S if options.quick else DURATION_S
        duration_s, rounds = usual_s if options.duration is None else options.duration, ROUNDS
    least = QUICK_INFERENCES if options.quick else MIN_INFERENCES
    return Plan(bundle, options, setups, duration_s, rounds, least, prefer)


def measure(plan: Plan, files: Sequence[bytes], stack: ExitStack, *, root: Path, say: Say) -> Measured:
    """Load every setup and sample them interleaved, round by round; ``stack`` closes them.

    Args:
        plan: What to measure.
        files: Photos, as bytes of image files.
        stack: Closed by the caller, who still needs the loaded setups.
        root: The folder that contains ``sys`` and ``proc``.
        say: Called with one line about each step.
    """
    meter = _meter(root, say) if plan.options.energy else None
    if isinstance(meter, energy.Meter):
        stack.callback(meter.close)
    states = [environment.state(root)]
    measurements: list[Measurement] = []
    for setup in plan.sweep.setups:
        # One by one, so that loaded ones are closed if one fails.
        measurement = load(plan.bundle, setup, files, plan.prefer)
        stack.callback(measurement.classifier.close)
        measurements.append(measurement)
    for measurement in measurements:
        say(f"warming up {measurement.setup}")
        measurement.stopwatch.warm_up()
        # Fail now, not after minutes of measuring.
        measurement.classifier.check(measurement.classifier.runtime.probabilities())
    for number in range(plan.rounds):
        if plan.rounds == ROUNDS or number % 10 == 0:
            say(f"measuring, round {number + 1} of {plan.rounds}")
        for measurement in sweep.shuffled(measurements, number):
            measurement.sample(
                plan.duration_s / plan.rounds,
                -(-plan.min_inferences // plan.rounds),
                meter if isinstance(meter, energy.Meter) else None,
            )
        states.append(environment.state(root))
    return Measured(measurements, states, meter)


def score(
    plan: Plan,
    measured: Measured,
    measurement: Measurement,
    photos: PhotoSet,
    reference: BenchReference,
    judged: Verdict,
    *,
    say: Say,
) -> ResultRun:
    """Return a run of the result: times and their verdict, accuracy, agreement, memory, and optional measurements."""
    setup, options = measurement.setup, plan.options
    say(f"{'accuracy' if photos.truth == 'labels' else 'agreement'} and memory of {setup}")
    meter = measured.energy
    return row(
        measurement,
        scores(measurement.classifier, photos, reference),
        judged,
        peak_rss_bytes=memory.peak_rss_bytes(
            plan.bundle.path,
            setup.variant.name,
            setup.threads,
            batch=setup.batch,
            prefer=plan.prefer,
            delegate=setup.delegate,
        ),
        energy=meter.summary(measurement.usage) if isinstance(meter, energy.Meter) else meter,
        operators=_operators(plan, measurement, say) if options.profile else None,
    )


def _operators(plan: Plan, measurement: Measurement, say: Say) -> operators.OperatorTimes | Unknown:
    setup = measurement.setup
    say(f"times of operators of {setup}")
    return operators.operator_times(plan.bundle.read(setup.variant.file), setup, prefer=plan.prefer)


def _check_profiler(plan: Plan) -> None:
    """Refuse a profile that no setup can have."""
    why = [operators.why_not(setup, prefer=plan.prefer) for setup in plan.sweep.setups]
    if None not in why and why:
        raise why[0]  # type: ignore[misc]  # not None


def _check_loadgen(scenario: str, log: Path | None) -> None:
    loadgen.require(scenario)
    if log is None:
        raise InputError("a scenario without a folder for its log")
    # Check before measuring: LoadGen ends the process if it cannot write.
    log.mkdir(parents=True, exist_ok=True)


def _try_out(plan: Plan, say: Say) -> None:
    """Report setups left out, and try each variant on an external delegate in a process that may crash."""
    for left in plan.sweep.skipped:
        say(f"left out {left}: {left.why}")
    for name, delegate in dict.fromkeys((one.variant.name, one.delegate) for one in plan.sweep.setups):
        if delegate is not None and delegate.external:
            say(f"trial run of {name} on {delegate.name}")
            trial_run(plan.bundle.read(plan.bundle.variant(name).file), delegate, prefer=plan.prefer)


def _photos(plan: Plan, say: Say) -> tuple[PhotoSet, BenchReference]:
    bundle, data = plan.bundle, plan.options.data
    if data is not None:
        say(f"reading the photos of {data}")
    photos = photoset.of_bundle(bundle) if data is None else photoset.of_folder(data, bundle)
    return photos, reference_of(bundle, photos, threads=max(plan.options.threads), prefer=plan.prefer, say=say)


def _drive_loadgen(
    plan: Plan, measurement: Measurement, files: Sequence[bytes], log: Path, say: Say
) -> loadgen.LoadgenRun:
    scenario = plan.options.scenario or ""
    say(f"LoadGen, {scenario}: {measurement.setup}")
    return loadgen.drive(
        measurement.classifier,
        files,
        scenario=scenario,
        duration_s=plan.duration_s,
        min_inferences=plan.min_inferences,
        fastest_ms=min(measurement.stopwatch.samples.stages_ns["invoke"]) / 1e6,
        folder=log / str(measurement.setup).replace(", ", "-").replace(" ", "-"),
    )


def _verdict(
    measured: Measured, measurement: Measurement, described: Environment, cost: Overhead, *, quick: bool
) -> Verdict:
    return verdict.judge(
        measurement.stopwatch.samples,
        measured.states,
        emulated=described.emulated,
        governor=described.governor,
        quick=quick,
        # The overhead is measured with one photo; a batch copies several.
        overhead_ns=cost.latency_ms.invoke.p50_ms * 1e6 * measurement.setup.batch,
        threads=measurement.setup.threads,
        cores=usable_cores(),
    )


def _settings(plan: Plan, *, photos_timed: int) -> Settings:
    options, setups = plan.options, plan.sweep.setups
    delegates = parse_delegates(options.delegates)
    return Settings(
        variants=tuple(dict.fromkeys(setup.variant.name for setup in setups)),
        threads=tuple(options.threads),
        delegates=tuple(delegate.name if delegate else "default" for delegate in delegates),
        batches=tuple(options.batch),
        photos_timed=photos_timed,
        duration_s=plan.duration_s,
        min_inferences=plan.min_inferences,
        quick=options.quick,
        sustained=options.sustained is not None,
        rounds=plan.rounds,
        order=f"shuffled in each round, seed {sweep.SEED}",
        command=bench_command(plan.bundle, options),
    )


def bench_command(bundle: Bundle, options: BenchOptions) -> str:
    """Return the command that benches a bundle, for its result."""
    place = bundle.path.resolve()
    return command_text(["edgetl", "bench", (place.parent if place.name == "bundle" else place).name], options)


def _meter(root: Path, say: Say) -> energy.Meter | Unknown:
    """Return an energy meter with the idle power measured, or why there is none."""
    try:
        sensor = energy.find_sensor(root)
        say(f"idle for {energy.IDLE_S:.0f} s: measuring the board's idle power")
        return energy.Meter(sensor, energy.IDLE_S)
    except Unavailable as error:
        say(f"no energy: {error}")
        return Unknown(f"{error.what}: {error.why}")


def _external(measurements: Sequence[Measurement]) -> External | Literal["none"]:
    """Return the external delegate of a bench, for its environment; how much it ran is in the runs."""
    return next((used for one in measurements if (used := one.classifier.runtime.external)), "none")


def _silent(text: str) -> None:
    del text
