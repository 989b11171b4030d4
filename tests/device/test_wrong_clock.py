"""A wall clock that is wrong, or jumps: times are measured with clocks that do not, and nothing else depends on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
import wrong_clock
from drawing import draw_photo
from signer import Signer, release

from edgetl_device.bench import result

pytestmark = pytest.mark.needs_program("gcc")

DAY_S = 24 * 3600
MINE = Signer()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wrong_clock.build(tmp_path_factory.mktemp("clock"))


def to(year: int) -> int:
    """Return by how many seconds the clock is shifted in June of a year."""
    return int(datetime(year, 6, 1, tzinfo=timezone.utc).timestamp() - time.time())


def device(*words: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgetl_device", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | env)


def test_the_clock_is_wrong(library: Path) -> None:
    script = "import time; print(time.time(), time.monotonic())"
    env = os.environ | wrong_clock.shifted(library, -DAY_S)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    wall, monotonic = map(float, done.stdout.split())
    assert DAY_S - 60 < time.time() - wall < DAY_S + 60
    assert abs(time.monotonic() - monotonic) < 60


@pytest.mark.parametrize("year", [1960, 1970, 2150, None], ids=["1960", "1970", "2150", "jumps"])
def test_a_bench_measures_time_that_passes(library: Path, tiny_file: Path, year: int | None) -> None:
    # With the jumps, half of all neighbouring times are a day apart, in either direction.
    env = (
        wrong_clock.shifted(library, -DAY_S, every_s=0.005) if year is None else wrong_clock.shifted(library, to(year))
    )
    began_s = time.monotonic()
    done = device("bench", tiny_file, "--variants", "int8", "--quick", "--duration", "0.2", env=env)
    took_s = time.monotonic() - began_s
    assert done.returncode == 0, done.stderr
    found = result.parse(done.stdout.encode(), name="stdout")
    (run,) = found.runs
    assert 0 < sum(run.samples_ns.total()) < took_s * 1e9
    assert 0 < run.load_ms < took_s * 1e3
    assert 0.1 < sum(window.duration_s for window in run.windows) < took_s
    clocks = [window.clock_s for window in run.windows]
    assert clocks == sorted(clocks)
    if year is not None:
        assert found.created.startswith(str(year))


def test_expiry_goes_by_the_latest_time_that_was_seen(library: Path, tiny_file: Path, tmp_path: Path) -> None:
    trust = tmp_path / "trust.pub"
    trust.write_text(MINE.key().line() + "\n")
    slots, today = tmp_path / "slots", datetime.now(timezone.utc).year
    past = wrong_clock.shifted(library, to(1975))
    first = release(tiny_file, tmp_path / "first.edgetl", 1, MINE)
    expired = release(tiny_file, tmp_path / "expired.edgetl", 2, MINE, expires=f"{today - 1}-01-01")
    current = release(tiny_file, tmp_path / "current.edgetl", 3, MINE, expires=f"{today + 1}-12-31")
    assert device("update", first, slots, "--photos", 0, "--trust", trust, env={}).returncode == 0
    done = device("update", expired, slots, "--photos", 0, env=past)
    assert done.returncode == 2
    assert "expired" in done.stderr
    assert device("update", current, slots, "--photos", 0, env=past).returncode == 0
    # Of what is installed nothing stops because a clock runs ahead.
    photo = tmp_path / "photo.png"
    draw_photo(1).save(photo)
    done = device("classify", slots, photo, env=wrong_clock.shifted(library, to(2150)))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["photos"][0]["predictions"]
