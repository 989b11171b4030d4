"""Every backbone of the registry: its graph, its scaling, its blocks, and where its weights come from."""

from __future__ import annotations

import functools
import http.server
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from edgetl.backbones import BACKBONES, ResolvedWeights, backbone, blocks, build_base, resolve_weights
from edgetl.backbones.weights import download
from edgetl.extras import keras
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.files import sha256_file

NONE = ResolvedWeights("none", None, None, "none")
SIZE = 64
EVERY = pytest.mark.parametrize("name", BACKBONES)


def narrow(name: str, size: int = SIZE, weights: ResolvedWeights = NONE):
    return build_base(name, size=size, width=BACKBONES[name].widths[0], weights=weights)


@functools.cache
def untouched(name: str):
    """One base for all tests that only look at it."""
    return narrow(name)


def photo(size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.float32)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Keras cache, and a proxy that refuses every connection."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path / "keras" / "models"


# The registry


def test_importing_the_registry_loads_neither_numpy_nor_keras() -> None:
    code = "import sys, edgetl.backbones; print({'numpy', 'keras', 'tensorflow', 'h5py'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="mobilenet_v9") as caught:
        backbone("mobilenet_v9")
    assert all(name in str(caught.value) for name in BACKBONES)


@EVERY
def test_wrong_width_and_size_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=re.escape("no width 0.6")):
        resolve_weights(name, width=0.6, request="none")
    with pytest.raises(InputError, match="input size 16 is too small"):
        build_base(name, size=16, width=1.0, weights=NONE)


# The graph


@EVERY
def test_the_graph_is_flat_from_raw_pixels_to_a_feature_map(name: str) -> None:
    base = untouched(name)
    assert base.input.name == base.operations[0].name == "pixels"
    assert base.input.shape == (None, SIZE, SIZE, 3)
    assert base.input.dtype == "float32"
    assert not any(isinstance(layer, keras().Model) for layer in base.layers)
    assert sum(isinstance(layer, keras().layers.Rescaling) for layer in base.layers) == 1
    assert len(base.output.shape) == 4
    assert base(photo()).shape[0] == 1


@EVERY
@pytest.mark.parametrize("which", [0, -1])
def test_the_narrowest_and_the_widest_are_the_ones_of_keras(name: str, which: int) -> None:
    functions = {
        "mobilenet_v1": keras().applications.MobileNet,
        "mobilenet_v2": keras().applications.MobileNetV2,
        "mobilenet_v3_small": keras().applications.MobileNetV3Small,
        "mobilenet_v3_large": keras().applications.MobileNetV3Large,
    }
    width = BACKBONES[name].widths[which]
    theirs = functions[name](input_shape=(SIZE, SIZE, 3), alpha=width, include_top=False, weights=None)
    ours = build_base(name, size=SIZE, width=width, weights=NONE)
    assert [tuple(v.shape) for v in ours.weights] == [tuple(v.shape) for v in theirs.weights]
    # The same weights on scaled pixels give the same features, so nothing but the scaling was added.
    ours.set_weights(theirs.get_weights())
    scaled = photo() if name.startswith("mobilenet_v3") else photo() / 127.5 - 1
    np.testing.assert_allclose(ours(photo()), theirs(scaled), rtol=1e-4, atol=1e-5)


@EVERY
def test_the_scaling_in_the_graph_is_what_keras_prescribes(name: str) -> None:
    values = np.arange(256, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 1, 3), np.float32)
    applications = keras().applications
    if name.startswith("mobilenet_v3"):
        # Keras' preprocess_input does nothing for V3: the scaling is a layer of its model.
        model = applications.MobileNetV3Small(input_shape=(SIZE, SIZE, 3), weights=None, include_top=False)
        expected = next(layer for layer in model.layers if isinstance(layer, keras().layers.Rescaling))(values)
    else:
        module = applications.mobilenet if name == "mobilenet_v1" else applications.mobilenet_v2
        expected = module.preprocess_input(values.copy())
    np.testing.assert_allclose(untouched(name).get_layer("scale")(values), expected, atol=1e-6)


@EVERY
def test_layer_names_do_not_depend_on_what_was_built_before_and_survive_saving(name: str, tmp_path: Path) -> None:
    base = narrow(name)
    base.save(tmp_path / "base.keras")
    again = keras().models.load_model(tmp_path / "base.keras")
    first, second, third = ([one.name for one in model.operations] for model in (untouched(name), base, again))
    assert first == second == third
    assert len(set(first)) == len(first)
    np.testing.assert_array_equal(again(photo()), base(photo()))


# Blocks


@EVERY
def test_one_tensor_crosses_each_block_boundary(name: str) -> None:
    base = untouched(name)
    found = blocks(name, base)
    assert len(found) == BACKBONES[name].block_count
    order = [operation.name for operation in base.operations]
    for block in found:
        before = set(order[: order.index(block.last_layer) + 1])
        after = [operation for operation in base.operations if operation.name not in before]
        read = [tensor for operation in after for tensor in operation._inbound_nodes[0].input_tensors] + [base.output]
        sources = {tensor._keras_history.operation.name for tensor in read}
        assert sources & before == {block.last_layer}


@EVERY
def test_a_block_holds_whole_pairs_and_units(name: str) -> None:
    base = untouched(name)
    order = [operation.name for operation in base.operations]
    ends = [order.index(block.last_layer) for block in blocks(name, base)]
    assert ends == sorted(ends)
    layers = {layer.name: layer for layer in base.layers}
    start = ends[0] + 1
    for end in ends[1:]:
        inside = [layers[one] for one in order[start : end + 1] if one in layers]
        depthwise = [layer for layer in inside if isinstance(layer, keras().layers.DepthwiseConv2D)]
        assert len(depthwise) == 1
        pointwise = [layer.name for layer in inside if type(layer).__name__ == "Conv2D"]
        assert any("project" in one or "conv_pw" in one for one in pointwise)
        start = end + 1


def test_block_ends_are_stable_names() -> None:
    ends = {name: [block.last_layer for block in blocks(name, untouched(name))] for name in BACKBONES}
    assert ends["mobilenet_v1"] == [f"conv_pw_{number}_relu" for number in range(1, 14)]
    assert ends["mobilenet_v2"][:3] == ["expanded_conv_project_BN", "block_1_project_BN", "block_2_add"]
    assert ends["mobilenet_v2"][-2:] == ["block_15_add", "block_16_project_BN"]
    assert ends["mobilenet_v3_small"][-1] == "expanded_conv_10_add"
    assert ends["mobilenet_v3_large"][0] == "expanded_conv_add"


@EVERY
def test_splitting_at_any_block_and_recomposing_changes_nothing(name: str) -> None:
    base = untouched(name)
    expected = np.asarray(base(photo(), training=False))
    found = blocks(name, base)
    # After the last block of V1 nothing is left, so the last boundary is the one before it.
    for block in (found[0], found[len(found) // 2], found[-2]):
        cut = base.get_layer(block.last_layer).output
        prefix, tail = keras().Model(base.input, cut), keras().Model(cut, base.output)
        np.testing.assert_array_equal(tail(prefix(photo(), training=False), training=False), expected)


# Weights from a file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """A narrow MobileNetV2 with every variable set to something of its own, saved in every format."""
    folder = tmp_path_factory.mktemp("weights")
    base = narrow("mobilenet_v2")
    random = np.random.default_rng(1)
    base.set_weights([random.uniform(0.1, 1, value.shape).astype(np.float32) for value in base.get_weights()])
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
def test_a_file_with_or_without_top_sets_every_variable(trained, kind: str, ending: str) -> None:
    source, folder = trained
    path = folder / f"{kind}.{ending}"
    weights = resolve_weights("mobilenet_v2", width=0.35, request=str(path))
    assert (weights.source, weights.path, weights.sha256) == ("file", path, sha256_file(path))
    for ours, theirs in zip(narrow("mobilenet_v2", 32, weights).weights, source.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_file_of_another_width_names_the_layer_and_the_shapes(trained) -> None:
    weights = resolve_weights("mobilenet_v2", width=0.5, request=str(trained[1] / "plain.keras"))
    with pytest.raises(InputError, match=r"layer \w+: \w+ has shape \(.*\), expected \(.*\)"):
        build_base("mobilenet_v2", size=32, width=0.5, weights=weights)


def test_a_file_of_another_backbone_names_the_missing_layers(trained) -> None:
    weights = resolve_weights("mobilenet_v1", width=0.25, request=str(trained[1] / "plain.h5"))
    with pytest.raises(InputError, match=r"no arrays for \d+ of \d+ layers: .*conv_dw_1, ") as caught:
        narrow("mobilenet_v1", weights=weights)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_file_with_more_blocks_is_refused(tmp_path: Path) -> None:
    base = narrow("mobilenet_v2")
    extra = keras().layers.Conv2D(1, 1, name="block_17_expand")(base.output)
    keras().Model(base.input, extra).save_weights(tmp_path / "more.weights.h5")
    weights = resolve_weights("mobilenet_v2", width=0.35, request=str(tmp_path / "more.weights.h5"))
    with pytest.raises(InputError, match="does not have: block_17_expand"):
        narrow("mobilenet_v2", weights=weights)


@pytest.mark.parametrize("content", [b"", b"not a weights file", b"PK\x03\x04 half a zip", b"\x89HDF\r\n\x1a\n half"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.h5").write_bytes(content)
    weights = resolve_weights("mobilenet_v2", width=0.35, request=str(tmp_path / "bad.h5"))
    with pytest.raises(InputError, match=r"bad\.h5: not a readable weights file"):
        narrow("mobilenet_v2", weights=weights)


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
    with pytest.raises(InputError, match="changed since"):
        narrow("mobilenet_v2", weights=weights)


# Weights from Keras


def write_keras_2_file(path: Path, base, rename) -> None:
    """Write ``base`` in the layout of Keras 2, under other layer names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        layers = [(rename(layer.name), layer) for layer in base.layers]
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, layer in layers:
            group = file.create_group(name)
            depthwise = type(layer).__name__ == "DepthwiseConv2D"
            names = [f"{name}/{'depthwise_' if depthwise else ''}{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [one.encode() for one in names]
            for one, value in zip(names, layer.get_weights(), strict=True):
                group[one] = value


def test_slashed_names_of_keras_2_are_found(tmp_path: Path) -> None:
    # expanded_conv_1_depthwise_bn was expanded_conv_1/depthwise/BatchNorm, conv_1 was Conv_1.
    def rename(name: str) -> str:
        name = re.sub(r"_bn$", "/BatchNorm", name)
        return re.sub(r"^(expanded_conv(?:_\d+)?)_(\w)", r"\1/\2", name).replace("conv_1/B", "Conv_1/B")

    source = narrow("mobilenet_v3_small")
    source.set_weights([np.random.default_rng(2).random(value.shape) for value in source.get_weights()])
    write_keras_2_file(tmp_path / "v3.h5", source, rename)
    weights = resolve_weights("mobilenet_v3_small", width=0.75, request=str(tmp_path / "v3.h5"))
    for ours, theirs in zip(narrow("mobilenet_v3_small", 32, weights).weights, source.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_exact_file_in_keras_cache_is_used_in_the_order_of_its_layers(offline: Path) -> None:
    source = narrow("mobilenet_v2")
    source.set_weights([np.random.default_rng(3).random(value.shape) for value in source.get_weights()])
    path = offline / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    write_keras_2_file(path, source, lambda name: f"mobl_{name}")
    weights = resolve_weights("mobilenet_v2", width=0.35, size=96)
    assert (weights.source, weights.path, weights.sha256) == ("keras-cache", path, sha256_file(path))
    for ours, theirs in zip(narrow("mobilenet_v2", 32, weights).weights, source.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # The file of another resolution is another file; it is not taken for this one.
    with pytest.raises(Unavailable):
        resolve_weights("mobilenet_v2", width=0.35, size=128)


@pytest.mark.filterwarnings("ignore:.input_shape. is undefined")  # for sizes that take the file of 224 px
@EVERY
def test_file_names_are_the_ones_keras_asks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[
        f"keras.src.applications.{name.removesuffix('_v1').removesuffix('_small').removesuffix('_large')}"
    ]
    functions = {
        "mobilenet_v1": "MobileNet",
        "mobilenet_v2": "MobileNetV2",
        "mobilenet_v3_small": "MobileNetV3Small",
        "mobilenet_v3_large": "MobileNetV3Large",
    }
    asked: list[tuple] = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_) -> str:
        asked.append((fname, origin, file_hash))
        raise FileNotFoundError

    monkeypatch.setattr(module.file_utils, "get_file", get_file)
    widths = BACKBONES[name].widths
    for size, width in [*((160, width) for width in widths), (96, widths[0]), (200, widths[0])]:
        with pytest.raises(FileNotFoundError):
            getattr(module, functions[name])((size, size, 3), alpha=width, include_top=False, weights="imagenet")
        ours = BACKBONES[name].keras_file(size, width)
        assert (ours.name, ours.url, ours.md5) == asked[-1]


def test_a_damaged_cached_file_is_refused(offline: Path) -> None:
    offline.mkdir(parents=True)
    (offline / BACKBONES["mobilenet_v3_small"].keras_file(160, 1.0).name).write_bytes(b"half")
    with pytest.raises(InputError, match="MD5 differs"):
        resolve_weights("mobilenet_v3_small", width=1.0)


@pytest.mark.parametrize(
    ("name", "width", "request_"),
    [("mobilenet_v1", 1.0, "auto"), ("mobilenet_v2", 0.5, "auto"), ("mobilenet_v2", 1.0, "imagenet")],
)
def test_without_network_the_error_names_the_options(offline: Path, name: str, width: float, request_: str) -> None:
    with pytest.raises(Unavailable) as caught:
        resolve_weights(name, width=width, request=request_)
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert len(text.splitlines()) <= 3
    assert all(option in text for option in ("--weights PATH", "--weights none", "--backbone mobilenet_v2"))
    assert str(offline) in text
    assert not list(offline.glob("*"))


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/silent":
                time.sleep(2)
            elif self.path == "/absent":
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("Content-Length", "8")
                self.end_headers()
                self.wfile.write(b"weights!" if self.path == "/whole" else b"weig")

        def log_message(self, *_) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_download_is_whole_or_not_there(server: str, tmp_path: Path) -> None:
    download(f"{server}/whole", tmp_path / "w.h5")
    assert (tmp_path / "w.h5").read_bytes() == b"weights!"
    for path in ("half", "absent"):
        with pytest.raises(OSError, match=r"after 4 of 8 bytes|404"):
            download(f"{server}/{path}", tmp_path / "other.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["w.h5"]


def test_a_silent_host_does_not_hang(server: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no answer|timed out"):
        download(f"{server}/silent", tmp_path / "w.h5", timeout_s=0.2)
