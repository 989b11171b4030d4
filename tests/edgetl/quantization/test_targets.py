"""Requirements of each target: met by files made for it, and refused otherwise."""

from __future__ import annotations

from functools import cache
from typing import Any

import lively
import pytest
import small

from edgetl.export import conversion
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.metadata import with_metadata
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.preparation.bias_correction import correct_weights
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.quantization.targets import TARGETS
from edgetl_device.errors import GateFailed, InputError

NAMES = pytest.mark.parametrize("name", TARGETS)
LABELS = [f"class {number}" for number in range(lively.CLASSES)]


def _photos(count: int) -> Any:
    size = lively.small("simple_cnn").input.shape[1]
    return lively.photos(count, first_seed=900)[:, :size, :size]


@cache
def _made_for(name: str, keep_float: tuple[str, ...] = ()) -> bytes:
    """Return an int8 file as the pipeline makes it for a target, without labels."""
    target = TARGETS[name]
    folded = fold_batch_norm(lively.small("simple_cnn"))
    corrected = correct_weights(folded, _photos(8), per_tensor_dense=target.per_tensor_dense, keep_float=keep_float)
    return int8_tflite(
        corrected,
        _photos(8),
        dtype=target.dtype,
        per_tensor_dense=target.per_tensor_dense,
        keep_float=keep_float,
    )


def _labelled(model: bytes) -> bytes:
    return with_metadata(model, name="test", labels=LABELS, description="")


@NAMES
def test_a_file_made_for_a_target_fits_it_and_runs(name: str) -> None:
    model = _made_for(name) if name == "mcu" else _labelled(_made_for(name))
    TARGETS[name].check(model, "int8")
    photos = _photos(8)
    expected = lively.predictions(lively.small("simple_cnn"), photos)
    found = lively.run(model, "tflite", photos)
    assert abs(found - expected).mean() < 0.3 * abs(found - expected[::-1]).mean()


@NAMES
def test_input_and_output_have_the_type_of_the_target(name: str) -> None:
    model = describe(_made_for(name))
    wanted = "int8" if name == "mcu" else "uint8"
    (pixels,), (probabilities,) = model.inputs, model.outputs
    zero_point = -128 if wanted == "int8" else 0
    for index, scale in ((pixels, 1.0), (probabilities, 1 / 256)):
        found = model.tensors[index]
        assert (found.dtype, found.scales, found.zero_points) == (wanted, (scale,), (zero_point,))


@NAMES
def test_dense_weights_have_one_scale_where_hardware_wants_it(name: str) -> None:
    model = describe(_made_for(name))
    (dense,) = (operator for operator in model.operators if operator.name == "FULLY_CONNECTED")
    scales = model.tensors[dense.inputs[1]].scales
    assert len(scales) == (1 if name in ("coral", "mcu") else lively.CLASSES)
    convolutions = [operator for operator in model.operators if operator.name == "CONV_2D"]
    assert len(convolutions) == 4
    for operator in convolutions:
        weights = model.tensors[operator.inputs[1]]
        assert len(weights.scales) == weights.shape[0] > 1


@pytest.mark.parametrize(("name", "said"), [("coral", "would stay on the CPU"), ("mcu", "DEQUANTIZE")])
def test_a_float_layer_is_refused_where_there_is_no_float(name: str, said: str) -> None:
    assert not TARGETS[name].float_layers
    with pytest.raises(GateFailed, match=said) as caught:
        TARGETS[name].check(_made_for(name, ("block_3_conv",)), "int8")
    assert f"int8 does not fit --target {name}" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    TARGETS["generic"].check(_made_for(name, ("block_3_conv",)), "int8")


def test_a_float_file_is_refused_by_coral() -> None:
    with pytest.raises(GateFailed, match="operator 0"):
        TARGETS["coral"].check(conversion.float32_tflite(lively.small("simple_cnn")), "float32")


def test_mediapipe_needs_labels() -> None:
    with pytest.raises(GateFailed, match="no labels"):
        TARGETS["mediapipe"].check(_made_for("mediapipe"), "int8")
    TARGETS["mediapipe"].check(_labelled(_made_for("mediapipe")), "int8")


def test_an_unknown_target_and_one_without_int8_are_refused() -> None:
    text = small.refused(small.edgetl("quantize", "runs/none", "--int8", "--target", "pico"))
    assert "--target pico" in text
    for name in TARGETS:
        assert name in text
    with pytest.raises(InputError, match="target='coral' with int8=False"):
        QuantizeOptions(int8=False, target="coral")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"min_agreement": 1.01}, "min_agreement=1.01"),
        ({"min_agreement": float("nan")}, "min_agreement=nan"),
        ({"max_drop": float("nan")}, "max_drop=nan"),
        ({"max_drop": -1}, "max_drop=-1: must be 0 to 100"),
        ({"int8": False, "max_drop": 1.0}, "max_drop=1.0 with int8=False"),
        ({"int8": False, "min_agreement": 0.9}, "min_agreement=0.9 with int8=False"),
    ],
)
def test_bounds_that_mean_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        QuantizeOptions(**settings)
