"""Where a backbone's weights come from, and what happens to files that fit, fit in part, or do not."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras_models
import numpy as np
import pytest
from bases import LARGE, MOBILE, SIZE, narrow, photo, untouched

from edgetl.backbones import BACKBONES, ResolvedWeights, build_base, resolve_weights
from edgetl.backbones.arrays import load_into, match
from edgetl.backbones.weights import download
from edgetl.extras import keras
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.files import sha256_file


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Keras cache, and a proxy that refuses every connection."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path / "keras" / "models"


def from_file(path: Path) -> ResolvedWeights:
    return ResolvedWeights("file", path, sha256_file(path), "")


def randomize(base, seed: int = 1) -> None:
    random = np.random.default_rng(seed)
    for layer in base.layers:
        if layer.weights and layer.name != "scale":
            layer.set_weights([random.uniform(0.1, 1, value.shape).astype(np.float32) for value in layer.get_weights()])


def assert_same(ours, theirs) -> None:
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(one, other)


# Weights from a file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """A narrow MobileNetV2 with every variable set to something of its own, saved in every format."""
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
        build_base("mobilenet_v2", size=32, width=0.5, weights=weights)


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
    assert line == f"{path}: sets {len(report.of('set'))} of 104 layers; from block_14_expand on weights are random"


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


@pytest.mark.parametrize("name", ["inception_v3", "nasnet_mobile"])
@pytest.mark.parametrize("ending", ["h5", "weights.h5"])
def test_layers_that_keras_counted_in_another_process_are_found(name: str, ending: str, tmp_path: Path) -> None:
    """Their names in the file begin somewhere: conv2d_94, activation_188."""
    size = max(SIZE, BACKBONES[name].min_size)
    theirs = keras_models.build(name, size=size)
    randomize(theirs)
    path = tmp_path / f"theirs.{ending}"
    (theirs.save_weights if ending == "weights.h5" else theirs.save)(path)
    ours = untouched(name)
    report = load_into(ours, from_file(path))
    assert {layer.status for layer in report.layers} == {"set"}
    assert not report.unused
    pixels = photo(size)
    np.testing.assert_allclose(
        ours(pixels), theirs(keras_models.scaled(name, pixels)), rtol=1e-3, atol=1e-3 * float(np.max(ours(pixels)))
    )


def test_the_scaling_stays_the_registrys_whatever_a_file_has(tmp_path: Path) -> None:
    base = untouched("vgg16")
    before = base.get_layer("scale").get_weights()
    arrays = {variable.path: np.zeros(variable.shape, np.float32) for variable in base.weights}
    assert "scale/kernel" in arrays
    np.savez(tmp_path / "zeros.npz", **arrays)
    load_into(base, from_file(tmp_path / "zeros.npz"))
    for one, old in zip(base.get_layer("scale").get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, old)
    assert not np.any(base.get_layer("block1_conv1").kernel)


# Weights from Keras


def write_keras_2_file(path: Path, base, rename) -> None:
    """Write ``base`` in the layout of Keras 2, under other layer names and without our scaling."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        layers = [(rename(layer.name), layer) for layer in base.layers if layer.name != "scale"]
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
    randomize(source)
    write_keras_2_file(tmp_path / "v3.h5", source, rename)
    weights = resolve_weights("mobilenet_v3_small", width=0.75, request=str(tmp_path / "v3.h5"))
    assert_same(narrow("mobilenet_v3_small", 32, weights), source)


def test_the_exact_file_in_keras_cache_is_used_in_the_order_of_its_layers(offline: Path) -> None:
    source = narrow("mobilenet_v2")
    randomize(source)
    path = offline / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    write_keras_2_file(path, source, lambda name: f"mobl_{name}")
    weights = resolve_weights("mobilenet_v2", width=0.35, size=96)
    assert (weights.source, weights.path, weights.sha256) == ("keras-cache", path, sha256_file(path))
    assert_same(narrow("mobilenet_v2", 32, weights), source)
    # The file of another resolution is another file; it is not taken for this one.
    with pytest.raises(Unavailable):
        resolve_weights("mobilenet_v2", width=0.35, size=128)


@pytest.mark.filterwarnings("ignore:.input_shape. is undefined")  # for sizes that take the file of 224 px
@pytest.mark.parametrize("name", [name for name in MOBILE if name in keras_models.FUNCTIONS])
def test_file_names_are_the_ones_keras_asks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_) -> str:
        asked.append((fname, origin, file_hash))
        raise FileNotFoundError

    monkeypatch.setattr(keras_models.module(name).file_utils, "get_file", get_file)
    widths = BACKBONES[name].widths
    for size, width in [*((160, width) for width in widths), (96, widths[0]), (200, widths[0])]:
        with pytest.raises(FileNotFoundError):
            keras_models.build(name, size=size, width=width, weights="imagenet")
        ours = BACKBONES[name].keras_file(size, width)
        assert (ours.name, ours.url, ours.md5) == asked[-1]


@pytest.mark.parametrize("name", LARGE)
def test_keras_itself_reads_the_same_file_in_the_same_order(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Keras asks for the file of the registry; is given one that we wrote; and answers as we do."""
    ours = untouched(name)
    values = ours.get_weights()
    path = tmp_path / "weights.h5"
    write_keras_2_file(path, ours, lambda layer: f"old_{layer}")
    asked: list[tuple] = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_) -> str:
        asked.append((fname, origin, file_hash))
        return str(path)

    monkeypatch.setattr(keras_models.module(name).file_utils, "get_file", get_file)
    size = ours.input.shape[1]
    theirs = keras_models.build(name, size=size, weights="imagenet")
    file = BACKBONES[name].keras_file(160, 1.0)
    assert asked == [(file.name, file.url, file.md5)]
    expected = np.asarray(theirs(keras_models.scaled(name, photo(size))))
    np.testing.assert_allclose(ours(photo(size)), expected, rtol=1e-3, atol=1e-4 * expected.max())

    randomize(ours)
    load_into(ours, ResolvedWeights("keras-cache", path, sha256_file(path), ""))
    for one, old in zip(ours.get_weights(), values, strict=True):
        np.testing.assert_array_equal(one, old)


def test_a_damaged_cached_file_is_refused(offline: Path) -> None:
    offline.mkdir(parents=True)
    (offline / BACKBONES["mobilenet_v3_small"].keras_file(160, 1.0).name).write_bytes(b"half")
    with pytest.raises(InputError, match="MD5 differs"):
        resolve_weights("mobilenet_v3_small", width=1.0)


@pytest.mark.parametrize(
    ("name", "width", "request_"),
    [
        ("mobilenet_v1", 1.0, "auto"),
        ("mobilenet_v2", 0.5, "auto"),
        ("mobilenet_v2", 1.0, "imagenet"),
        ("resnet50", 1.0, "auto"),
    ],
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


@pytest.mark.parametrize(
    ("name", "request_", "hint"),
    [("simple_cnn", "auto", "--weights none"), ("efficientnet_lite0", "imagenet", "--weights auto")],
)
def test_weights_that_nobody_publishes_are_refused(name: str, request_: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"{name} has no") as caught:
        resolve_weights(name, width=1.0, request=request_)
    assert hint in str(caught.value)
    assert resolve_weights(name, width=1.0, request="none").source == "none"


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
