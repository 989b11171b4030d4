"""A user's weights files: those that match a backbone, match it in part, or do not match."""

from __future__ import annotations

import re
from pathlib import Path

import keras_models
import numpy as np
import pytest
from bases import SIZE, assert_same, borrowed, from_file, narrow, photo, randomize, write_keras_2_file

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES, build_base, resolve_weights
from edgetl.backbones.arrays import load_into, match
from edgetl.backbones.formats import read_arrays
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

pytestmark = pytest.mark.no_cover


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """A narrow MobileNetV2 with distinct values in every variable, saved in every format."""
    folder = tmp_path_factory.mktemp("weights")
    base = narrow("mobilenet_v2")
    randomize(base)
    layers = keras().layers
    topped = keras().Model(base.input, layers.Dense(3, name="a_top")(layers.GlobalAveragePooling2D()(base.output)))
    nested = keras().Sequential([keras().Input((SIZE, SIZE, 3)), base, layers.Flatten(), layers.Dense(2)])
    for ending in ("h5", "weights.h5", "keras"):
        for kind, model in (("plain", base), ("topped", topped), ("nested", nested)):
            save = model.save_weights if ending == "weights.h5" else model.save
            save(folder / f"{kind}.{ending}")
    return base, folder


@pytest.mark.parametrize("kind", ["plain", "topped", "nested"])
@pytest.mark.parametrize("ending", ["h5", "weights.h5", "keras"])
def test_a_file_with_or_without_top_sets_every_variable(trained, kind: str, ending: str, capsys) -> None:
    source, folder = trained
    path = folder / f"{kind}.{ending}"
    weights = resolve_weights("mobilenet_v2", width=0.35, request=str(path))
    assert (weights.source, weights.path, weights.sha256) == ("file", path, sha256_file(path))
    assert_same(narrow("mobilenet_v2", 32, weights), source)
    assert capsys.readouterr().err == ""


def test_a_file_of_another_width_names_the_layer_and_the_shapes(trained) -> None:
    weights = resolve_weights("mobilenet_v2", width=0.5, request=str(trained[1] / "plain.keras"))
    with pytest.raises(InputError, match=r"layer \w+: \w+ has shape \(.*\), expected \(.*\) \(and \d+ more layers\)"):
        build_base("mobilenet_v2", size=square(32), width=0.5, weights=weights)


def test_a_file_of_another_backbone_names_the_missing_layers(trained) -> None:
    weights = resolve_weights("mobilenet_v1", width=0.25, request=str(trained[1] / "plain.h5"))
    with pytest.raises(InputError, match=r"no arrays for \d+ of \d+ layers: .*conv_dw_1, ") as caught:
        narrow("mobilenet_v1", weights=weights)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("other", ["mobilenet_v3_small", "mobilenet_v3_large_minimalistic"])
def test_a_relative_with_the_same_layer_names_is_refused(other: str, tmp_path: Path) -> None:
    base = narrow("mobilenet_v3_small_minimalistic", 32)
    narrow(other, 32).save_weights(tmp_path / "other.weights.h5")
    before = base.get_weights()
    with pytest.raises(InputError, match="does not fit this backbone"):
        load_into(base, from_file(tmp_path / "other.weights.h5"))
    for one, old in zip(base.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, old)


def test_a_file_with_more_blocks_is_refused(tmp_path: Path) -> None:
    base = narrow("mobilenet_v2")
    extra = keras().layers.Conv2D(1, 1, name="block_17_expand")(base.output)
    keras().Model(base.input, extra).save_weights(tmp_path / "more.weights.h5")
    weights = resolve_weights("mobilenet_v2", width=0.35, request=str(tmp_path / "more.weights.h5"))
    with pytest.raises(InputError, match="does not have: block_17_expand"):
        narrow("mobilenet_v2", weights=weights)


@pytest.mark.parametrize("ending", ["h5", "weights.h5", "keras"])
def test_a_file_that_ends_early_leaves_the_rest_random_and_says_so(
    trained, tmp_path: Path, ending: str, capsys
) -> None:
    source, _ = trained
    short = keras().Model(source.input, source.get_layer("block_13_project_BN").output)
    path = tmp_path / f"short.{ending}"
    (short.save_weights if ending == "weights.h5" else short.save)(path)
    base = narrow("mobilenet_v2", 32)
    before = {layer.name: layer.get_weights() for layer in base.layers}
    report = load_into(base, from_file(path))
    missing = [layer.layer for layer in report.of("missing")]
    assert (missing[0], missing[-1]) == ("block_14_expand", "Conv_1_bn")
    assert len(missing) == len([layer for layer in source.layers if layer.weights]) - len(report.of("set"))
    for layer in base.layers:
        expected = before[layer.name] if layer.name in missing else source.get_layer(layer.name).get_weights()
        for ours, theirs in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"{path}: sets {len(report.of('set'))} of 104 layers; from block_14_expand on weights are random: "
        "--trainable-blocks 3 or more trains them"
    )


@pytest.mark.parametrize("gap", ["Conv1", "block_7_depthwise", "block_15_project_BN"])
def test_a_file_with_a_gap_is_refused(trained, tmp_path: Path, gap: str) -> None:
    arrays = {variable.path: np.asarray(variable) for variable in trained[0].weights}
    np.savez(tmp_path / "gap.npz", **{name: array for name, array in arrays.items() if not name.startswith(f"{gap}/")})
    with pytest.raises(InputError, match=f"no arrays for 1 of 104 layers: {gap}\n"):
        load_into(narrow("mobilenet_v2", 32), from_file(tmp_path / "gap.npz"))


def test_a_stem_alone_is_not_a_backbone(trained, tmp_path: Path) -> None:
    stem = keras().Model(trained[0].input, trained[0].get_layer("expanded_conv_depthwise").output)
    stem.save(tmp_path / "stem.keras")
    with pytest.raises(InputError, match="no arrays for 101 of 104 layers"):
        load_into(narrow("mobilenet_v2", 32), from_file(tmp_path / "stem.keras"))


def test_a_matching_tells_every_layer_and_changes_none(trained, tmp_path: Path) -> None:
    source, _ = trained
    arrays = {variable.path: np.asarray(variable) for variable in source.weights}
    del arrays["Conv_1/kernel"], arrays["block_3_expand_BN/beta"]
    arrays["block_2_expand/kernel"] = np.zeros((1, 1, 8, 5))
    arrays["my_head/kernel"] = np.zeros((3, 3))
    arrays["block_20_expand/kernel"] = np.zeros((1, 1, 8, 5))
    np.savez(tmp_path / "some.npz", **arrays)
    base = narrow("mobilenet_v2", 32)
    before = base.get_weights()
    found = match(base, from_file(tmp_path / "some.npz"))
    assert [layer.layer for layer in found.of("missing")] == ["Conv_1"]
    assert {layer.layer for layer in found.of("other shape")} == {"block_2_expand", "block_3_expand_BN"}
    assert set(found.unused) == {"my_head", "block_20_expand"}
    assert found.strangers == ("block_20_expand",)
    assert len(found.of("set")) == 104 - 3
    for one, old in zip(base.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, old)


@pytest.mark.parametrize("content", [b"", b"not a weights file", b"PK\x03\x04 half a zip", b"\x89HDF\r\n\x1a\n half"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.h5").write_bytes(content)
    weights = resolve_weights("mobilenet_v2", width=0.35, request=str(tmp_path / "bad.h5"))
    with pytest.raises(InputError, match=r"bad\.h5: not a readable weights file"):
        narrow("mobilenet_v2", weights=weights)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled_from_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **{"Conv_1/kernel": np.array([Touch(tmp_path / "made")], object)})
    with pytest.raises(InputError, match=r"bad\.npz: not a readable weights file"):
        read_arrays((tmp_path / "bad.npz").read_bytes(), "bad.npz")
    assert not (tmp_path / "made").exists()


def test_missing_files_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        resolve_weights("mobilenet_v2", width=1.0, request="imagnet")
    (tmp_path / "weights.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="unknown format"):
        resolve_weights("mobilenet_v2", width=1.0, request=str(tmp_path / "weights.pkl"))


def test_a_file_that_changes_after_it_was_recorded_is_refused(trained, tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes((trained[1] / "plain.h5").read_bytes())
    weights = resolve_weights("mobilenet_v2", width=0.35, request=str(path))
    path.write_bytes((trained[1] / "topped.h5").read_bytes())
    with pytest.raises(InputError, match="changed while"):
        narrow("mobilenet_v2", weights=weights)


@pytest.mark.parametrize("name", ["inception_v3", pytest.param("nasnet_mobile", marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ["h5", pytest.param("weights.h5", marks=pytest.mark.slow)])
def test_layers_that_keras_counted_in_another_process_are_found(name: str, ending: str, tmp_path: Path) -> None:
    """Their names in the file start at arbitrary numbers: conv2d_94, activation_188."""
    size = max(SIZE, BACKBONES[name].min_size)
    theirs = keras_models.build(name, size=size)
    randomize(theirs)
    path = tmp_path / f"theirs.{ending}"
    (theirs.save_weights if ending == "weights.h5" else theirs.save)(path)
    pixels = photo(size)
    with borrowed(name) as ours:
        report = load_into(ours, from_file(path))
        predictions = np.asarray(ours(pixels))
    assert {layer.status for layer in report.layers} == {"set"}
    assert not report.unused
    expected = theirs(keras_models.scaled(name, pixels))
    np.testing.assert_allclose(predictions, expected, rtol=1e-3, atol=1e-3 * predictions.max())


def test_the_scaling_stays_the_registrys_whatever_a_file_has(tmp_path: Path) -> None:
    with borrowed("vgg16") as base:
        before = base.get_layer("scale").get_weights()
        arrays = {variable.path: np.zeros(variable.shape, np.float32) for variable in base.weights}
        assert "scale/kernel" in arrays
        np.savez(tmp_path / "zeros.npz", **arrays)
        assert load_into(base, from_file(tmp_path / "zeros.npz")).unused == ()
        for one, old in zip(base.get_layer("scale").get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, old)
        assert not np.any(base.get_layer("block1_conv1").kernel)


def test_slashed_names_of_keras_2_are_found(tmp_path: Path) -> None:
    # expanded_conv_1_depthwise_bn was expanded_conv_1/depthwise/BatchNorm, conv_1 was Conv_1.
    def rename(name: str) -> str:
        name = re.sub(r"_bn$", "/BatchNorm", name)
        return re.sub(r"^(expanded_conv(?:_\d+)?)_(\w)", r"\1/\2", name).replace("conv_1/B", "Conv_1/B")

    source = narrow("mobilenet_v3_small")
    randomize(source)
    write_keras_2_file(tmp_path / "v3.h5", source, rename)
    weights = resolve_weights("mobilenet_v3_small", width=0.75, request=str(tmp_path / "v3.h5"))
    assert_same(narrow("mobilenet_v3_small", 32, weights), source)
