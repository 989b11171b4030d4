"""A search from photos to a bundle: what costs least is asked first, and nothing that was found is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgetl import __version__
from edgetl._lib.extras import check_installed
from edgetl._lib.owned import Kind, check_replaceable
from edgetl._lib.progress import note
from edgetl.comparison.budget import excess, parse_budget
from edgetl.comparison.gates import Gate
from edgetl.data import Dataset, load_dataset, refuse_inside, require_training
from edgetl.remote.fleet import Board
from edgetl.runs.directory import default_folder
from edgetl.training.options import FIT
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Named, Unknown
from edgetl_device._lib.files import write_text
from edgetl_device.errors import GateFailed, InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

from . import page, trials
from .costs import Costs, Machine
from .document import SearchDocument, SearchedNetwork, SearchRequest, State, Trial
from .ending import BASELINE, BUNDLE, FINAL, RESULT, end
from .options import SearchOptions
from .planning import Plan, plan
from .space import Architecture, architectures, networks_at_hand

if TYPE_CHECKING:
    from optuna import Study

DOCUMENT, PAGE = "search.json", "search.html"
_LOCK = "search.lock"
_FILES = (DOCUMENT, PAGE, RESULT, "*.lock", f"{trials.STORE}*")
_FOLDERS = (trials.FOLDER, FINAL, BASELINE, f"{BASELINE}.unfinished", BUNDLE)
_KIND = Kind(
    "a search",
    DOCUMENT,
    SearchDocument.SCHEMA,
    (*_FILES, *(f"{folder}{'/*' * depth}" for folder in _FOLDERS for depth in range(1, 8))),
)


def search(
    data: Path, out: Path, options: SearchOptions, *, board: Board | None = None, offline: bool = False
) -> SearchDocument:
    """Search for the best model under a budget; call it again to continue, also from several processes at a time.

    Args:
        data: The photos.
        out: The folder of the search.
        options: The options.
        board: The board that models are measured on; None for this machine.
        offline: Send all wheels to the board from this machine.

    Returns:
        The finished search, as in ``OUT/search.json``; the winner's bundle is ``OUT/bundle``.

    Raises:
        InputError: The budget, the options or the photos are invalid, or ``out`` has something else.
        GateFailed: No network, or no trained model, keeps the budget; the report is written.
        Unavailable: A package, the board or disk space is missing.
    """
    budget = parse_budget(options.budget)
    for module, extra in (("tensorflow", "train"), ("optuna", "search")):
        check_installed(module, extra=extra)
    refuse_inside(data, out)
    _check_folder(out)
    photos = _Photos(data, options)
    networks = networks_at_hand(options.backbones)
    first = photos(max(options.sizes))
    request = _request(data, first, options, on_board=board is not None)
    before = _before(out, request)
    if before is not None and before.state == "finished" and len(before.trials) >= options.trials:
        note(f"{out}: this search is finished")
        return before
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    costs = Costs(Machine(board, offline=offline), classes=len(first.labels))
    state = _State(out, request, options, budget)
    with trials.waited(out / _LOCK, what=f"{out}: networks are being measured and probed"):
        planned = _planned(state, costs, photos, networks, _before(out, request))
    if not any(one.outcome == "trained" for one in planned.networks):
        raise _impossible(state, planned, costs)
    chosen = _by_probe(planned)
    shared = trials.Search(out, data, options, chosen, photos)
    state.shared, state.study = shared, trials.open_store(out, options, trials.epochs_of(shared))
    try:
        ends_s = None if options.minutes is None else started + 60 * options.minutes
        trials.run_trials(shared, state.study, ends_s=ends_s, told=partial(state.write, "training"))
        with trials.waited(out / _LOCK, what=f"{out}: the winner is being made"), trials.store_errors(out):
            finished = _before(out, request)
            if finished is not None and finished.state == "finished" and len(finished.trials) >= _count(state):
                return finished  # another process of this search came first
            return _end(state, costs)
    except KeyboardInterrupt:
        with suppress(OSError):
            state.write("interrupted")
        note(f"interrupted: the same command continues the search in {out}")
        raise


def default_place(data: Path) -> Path:
    """Return the folder of a search on a data set: ``runs/<name of data>-search``."""
    usual = default_folder(data)
    return usual.with_name(f"{usual.name}-search")


@dataclass
class _State:
    """What is known of a search so far, and its folder."""

    out: Path
    request: SearchRequest
    options: SearchOptions
    budget: tuple[Gate, ...]
    machine: str = ""
    plan: Plan | None = None
    shared: trials.Search | None = None
    study: Study | None = None

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials that have begun."""
        if self.shared is None or self.plan is None or self.study is None:
            return ()
        places = {one.name: place for place, one in enumerate(self.plan.architectures)}
        return trials.recorded(self.shared, self.study, places)

    def write(self, state: State, **more: object) -> SearchDocument:
        """Write the document and the page."""
        found = SearchDocument(
            producer=Named("edgetl", __version__),
            state=state,
            request=self.request,
            machine=self.machine,
            networks=self.plan.networks if self.plan else (),
            trials=self.trials(),
            price=self.plan.price if self.plan else None,
            **({"winner": None, "baseline": None, "against_baseline": None, "conclusion": ""} | more),  # type: ignore[arg-type]
            seconds=trials.seconds_of(self.study) if self.study else 0.0,
        )
        documents.write(self.out / DOCUMENT, found)
        write_text(self.out / PAGE, page.render(found))
        return found


class _Photos:
    """The photos at an input size, each read once."""

    def __init__(self, data: Path, options: SearchOptions) -> None:
        self._data, self._options = data, options
        self._known: dict[int, Dataset] = {}

    def __call__(self, size: int) -> Dataset:
        """Return them.

        Raises:
            InputError: There are none to train on, to choose by, or to test with.
        """
        if size not in self._known:
            options = self._options
            spec = Preprocess(size=square(size), fit=options.fit or FIT)  # type: ignore[arg-type]
            found = load_dataset(
                self._data,
                spec,
                seed=options.seed,
                val=options.val,
                test=options.test,
                on_conflict=options.on_conflict,  # type: ignore[arg-type]
            )
            require_training(found)
            for split, what in (("val", "choose the model"), ("test", "score it at the end")):
                if not found.of(split):  # type: ignore[arg-type]
                    raise InputError(
                        f"{self._data}: has no {split} photos, which {what}", hint=f"Give --{split} a share over 0."
                    )
            self._known[size] = found
        return self._known[size]


def _request(data: Path, dataset: Dataset, options: SearchOptions, *, on_board: bool) -> SearchRequest:
    return SearchRequest(
        data=data.resolve().name,
        fingerprint=dataset.fingerprint,
        budget=tuple(one.strip() for one in options.budget),
        seed=options.seed,
        backbones=options.backbones,
        sizes=options.sizes,
        depths=options.depths,
        epochs=options.epochs,
        fit=options.fit,
        on_board=on_board,
    )


def _check_folder(out: Path) -> None:
    # A process that was killed at its beginning leaves nothing but a lock.
    if out.is_dir() and {path.suffix for path in out.iterdir()} <= {".lock"}:
        return
    check_replaceable(out, _KIND, hint="Choose another folder with --out.")


def _before(out: Path, request: SearchRequest) -> SearchDocument | None:
    """Return the document of an earlier process of the same search.

    Raises:
        InputError: It is of another search.
    """
    if not (out / DOCUMENT).is_file():
        return None
    found = documents.read(SearchDocument, out / DOCUMENT)
    asked, was = vars(request), vars(found.request)
    for name, value in asked.items():
        if was[name] != value:
            what = "the photos have changed" if name == "fingerprint" else f"{name} was {_said(was[name])}"
            raise InputError(
                f"{out}: has another search: {what}",
                why="a search is continued with the same options and photos",
                hint="Choose another folder with --out.",
            )
    return found


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _planned(
    state: _State,
    costs: Costs,
    photos: _Photos,
    networks: Sequence[tuple[str, float]],
    before: SearchDocument | None,
) -> Plan:
    """Return the plan, that of an earlier process if it had one; write it."""
    if before is not None and any(one.outcome == "trained" for one in before.networks):
        found = tuple(_architecture(one) for one in before.networks)
        state.plan, state.machine = Plan(found, before.networks, before.price), before.machine
        return state.plan
    state.write("planning")
    options = state.options
    space = architectures(networks, options.sizes, depths=options.depths, classes=len(photos(options.sizes[0]).labels))
    state.plan = plan(space, costs, state.budget, photos, seed=options.seed)
    state.machine = costs.label()
    fits = any(one.outcome == "trained" for one in state.plan.networks)
    state.write("training" if fits else "no model fits")
    return state.plan


def _architecture(one: SearchedNetwork) -> Architecture:
    return Architecture(**{name: getattr(one, name) for name in Architecture.__dataclass_fields__})


def _by_probe(found: Plan) -> tuple[Architecture, ...]:
    pairs = zip(found.architectures, found.networks, strict=True)
    trained = [(one, record) for one, record in pairs if record.outcome == "trained"]
    return tuple(one for one, record in sorted(trained, key=lambda pair: -(pair[1].probe.top1 if pair[1].probe else 0)))


def _impossible(state: _State, found: Plan, costs: Costs) -> GateFailed:
    report = f"The measured costs are in {state.out / PAGE}."
    if found.nearest is None:
        smallest = min(found.architectures, key=lambda one: one.int8_bytes)
        why = f"the smallest one, {smallest.name}, has about {smallest.int8_bytes / 1e6:.2f} MB"
        return GateFailed("no network keeps the budget", why=why, hint=f"Allow more, or --depths. {report}")
    run = costs.run_of(found.nearest)
    p95_ms = "unknown" if isinstance(run.latency.p95_ms, Unknown) else f"{run.latency.p95_ms:.2f} ms"
    times = excess(state.budget, run)
    return GateFailed(
        "no network keeps the budget",
        why=f"the nearest one, {found.nearest.name}, takes p95 {p95_ms} and {run.bytes / 1e6:.2f} MB on "
        f"{costs.machine.name}: {times:.2g} times a bound",
        hint=f"Allow more, or smaller --sizes. {report}",
    )


def _count(state: _State) -> int:
    return len([one for one in state.trials() if one.state != "running"])


def _end(state: _State, costs: Costs) -> SearchDocument:
    assert state.shared is not None
    assert state.plan is not None
    assert state.study is not None
    every = state.plan.architectures

    def p95_ms(trial: Trial) -> float:
        cost = state.plan.networks[trial.network].cost if state.plan else None
        return float("inf") if cost is None or isinstance(cost.p95_ms, Unknown) else cost.p95_ms

    ranked = trials.best_first(state.trials(), p95_ms)
    if not ranked:
        state.write("no model fits")
        raise GateFailed(
            "no trial was trained to its end", why="all diverged", hint="Run it with more {trials}.", options={}
        )
    try:
        found = end(
            state.shared,
            state.study,
            ranked,
            [every[one.network].name for one in ranked],
            state.budget,
            costs.machine,
        )
    except GateFailed:
        state.write("no model fits")
        raise
    conclusion = _conclusion(state.plan)
    return state.write(
        "finished",
        winner=found.winner,
        baseline=found.baseline,
        against_baseline=found.lead,
        conclusion=conclusion,
    )


def _conclusion(found: Plan) -> str:
    """Return what the budget cost, in a line."""
    price = found.price
    assert price is not None
    best, record = found.architectures[price.network], found.networks[price.network]
    if record.outcome != "over budget":
        return f"The budget costs nothing by linear probes: the best network of all, {best.name}, keeps it."
    lead, (low, high) = price.probe.difference_pp, price.probe.ci95_pp
    return (
        f"The budget costs {lead:.1f} pp (95% CI {low:+.1f} to {high:+.1f}) by linear probes on {price.probe.photos:,} "
        f"training photos: against {best.name}, the best network without a budget, which was not trained."
    )
