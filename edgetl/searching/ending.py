"""The end of a search: the best trial whose int8 model keeps the budget is bundled, benched and scored.

Validation photos decide. The test photos are scored once, for the winner and for the baseline.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgetl._lib.owned import check_bundle
from edgetl._lib.progress import note
from edgetl.comparison.budget import DROP_METRIC, broken, drop_bound
from edgetl.comparison.gates import Gate, Subject, judge
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.runs.directory import DOCUMENT as RUN
from edgetl.runs.directory import Run
from edgetl.runs.quantize_report import DOCUMENT, QuantizeReport
from edgetl.training import TrainOptions
from edgetl.training.pipeline import resume, train
from edgetl.training.resume_state import folder_of
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Unknown
from edgetl_device._lib.files import atomic_path
from edgetl_device.bench.accuracy import paired_drop
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.bundle import Bundle
from edgetl_device.errors import GateFailed, InputError
from edgetl_device.scores import Agreement
from edgetl_device.verify import verify

from .costs import Machine
from .document import FinalModel, Lead, Trial
from .planning import cost_of
from .trials import Search, base_options, flags_of, reject

if TYPE_CHECKING:
    from optuna import Study

FINAL, BASELINE, BUNDLE, RESULT = "final", "baseline", "bundle", "result.json"
_TRIES = 3
# At least; a bench takes 1,024 samples however long that is.
_BENCH_S = 2.0


@dataclass(frozen=True)
class Ending:
    """The winner against the baseline.

    Attributes:
        winner: The winner.
        baseline: What ``edgetl train`` makes by default.
        lead: Test accuracy of the winner minus that of the baseline.
    """

    winner: FinalModel
    baseline: FinalModel
    lead: Lead


def end(
    search: Search,
    study: Study,
    ranked: Sequence[Trial],
    names: Sequence[str],
    budget: Sequence[Gate],
    machine: Machine,
) -> Ending:
    """Return the winner and the baseline; the winner's bundle is ``FOLDER/bundle``.

    Args:
        search: The search.
        study: Its store, which remembers trials that were rejected.
        ranked: Trained trials, the best first.
        names: Names of their networks.
        budget: The bounds.
        machine: Where models are benched.

    Raises:
        GateFailed: No trial gives a bundle that keeps the budget.
    """
    winner, result = _winner(search, study, ranked, names, budget, machine)
    note("the baseline: edgetl's default")
    plain = base_options(search.options)
    run = trained(search, plain, search.folder / BASELINE)
    _quantized(run, QuantizeOptions(seed=search.options.seed))
    benched = _benched(run, machine, energy=True)
    baseline = _final_model("edgetl train", None, flags_of(plain), benched, None)
    return Ending(winner, baseline, _lead(benched, result))


def _winner(
    search: Search,
    study: Study,
    ranked: Sequence[Trial],
    names: Sequence[str],
    budget: Sequence[Gate],
    machine: Machine,
) -> tuple[FinalModel, Result]:
    whys = []
    for trial, name in zip(ranked, names, strict=True):
        why = trial.rejected
        if not why:
            note(f"trial {trial.number + 1} is quantized and measured")
            try:
                return _finished(search, trial, name, budget, machine)
            except GateFailed as error:
                why = " ".join(filter(None, (error.what, error.why)))
                reject(study, trial.number, why)
                note(f"trial {trial.number + 1} is not the winner: {why}")
        whys.append(f"trial {trial.number + 1}: {why}")
    raise GateFailed(
        "no trained model keeps the budget",
        why="; ".join(whys[:3]),
        hint="Run it with more {trials}, or a wider {budget}.",
        options={},
    )


def _finished(
    search: Search, trial: Trial, name: str, budget: Sequence[Gate], machine: Machine
) -> tuple[FinalModel, Result]:
    """Return a trial as a finished model, or raise GateFailed if it does not keep the budget."""
    options = QuantizeOptions(max_drop=drop_bound(budget), seed=search.options.seed)
    run = Run.open(search.place(trial.number))
    # It has no test photos: what is measured here is measured on validation photos.
    drop_pp = _drop_pp(_quantized(run, options))
    _check_drop(budget, drop_pp)
    _check_costs(budget, run, machine)
    asked = search.options_of(
        search.networks[[one.name for one in search.networks].index(name)],
        blocks=trial.trainable_blocks,
        augment=trial.augment,
        lr=trial.lr,
    )
    final = trained(search, asked, search.folder / FINAL / f"{trial.number:04d}")
    _quantized(final, options)
    result = _check_costs(budget, final, machine, energy=True)
    bundle = Bundle.open(final.folder / BUNDLE)
    found = verify(bundle)
    if not found.ok:
        raise GateFailed(
            "its bundle does not verify here",
            why="; ".join(f"{one.name}: {one.detail}" for one in found.checks if one.status == "failed"),
        )
    with atomic_path(search.folder / BUNDLE, directory=True, replaceable=check_bundle) as folder:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
    documents.write(search.folder / RESULT, result)
    return _final_model(name, trial.number, flags_of(asked), result, drop_pp), result


def trained(search: Search, options: TrainOptions, place: Path) -> Run:
    """Train on all photos of the data set, or continue where another process was ended.

    Raises:
        KeyboardInterrupt: Ctrl-C; the run can be continued.
    """
    place.parent.mkdir(exist_ok=True)
    if (place / RUN).is_file() and not folder_of(place).exists():
        return Run.open(place)
    size = options.size if isinstance(options.size, int) else None
    dataset = search.photos(size) if size is not None else None
    run = None
    if folder_of(place).exists():
        try:
            run = resume(place, root=search.data, dataset=dataset)
        except InputError as error:
            note(f"{place.name} is trained anew: {error.what}")
    run = run or train(search.data, place, options, overwrite=True, dataset=dataset)
    if run.document.interrupted:
        raise KeyboardInterrupt
    return run


def _quantized(run: Run, options: QuantizeOptions) -> QuantizeReport:
    """Quantize a run unless it has a bundle, and return the report."""
    if (run.folder / BUNDLE).is_dir():
        return documents.read(QuantizeReport, run.folder / DOCUMENT)
    return quantize(run, options)


def _drop_pp(report: QuantizeReport) -> float:
    (agreement,) = (one.agreement for one in report.variants if one.name == "int8")
    assert isinstance(agreement, Agreement)
    return agreement.drop_pp


def _check_drop(budget: Sequence[Gate], drop_pp: float) -> None:
    bounds = [gate for gate in budget if gate.metric is DROP_METRIC]
    if any(one.failed for one in judge(bounds, [Subject("int8", "int8", {DROP_METRIC.name: drop_pp})])):
        raise GateFailed(f"int8 loses {drop_pp:.2f} pp on the validation photos")


def _check_costs(budget: Sequence[Gate], run: Run, machine: Machine, *, energy: bool = False) -> Result:
    """Bench a run's int8 model; what is over the budget is measured again before it is refused."""
    why: tuple[str, ...] = ()
    for _ in range(_TRIES):
        result = _benched(run, machine, energy=energy)
        verdict = result.runs[0].verdict
        invalid = "; ".join(verdict.reasons) if verdict.status == "invalid" else ""
        why = broken(budget, "int8", result.runs[0], invalid=invalid)
        if not why:
            return result
    raise GateFailed(f"measured {_TRIES} times, it is over {', '.join(why)}")


def _benched(run: Run, machine: Machine, *, energy: bool = False) -> Result:
    return machine.bench(
        Bundle.open(run.folder / BUNDLE), BenchOptions(variants=("int8",), duration=_BENCH_S, energy=energy)
    )


def _final_model(name: str, trial: int | None, flags: str, result: Result, drop_pp: float | None) -> FinalModel:
    run = result.runs[0]
    return FinalModel(
        name=name,
        trial=trial,
        flags=flags,
        test=run.accuracy,
        drop_pp=drop_pp,
        cost=cost_of(run, random=False),
        energy_mj=_energy_mj(run),
    )


def _energy_mj(run: ResultRun) -> float | Unknown:
    if run.energy is None:
        return Unknown("it was not asked for")
    if isinstance(run.energy, Unknown):
        return run.energy
    return 1e3 * run.energy.joules_per_inference


def _lead(baseline: Result, winner: Result) -> Lead:
    """Return by how much the winner is better, on the photos of both."""
    rights = []
    for result in (baseline, winner):
        photos, run = result.evalset.photos, result.runs[0]
        right = {photo.sha256: said == photo.index for photo, said in zip(photos, run.answers.predicted, strict=True)}
        rights.append(right)
    both = sorted(rights[0].keys() & rights[1].keys())
    was, now = (np.array([right[one] for one in both]) for right in rights)
    drop = paired_drop(now, was)
    return Lead(difference_pp=drop.drop_pp, ci95_pp=drop.ci95_pp, photos=len(both))
