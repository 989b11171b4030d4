"""Public data sets fetched from a real HTTP server on this machine: resumed, checked, unpacked; and without one."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from array_sources import NAMES, classes, idx, pictures

from edgetl.data import fetch as fetching
from edgetl.data import load_dataset
from edgetl.data.fetch import download, fetch
from edgetl.data.public_sets import DATASETS, PublicDataset, RemoteFile
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

# Random bytes do not compress: sizes on the wire are sizes.
BODY = os.urandom(900_000)


@dataclass
class Server:
    """A server of some files, how it behaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    knows_ranges: bool = True
    cut_after: int | None = None
    """So many bytes of a body are sent, then the connection ends."""
    budget: int | None = None
    """So many bytes are sent to all requests together."""
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "_PAUSE_S", 0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Server(files={"data.bin": BODY})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            body = state.files.get(self.path.lstrip("/"))
            if body is None:
                self.send_error(404)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.knows_ranges else 0
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            sent = body[start:][: state.cut_after][: state.budget]
            self.wfile.write(sent)
            if state.budget is not None:
                state.budget -= len(sent)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield state
    http.shutdown()
    http.server_close()


def remote(server: Server, name: str = "data.bin", content: bytes | None = None) -> RemoteFile:
    content = server.files[name] if content is None else content
    return RemoteFile(f"{server.url}/{name}", hashlib.sha256(content).hexdigest(), len(content))


def test_a_download_is_whole_and_checked(server: Server, tmp_path: Path) -> None:
    target = download(remote(server), tmp_path / "data.bin")
    assert target.read_bytes() == BODY
    assert list(tmp_path.iterdir()) == [target]
    # What is there is not asked for again.
    download(remote(server), target)
    assert server.ranges == [None]


def test_a_cut_download_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.budget = 250_000, 600_000
    with pytest.raises(
        Unavailable, match=r"stopped after 0.6 MB\n600,000 of 900,000 bytes came\nRun the command again"
    ):
        download(remote(server), tmp_path / "data.bin")
    assert (tmp_path / "data.bin.part").read_bytes() == BODY[:600_000]
    assert not (tmp_path / "data.bin").exists()
    # A try that brings something is followed by another; three in a row that do not are the end.
    assert server.ranges == [None, "bytes=250000-", "bytes=500000-", *3 * ["bytes=600000-"]]
    server.cut_after = server.budget = None
    assert download(remote(server), tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges[6:] == ["bytes=600000-"]
    assert not (tmp_path / "data.bin.part").exists()


def test_a_cut_is_noticed_without_a_published_size(server: Server, tmp_path: Path) -> None:
    server.cut_after = 400_000
    assert download(replace(remote(server), size_bytes=None), tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges == [None, "bytes=400000-", "bytes=800000-"]


def test_a_server_that_ignores_ranges(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "data.bin.part").write_bytes(BODY[:300_000])
    assert download(remote(server), tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges == ["bytes=300000-"]


def test_a_part_that_is_all_there(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(BODY)
    assert download(remote(server), tmp_path / "data.bin").read_bytes() == BODY


@pytest.mark.parametrize("part", [b"", b"of another file", BODY + b"and more"])
def test_a_wrong_file_is_refused_and_removed(server: Server, tmp_path: Path, part: bytes) -> None:
    published = remote(server)
    server.files["data.bin"] = BODY[::-1]
    if part:
        (tmp_path / "data.bin.part").write_bytes(part)
    with pytest.raises(InputError, match="is not the published file, and was removed"):
        download(published, tmp_path / "data.bin")
    assert not list(tmp_path.iterdir())


def test_a_wrong_file_that_the_user_put_there_stays(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match="is not the published file"):
        download(remote(server), tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == b"mine"
    assert not server.ranges


def test_a_file_that_is_gone_from_the_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"cannot be fetched\nthe server answers 404"):
        download(remote(server, "none.bin", b"x"), tmp_path / "none.bin")


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("flower_photos/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def served(server: Server, name: str, files: dict[str, bytes]) -> PublicDataset:
    """Return a data set like the public one, with files and hashes of this server."""
    server.files = files
    return replace(DATASETS[name], files=tuple(remote(server, file) for file in files))


def photo(seed: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pictures(1, side=40, seed=seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_archive_becomes_a_folder_that_trains(server: Server, tmp_path: Path) -> None:
    files = {f"flower_photos/{label}/{seed}{label}.png": photo(seed) for label, seed in [("rose", 1), ("tulip", 2)]}
    files["flower_photos/LICENSE.txt"] = b"CC BY"
    dataset = served(server, "flowers", {"flower_photos.tgz": tar(files)})
    to = fetch(dataset, tmp_path / "flowers")
    assert {path.relative_to(to).as_posix() for path in to.rglob("*")} == {
        "LICENSE.txt",
        "rose",
        "rose/1rose.png",
        "tulip",
        "tulip/2tulip.png",
    }
    assert load_dataset(to, Preprocess(size=square(32))).labels == ("rose", "tulip")
    assert list(tmp_path.iterdir()) == [to]


def test_a_zip_keeps_what_lies_beside_the_photos(server: Server, tmp_path: Path) -> None:
    files = {"PetImages/Cat/0.jpg": photo(1), "PetImages/Dog/0.jpg": photo(2), "readme.txt": b"read", "Other/x": b"x"}
    to = fetch(served(server, "cats_vs_dogs", {"kagglecatsanddogs_5340.zip": zipped(files)}), tmp_path / "pets")
    assert {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()} == {
        "Cat/0.jpg",
        "Dog/0.jpg",
        "readme.txt",
    }


def test_single_files_come_with_their_class_names(server: Server, tmp_path: Path) -> None:
    names = [file.name for file in DATASETS["fashion_mnist"].files]
    arrays = [pictures(30, channels=0), classes(30, of=10), pictures(10, channels=0, seed=1), classes(10, of=10)]
    files = {name: gzip.compress(idx(array.astype("uint8"))) for name, array in zip(names, arrays, strict=True)}
    to = fetch(served(server, "fashion_mnist", files), tmp_path / "fashion", base_url=f"{server.url}/")
    dataset = load_dataset(to, Preprocess(size=square(32)))
    assert dataset.labels == DATASETS["fashion_mnist"].class_names
    assert len(dataset.of("test")) == 10


def test_pictures_without_labels_are_left_out(server: Server, tmp_path: Path) -> None:
    files = {"stl10_binary/class_names.txt": "\n".join(NAMES).encode(), "stl10_binary/unlabeled_X.bin": b"x"}
    to = fetch(served(server, "stl10", {"stl10_binary.tar.gz": tar(files)}), tmp_path / "stl10")
    assert [path.name for path in to.iterdir()] == ["class_names.txt"]


@pytest.mark.parametrize("name", ["flower_photos/../../escaped.txt", "flower_photos//etc/escaped.txt"])
@pytest.mark.parametrize("form", ["tgz", "zip"])
def test_an_archive_that_leaves_its_folder(server: Server, tmp_path: Path, form: str, name: str) -> None:
    archive = {"tgz": tar, "zip": zipped}[form]({name: b"x"})
    with pytest.raises(InputError, match="has a file outside its folder"):
        fetch(served(server, "flowers", {f"flower_photos.{form}": archive}), tmp_path / "deep" / "flowers")
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not (tmp_path / "deep/flowers").exists()


def test_nothing_is_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    with pytest.raises(InputError, match="exists already"):
        fetch(served(server, "flowers", {"flower_photos.tgz": tar({})}), tmp_path / "flowers")
    assert not server.ranges


def test_without_a_network_a_file_from_elsewhere_will_do(server: Server, tmp_path: Path) -> None:
    dataset = served(server, "flowers", {"flower_photos.tgz": tar({"flower_photos/rose/1.png": photo(1)})})
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(Unavailable, match="no connection") as caught:
            fetch(dataset, tmp_path / "flowers", base_url=dead)
        place = tmp_path / "flowers.download" / "flower_photos.tgz"
        assert f"put it at {place}" in str(caught.value)
        assert not (tmp_path / "flowers").exists()
        place.write_bytes(server.files["flower_photos.tgz"])
        assert (fetch(dataset, tmp_path / "flowers", base_url=dead) / "rose/1.png").read_bytes() == photo(1)
        # It may be the only copy, carried here by hand.
        assert place.read_bytes() == server.files["flower_photos.tgz"]


def test_what_else_lies_beside_a_download_stays(server: Server, tmp_path: Path) -> None:
    dataset = served(server, "flowers", {"flower_photos.tgz": tar({"flower_photos/rose/1.png": photo(1)})})
    notes = tmp_path / "flowers.download" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    fetch(dataset, tmp_path / "flowers")
    assert list(notes.parent.iterdir()) == [notes]


def test_the_command_offline(tmp_path: Path) -> None:
    proxy = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    command = [sys.executable, "-m", "edgetl", "data", "fetch", "flowers", "--to", str(tmp_path / "f")]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | proxy)
    assert result.returncode == 4
    assert "CC BY" in result.stderr
    text = result.stderr[result.stderr.index("error: ") :]
    assert len(text.splitlines()) <= 3
    assert DATASETS["flowers"].files[0].url in text
    assert str(tmp_path / "f.download/flower_photos.tgz") in text
    assert "Traceback" not in result.stderr
    unknown = subprocess.run([*command[:5], "imagenet"], capture_output=True, text=True)
    assert unknown.returncode == 2
    assert "cats_vs_dogs" in unknown.stderr
