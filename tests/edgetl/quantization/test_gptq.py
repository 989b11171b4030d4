"""GPTQ: all weights are on an int8 grid that converters recover, rounded to minimize the output error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgetl.quantization.preparation.gptq import nearest, round_gptq, step_of

pytestmark = pytest.mark.no_cover

Array = npt.NDArray[np.float32]


def _layer(seed: int = 0, *, groups: int = 3, inputs: int = 24, outputs: int = 8) -> tuple[Array, Array]:
    """Return a kernel [groups, inputs, outputs] and its inputs, [groups, rows, inputs], correlated as after ReLU."""
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(groups, inputs, outputs)) * random.uniform(0.01, 3, (groups, 1, outputs))
    shared = random.normal(size=(groups, 2000, 4)) @ random.normal(size=(groups, 4, inputs))
    read = np.maximum(shared + 0.3 * random.normal(size=shared.shape), 0)
    return kernel.astype(np.float32), read.astype(np.float32)


def _gram(read: Array) -> npt.NDArray[np.float64]:
    wide = read.astype(np.float64)
    return wide.transpose(0, 2, 1) @ wide / read.shape[1]


def _output_error(kernel: Array, rounded: Array, read: Array) -> npt.NDArray[np.float64]:
    """Return the mean squared error of each group's outputs."""
    return np.asarray(((read.astype(np.float64) @ (rounded - kernel).astype(np.float64)) ** 2).mean((1, 2)))


@pytest.mark.parametrize("per_tensor", [False, True])
def test_every_weight_is_a_whole_step_and_the_largest_keeps_its_value(per_tensor: bool) -> None:
    kernel, read = _layer()
    step = step_of(kernel, per_tensor=per_tensor)
    for rounded in (nearest(kernel, step), round_gptq(kernel, step, _gram(read))):
        levels = rounded / step
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
        assert np.abs(levels).max() <= 127 * (1 + 1e-6)
        assert (rounded.shape, rounded.dtype) == (kernel.shape, np.float32)
        # The grid can be recovered from the rounded kernel alone.
        np.testing.assert_allclose(step_of(rounded, per_tensor=per_tensor), step, rtol=1e-6)
        largest = np.abs(kernel) == np.abs(kernel).max(axis=None if per_tensor else 1, keepdims=True)
        np.testing.assert_allclose(rounded[largest], kernel[largest], rtol=1e-6)


def test_the_step_is_a_127th_of_the_largest_weight() -> None:
    kernel, _ = _layer()
    assert step_of(kernel).shape == (3, 1, 8)
    np.testing.assert_allclose(step_of(kernel)[1, 0, 5], np.abs(kernel[1, :, 5]).max() / 127, rtol=1e-6)
    assert step_of(kernel, per_tensor=True).shape == (1, 1, 1)
    np.testing.assert_allclose(step_of(kernel, per_tensor=True), np.abs(kernel).max() / 127, rtol=1e-6)


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_output_of_every_group_is_clearly_nearer_than_with_each_weight_alone(seed: int, per_tensor: bool) -> None:
    kernel, read = _layer(seed)
    step = step_of(kernel, per_tensor=per_tensor)
    alone = _output_error(kernel, nearest(kernel, step), read)
    rounded = round_gptq(kernel, step, _gram(read))
    assert (_output_error(kernel, rounded, read) < 0.6 * alone).all()
    # Also on other inputs of the same distribution.
    half = round_gptq(kernel, step, _gram(read[:, ::2]))
    unseen = read[:, 1::2]
    assert (_output_error(kernel, half, unseen) < 0.7 * _output_error(kernel, nearest(kernel, step), unseen)).all()


def test_inputs_that_have_nothing_in_common_leave_each_weight_at_its_nearest_step() -> None:
    kernel, _ = _layer()
    gram = np.stack([np.diag(np.random.default_rng(group).uniform(0.1, 5, 24)) for group in range(3)])
    np.testing.assert_array_equal(round_gptq(kernel, step_of(kernel), gram), nearest(kernel, step_of(kernel)))


def test_groups_and_outputs_do_not_see_each_other() -> None:
    kernel, read = _layer()
    step, gram = step_of(kernel), _gram(read)
    whole = round_gptq(kernel, step, gram)
    for group in range(3):
        one = slice(group, group + 1)
        np.testing.assert_allclose(round_gptq(kernel[one], step[one], gram[one]), whole[one], rtol=1e-6)
    np.testing.assert_allclose(round_gptq(kernel[..., 2:3], step[..., 2:3], gram), whole[..., 2:3], rtol=1e-6)


def test_the_order_of_inputs_does_not_matter() -> None:
    kernel, read = _layer()
    order = np.random.default_rng(9).permutation(24)
    shuffled = round_gptq(kernel[:, order], step_of(kernel), _gram(read[..., order]))
    np.testing.assert_allclose(shuffled, round_gptq(kernel, step_of(kernel), _gram(read))[:, order], rtol=1e-6)


def test_outputs_without_weights_stay_zero() -> None:
    kernel, read = _layer()
    kernel[:, :, 3] = 0
    kernel[1] = 0
    step = step_of(kernel)
    assert (step[:, :, 3] == 1).all()
    for rounded in (nearest(kernel, step), round_gptq(kernel, step, _gram(read))):
        assert not rounded[:, :, 3].any()
        assert not rounded[1].any()
        assert rounded[0, :, 2].any()


def test_inputs_that_are_always_zero_change_nothing_else() -> None:
    kernel, read = _layer()
    read[:, :, [2, 11]] = 0
    read[1] = 0
    step = step_of(kernel)
    rounded = round_gptq(kernel, step, _gram(read))
    assert np.isfinite(rounded).all()
    np.testing.assert_array_equal(rounded[1], nearest(kernel, step)[1])
    np.testing.assert_array_equal(rounded[:, [2, 11]], nearest(kernel, step)[:, [2, 11]])
    errors, alone = (_output_error(kernel, one, read) for one in (rounded, nearest(kernel, step)))
    assert (errors[[0, 2]] < 0.6 * alone[[0, 2]]).all()
