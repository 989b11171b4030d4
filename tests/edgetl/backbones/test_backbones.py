"""Every backbone of the registry: its graph, its scaling, its blocks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import keras_models
import numpy as np
import pytest
from bases import LARGE, MOBILE, NONE, SIZE, narrow, photo, untouched

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES, backbone, blocks, build_base, resolve_weights
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

pytestmark = pytest.mark.no_cover

EVERY = pytest.mark.parametrize("name", BACKBONES)
# The large ones take seconds each to build.
EVERY_GRAPH = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in MOBILE else pytest.mark.slow) for name in BACKBONES]
)


# The registry


def test_importing_the_registry_loads_neither_numpy_nor_keras() -> None:
    code = "import sys, edgetl.backbones; print({'numpy', 'keras', 'tensorflow', 'h5py'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="mobilenet_v9") as caught:
        backbone("mobilenet_v9")
    assert all(name in str(caught.value) for name in BACKBONES)


@EVERY_GRAPH
def test_wrong_width_and_size_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=re.escape("no width 0.6")):
        resolve_weights(name, width=0.6, request="none")
    with pytest.raises(InputError, match="input size 16 is too small"):
        build_base(name, size=square(16), width=1.0, weights=NONE)


@EVERY
def test_every_row_names_its_source_and_terms(name: str) -> None:
    row = BACKBONES[name]
    assert row.name == name
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|no paper", row.paper)
    assert re.match(r"Apache-2\.0|MIT|BSD-3-Clause|CC BY", row.licence)


# The graph


@EVERY_GRAPH
def test_the_graph_is_flat_from_raw_pixels_to_a_feature_map(name: str) -> None:
    base = untouched(name)
    size = max(SIZE, BACKBONES[name].min_size)
    assert base.input.name == base.operations[0].name == "pixels"
    assert base.input.shape == (None, size, size, 3)
    assert base.input.dtype == "float32"
    assert not any(isinstance(layer, keras().Model) for layer in base.layers)
    assert [layer.name for layer in base.layers].index("scale") == 1
    assert sum(isinstance(layer, keras().layers.Rescaling) for layer in base.layers) == (
        type(base.get_layer("scale")).__name__ == "Rescaling"
    )
    assert len(base.output.shape) == 4


@pytest.mark.parametrize(
    ("name", "width"),
    [
        (name, width)
        for name in MOBILE
        if name in keras_models.FUNCTIONS
        for width in sorted({BACKBONES[name].widths[0], BACKBONES[name].widths[-1]})
    ],
)
def test_the_narrowest_and_the_widest_are_the_ones_of_keras(name: str, width: float) -> None:
    theirs = keras_models.build(name, size=SIZE, width=width)
    ours = build_base(name, size=square(SIZE), width=width, weights=NONE)
    assert [tuple(v.shape) for v in ours.weights] == [tuple(v.shape) for v in theirs.weights]
    # The same weights on scaled pixels give the same features, so only the scaling was added.
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(photo()), theirs(keras_models.scaled(name, photo())), rtol=1e-4, atol=1e-5)


@EVERY_GRAPH
def test_the_scaling_in_the_graph_is_what_the_weights_were_trained_with(name: str) -> None:
    values = np.random.default_rng(4).integers(0, 256, (4, 5, 5, 3)).astype(np.float32)
    values[0, 0, 0], values[0, 0, 1] = 0, 255
    if name.startswith("efficientnet_lite"):
        expected = (values - 127) / 128
    elif name == "simple_cnn":
        expected = values / 127.5 - 1
    elif name.startswith("mobilenet_v3"):
        model = keras_models.build(name, size=SIZE)
        expected = next(layer for layer in model.layers if isinstance(layer, keras().layers.Rescaling))(values)
    else:
        expected = keras_models.scaled(name, values)
    np.testing.assert_allclose(untouched(name).get_layer("scale")(values), expected, atol=1e-4)


@pytest.mark.parametrize("name", MOBILE)
def test_layer_names_do_not_depend_on_what_was_built_before_and_survive_saving(name: str, tmp_path: Path) -> None:
    base = narrow(name)
    base.save(tmp_path / "base.keras")
    again = keras().models.load_model(tmp_path / "base.keras")
    first, second, third = ([one.name for one in model.operations] for model in (untouched(name), base, again))
    assert first == second == third
    assert len(set(first)) == len(first)
    np.testing.assert_array_equal(again(photo()), base(photo()))


@pytest.mark.parametrize(
    "name", ["inception_v3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "nasnet_mobile"))]
)
def test_layers_without_a_name_of_their_own_are_counted_within_the_model(name: str) -> None:
    base = untouched(name)
    keras().layers.Conv2D(1, 1), keras().layers.Activation("relu"), keras().layers.ZeroPadding2D()
    again = [one.name for one in narrow(name, base.input.shape[1]).operations]
    assert again == [one.name for one in base.operations]
    for kind in ("conv2d", "batch_normalization", "activation"):
        numbers = {int(found[1]) for one in again if (found := re.fullmatch(rf"{kind}_(\d+)", one))}
        assert numbers == set(range(1, len(numbers) + 1))


@pytest.mark.parametrize(("name", "millions"), [("lite0", 4.7), ("lite1", 5.4), ("lite2", 6.1)])
def test_efficientnet_lite_has_the_size_that_its_authors_state(name: str, millions: float) -> None:
    # TensorFlow's TPU models, efficientnet/lite, with a classifier of 1280 x 1000 weights and 1000 biases.
    base = untouched(f"efficientnet_{name}")
    trainable = sum(variable.shape.num_elements() for variable in base.trainable_variables)
    assert round((trainable + 1_281_000) / 1e6, 1) == millions


# Blocks


@EVERY_GRAPH
def test_one_tensor_crosses_each_block_boundary(name: str) -> None:
    base = untouched(name)
    found = blocks(name, base)
    assert len(found) == BACKBONES[name].block_count
    assert len({block.name for block in found}) == len(found)
    order = [operation.name for operation in base.operations]
    for block in found:
        # The inputs of the block's last layer; the order of parallel branches is arbitrary.
        before = ancestors(base, block.last_layer)
        after = [operation for operation in base.operations if operation.name not in before]
        read = [tensor for operation in after for tensor in operation._inbound_nodes[0].input_tensors] + [base.output]
        sources = {tensor._keras_history.operation.name for tensor in read}
        assert sources & before == {block.last_layer}
    ends = [order.index(block.last_layer) for block in found]
    assert ends == sorted(ends)


def ancestors(base, name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            node = next(operation for operation in base.operations if operation.name == one)._inbound_nodes[0]
            waiting += [tensor._keras_history.operation.name for tensor in node.input_tensors]
    return found


@pytest.mark.parametrize("name", [name for name in MOBILE if name != "simple_cnn"])
def test_a_block_holds_whole_pairs_and_units(name: str) -> None:
    base = untouched(name)
    order = [operation.name for operation in base.operations]
    ends = [order.index(block.last_layer) for block in blocks(name, base)]
    layers = {layer.name: layer for layer in base.layers}
    start = ends[0] + 1
    for end in ends[1:]:
        inside = [layers[one] for one in order[start : end + 1] if one in layers]
        depthwise = [layer for layer in inside if isinstance(layer, keras().layers.DepthwiseConv2D)]
        assert len(depthwise) == 1
        pointwise = [layer.name for layer in inside if type(layer).__name__ == "Conv2D"]
        assert any("project" in one or "conv_pw" in one for one in pointwise)
        start = end + 1


def ends_of(*names: str) -> dict[str, list[str]]:
    return {name: [block.last_layer for block in blocks(name, untouched(name))] for name in names}


def test_block_names_and_ends_are_stable() -> None:
    ends = ends_of(*MOBILE)
    names = {name: [block.name for block in blocks(name, untouched(name))] for name in MOBILE}
    assert ends["mobilenet_v1"] == [f"conv_pw_{number}_relu" for number in range(1, 14)]
    assert ends["mobilenet_v2"][:3] == ["expanded_conv_project_BN", "block_1_project_BN", "block_2_add"]
    assert ends["mobilenet_v2"][-2:] == ["block_15_add", "block_16_project_BN"]
    assert names["mobilenet_v2"] == [f"block_{number}" for number in range(17)]
    for suffix in ("", "_minimalistic"):
        assert ends[f"mobilenet_v3_small{suffix}"][-1] == "expanded_conv_10_add"
        assert ends[f"mobilenet_v3_large{suffix}"][0] == "expanded_conv_add"
    assert ends["efficientnet_lite0"][:3] == ["block1a_project_bn", "block2a_project_bn", "block2b_add"]
    assert names["efficientnet_lite0"][-5:] == ["block6a", "block6b", "block6c", "block6d", "block7a"]
    assert ends["simple_cnn"] == [f"block_{number}_pool" for number in range(1, 5)]


@pytest.mark.slow
def test_block_ends_of_large_backbones_are_stable() -> None:
    ends = ends_of(*LARGE)
    for name in ("efficientnet_lite1", "efficientnet_lite2"):
        assert ends[name][:4] == ["block1a_project_bn", "block2a_project_bn", "block2b_add", "block2c_add"]
        assert ends[name][-3:] == ["block6d_add", "block6e_add", "block7a_project_bn"]
    assert ends["resnet50"][0] == "conv2_block1_out"
    assert ends["densenet121"][5:8] == ["conv2_block6_concat", "pool2_pool", "conv3_block1_concat"]
    for name in ("vgg16", "vgg19"):
        assert ends[name] == [f"block{number}_pool" for number in range(1, 6)]
    assert ends["inception_v3"] == [f"mixed{number}" for number in range(11)]
    assert ends["nasnet_mobile"] == ["normal_concat_12"]


@EVERY_GRAPH
def test_splitting_at_any_block_and_recomposing_changes_nothing(name: str) -> None:
    base = untouched(name)
    pixels = photo(base.input.shape[1])
    expected = np.asarray(base(pixels, training=False))
    assert expected.std() > 0
    found = blocks(name, base)
    # Nothing follows the last block of V1, so the last boundary is before it.
    places = {0, len(found) // 2, len(found) - 2} if name in MOBILE else {len(found) // 2}
    for place in places - {len(found) - 1} if len(found) > 1 else ():
        cut = base.get_layer(found[place].last_layer).output
        prefix, tail = keras().Model(base.input, cut), keras().Model(cut, base.output)
        np.testing.assert_array_equal(tail(prefix(pixels, training=False), training=False), expected)
