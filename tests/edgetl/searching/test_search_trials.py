"""Trials of a search: several processes, kills, a full disk, ends by successive halving."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import searched

from edgetl.runs.directory import Run
from edgetl.runs.history import Epoch
from edgetl.searching import trials
from edgetl.searching.document import Trial
from edgetl.searching.options import SearchOptions
from edgetl_device.bench.accuracy import accuracy_of
from edgetl_device.errors import InputError


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 120
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.02)


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def states(study: object) -> list[str]:
    return [one.state.name for one in study.trials]  # type: ignore[attr-defined]


def test_a_trial_that_was_killed_goes_on_from_its_last_epoch(
    tiny_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "search"
    process = start(searched.program(folder, tiny_photos, trials=1, epochs=20))
    wait_for(lambda: any((folder / "trials").glob("0000.unfinished/checkpoint*")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    made, study = searched.run(folder, tiny_photos, trials=2, epochs=20)
    said = capsys.readouterr().err
    assert "trial 1 is continued" in said
    assert "resumed after epoch" in said
    assert states(study).count("COMPLETE") + states(study).count("PRUNED") == 2
    assert "COMPLETE" in states(study)
    (network,) = made.networks
    found = trials.recorded(made, study, {network.name: 0})
    assert [one.number for one in found] == [0, 1]
    assert not list((folder / "trials").glob("*.unfinished"))
    # The first trial is the usual training.
    assert (found[0].trainable_blocks, found[0].augment, found[0].lr) == (6, "standard", 3e-4)
    run = Run.open(folder / "trials" / "0000")
    assert found[0].val == run.metrics("val").accuracy
    assert not run.of("test")
    # Nothing is left to do, and nothing is trained again.
    written = (folder / "trials" / "0000" / "run.json").stat().st_mtime_ns
    _, again = searched.run(folder, tiny_photos, trials=2, epochs=20)
    assert states(again) == states(study)
    assert (folder / "trials" / "0000" / "run.json").stat().st_mtime_ns == written


@pytest.mark.slow
def test_two_processes_share_the_trials(tiny_photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    both = [start(searched.program(folder, tiny_photos, trials=4)) for _ in range(2)]
    ended = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    _, study = searched.run(folder, tiny_photos, trials=4)
    assert len(study.trials) == 4
    assert {"RUNNING", "WAITING", "FAIL"}.isdisjoint(states(study))
    # Each told of some of its own, and of none twice.
    told = [{line.split(":")[0] for line in said.splitlines() if line.startswith("trial ")} for _, said in ended]
    assert all(told)
    begun = [line for _, said in ended for line in said.splitlines() if " of 4: " in line]
    assert len(begun) == len(set(begun)) == 4


@pytest.mark.parametrize(
    "share", [pytest.param(1.0, id="in training", marks=pytest.mark.slow), pytest.param(0.5, id="in the store")]
)
def test_a_full_disk_damages_nothing(tiny_photos: Path, tmp_path: Path, share: float, fresh_cache: Path) -> None:
    folder = tmp_path / "search"
    limits = "import resource; from edgetl.searching import trials as t; opened = t.open_store"
    # From then on no file can be larger than a share of the store.
    full = (
        f"size = lambda folder: int({share} * (folder / 'search.db').stat().st_size)\n"
        "def opening(folder, *more):\n"
        "    study = opened(folder, *more)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size(folder), size(folder)))\n"
        "    return study\n"
        "t.open_store = opening"
    )
    command = searched.program(folder, tiny_photos, trials=1, first=f"{limits}\n{full}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 4, done.stderr
    assert "could not be written" in done.stdout
    assert "Free some space" in done.stdout
    assert ("search.db" in done.stdout) == (share < 1)
    _, study = searched.run(folder, tiny_photos, trials=1, epochs=2)
    assert states(study) == ["COMPLETE"]


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / trials.STORE).write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(InputError, match="is not the store of a search"):
        trials.open_store(tmp_path, SearchOptions(budget=("mb<3",)), 4)


def test_halving_ends_what_is_worse_than_others_by_then(tmp_path: Path) -> None:
    study = trials.open_store(tmp_path, SearchOptions(budget=("mb<3",)), 16)
    for number, loss in enumerate((0.3, 0.9, 0.2)):
        trial = study.ask()
        ended = []
        for epoch in range(1, 17):
            trial.report(loss, epoch)
            if trial.should_prune():
                ended.append(epoch)
                break
        # The second is worse than the first after a quarter of its epochs.
        assert ended == ([4] if number == 1 else [])
        study.tell(trial, loss)


def test_what_may_be_worse_by_chance_goes_on() -> None:
    row = Epoch(stage="blocks", epoch=4, val_loss=0.60, val_loss_se=0.08)
    assert not trials.surely_worse(row, [0.55, 0.60, 0.90])
    assert trials.surely_worse(row, [0.50, 0.60])
    assert not trials.surely_worse(row, [0.60])


def test_the_most_accurate_comes_first_then_the_surest_then_the_fastest() -> None:
    def trial(number: int, correct: int | None, loss: float) -> Trial:
        return Trial(
            number=number,
            network=0,
            trainable_blocks=6,
            augment="standard",
            lr=3e-4,
            state="ended" if correct is None else "trained",
            epochs=4,
            val_loss=loss,
            val=None if correct is None else accuracy_of(correct, 50),
            flags="",
            rejected="",
        )

    every = [trial(0, 40, 0.5), trial(1, 45, 0.7), trial(2, 45, 0.6), trial(3, None, 0.1), trial(4, 45, 0.6)]
    ranked = trials.best_first(every, lambda one: {2: 9.0, 4: 3.0}.get(one.number, 1.0))
    assert [one.number for one in ranked] == [4, 2, 1, 0]
