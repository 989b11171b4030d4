"""Several devices train as one does: the same steps, the same checkpoints; what is not there is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small

from edgetl.runs.directory import Run
from edgetl.training import TrainOptions, train
from edgetl.training.devices import choose_devices, training_devices
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

HERE = Path(__file__).parent.parent
TWO_CPUS = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from mirrored_steps import logical_cpus
logical_cpus(2)
from edgetl.cli import main
main()
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What ``mirrored_steps.py`` found on logical CPUs."""
    out = tmp_path_factory.mktemp("devices") / "steps.npz"
    command = [sys.executable, str(HERE / "mirrored_steps.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(out) as archive:
        yield archive


def weights(steps: Any, case: str) -> list[np.ndarray]:
    return [steps[name] for name in steps.files if name.startswith(f"{case}/weight/")]


def largest_difference(steps: Any, case: str, other: str) -> float:
    pairs = zip(weights(steps, case), weights(steps, other), strict=True)
    return max(float(np.abs(one - two).max()) for one, two in pairs)


def test_a_step_on_several_devices_is_the_step_on_one(steps: Any) -> None:
    # With everything that goes into a loss, learning BatchNorm, and eight photos on three devices.
    assert largest_difference(steps, "one", "start") > 0.1
    for case in ("other", "three"):
        assert largest_difference(steps, "one", case) < 1e-6
        np.testing.assert_allclose(steps[f"{case}/loss"], steps["one/loss"], rtol=1e-6)
        np.testing.assert_allclose(steps[f"{case}/accuracy"], steps["one/accuracy"], rtol=1e-6)


def test_so_is_one_in_float16(steps: Any) -> None:
    assert largest_difference(steps, "one-float16", "start") > 0.1
    assert largest_difference(steps, "one-float16", "one") > 0
    assert largest_difference(steps, "one-float16", "three-float16") < 2e-4


def test_each_device_gets_its_part_of_the_photos(steps: Any) -> None:
    assert set(steps["one/seen"]) == {8}
    assert sorted(steps["three/seen"]) == [2, 3, 3]


def test_a_gradient_that_overflows_on_the_second_device_alone_is_skipped_by_all(steps: Any) -> None:
    np.testing.assert_array_equal(steps["overflow/after"], steps["overflow/before"])
    assert steps["overflow/scale"] == 2**14  # half of what Keras begins with
    assert np.isfinite(steps["overflow/moved"]).all()
    assert not np.array_equal(steps["overflow/moved"], steps["overflow/before"])


def test_devices_drop_different_units(steps: Any) -> None:
    assert abs(steps["dropout/loss/1"] - steps["dropout/loss/2"]) > 0.01


def test_predictions_are_whole_and_in_order(steps: Any) -> None:
    for count in (1, 7):
        assert steps[f"logits/3/{count}"].shape == (count, 4)
        np.testing.assert_allclose(steps[f"logits/3/{count}"], steps[f"logits/1/{count}"], atol=1e-6)


def test_resumed_training_has_the_same_bits(steps: Any) -> None:
    assert steps["resumed/from"] == 2
    assert largest_difference(steps, "resumed", "whole") == 0
    np.testing.assert_array_equal(steps["resumed/loss"], steps["whole/loss"])


def test_training_goes_on_with_fewer_devices(steps: Any) -> None:
    # One epoch of three with other units dropped: near, and not the same.
    assert 0 < largest_difference(steps, "resumed-elsewhere", "whole") < 0.02
    np.testing.assert_array_equal(steps["resumed-elsewhere/loss"][:2], steps["whole/loss"][:2])


@pytest.mark.slow
def test_a_whole_run_on_two_devices(tiny_photos: Path, tmp_path: Path) -> None:
    settings = {"size": 32, "trainable_blocks": 1, "epochs": 2, "finetune_epochs": 1, "batch_size": 7}
    settings |= {"optimizer": "sgd", "dropout": 0.0, "val": 0.0, "views": 1, "truncate": "block_1"}
    one = train(tiny_photos, tmp_path / "one", TrainOptions(**settings))  # type: ignore[arg-type]
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = ["train", str(tiny_photos), "--out", str(tmp_path / "two"), *flags, "--devices", "cpu:0,/device:CPU:1"]
    done = subprocess.run(
        [sys.executable, "-c", TWO_CPUS, *command], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "training on 2 devices: CPU:0, CPU:1\n" in done.stderr
    two = Run.open(tmp_path / "two")
    assert one.document.devices == ("CPU:0",)
    assert two.document.devices == ("CPU:0", "CPU:1")
    assert two.document.config.others["devices"] == "cpu:0,/device:CPU:1"
    for array, other in zip(two.load_model().get_weights(), one.load_model().get_weights(), strict=True):
        np.testing.assert_allclose(array, other, atol=1e-4)


def test_the_head_alone_trains_on_no_device(tiny_photos: Path, tmp_path: Path) -> None:
    run = train(tiny_photos, tmp_path / "run", small.options(size=32, views=0, trainable_blocks=0, truncate="block_2"))
    assert run.document.devices == ()


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "GPU", "GPU:0;GPU:1", "TPU:0"])
def test_what_names_no_device_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"auto, a number from 1 on, or names such as GPU:0,GPU:1"):
        TrainOptions(devices=wrong)


def test_devices_named_twice_and_of_two_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        TrainOptions(devices="GPU:1,/gpu:1")
    with pytest.raises(InputError, match="wait for the CPU"):
        TrainOptions(devices="CPU:0,GPU:0")


@pytest.mark.parametrize("absent", ["2", "GPU:0", "CPU:0,CPU:1"])
def test_devices_that_are_not_there_are_refused_with_those_that_are(
    tiny_photos: Path, tmp_path: Path, absent: str
) -> None:
    with pytest.raises(InputError) as caught:
        train(tiny_photos, tmp_path / "run", small.options(size=32, devices=absent))
    assert f"devices={absent!r}" in str(caught.value)
    assert "TensorFlow sees CPU:0" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_one_device_is_the_cpu_here() -> None:
    for requested in ("auto", "1", "CPU:0", "/device:cpu:0"):
        assert training_devices(requested, step_photos=1) == ("CPU:0",)


GPUS = ("GPU:0", "GPU:1", "GPU:2", "GPU:3")


@pytest.mark.parametrize(
    ("requested", "step_photos", "chosen"),
    [
        ("auto", 32, GPUS),
        ("auto", 3, GPUS[:3]),
        ("2", 32, GPUS[:2]),
        ("GPU:3,gpu:1", 32, ("GPU:3", "GPU:1")),
        ("/device:GPU:2", 1, ("GPU:2",)),
        ("CPU:0", 32, ("CPU:0",)),
    ],
)
def test_of_four_gpus(requested: str, step_photos: int, chosen: tuple[str, ...]) -> None:
    assert choose_devices(requested, gpus=GPUS, cpus=("CPU:0",), step_photos=step_photos) == chosen


@pytest.mark.parametrize(
    ("requested", "step_photos", "said"),
    [
        ("5", 32, "TensorFlow sees GPU:0, GPU:1, GPU:2, GPU:3, CPU:0"),
        ("GPU:4", 32, "not all of them exist"),
        ("4", 3, "4 devices share 3 photos per step"),
    ],
)
def test_too_much_for_four_gpus(requested: str, step_photos: int, said: str) -> None:
    with pytest.raises(InputError) as caught:
        choose_devices(requested, gpus=GPUS, cpus=("CPU:0",), step_photos=step_photos)
    assert said in str(caught.value)
