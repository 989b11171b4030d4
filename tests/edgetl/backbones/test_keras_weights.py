"""Weights that Keras publishes: found in its cache, downloaded, read as Keras reads them, or reported missing."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import keras_models
import numpy as np
import pytest
from bases import LARGE, MOBILE, assert_same, borrowed, narrow, photo, randomize, untouched, write_keras_2_file

from edgetl.backbones import BACKBONES, ResolvedWeights, resolve_weights
from edgetl.backbones.arrays import load_into
from edgetl.backbones.weights import download
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.input_size import square

pytestmark = pytest.mark.no_cover


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Keras cache, and a proxy that refuses every connection."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path / "keras" / "models"


def test_the_exact_file_in_keras_cache_is_used_in_the_order_of_its_layers(offline: Path) -> None:
    source = narrow("mobilenet_v2")
    randomize(source)
    path = offline / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    write_keras_2_file(path, source, lambda name: f"mobl_{name}")
    weights = resolve_weights("mobilenet_v2", width=0.35, size=square(96))
    assert (weights.source, weights.path, weights.sha256) == ("keras-cache", path, sha256_file(path))
    assert_same(narrow("mobilenet_v2", 32, weights), source)
    # The file for another resolution must not be used.
    with pytest.raises(Unavailable):
        resolve_weights("mobilenet_v2", width=0.35, size=square(128))


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
        ours = BACKBONES[name].keras_file(square(size), width)
        assert (ours.name, ours.url, ours.md5) == asked[-1]


@pytest.mark.parametrize(
    "name", [one if one == "vgg16" else pytest.param(one, marks=pytest.mark.slow) for one in LARGE]
)
def test_keras_itself_reads_the_same_file_in_the_same_order(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Keras asks for the registry's file, gets one that we wrote, and predicts the same as we do."""
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

    with borrowed(name):
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
    assert all(option in text for option in ("weights PATH", "weights none", "backbone mobilenet_v2"))
    assert str(offline) in text
    assert not list(offline.glob("*"))


@pytest.mark.parametrize(
    ("name", "request_", "hint"),
    [("simple_cnn", "auto", "weights none"), ("efficientnet_lite0", "imagenet", "weights auto")],
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
