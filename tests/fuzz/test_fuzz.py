"""A short ``make fuzz``: valid inputs, a few mutations of each, and all inputs found by fuzzing."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

import numpy as np
import pytest
import targets
from flatbuffers import Builder
from targets import Target

TARGETS = {one.name: one for one in targets.targets()}
# Reading one takes a child process.
SLOW = ("weights-hdf5",)


def mutated(data: bytes, size: int, draw: random.Random) -> bytes:
    """Change, remove, insert or repeat some bytes."""
    found = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(found) + 1)
        how = draw.randrange(5)
        if how == 0:
            found[at : at + draw.randint(1, 8)] = b""
        elif how == 1:
            found[at:at] = draw.randbytes(draw.randint(1, 4))
        elif how == 2:
            found[at : at + 4] = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80"])
        elif how == 3:
            found[at:at] = found[at : at + 20]
        elif at < len(found):
            found[at] ^= 1 << draw.randrange(8)
    return bytes(found[:size])


@pytest.mark.parametrize("name", TARGETS)
def test_valid_inputs_and_mutations_of_them(name: str) -> None:
    target, draw = TARGETS[name], random.Random(0)
    seeds = target.seeds()
    for seed in seeds:
        target.read(seed) if name != "documents" else targets.execute(target, seed)
    for _ in range(2 if name in SLOW else 60):
        seed = draw.choice(seeds)
        change = target.mutate
        if change is None:
            data = mutated(seed, target.max_bytes, draw)
        else:
            data = change(seed, target.max_bytes, lambda one, size: mutated(one, size, draw), draw)
        error = targets.execute(target, data)
        assert error is None, (data, error)


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


def bundle_with(reference: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(targets.TINY) as archive, zipfile.ZipFile(out, "w") as changed:
        for one in archive.infolist():
            changed.writestr(one.filename, reference if one.filename == "reference.npz" else archive.read(one))
    return targets.resealed(out.getvalue())


def without_operators() -> bytes:
    import ai_edge_litert.schema_py_generated as schema

    graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=None)
    model = schema.ModelT(version=3, subgraphs=[graph], buffers=[schema.BufferT()], operatorCodes=[])
    builder = Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


UNCLOSED = npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (4,), (\n")
VERSION = b"Edge TPU Compiler version 16.0\n"
SIZE = VERSION + b"On-chip memory used for caching model parameters: %sKiB\n"
FOUND = {
    "an array's header with an open bracket": ("arrays", b"\0" + UNCLOSED),
    "the same in an .npz": ("npz", zipped(x=UNCLOSED)),
    "the same in a weights file": ("weights-npz", zipped(**{"conv/kernel": UNCLOSED})),
    "the same in a bundle": ("bundles", bundle_with(zipped(golden_rows=UNCLOSED))),
    "an IDX file with a side of 0 and others too long": (
        "arrays",
        b"\1" + bytes([0, 0, 8, 3]) + struct.pack(">3I", 0xFFFFFFFF, 0xFFFFFFFF, 0),
    ),
    "a compiler's size of several points": ("compiler-logs", SIZE % b"604.5.0"),
    "a compiler's size without end": ("compiler-logs", SIZE % (b"9" * 400)),
    "a compiler's number without end": ("compiler-logs", VERSION + b"Number of Edge TPU subgraphs: " + b"9" * 5000),
    "a public key that is not ASCII": ("public-keys", b"edgetl-ed25519 11qYAYK\xff expires=2030-01-01T00:00:00Z"),
    "a TFLite file without operators": ("edgetpu", without_operators()),
    "a cell of a history nested deeply": ("tables", b"\3stage,epoch\nblocks," + b"[" * 100_000 + b"\n"),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found(what: str) -> None:
    name, data = FOUND[what]
    target: Target = TARGETS[name]
    error = targets.execute(target, data)
    assert error is None, error


def test_a_finding_is_reported() -> None:
    """The harness does not accept every exception as a refusal."""

    def read(data: bytes) -> None:
        zlib.decompress(data)

    found = targets.execute(Target("x", read, list), b"x")
    assert isinstance(found, zlib.error)
    assert targets.execute(Target("x", lambda data: np.frombuffer(data, np.uint8), list), b"x") is None
