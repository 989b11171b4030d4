"""``bench --batch``: several photos in one inference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from edgetl_device._lib.documents import to_json
from edgetl_device.bench import photoset, sweep
from edgetl_device.bench.latency import STAGES, Stopwatch
from edgetl_device.bench.memory import peak_rss_bytes
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.delegates.delegate import Delegate, parse_delegate
from edgetl_device.errors import InputError
from edgetl_device.runtime import open_runtime


@pytest.mark.parametrize("name", ["int8", "float32"])
@pytest.mark.parametrize("delegate", ["none", "xnnpack"])
def test_each_row_of_a_batch_is_answered_as_the_photo_alone(tiny: Bundle, name: str, delegate: str) -> None:
    if delegate == "xnnpack":
        pytest.importorskip("ai_edge_litert", reason="builds of tflite-runtime may apply no XNNPACK by themselves")
    chosen = parse_delegate(delegate)
    with Classifier(tiny, name, delegate=chosen) as one, Classifier(tiny, name, delegate=chosen, batch=4) as four:
        assert four.runtime.input.shape == (4, 32, 32, 3)
        pixels = [one.pixels(tiny.read(photo.file)) for photo in tiny.photos()][:7]
        alone = np.stack([one.run(photo) for photo in pixels])
        assert len({row.tobytes() for row in alone}) > 4
        # float32 may sum in another order; int8 may differ by one step of its output, 1/256.
        together = np.stack(four.run_batch(pixels[:4]) + four.run_batch(pixels[4:]))
        np.testing.assert_allclose(together, alone, atol=1e-6 if name == "float32" else 1 / 256)
        with pytest.raises(ValueError, match="5 photos for a batch of 4"):
            four.run_batch(pixels[:5])


def test_a_sample_is_one_inference_of_the_whole_batch(tiny: Bundle) -> None:
    photos = photoset.of_bundle(tiny).timed()
    ticks = itertools.accumulate(itertools.repeat(1_000_000), initial=0)
    with Classifier(tiny, "int8", batch=4) as classifier:
        fed: list[int] = []
        invoked: list[int] = []
        set_input, invoke = classifier.runtime.set_input, classifier.runtime.invoke
        classifier.runtime.set_input = lambda pixels, row=0: (fed.append(row), set_input(pixels, row))[1]
        classifier.runtime.invoke = lambda: (invoked.append(len(fed)), invoke())[1]
        watch = Stopwatch(classifier, photos, clock=lambda: next(ticks))
        watch.measure(0, min_inferences=2)
    assert fed == [0, 1, 2, 3] * 2
    assert invoked == [4, 8]
    # The clock ticks at each reading: four photos are decoded and resized, then there is one inference.
    assert [watch.samples.stages_ns[stage][0] for stage in STAGES] == [4_000_000, 4_000_000, 1_000_000, 1_000_000]


def test_batches_are_measured_side_by_side(tiny: Bundle) -> None:
    document = run_bench(
        tiny, BenchOptions(variants=["int8", "float32"], batch=(1, 4), duration=0.05, quick=True)
    ).to_json()
    assert document["settings"]["batches"] == [1, 4]
    runs = {(run["variant"], run["batch"]): run for run in document["runs"]}
    assert list(runs) == [("int8", 1), ("float32", 1), ("int8", 4), ("float32", 4)]
    for (name, batch), run in runs.items():
        total_s = sum(map(sum, run["samples_ns"].values())) / 1e9
        assert run["throughput_per_s"] == pytest.approx(batch * len(run["samples_ns"]["invoke"]) / total_s)
        assert len(run["answers"]["predicted"]) == 12
        assert run["answers"]["predicted"] == runs[name, 1]["answers"]["predicted"]
    turns = [tuple(sorted(runs, key=lambda key: runs[key]["windows"][number]["clock_s"])) for number in range(5)]
    assert len(set(turns)) > 1


def test_a_last_batch_that_is_not_full_is_answered(tiny: Bundle) -> None:
    (run,) = run_bench(tiny, BenchOptions(variants=["int8"], batch=(5,), duration=0.05, quick=True)).to_json()["runs"]
    assert run["accuracy"] == to_json(tiny.variant("int8").accuracy)


def test_what_cannot_take_a_batch_is_left_out_or_refused(tiny: Bundle) -> None:
    plan = sweep.plan(tiny, variants=None, threads=(1,), delegates=[None], batches=(1, 4))
    assert [str(one) for one in plan.setups][-1] == "int8, 1 thread, batch 4"
    left = [str(row) for row in plan.skipped if row.batch]
    assert left == ["float32-onnx, batch 4", "int8-onnx, batch 4"]
    why = "models in the onnx format have a fixed batch of 1, not 4"
    assert {row.why for row in plan.skipped if row.batch} == {why}
    for wrong, said in (
        ({"variants": ["float32-onnx"], "batches": (4,)}, "fixed batch of 1"),
        ({"variants": ["int8"], "batches": (0,)}, "batch 0"),
        ({"variants": ["int8"], "batches": (257,)}, "batch 257"),
        ({"variants": ["int8"], "batches": ()}, "no batch given"),
    ):
        with pytest.raises(InputError, match=said):
            sweep.plan(tiny, threads=(1,), delegates=[None], **wrong)
    with pytest.raises(InputError, match="scenario"):
        run_bench(tiny, BenchOptions(batch=(4,), scenario="offline"))


def test_libraries_take_no_batch(tiny: Bundle) -> None:
    model, library = tiny.read("models/int8.tflite"), Delegate("any.so", "any.so")
    with pytest.raises(InputError, match=r"any\.so takes models with a batch of 1, not 4"):
        open_runtime(model, "tflite", delegate=library, batch=4)


def test_peak_memory_is_that_of_the_batch(tiny: Bundle) -> None:
    one, many = (peak_rss_bytes(tiny.path, "float32", 1, batch=batch) for batch in (1, 256))
    assert isinstance(one, int)
    assert isinstance(many, int)
    assert many > one + 3e6


def test_a_batch_is_in_the_name_of_a_setup(tiny: Bundle) -> None:
    setup: Any = sweep.Setup(tiny.variant("int8"), parse_delegate("xnnpack"), 2, 8)
    assert str(setup) == "int8, 2 threads, batch 8, xnnpack"
