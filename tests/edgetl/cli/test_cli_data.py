"""``edgetl data`` as a user runs it: output, exit codes, at most three lines of error, nothing half-written."""

from __future__ import annotations

import ctypes
import json
import resource
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
from array_sources import classes, npz, pictures
from PIL import Image

from edgetl.data import load_dataset
from edgetl.data.split_folders import write_folders
from edgetl_device.errors import InputError
from edgetl_device.preprocess import Preprocess

Make = Callable[..., Path]
PR_CAPBSET_DROP = 24


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return small.edgetl("data", *arguments, **options)


@pytest.fixture
def photos(photo_folder: Make) -> Path:
    return photo_folder({"a": 10, "b": 10})


def test_check_prints_counts_and_findings(photos: Path) -> None:
    for index in range(7):
        (photos / "a" / f"bad{index}.jpg").write_text(f"text {index}")
    shutil.copy(photos / "b/003.png", photos / "b/copy.png")
    result = run("check", photos)
    assert result.returncode == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["class", "train", "val", "test", "all"] in rows
    assert ["all", "20"] in [[row[0], row[-1]] for row in rows if row]
    assert "7 files left out: not an image" in result.stdout
    assert "a/bad4.jpg" in result.stdout
    assert "a/bad5.jpg" not in result.stdout
    assert "... and 2 more" in result.stdout
    assert "b/003.png = b/copy.png" in result.stdout


def test_check_json_has_every_file(photos: Path) -> None:
    for index in range(7):
        (photos / "a" / f"bad{index}.jpg").write_text(f"text {index}")
    result = run("check", photos, "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == "edgetl.data/1"
    assert document["labels"] == ["a", "b"]
    assert sum(document["photos"].values()) == 20
    [finding] = document["findings"]
    assert finding["kind"] == "not_image"
    assert finding["files"] == [f"a/bad{index}.jpg" for index in range(7)]


def test_check_with_a_conflict_lists_it_and_fails_until_decided(photos: Path) -> None:
    shutil.copy(photos / "a/003.png", photos / "b/wrong.png")
    result = run("check", photos)
    assert "--on-conflict drop" in small.refused(result)
    assert "a/003.png = b/wrong.png" in result.stdout
    result = run("check", photos, "--json")
    small.refused(result)
    assert json.loads(result.stdout)["findings"][0]["severity"] == "error"
    assert run("check", photos, "--on-conflict", "drop").returncode == 0


def test_split_writes_what_check_says(photos: Path, tmp_path: Path) -> None:
    said = json.loads(run("check", photos, "--json", "--seed", 3).stdout)
    out = tmp_path / "out"
    result = run("split", photos, out, "--seed", 3)
    assert result.returncode == 0
    assert f"20 photos copied to {out}" in result.stdout
    for label in "ab":
        for split in ("train", "val", "test"):
            assert len(list((out / split / label).iterdir())) == said["classes"][label][split]
    written = {path.name: path for path in out.rglob("*/a/*")}
    for original in (photos / "a").iterdir():
        assert written[original.name].read_bytes() == original.read_bytes()
        assert written[original.name].stat().st_ino != original.stat().st_ino
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    again = json.loads(run("check", out, "--json").stdout)
    assert again["classes"] == said["classes"]
    assert again["findings"] == said["findings"]


def test_split_links(photos: Path, tmp_path: Path) -> None:
    assert run("split", photos, tmp_path / "out", "--link").returncode == 0
    inodes = {path.stat().st_ino for path in photos.rglob("*.png")}
    assert {path.stat().st_ino for path in (tmp_path / "out").rglob("*.png")} == inodes


@pytest.mark.parametrize("link", [False, True], ids=["copies", "links"])
def test_a_photo_that_changes_after_it_was_read_is_not_written(photos: Path, tmp_path: Path, link: bool) -> None:
    dataset = load_dataset(photos, Preprocess())
    shutil.copy(photos / "b/003.png", photos / "a/002.png")
    with pytest.raises(InputError, match=r"a/002\.png: was changed while it was read"):
        write_folders(dataset, tmp_path / "out", link=link)
    assert not (tmp_path / "out").exists()
    assert small.left_over(tmp_path) == []


def test_split_resolves_names_that_clash(photo_folder: Make, tmp_path: Path) -> None:
    photos = photo_folder({"a/day": 10, "a/night": 10, "b": 5})
    result = run("split", photos, tmp_path / "out", "--val", 0, "--test", 0, "--json")
    renamed = json.loads(result.stdout)["renamed"]
    assert sorted(renamed) == [f"a/night/{index:03}.png" for index in range(10)]
    assert len(list((tmp_path / "out/train/a").iterdir())) == 20
    for old, new in renamed.items():
        assert (tmp_path / "out" / new).read_bytes() == (photos / old).read_bytes()
        assert (tmp_path / "out/train/a" / Path(old).name).read_bytes() == (
            photos / "a/day" / Path(old).name
        ).read_bytes()


def test_split_never_overwrites_or_writes_into_its_source(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "exists already" in small.refused(run("split", photos, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []
    assert "lies inside" in small.refused(run("split", photos, photos / "out"))
    assert not (photos / "out").exists()


def test_arrays_on_the_command_line(tmp_path: Path) -> None:
    data = npz(tmp_path / "parts.npz", images=pictures(30), labels=classes(30))
    said = json.loads(run("check", data, "--json").stdout)
    assert said["labels"] == ["0", "1", "2"]
    result = run("split", data, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert f"30 photos copied to {tmp_path / 'out'}" in result.stdout
    again = json.loads(run("check", tmp_path / "out", "--json").stdout)
    assert again["classes"] == said["classes"]
    npz(data, images=pictures(30) / 1.0, labels=classes(30))
    text = small.refused(run("check", data))
    assert "parts.npz: images: floats from 0 to 255" in text
    assert "Divide by 255" in text


# Bad input


def test_missing_folder_file_and_empty_folder(tmp_path: Path) -> None:
    assert "no such folder" in small.refused(run("check", tmp_path / "none"))
    (tmp_path / "file").write_text("x")
    assert "is a file, not a folder" in small.refused(run("check", tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    assert "it is empty" in small.refused(run("check", tmp_path / "empty"))


def test_one_class(photo_folder: Make) -> None:
    result = run("check", photo_folder({"only": 6}))
    assert "only one class" in small.refused(result)
    assert "only" in result.stdout


def test_no_photo_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    (tmp_path / "photos/a/1.jpg").write_text("text")
    assert "none of its 1 files" in small.refused(run("check", tmp_path / "photos"))


@pytest.mark.parametrize("arguments", [("--size", "8"), ("--val", "2"), ("--on-conflict", "maybe"), ("--nonsense",)])
def test_wrong_flags(photos: Path, arguments: tuple[str, ...]) -> None:
    result = run("check", photos, *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert arguments[0].strip("-") in result.stderr


def huge_png() -> bytes:
    """30,000 x 30,000 black pixels of 1 bit, 110 kB."""
    chunks = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in (
        (b"IHDR", struct.pack(">2I5B", 30_000, 30_000, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\x00" * (30_000 * 3751), 9)),
        (b"IEND", b""),
    ):
        chunks += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    return b"".join(chunks)


def test_bad_photos_are_left_out_with_their_reason(photos: Path) -> None:
    (photos / "a/text.jpg").write_text("text")
    (photos / "a/zero.jpg").write_bytes(b"")
    (photos / "a/huge.png").write_bytes(huge_png())
    Image.effect_noise((200, 200), 90).save(photos / "a/cut.jpg")
    (photos / "a/cut.jpg").write_bytes((photos / "a/cut.jpg").read_bytes()[:-2000])
    Image.new("RGB", (9, 9)).save(photos / "a/none.bmp")
    data = bytearray((photos / "a/none.bmp").read_bytes())
    data[18:26] = bytes(8)
    (photos / "a/none.bmp").write_bytes(data)
    result = run("check", photos, "--json")
    assert result.returncode == 0
    assert "Warning" not in result.stderr
    assert {finding["kind"]: finding["files"] for finding in json.loads(result.stdout)["findings"]} == {
        "not_image": ["a/none.bmp", "a/text.jpg"],
        "empty": ["a/zero.jpg"],
        "too_large": ["a/huge.png"],
        "truncated": ["a/cut.jpg"],
    }


def give_up_root() -> None:
    """Run in a child before it starts: root without CAP_DAC_OVERRIDE (1) and CAP_DAC_READ_SEARCH (2) obeys modes."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def test_no_permission(photos: Path, tmp_path: Path) -> None:
    photo = photos / "a/004.png"
    photo.chmod(0)
    if subprocess.run(["cat", photo], capture_output=True, preexec_fn=give_up_root).returncode == 0:
        pytest.skip("root's rights cannot be given up here")

    result = run("check", photos, "--json", before=give_up_root)
    assert result.returncode == 0
    [finding] = json.loads(result.stdout)["findings"]
    assert (finding["kind"], finding["files"]) == ("no_access", ["a/004.png"])

    # Every ext4 file system has it, and only root may read it.
    (photos / "lost+found").mkdir(mode=0)
    assert run("check", photos, before=give_up_root).returncode == 0

    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert "Permission denied" in small.refused(run("split", photos, closed / "out", before=give_up_root))
    assert list(closed.iterdir()) == []

    for folder in (photos / "b", photos):
        folder.chmod(0)
        text = small.refused(run("check", photos, before=give_up_root))
        folder.chmod(0o700)
        assert f"{folder}: Permission denied" in text


def test_disk_full(photos: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    environment = {"EDGETL_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    text = small.refused(run("check", photos, env=environment, before=limit), code=4)
    assert str(tmp_path / "cache") in text
    assert "Free some space" in text
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["CACHEDIR.TAG"]

    for path in photos.rglob("*.png"):
        Image.open(path).resize((300, 300)).save(path.with_suffix(".bmp"))
        path.unlink()
    warm = {**environment, "EDGETL_CACHE": str(tmp_path / "warm")}
    assert run("check", photos, env=warm).returncode == 0
    small.refused(run("split", photos, tmp_path / "out", env=warm, before=limit), code=4)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("cache", "warm")) == ["photos"]


def test_help_shows_an_example() -> None:
    for command in ("check", "split"):
        assert f"Example: edgetl data {command}" in run(command, "--help").stdout
