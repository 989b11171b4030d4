"""Which networks fit a budget, by few measurements, and which of them are trained."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from sshd import Lab, SshBoard

from edgetl.comparison.budget import parse_budget
from edgetl.searching import costs, planning
from edgetl.searching.costs import Costs, Latency, Machine
from edgetl.searching.space import Architecture, architectures, networks_at_hand
from edgetl_device._lib.documents import sealed
from edgetl_device.bench.options import BenchOptions
from edgetl_device.errors import InputError

SIZES = (96, 128, 160, 192, 224)


def network(blocks: int, size: int, *, backbone: str = "mobilenet_v2", megabytes: float = 1.0) -> Architecture:
    truncate = None if blocks == 17 else f"block_{blocks - 1}"
    return Architecture(backbone, 1.0, size, truncate, blocks, int(1e6 * megabytes), blocks * size**2)


def test_what_fits_is_found_by_few_measurements() -> None:
    space = [network(blocks, size) for blocks in (11, 14, 17) for size in SIZES]
    for bound in (0, 1, *random.Random(0).choices([one.multiply_adds for one in space], k=12), 10**9):
        asked: list[Architecture] = []

        def over(one: Architecture, bound: int = bound, asked: list[Architecture] = asked) -> bool:
            asked.append(one)
            return one.multiply_adds >= bound

        found = planning.fits(space, over)
        assert set(found) == {one for one in space if one.multiply_adds < bound}
        assert len(asked) == len(set(asked)) <= 9 < len(space)


def test_a_part_of_a_network_takes_no_longer() -> None:
    assert network(14, 96).within(network(17, 160))
    assert not network(17, 96).within(network(14, 160))
    assert not network(14, 224).within(network(17, 160))
    assert not network(14, 96, backbone="efficientnet_lite0").within(network(17, 160))


class Times:
    """Costs that count what is measured: a millisecond for each block, a megabyte as estimated."""

    def __init__(self) -> None:
        self.asked: list[Architecture] = []

    def run_of(self, one: Architecture) -> Any:
        from types import SimpleNamespace

        self.asked.append(one)
        invoke = SimpleNamespace(p50_ms=float(one.blocks), p90_ms=float(one.blocks), p95_ms=float(one.blocks))
        return SimpleNamespace(
            latency_ms=SimpleNamespace(invoke=invoke), bytes=one.int8_bytes, peak_rss_bytes=10_000_000
        )


def test_what_is_known_to_be_over_is_not_measured() -> None:
    times = Times()
    over = planning.Over(times, parse_budget(["p95_ms<12", "mb<3"]))  # type: ignore[arg-type]
    assert over(network(14, 96))
    assert over(network(17, 96))
    assert over(network(14, 224))
    assert times.asked == [network(14, 96)]
    # The estimate is within 10%: only what is further over is left out without a measurement.
    assert over(network(10, 96, megabytes=3.6))
    assert times.asked == [network(14, 96)]
    assert over(network(10, 96, megabytes=3.2))
    assert len(times.asked) == 2
    assert not over(network(9, 96))


def test_only_networks_that_may_be_the_best_are_trained() -> None:
    rights = {
        network(17, 96): np.arange(200) < 180,
        network(14, 96): np.arange(200) < 176,
        network(11, 96): np.arange(200) < 120,
    }
    asked: list[Architecture] = []

    def over(one: Architecture) -> bool:
        asked.append(one)
        return one == network(17, 96)

    assert planning.survivors(list(rights), rights, lambda _: False) == [network(17, 96), network(14, 96)]
    assert planning.survivors(list(rights), rights, over) == [network(14, 96)]
    # What is surely worse is not measured.
    assert asked == [network(17, 96), network(14, 96)]
    assert planning.survivors([], {}, over) == []


def test_the_price_is_the_lead_of_the_best_network() -> None:
    big, small = network(17, 224), network(11, 96)
    rights = {big: np.arange(100) < 90, small: np.arange(100) < 80}
    price = planning._price([small, big], [small], rights)
    assert price is not None
    assert (price.network, price.probe.difference_pp, price.probe.photos) == (1, 10.0, 100)
    low, high = price.probe.ci95_pp
    assert 0 < low < 10 < high


def test_the_space_has_each_network_once_and_its_shorter_ones() -> None:
    space = architectures([("mobilenet_v2", 1.0)], (64, 48), depths=2, classes=3)
    assert len({one.name for one in space}) == len(space) == 6
    assert {one.blocks for one in space} == {11, 14, 17}
    assert [one.multiply_adds for one in space] == sorted(one.multiply_adds for one in space)
    with pytest.raises(InputError, match="no backbone takes inputs of 16 px"):
        architectures([("mobilenet_v2", 1.0)], (16,), depths=0, classes=3)


def test_backbones_without_weights_at_hand_are_refused() -> None:
    assert ("mobilenet_v2", 1.0) in networks_at_hand(())
    with pytest.raises(InputError, match="unknown backbone"):
        networks_at_hand(["mobilenet_v9"])
    with pytest.raises(InputError, match="weights of mobilenet_v3_small are not on this machine") as error:
        networks_at_hand(["mobilenet_v3_small"])
    assert "edgetl models mobilenet_v3_small" in error.value.hint


def test_a_network_is_measured_once_whoever_asks(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = architectures([("mobilenet_v2", 1.0)], (32,), depths=0, classes=3)
    verdicts(monkeypatch, [("quick-run",)])
    first = Costs(Machine(), classes=3)
    latency = first.latency_of(one)
    assert isinstance(latency, Latency)
    assert latency.source == "measured"
    assert latency.p95_ms is not None
    assert 0 < latency.p50_ms <= latency.p95_ms
    assert first.label()

    def not_again(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Machine, "bench", not_again)
    monkeypatch.setattr(costs, "int8_tflite", not_again)
    again = Costs(Machine(), classes=3)
    assert again.latency_of(one) == latency
    assert again.run_of(one).bytes == first.run_of(one).bytes
    # On another machine it is measured there.
    monkeypatch.setattr(Machine, "key", property(lambda _: ["board", "elsewhere", ""]))
    with pytest.raises(AssertionError, match="measured again"):
        Costs(Machine(), classes=3).run_of(one)


@pytest.mark.slow
@pytest.mark.needs_program("ssh", "sshd", "ps")
def test_a_network_is_measured_on_a_board(lab: Lab, good: SshBoard) -> None:
    script = f"""
from edgetl.remote.fleet import from_hosts
from edgetl.searching.costs import Costs, Machine
from edgetl.searching.space import architectures
(board,) = from_hosts([{good.name!r}])
(one,) = architectures([("mobilenet_v2", 1.0)], (32,), depths=0, classes=3)
there = Costs(Machine(board), classes=3)
print(there.latency_of(one).p95_ms, there.run_of(one).bytes, there.run_of(one).runtime.name)
"""
    done = small.python(script, env=lab.environment)
    assert done.returncode == 0, done.stderr
    p95_ms, size, _ = done.stdout.split(maxsplit=2)
    assert float(p95_ms) > 0
    assert int(size) > 2_000_000
    assert f"Measuring mobilenet_v2 at 32 px on {good.name}" in done.stderr
    assert good.wait_quiet() == []


def test_a_disturbed_measurement_is_repeated(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = architectures([("mobilenet_v2", 1.0)], (32,), depths=0, classes=3)
    codes = [("noisy-latency",), ("busy-cores", "drifting-latency"), ("quick-run",)]
    verdicts(monkeypatch, codes)
    assert Costs(Machine(), classes=3).latency_of(one).p50_ms > 0
    assert codes == []
    # It is kept: nothing is left to say of another measurement.
    assert Costs(Machine(), classes=3).latency_of(one).p50_ms > 0


def test_a_measurement_that_stays_disturbed_is_used_and_not_kept(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (one,) = architectures([("mobilenet_v2", 1.0)], (32,), depths=0, classes=3)
    codes = [("noisy-latency",)] * 4
    verdicts(monkeypatch, codes)
    made = Costs(Machine(), classes=3)
    assert made.latency_of(one) == made.latency_of(one)
    assert len(codes) == 1
    assert "the best of 3 measurements is taken" in capsys.readouterr().err
    with pytest.raises(IndexError):
        Costs(Machine(), classes=3).run_of(one)


def verdicts(monkeypatch: pytest.MonkeyPatch, codes: list[Any]) -> None:
    """Give the codes to the verdicts of the next measurements, however busy this machine is."""
    bench = Machine.bench

    def judged(machine: Machine, bundle: Any, options: BenchOptions) -> Any:
        found = bench(machine, bundle, options)
        (run,) = found.runs
        return sealed(replace(found, runs=(replace(run, verdict=replace(run.verdict, codes=codes.pop(0))),)))

    monkeypatch.setattr(Machine, "bench", judged)
