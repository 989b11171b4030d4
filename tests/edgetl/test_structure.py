"""The layers of the folders: allowed imports, and typed data between them. See docs/architecture.md."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
import small

ROOT = Path(__file__).parents[2]
ROOTS = (ROOT / "edgetl", ROOT / "device" / "edgetl_device")
PACKAGES = ("edgetl", "edgetl_device")

# From the top down: a folder imports only from lower lines. Folders on the same line do not import each other.
LAYERS = (
    {"__main__"},
    {"_api", "cli"},
    {"documents"},
    {"searching"},
    {"latency"},
    {"doctor", "field", "importing", "labels", "quantization", "remote", "review", "training"},
    {"advice", "reports", "store"},
    {"comparison", "features"},
    {"export", "runs"},
    {"backbones", "data", "inspection", "synthetic"},
    {"_lib"},
)
DEVICE_LAYERS = (
    {"__main__"},
    {"console"},
    {"adapt", "frames", "stream", "update"},
    {"bench", "doctor", "live", "monitor", "verify"},
    {"classifier", "packing", "trial_decode"},
    {"bundle", "named_photos", "slots"},
    {"photo_metadata", "runtime"},
    {"delegates", "preprocess", "storage"},
    {"machine"},
    {"decoding", "reasons", "scores", "signature", "truth", "unknown"},
    {"input_size", "options"},
    {"_lib"},
    {"errors"},
    {"text"},
)

# Types whose fields only the code reveals.
UNTYPED = re.compile(r"\b(dict|Mapping|MutableMapping)\[str, (Any|Json)\]")
# Exceptions where folders exchange such objects, with reasons.
_JSON = "reads, checks and writes JSON of all kinds, for the typed documents"
_SCHEMA = "a JSON Schema"
_CARRIED = "what the maker of a bundle says of it, carried to the device and read by nobody there"
_KERAS = "arguments and configurations of Keras' layers"
ALLOWED = {
    "edgetl_device._lib.jsonfile.write_json": _JSON,
    "edgetl_device._lib.jsonfile.read_json": _JSON,
    "edgetl_device._lib.jsonfile.parse": _JSON,
    "edgetl_device._lib.jsonfile.digest": _JSON,
    "edgetl_device._lib.documents.json_schema": _SCHEMA,
    "edgetl.documents.schema": _SCHEMA,
    "edgetl.documents.section": _SCHEMA,
    "edgetl_device.bundle.Variant.calibration": _CARRIED,
    "edgetl_device.bundle.Manifest.provenance": _CARRIED,
    "edgetl_device.bundle.Bundle.provenance": _CARRIED,
    "edgetl.export.bundle.VariantFile.calibration": _CARRIED,
    "edgetl.export.bundle.write_bundle": _CARRIED,
    "edgetl.quantization.preparation.graph.walk": _KERAS,
    "edgetl.quantization.preparation.graph.rebuild": _KERAS,
    "edgetl._lib.toml.read_toml": "a TOML file; who reads it checks each value",
    "edgetl_device.options.parsed": "a parser's namespace; it is checked here",
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports of both packages, including those inside functions and for type checkers."""
    return grimp.build_graph("edgetl", "edgetl_device", cache_dir=None)


def imports_of_siblings(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """Return the siblings that each child of a package imports, including imports by its own children."""
    children = sorted(graph.find_children(package))
    owner = {module: child for child in children for module in {child, *graph.find_descendants(child)}}
    found: dict[str, set[str]] = {child: set() for child in children}
    for module, child in owner.items():
        for imported in graph.find_modules_directly_imported_by(module):
            if owner.get(imported, child) != child:
                found[child].add(owner[imported])
    return found


def circle(graph: grimp.ImportGraph, package: str) -> str:
    """Return an import cycle among the children of a package; empty if there is none."""
    try:
        graphlib.TopologicalSorter(imports_of_siblings(graph, package)).prepare()
    except graphlib.CycleError as error:
        return " imports ".join(reversed(error.args[1]))
    return ""


def circles(graph: grimp.ImportGraph) -> list[str]:
    packages = sorted(module for module in graph.modules if graph.find_children(module))
    return [found for package in packages if (found := circle(graph, package))]


def upward(graph: grimp.ImportGraph, package: str, layers: tuple[set[str], ...]) -> Iterator[str]:
    """Yield each import between a package's children that does not go down a layer, and each child without a layer."""
    place = {f"{package}.{name}": depth for depth, layer in enumerate(layers) for name in layer}
    for child, imported in imports_of_siblings(graph, package).items():
        if child not in place:
            yield f"{child} has no layer"
            continue
        yield from (f"{child} imports {one}" for one in sorted(imported) if place.get(one, -1) <= place[child])


def untyped(source: str, module: str) -> Iterator[str]:
    """Yield a module's public functions, methods and fields that accept or return untyped objects."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            name, annotations = "", ""
            if isinstance(node, ast.ClassDef):
                name = node.name
            elif isinstance(node, ast.AnnAssign):
                name, annotations = ast.unparse(node.target), ast.unparse(node.annotation)
            elif isinstance(node, ast.FunctionDef):
                returned = ast.unparse(node.returns) if node.returns else ""
                name, annotations = node.name, f"{ast.unparse(node.args)} -> {returned}"
            if name.startswith("_") and name != "__init__":
                continue
            if UNTYPED.search(annotations):
                yield f"{prefix}.{name}"
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}.{name}")

    return walk(ast.parse(source).body, module)


def crosses(graph: grimp.ImportGraph, module: str) -> bool:
    """Whether another folder imports a module."""
    folder = module.rpartition(".")[0]
    return any(importer.rpartition(".")[0] != folder for importer in graph.find_modules_that_directly_import(module))


def untyped_at_borders(graph: grimp.ImportGraph) -> set[str]:
    found = set()
    for root in ROOTS:
        for path in root.rglob("*.py"):
            module = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
            if crosses(graph, module):
                found |= set(untyped(path.read_text(), module))
    return found


def test_what_crosses_a_folders_border_has_a_type(graph: grimp.ImportGraph) -> None:
    assert untyped_at_borders(graph) == set(ALLOWED)


@pytest.mark.parametrize(
    "code",
    [
        "def read(path: Path) -> dict[str, Any]: ...",
        "def show(rows: Sequence[Mapping[str, Any]], *, every: bool) -> None: ...",
        "class Report:\n    rows: tuple[dict[str, Json], ...]",
        "class Report:\n    def to_json(self) -> dict[str, Any]: ...",
        "class Report:\n    def __init__(self, *, facts: dict[str, Any] | None = None) -> None: ...",
    ],
)
def test_an_object_without_a_type_is_seen(code: str) -> None:
    assert len(list(untyped(code, "edgetl.reports.made_up"))) == 1
    hidden = code.replace("def read", "def _read").replace("def show", "def _show").replace("class R", "class _R")
    assert list(untyped(hidden, "edgetl.reports.made_up")) == []


def test_a_border_is_where_another_folder_imports(graph: grimp.ImportGraph) -> None:
    assert crosses(graph, "edgetl.export.edgetpu")  # by edgetl.cli
    assert not crosses(graph, "edgetl.training.checkpoint")


def test_no_circles(graph: grimp.ImportGraph) -> None:
    assert circles(graph) == []


def test_nothing_imports_upward(graph: grimp.ImportGraph) -> None:
    assert list(upward(graph, "edgetl", LAYERS)) == []
    assert list(upward(graph, "edgetl_device", DEVICE_LAYERS)) == []


def test_the_device_package_does_not_know_edgetl(graph: grimp.ImportGraph) -> None:
    assert not graph.find_shortest_chains("edgetl_device", "edgetl", as_packages=True)


def test_the_walk_sees_wrong_imports(graph: grimp.ImportGraph) -> None:
    wrong = grimp.build_graph("edgetl", "edgetl_device", cache_dir=None)
    wrong.add_import(importer="edgetl.data.split", imported="edgetl.training.pipeline")
    wrong.add_import(importer="edgetl_device.errors", imported="edgetl_device._lib.files")
    wrong.add_import(importer="edgetl_device._lib.files", imported="edgetl._lib.cache")
    assert circles(wrong) != []
    assert list(upward(wrong, "edgetl", LAYERS)) == ["edgetl.data imports edgetl.training"]
    assert list(upward(wrong, "edgetl_device", DEVICE_LAYERS)) == ["edgetl_device.errors imports edgetl_device._lib"]
    assert wrong.find_shortest_chains("edgetl_device", "edgetl", as_packages=True)


def exists(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return True


def missing_names(source: str) -> Iterator[str]:
    """Names that the code imports from either package, anywhere in it, and that are not there."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.level or (node.module or "").split(".")[0] not in PACKAGES:
            continue
        if not exists(node.module):
            yield node.module
            continue
        for name in (alias.name for alias in node.names):
            if not hasattr(sys.modules[node.module], name) and not exists(f"{node.module}.{name}"):
                yield f"{node.module}.{name}"


@pytest.mark.parametrize("folder", ["benchmarks", "docs", "models", "tests"])
def test_what_is_imported_exists(folder: str) -> None:
    """Type checkers do not read these, and an import inside a function fails only when it runs."""
    missing = {str(path): list(missing_names(path.read_text())) for path in (ROOT / folder).rglob("*.py")}
    assert missing
    assert {path: names for path, names in missing.items() if names} == {}


def test_a_name_that_moved_is_seen() -> None:
    assert list(missing_names("def f():\n    from edgetl.data import copies, clones")) == ["edgetl.data.clones"]
    assert list(missing_names("from edgetl_device.files import sha256_file")) == ["edgetl_device.files"]
    assert list(missing_names("from edgetl_device.text import closer")) == ["edgetl_device.text.closer"]


@pytest.mark.parametrize("package", ["edgetl", "edgetl_device"])
def test_importing_loads_nothing_heavy(package: str) -> None:
    done = small.python(f"""
import sys
before = set(sys.modules)
import {package}
print(*sorted({{name.split(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)))
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [package], sys.version
