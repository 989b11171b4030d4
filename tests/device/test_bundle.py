from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl_device._lib import jsonfile
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

Reseal = Callable[[Callable[[dict[str, Any]], None]], Path]


def put(folder: Path, reseal: Reseal, name: str, data: bytes) -> None:
    """Replace a file and its entry in bundle.json."""
    (folder / name).write_bytes(data)
    entry = {"sha256": sha256_bytes(data), "bytes": len(data)}

    def edit(document: dict[str, Any]) -> None:
        document["files"][name] = entry
        for row in document["variants"]:
            if row["file"] == name:
                row |= entry

    reseal(edit)


def test_folder_run_folder_and_file_are_the_same_bundle(tiny: Bundle, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copytree(folder, tmp_path / "run" / "bundle")
    for path in (folder, tmp_path / "run"):
        other = Bundle.open(path)
        assert (other.digest, other.labels, other.variants) == (tiny.digest, tiny.labels, tiny.variants)
        assert all(other.read(name) == tiny.read(name) for name in tiny.files)


def test_what_a_bundle_says(tiny: Bundle) -> None:
    assert tiny.labels == ("circle", "square", "triangle")
    assert tiny.preprocess.size == square(32)
    assert [variant.name for variant in tiny.variants] == ["float32", "int8", "float32-onnx", "int8-onnx"]
    photos, reference = tiny.photos(), tiny.reference()
    assert len(photos) == len(reference.probabilities) == 12
    assert all(tiny.read(photo.file) and tiny.files[photo.file].sha256 == photo.sha256 for photo in photos)
    np.testing.assert_allclose(reference.probabilities.sum(axis=1), 1, atol=1e-5)
    assert reference.golden_pixels.shape == (len(reference.golden_rows), 32, 32, 3)


def test_a_wrong_variant_lists_those_there_are(tiny: Bundle) -> None:
    with pytest.raises(InputError, match=r"(?s)'int88' is not in .*float32, int8, .*Did you mean int8"):
        tiny.variant("int88")


def test_truncated_zip(tiny_file: Path, tmp_path: Path) -> None:
    data = tiny_file.read_bytes()
    for length in (0, 100, len(data) // 2, len(data) - 10):
        (tmp_path / "cut.edgetl").write_bytes(data[:length])
        with pytest.raises(InputError, match="not a bundle"):
            Bundle.open(tmp_path / "cut.edgetl")


def test_a_flipped_byte_anywhere_in_a_zip_is_found(tiny_file: Path, tmp_path: Path) -> None:
    data = tiny_file.read_bytes()
    rng = np.random.default_rng(3)
    for position in rng.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        (tmp_path / "bad.edgetl").write_bytes(damaged)
        try:
            bundle = Bundle.open(tmp_path / "bad.edgetl")
            read = {name: bundle.read(name) for name in bundle.files}
        except InputError:
            continue
        # A byte that no reader uses (a date, an attribute) may change; content may not.
        whole = Bundle.open(tiny_file)
        assert bundle.digest == whole.digest
        assert read == {name: whole.read(name) for name in whole.files}


def test_edited_manifest(folder: Path) -> None:
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"circle"', '"square!"', 1))
    with pytest.raises(InputError, match="digest"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("edgetl.bundle/4", r"Update edgetl: edgetl 0\.1\.0 wrote it"),
        ("edgetl.run/1", "expected"),
        ("other", "expected"),
    ],
)
def test_other_schemas(reseal: Reseal, schema: str, said: str) -> None:
    folder = reseal(lambda document: document.update(schema=schema))
    with pytest.raises(InputError, match=said):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["models/int8.tflite", "evalset/index.csv", "reference.npz"])
def test_edited_or_missing_files(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=f"(?s){name}.*SHA-256"):
        Bundle.open(folder).read(name)
    (folder / name).write_bytes(data + b"x")
    with pytest.raises(InputError, match=f"(?s){name}.*size"):
        Bundle.open(folder).read(name)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        Bundle.open(folder).read(name)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a//b", "./a", "a\\b", "C:/a", ""])
def test_paths_stay_inside(reseal: Reseal, name: str) -> None:
    folder = reseal(lambda document: document["files"].update({name: {"sha256": "0" * 64, "bytes": 3}}))
    with pytest.raises(InputError, match="stay inside"):
        Bundle.open(folder)


def test_a_link_out_of_the_folder_is_refused_even_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.tflite"
    (folder / "models" / "int8.tflite").rename(outside)
    (folder / "models" / "int8.tflite").symlink_to(outside)
    with pytest.raises(InputError, match="stay inside"):
        Bundle.open(folder).read("models/int8.tflite")


def test_a_linked_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "models").rename(tmp_path / "elsewhere")
    (folder / "models").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="stay inside"):
        Bundle.open(folder).read("models/int8.tflite")


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / "reference.npz").unlink()
    os.mkfifo(folder / "reference.npz")
    with pytest.raises(InputError, match="regular file"):
        Bundle.open(folder).read("reference.npz")


def test_two_members_of_one_name(tiny_file: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice.edgetl"
    shutil.copy(tiny_file, twice)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("models/int8.tflite", b"another")
    with pytest.raises(InputError, match="same name"):
        Bundle.open(twice)


@pytest.mark.parametrize("name", ["reference.npz", "models/int8.tflite", "evalset/index.csv", "bundle.json"])
def test_a_member_that_inflates_is_refused_before_it_is_read(name: str, tiny_file: Path, tmp_path: Path) -> None:
    """The manifest lists the inflated size, so the only fault is the compression."""
    inflated = b"\0" * 100_000_000
    path = tmp_path / "bomb.edgetl"
    with zipfile.ZipFile(tiny_file) as whole:
        contents = {member: whole.read(member) for member in whole.namelist()}
    document = json.loads(contents["bundle.json"])
    if name != "bundle.json":
        document["files"][name] = {"bytes": len(inflated), "sha256": sha256_bytes(inflated)}
        for variant in document["variants"]:
            if variant["file"] == name:
                variant.update(document["files"][name])
        document["digest"] = jsonfile.digest(document)
        contents["bundle.json"] = json.dumps(document).encode()
    contents[name] = inflated
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in contents.items():
            archive.writestr(member, data, zipfile.ZIP_DEFLATED if member == name else zipfile.ZIP_STORED)
    with limited(50_000_000), pytest.raises(InputError, match="compressed"):
        Bundle.open(path).read(name)


@contextlib.contextmanager
def limited(more_bytes: int) -> Iterator[None]:
    """Limit the additional memory of this process."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def with_reference(
    folder: Path, reseal: Reseal, compression: int = zipfile.ZIP_STORED, **arrays: np.ndarray | bytes
) -> Bundle:
    """A bundle with another reference that its manifest lists."""
    file = folder / "reference.npz"
    with np.load(file) as known:
        contents: dict[str, np.ndarray | bytes] = {name: known[name] for name in known.files} | arrays
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, array in contents.items():
            stream = io.BytesIO()
            if not isinstance(array, bytes):
                np.save(stream, array)
            archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else stream.getvalue())
    put(folder, reseal, file.name, file.read_bytes())
    return Bundle.open(folder)


def header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header of a .npy for a large array, without its values."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_a_reference_is_sized_before_it_is_read(folder: Path, reseal: Reseal) -> None:
    whole = (folder / "reference.npz").read_bytes()
    rows = np.zeros(100_000, np.int64)
    deflated = with_reference(folder, reseal, zipfile.ZIP_DEFLATED, golden_pixels=bytes(100_000_000), golden_rows=rows)
    with limited(50_000_000), pytest.raises(InputError, match="compressed"):
        deflated.reference()
    (folder / "reference.npz").write_bytes(whole)
    promised = with_reference(folder, reseal, golden_rows=rows[:1], probabilities=header("<f4", (10**9, 3)))
    with limited(50_000_000), pytest.raises(InputError, match="expected float32"):
        promised.reference()
    (folder / "reference.npz").write_bytes(whole)
    large = np.zeros((40, 512, 512, 3), np.uint8)
    with pytest.raises(InputError, match="exceed the limit for such a file"):
        with_reference(folder, reseal, golden_pixels=large).reference()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 1.5])
def test_a_reference_that_is_no_probabilities_is_refused(value: float, folder: Path, reseal: Reseal) -> None:
    with np.load(folder / "reference.npz") as known:
        probabilities = known["probabilities"].copy()
    probabilities[3, 1] = value
    with pytest.raises(InputError, match=r"within 0\.\.1"):
        with_reference(folder, reseal, probabilities=probabilities).reference()


def test_a_bundle_in_one_file_is_opened_once(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading photos must not reopen the file, which would list all members again."""
    opened: list[Path] = []
    original = zipfile.ZipFile.__init__

    def count(self: zipfile.ZipFile, file: Path, *arguments: Any, **options: Any) -> None:
        if not isinstance(file, io.BytesIO):
            opened.append(file)
        original(self, file, *arguments, **options)

    monkeypatch.setattr(zipfile.ZipFile, "__init__", count)
    bundle = Bundle.open(tiny_file)
    for _ in range(3):
        for photo in bundle.photos():
            bundle.read(photo.file)
    assert opened == [tiny_file]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: d.pop("labels"), "labels is missing"),
        (lambda d: d.update(labels=["a"]), "labels has 1 entries, fewer than 2"),
        (lambda d: d.update(labels=["a", "a", "b"]), "labels has an entry twice"),
        (lambda d: d.update(labels=["a", "b\nc"]), 'labels[1] is "b\\nc"'),
        (lambda d: d.update(labels="abc"), "labels must be a list"),
        (lambda d: d.update(variants=[]), "variants is empty"),
        (lambda d: d.update(variants=d["variants"] + d["variants"][:1]), "variants[4].name is float32"),
        (lambda d: d["variants"][0].update(format="pickle"), 'variants[0].format must be "tflite" or "onnx"'),
        (lambda d: d["variants"][0].update(file="models/none.tflite"), "variants[0].file is models/none.tflite"),
        (lambda d: d["variants"][0].update(bytes=1), "variants[0].file is models/float32.tflite"),
        (lambda d: d["variants"][0].update(input=[]), "variants[0].input must be an object"),
        (lambda d: d["variants"][1]["agreement"].pop("mae"), "variants[1].agreement.mae is missing"),
        (lambda d: d["preprocess"].update(fit="guess"), "preprocess.fit must be"),
        (lambda d: d["preprocess"].pop("fit"), "preprocess.fit is missing"),
        (lambda d: d["preprocess"].update(mean=[0.5]), 'preprocess has an unknown field "mean"'),
        (lambda d: d["files"]["labels.txt"].update(bytes=3 << 30), 'files."labels.txt".bytes is 3221225472, over'),
        (lambda d: d.update(files=[]), "files must be an object"),
    ],
)
def test_wrong_fields_are_named(reseal: Reseal, edit: Callable[[dict[str, Any]], None], said: str) -> None:
    folder = reseal(edit)
    with pytest.raises(InputError) as refusal:
        Bundle.open(folder)
    assert said in refusal.value.what
    assert "bundle.json: " in refusal.value.what


class Trap:
    """Creates a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_nothing_is_unpickled(folder: Path, reseal: Reseal, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, **(dict(np.load(folder / "reference.npz")) | {"logits": np.array([Trap(tmp_path / "sprung")])}))
    put(folder, reseal, "reference.npz", stream.getvalue())
    with pytest.raises(InputError, match=r"reference\.npz"):
        Bundle.open(folder).reference()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("probabilities", np.zeros((11, 3), np.float32)),
        ("logits", np.zeros((12, 3), np.float64)),
        ("golden_rows", np.array([0, 1, 12])),
        ("golden_pixels", np.zeros((3, 16, 16, 3), np.uint8)),
    ],
)
def test_a_reference_that_does_not_fit(folder: Path, reseal: Reseal, field: str, value: Any) -> None:
    stream = io.BytesIO()
    np.savez(stream, **(dict(np.load(folder / "reference.npz")) | {field: value}))
    put(folder, reseal, "reference.npz", stream.getvalue())
    with pytest.raises(InputError, match=field):
        Bundle.open(folder).reference()


@pytest.mark.parametrize(
    ("old", "new"), [("circle\n", "other\n"), (",", ";"), ("00_circle.jpg", "01_square.jpg"), ("00_", "../00_")]
)
def test_an_index_that_does_not_fit(folder: Path, reseal: Reseal, old: str, new: str) -> None:
    text = (folder / "evalset" / "index.csv").read_text()
    changed = text.replace(",circle,", f",{new.strip()},", 1) if old == "circle\n" else text.replace(old, new, 1)
    assert changed != text
    put(folder, reseal, "evalset/index.csv", changed.encode())
    with pytest.raises(InputError, match=r"index\.csv"):
        Bundle.open(folder).photos()


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "note.edgetl").write_text("hello")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "bundle.json").write_text(json.dumps([1]))
    for name in ("note.edgetl", "empty", "other.zip", "list", "absent"):
        with pytest.raises(InputError) as caught:
            Bundle.open(tmp_path / name)
        assert len(str(caught.value).splitlines()) <= 3


def test_files_that_are_not_listed_are_not_read(folder: Path) -> None:
    (folder / "extra.txt").write_text("here, but not of the bundle")
    with pytest.raises(InputError, match=r"extra\.txt is not listed in bundle\.json"):
        Bundle.open(folder).read("extra.txt")


def test_an_index_that_is_no_text_or_empty(folder: Path, reseal: Reseal) -> None:
    put(folder, reseal, "evalset/index.csv", b"file,label\xff\n")
    with pytest.raises(InputError, match=r"(?s)index\.csv.*can't decode"):
        Bundle.open(folder).photos()
    put(folder, reseal, "evalset/index.csv", b"file,label,sha256\n")
    with pytest.raises(InputError, match="it lists no photos"):
        Bundle.open(folder).reference()


def test_a_reference_that_is_no_zip_or_of_another_format(folder: Path, reseal: Reseal) -> None:
    put(folder, reseal, "reference.npz", b"PK no zip")
    with pytest.raises(InputError, match=r"(?s)reference\.npz.*not a zip"):
        Bundle.open(folder).reference()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("golden_rows.npy", "w") as member:
        np.lib.format.write_array(member, np.arange(3), version=(2, 0))
    put(folder, reseal, "reference.npz", stream.getvalue())
    with pytest.raises(InputError, match="golden_rows is in a newer format of NumPy"):
        Bundle.open(folder).reference()


def test_what_stands_where_a_file_should_be(folder: Path) -> None:
    model = folder / "models" / "int8.tflite"
    model.unlink()
    model.mkdir()
    with pytest.raises(InputError, match=r"(?s)int8\.tflite.*not a regular file"):
        Bundle.open(folder).read("models/int8.tflite")
    model.rmdir()
    model.symlink_to(model.name)
    with pytest.raises(InputError, match=r"int8\.tflite cannot be read"):
        Bundle.open(folder).read("models/int8.tflite")
    shutil.rmtree(folder / "models")
    (folder / "models").write_text("a file")
    with pytest.raises(InputError, match=r"int8\.tflite cannot be read"):
        Bundle.open(folder).read("models/int8.tflite")


def test_a_manifest_without_end_is_not_read(folder: Path) -> None:
    os.truncate(folder / "bundle.json", 1 << 31)
    with pytest.raises(InputError, match=r"bundle\.json\nit is larger than"):
        Bundle.open(folder)
