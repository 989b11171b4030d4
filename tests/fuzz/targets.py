"""Fuzz targets: every reader of untrusted bytes, with valid inputs as seeds.

A reader returns, or raises one of edgetl's errors, or a system error that edgetl reports as one.
"""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from edgetl import documents as all_documents
from edgetl.backbones.formats import read_arrays, to_npz
from edgetl.cli.config_file import VERBS, config_text, read_config
from edgetl.comparison.results import gate_subjects
from edgetl.data.readers import archives, array_files, class_labels
from edgetl.data.readers.exports import find_export
from edgetl.data.readers.tables import scan_table
from edgetl.data.split_table import read_split
from edgetl.importing.keras_config import check_config, prepared
from edgetl.importing.labels import read_labels
from edgetl.importing.onnx_labels import labels_in
from edgetl.importing.options import ImportOptions
from edgetl.importing.source import open_source
from edgetl.inspection.contents import inspect_path
from edgetl.inspection.edgetpu.compiler import parse_log
from edgetl.inspection.edgetpu.predict import predict
from edgetl.inspection.onnx_file import describe_here
from edgetl.quantization.options import QuantizeOptions
from edgetl.remote.agent import HELLO, About, Ended
from edgetl.remote.connection import Connection
from edgetl.remote.deploy_options import DeployOptions
from edgetl.remote.fleet import from_hosts, read_fleet
from edgetl.remote.pull_options import PullOptions
from edgetl.review.options import ReviewOptions
from edgetl.runs.history import read_history
from edgetl.runs.predictions import read_predictions
from edgetl.training.options import TrainOptions
from edgetl_device import signature
from edgetl_device._lib import documents, jsonfile
from edgetl_device.adapt.dense_layer import change_row, read_dense
from edgetl_device.adapt.options import AdaptOptions
from edgetl_device.bench import latency, result
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle
from edgetl_device.errors import EdgetlError, from_os_error
from edgetl_device.input_size import square
from edgetl_device.photo_metadata import without_metadata
from edgetl_device.preprocess import Preprocess, preprocess

GOLDEN = Path(__file__).parent.parent / "golden"
TINY = GOLDEN / "tiny.edgetl"
Mutate = Callable[[bytes, int], bytes]
Mutator = Callable[[bytes, int, Mutate, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: Name of the input.
        read: Reads the bytes.
        seeds: Valid inputs.
        max_bytes: Maximum length of an input.
        mutate: Format-aware mutation of an input; None mutates bytes only.
        timeout_s: Time limit of one execution.
        memory_mb: Memory limit of the process.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    max_bytes: int = 1 << 16
    mutate: Mutator | None = None
    timeout_s: int = 20
    memory_mb: int = 2048


def execute(target: Target, data: bytes) -> Exception | None:
    """Read once; return an exception that a reader must not raise, if any."""
    try:
        target.read(data)
    except EdgetlError:
        return None
    except OSError as error:
        # Handle system errors as the command line does, such as a name that is too long, or a folder instead of a file.
        return error if from_os_error(error).exit_code == 1 else None
    except Exception as error:
        return error
    return None


@cache
def folder() -> Path:
    """Return a folder in memory for this process's files."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="edgetl-fuzz-", dir=memory if memory.is_dir() else None))


def file(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


# Mutations


_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**70, -(2**63), 0.5, 1e308, -0.0, "", "x", "\ud800", "\x1b[2J", "../x", "/", "edgetl.run/1",
    "0" * 64, [], [1], {}, {"unknown": "why"}, {"a": 1}, [[0.0, 1.0]], float("nan"), float("inf"), 10**400,
)  # fmt: skip


def mutate_json(data: bytes, size: int, mutate: Mutate, draw: random.Random) -> bytes:
    """Replace, remove, duplicate or swap values of a document; one time in four, change bytes instead."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict | list) or not document or draw.random() < 0.25:
        return mutate(data, size)
    for _ in range(draw.randint(1, 3)):
        inner: Any = document
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(inner[key], dict | list) and inner[key] and draw.random() < 0.8:
                inner = inner[key]
                continue
            how = draw.randrange(6)
            if how < 3:
                inner[key] = draw.choice(_VALUES)
            elif how == 3:
                del inner[key]
            elif how == 4 and isinstance(inner[key], str):
                inner[key] = mutate(inner[key].encode("utf-8", "surrogatepass"), 200).decode("utf-8", "replace")
            elif isinstance(inner[key], int | float) and not isinstance(inner[key], bool):
                with suppress(OverflowError):
                    inner[key] = inner[key] * draw.choice((-1, 2, 0.5, 1000)) + draw.choice((-1, 0, 1))
            break
    with suppress(ValueError, RecursionError):
        return json.dumps(document).encode("utf-8", "surrogatepass")[:size]
    return mutate(data, size)


def mutate_zip(data: bytes, size: int, mutate: Mutate, draw: random.Random) -> bytes:
    """Change a member of a zip, or how it is stored, and write a valid zip; one time in four, change bytes instead."""
    if draw.random() < 0.25:
        return mutate(data, size)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(one.filename, archive.read(one)) for one in archive.infolist() if one.file_size < 1 << 20]
    except Exception:
        return mutate(data, size)
    if not members:
        return mutate(data, size)
    at = draw.randrange(len(members))
    name, content = members[at]
    how = draw.randrange(8)
    if how == 0:
        del members[at]
    elif how == 1:
        members[at] = (mutate(name.encode(), 60).decode("utf-8", "replace") or "x", content)
    else:
        members[at] = (name, mutate(content, size))
    packed = zipfile.ZIP_DEFLATED if draw.random() < 0.1 else zipfile.ZIP_STORED
    out = io.BytesIO()
    try:
        with zipfile.ZipFile(out, "w", packed) as archive:
            for name, content in members:
                archive.writestr(name, content)
    except (ValueError, LookupError, struct.error):
        return mutate(data, size)
    return out.getvalue()[:size]


# Documents


def _sealed(data: bytes) -> bytes:
    """Update a document's digest, so that the reader checks the rest."""
    try:
        document = json.loads(data)
        if isinstance(document, dict) and "digest" in document:
            document["digest"] = jsonfile.digest(document)
            return json.dumps(document).encode()
    except (ValueError, RecursionError, TypeError):
        pass
    return data


def _read_document(data: bytes) -> None:
    """The first byte selects the kind; a document that can be read must survive writing and reading."""
    kind = all_documents.document_class(all_documents.NAMES[data[0] % len(all_documents.NAMES)]) if data else None
    if kind is not None:
        found = documents.parse(kind, _sealed(data[1:]), name="x.json")
        assert documents.parse(kind, documents.dumps(found).encode(), name="again") == found


def _mutate_document(data: bytes, size: int, mutate: Mutate, draw: random.Random) -> bytes:
    return data[:1] + mutate_json(data[1:], size - 1, mutate, draw) if len(data) > 2 else mutate(data, size)


def example(schema: Any, definitions: Any, depth: int = 0) -> Any:
    """Return a small value of a JSON Schema."""
    if "$ref" in schema:
        return example(definitions[schema["$ref"].rpartition("/")[2]], definitions, depth + 1)
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    if "anyOf" in schema:
        return example(schema["anyOf"][0], definitions, depth)
    kind = schema.get("type")
    if kind == "object":
        found = {name: example(one, definitions, depth) for name, one in schema.get("properties", {}).items()}
        return found or {}
    if kind == "array":
        if "prefixItems" in schema:
            return [example(one, definitions, depth) for one in schema["prefixItems"]]
        return [example(schema["items"], definitions, depth) for _ in range(schema.get("minItems", 1))]
    if kind == "string":
        pattern = schema.get("pattern", "")
        return "0" * 64 if "64" in pattern else "2026-11-01T00:00:00Z" if schema.get("format") else "x"
    return {"integer": 1, "number": 1.0, "boolean": True}.get(kind or "")


def _documents() -> list[bytes]:
    found = []
    for number, name in enumerate(all_documents.NAMES):
        schema = all_documents.schema(name)
        found.append(bytes([number]) + json.dumps(example(schema, schema.get("$defs", {}))).encode())
    with zipfile.ZipFile(TINY) as archive:
        found.append(bytes([all_documents.NAMES.index("bundle")]) + archive.read("bundle.json"))
    return found


def _read_result(data: bytes) -> None:
    found = result.read(file("result.json", _sealed(data)))
    gate_subjects(found)


@cache
def _result() -> dict[str, Any]:
    document: dict[str, Any] = run_bench(Bundle.open(TINY), BenchOptions(variants=["int8"], duration=0.01)).to_json()
    for run in document["runs"]:
        run["samples_ns"] = {stage: values[:8] for stage, values in run["samples_ns"].items()}
        run["latency_ms"] = documents.to_json(latency.summary_ms(latency.Samples(run["samples_ns"])))
        run.pop("latency_ci95_ms", None)
    return document


def _read_bundle(data: bytes) -> None:
    bundle = Bundle.open(file("x.edgetl", data))
    bundle.signatures(), bundle.photos(), bundle.reference()
    for variant in bundle.variants:
        bundle.read(variant.file)


def resealed(data: bytes) -> bytes:
    """Update the hashes in a bundle, so that its files are read."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = {one.filename: archive.read(one) for one in archive.infolist()}
    document = json.loads(content["bundle.json"])
    for name, entry in document["files"].items():
        if name in content:
            entry |= {"bytes": len(content[name]), "sha256": jsonfile.hashlib.sha256(content[name]).hexdigest()}
    content["bundle.json"] = _sealed(json.dumps(document).encode())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, one in content.items():
            archive.writestr(name, one)
    return out.getvalue()


def _mutate_bundle(data: bytes, size: int, mutate: Mutate, draw: random.Random) -> bytes:
    changed = mutate_zip(data, size, mutate, draw)
    if draw.random() < 0.7:
        with suppress(Exception):
            return resealed(changed)[:size]
    return changed


# Files of the workstation


_FLEET = b"""[[board]]
name = "pi5"
host = "pi@10.0.0.5"
threads = [1, 2]
variants = ["int8"]

[[board]]
name = "coral"
host = "ssh://mendel@coral:22"
python = "/home/mendel/venv/bin/python"
delegate = "edgetpu"
"""


def _read_config(data: bytes) -> None:
    path = file("x.toml", data[1:])
    verb = VERBS[data[0] % len(VERBS)] if data else "bench"
    read_config(path, verb, _options()[verb])


@cache
def _options() -> dict[str, Any]:
    return {
        "train": TrainOptions,
        "import": ImportOptions,
        "quantize": QuantizeOptions,
        "bench": BenchOptions,
        "deploy": DeployOptions,
        "adapt": AdaptOptions,
        "pull": PullOptions,
        "review": ReviewOptions,
    }


def _configs() -> list[bytes]:
    return [bytes([at]) + config_text(_options()[verb](), verb).encode() for at, verb in enumerate(VERBS)]


def _read_table(data: bytes) -> None:
    path = file("x.csv", data[1:])
    readers: list[Callable[[Path], object]] = [scan_table, read_split, read_predictions, read_history]
    readers[data[0] % 4 if data else 0](path)


_SHA = b"0" * 64
_TABLES = [
    b"\0path,label,split\nx.csv,cat,train\nx.csv,dog,test\n",
    b'\0path;label\n"x.csv";cat\nx.csv;dog\n',
    b"\1path,label,split,sha256,group\na/b.jpg,cat,train," + _SHA + b",\n",
    b"\2path,label,split,sha256,predicted,probability\na/b.jpg,cat,test," + _SHA + b",dog,0.5\n",
    b"\3stage,epoch,l2,loss,accuracy,val_loss,val_accuracy,val_loss_se,lr,seconds,fitted_on\n"
    b"head,,0.001,0.5,0.9,,,,,,photos\nblocks,1,,0.4,0.9,0.4,0.8,0.1,0.01,2.5,\n",
]


def _read_array(data: bytes) -> None:
    """The first byte selects the name; labels of the array are decoded."""
    names = ("x.npy", "x-idx3-ubyte", "x-idx1-ubyte.gz", "train_X.bin", "train_y.bin")
    scratch = folder() / "scratch"
    scratch.mkdir(exist_ok=True)
    for one in scratch.iterdir():
        one.unlink()
    path = file(names[data[0] % len(names)] if data else names[0], data[1:])
    _use(array_files.open_file(path, scratch))


def _read_npz(data: bytes) -> None:
    scratch = folder() / "scratch"
    scratch.mkdir(exist_ok=True)
    for one in scratch.iterdir():
        one.unlink()
    path = file("x.npz", data)
    for key in array_files.npz_keys(path)[:4]:
        _use(array_files.open_member(path, key, scratch))


def _use(array: Any) -> None:
    if array.ndim in (1, 2) and 0 < array.size < 1 << 16:
        labels = class_labels.decode_labels(array, "x", count=len(array))
        class_labels.name_classes([labels], None, "x")


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, x=np.zeros((2, 8, 8), np.uint8), y=np.arange(2), names=np.array(["cat", "dog"]))
    return out.getvalue()


def _arrays() -> list[bytes]:
    import gzip

    idx3 = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 4, 4) + bytes(32)
    idx1 = bytes([0, 0, 8, 1]) + struct.pack(">I", 3) + bytes([0, 1, 2])
    arrays = [np.arange(4), np.eye(3, dtype=np.float32), np.array(["cat", "dog"]), np.zeros((2, 4, 4, 3), np.uint8)]
    return [
        *(b"\0" + _npy(one) for one in arrays),
        b"\1" + idx3, b"\2" + gzip.compress(idx1, mtime=0), b"\4" + bytes([1, 2, 3]),
    ]  # fmt: skip


_ONNX_LABELS = [b"{0: 'cat', 1: \"dog\"}", b'["cat", "dog"]', b"cat,dog", b"cat\ndog\n", b"('cat', 'dog')"]


def _read_class_names(data: bytes) -> None:
    class_labels.read_class_names(file(class_labels.NAME_FILES[0], data).parent)


# Models


def _member(name: str) -> bytes:
    with zipfile.ZipFile(TINY) as archive:
        return archive.read(name)


def _read_tflite(data: bytes) -> None:
    inspect_path(file("x.tflite", data), tensors=True)


def _change_row(data: bytes) -> None:
    dense = read_dense(data)
    change_row(data, len(dense.bias), dense.weights[0], 0.0, highest=1.0, labels=("a", "b", "c", "d"))


def _read_onnx(data: bytes) -> None:
    """The child's work; it turns any exception into a refusal."""
    with suppress(Exception):
        describe_here(data, tensors=True)


def _read_architecture(data: bytes) -> None:
    text = _text(data)
    check_config(text, Path("x.h5"))
    prepared(text)


def _model_files() -> list[bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr("config.json", _ARCHITECTURE)
    return [b"\x89HDF\r\n\x1a\n", archive.getvalue()]


def _read_weights_npz(data: bytes) -> None:
    # Without these two bytes, it would be read as HDF5 in a child process.
    _read_weights(b"PK" + data[2:])


def _read_weights(data: bytes) -> None:
    read_arrays(data, "x")


def _weights_npz() -> list[bytes]:
    return [to_npz({"Conv1/kernel": np.zeros((3, 3), np.float32), "bn/0": np.ones(3, np.float32)})]


def _weights_hdf5() -> list[bytes]:
    import h5py

    found = []
    for legacy in (True, False):
        out = io.BytesIO()
        with h5py.File(out, "w") as store:
            group = store.create_group("conv" if legacy else "layers/conv/vars")
            if legacy:
                store.attrs["layer_names"] = [b"conv"]
                group.attrs["weight_names"] = [b"conv/kernel:0"]
                group.create_dataset("conv/kernel:0", data=np.zeros((2, 2), np.float32))
            else:
                group.attrs["name"] = "conv"
                group.create_dataset("0", data=np.zeros((2, 2), np.float32))
        found.append(out.getvalue())
    return found


# Photos


def _photos() -> list[bytes]:
    from PIL import Image

    small = Image.radial_gradient("L").resize((24, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for kind, mode, options in (
        ("JPEG", "RGB", {"exif": exif}), ("JPEG", "CMYK", {"progressive": True}), ("PNG", "RGBA", {"exif": exif}),
        ("PNG", "P", {"transparency": 3}), ("PNG", "I;16", {}), ("WEBP", "RGBA", {"exif": exif}), ("BMP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "1", {"compression": "group4"}), ("GIF", "P", {}),
    ):  # fmt: skip
        out = io.BytesIO()
        small.convert("RGB" if mode == "P" else "L" if mode == "I;16" else mode).convert(mode).save(
            out, kind, **dict(options)
        )
        found.append(out.getvalue())
    return found


def _read_photo(data: bytes) -> None:
    preprocess(data, Preprocess(size=square(32)))


def _strip_photo(data: bytes) -> None:
    """Stripping metadata from a photo preserves its pixels."""
    spec = Preprocess(size=square(32))
    pixels = preprocess(data, spec)
    stripped, _ = without_metadata(data, spec, name="x")
    assert np.array_equal(preprocess(stripped, spec), pixels)


# Others


class _Ssh:
    """An ssh process whose board has written these bytes."""

    def __init__(self, data: bytes) -> None:
        self.stdout = io.BytesIO(data)
        self.stdin = io.BytesIO()

    def wait(self) -> int:
        return 0


def _read_board(data: bytes) -> None:
    connection = Connection("host", "python3", children=_Children(), say=lambda _: None)
    connection._process, connection._errors = _Ssh(data), io.BytesIO(data[:100])  # type: ignore[assignment]
    connection._skip_to_hello()
    connection._read(About, connection._answer())
    connection._greeted = True
    connection._read(Ended, connection._answer())
    connection._read(tuple[str, ...], connection._answer())


class _Children:
    stopped = False


_ABOUT = {
    "root": "/r", "executable": "/p", "python": [3, 11, 2], "machine": "aarch64", "bits": 64, "libc": ["glibc", "2"],
    "free_bytes": 1, "venv": True,
}  # fmt: skip
_BOARD = (
    HELLO.encode() + json.dumps({"done": _ABOUT}).encode() + b'\n{"say": "x"}\n'
    b'{"done": {"exit": 0, "stdout": "", "stderr": ""}}\n{"done": ["a"]}\n'
)

_ARCHITECTURE = json.dumps(
    {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "DepthwiseConv2D", "config": {"name": "a", "groups": 1, "axis": [3]}}]},
    }
).encode()


_LOG = (
    b"Edge TPU Compiler version 16.0.384591198\nOutput model: x.tflite\nOn-chip memory used for caching model "
    b"parameters: 604.50KiB\nNumber of Edge TPU subgraphs: 1\nTotal number of operations: 50\n\n"
    b"Operator                       Count      Status\n\nCONV_2D   11   Mapped to Edge TPU\n"
)
_KEY = b"# keys\nedgetl-ed25519 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= expires=2030-01-01T00:00:00Z me\n"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# What label tools export, by the name of the file. All their photos are there.
_STUDIO = {"annotator": 1, "annotation_id": 9, "lead_time": 2.5}
_EXPORTS: dict[str, tuple[str, list[Any]]] = {
    "label-studio": (
        "x.json",
        [
            [
                {
                    "id": 1,
                    "data": {"image": "/data/upload/1/0.bmp"},
                    "annotations": [{"result": [{"type": "choices", "value": {"choices": ["a"]}}]}],
                }
            ],
            [{"image": "0.bmp", "choice": "a", **_STUDIO}, {"image": "s3://x/1.bmp", "choice": {"choices": ["b"]}}],
        ],
    ),
    "edge-impulse": (
        "info.labels",
        [
            {
                "version": 1,
                "files": [
                    {"path": "0.bmp", "category": "training", "label": {"type": "label", "label": "a"}},
                    {"path": "1.bmp", "category": "split", "boundingBoxes": [{"label": "b"}]},
                ],
            }
        ],
    ),
    "coco": (
        "coco.json",
        [
            {
                "images": [{"id": 1, "file_name": "0.bmp"}],
                "annotations": [{"image_id": 1, "category_id": 1}],
                "categories": [{"id": 1, "name": "a"}],
            }
        ],
    ),
    "hugging-face": ("metadata.jsonl", [{"file_name": "0.bmp", "label": "a"}, {"file_name": "test/1.bmp", "label": 2}]),
}
_EXPORT_TABLES = {
    "label-studio-csv": ("x.csv", b"annotation_id,annotator,choice,image\n1,1,a,/data/upload/1/0.bmp\n"),
    "roboflow": ("_classes.csv", b"filename, a, b\n0.bmp, 1, 0\n"),
    "hugging-face-csv": ("metadata.csv", b'file_name,label\n0.bmp,a\n"1.bmp",b\n'),
}


def _read_export(name: str, data: bytes) -> object:
    (folder() / "test").mkdir(exist_ok=True)
    for photo in ("0.bmp", "1.bmp", "test/1.bmp"):
        file(photo, b"BM")
    return find_export(file(name, data))


def _read_archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=folder()) as target:
        archives.extract(file("x.zip", data), Path(target))


def _archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/0.jpg", b"photo")
        archive.writestr("b/1.png", b"photo")
    return out.getvalue()


def targets() -> Iterator[Target]:
    """All targets, fast ones first."""
    yield Target(
        "host-names", lambda data: from_hosts(_text(data).split("\n")), lambda: [b"pi@10.0.0.5\nssh://a:22"], 200
    )
    yield Target("compiler-logs", lambda data: parse_log(_text(data)), lambda: [_LOG], 2000)
    yield Target("public-keys", lambda data: signature.read_keys([file("x.pub", data)]), lambda: [_KEY], 500)
    yield Target("fleet", lambda data: read_fleet(file("fleet.toml", data)), lambda: [_FLEET], 1000)
    yield Target("config", _read_config, _configs, 16000)
    yield Target("tables", _read_table, lambda: _TABLES, 2000)
    for name, (path, documents_) in _EXPORTS.items():
        seeds = [json.dumps(one).encode() for one in documents_]
        yield Target(f"export-{name}", partial(_read_export, path), lambda seeds=seeds: seeds, 4000, mutate_json)  # type: ignore[misc]
    for name, (path, table) in _EXPORT_TABLES.items():
        yield Target(f"export-{name}", partial(_read_export, path), lambda table=table: [table], 2000)  # type: ignore[misc]
    yield Target("export-zip", _read_archive, lambda: [_archive()], 4000, mutate_zip)
    yield Target("class-names", _read_class_names, lambda: [b"cat\ndog\n"], 200)
    yield Target("labels", lambda data: read_labels(file("labels.txt", data)), lambda: [b"cat\ndog\n"], 200)
    yield Target("onnx-labels", lambda data: labels_in({"names": _text(data)}), lambda: _ONNX_LABELS, 2000)
    yield Target("keras-architectures", _read_architecture, lambda: [_ARCHITECTURE], 4000, mutate_json)
    yield Target("model-files", lambda data: open_source(file("x.keras", data)), _model_files, 2000)
    yield Target("board", _read_board, lambda: [_BOARD], 2000)
    yield Target("documents", _read_document, _documents, 16000, _mutate_document)
    yield Target("results", _read_result, lambda: [json.dumps(_result()).encode()], 65536, mutate_json)
    yield Target("bundles", _read_bundle, lambda: [TINY.read_bytes()], 1 << 18, _mutate_bundle)
    yield Target("arrays", _read_array, _arrays, 2000)
    yield Target("npz", _read_npz, lambda: [_npz()], 4000, mutate_zip)
    yield Target("tflite", _read_tflite, lambda: [_member("models/int8.tflite")], 20000)
    yield Target("last-layers", _change_row, lambda: [_member("models/int8.tflite")], 20000)
    yield Target("edgetpu", predict, lambda: [_member("models/int8.tflite")], 20000)
    yield Target("onnx", _read_onnx, lambda: [_member("models/int8-onnx.onnx")], 30000)
    yield Target("photos", _read_photo, _photos, 8000)
    yield Target("metadata", _strip_photo, _photos, 8000)
    yield Target("weights-npz", _read_weights_npz, _weights_npz, 4000, mutate_zip)
    yield Target("weights-hdf5", _read_weights, _weights_hdf5, 20000, None, 60)
