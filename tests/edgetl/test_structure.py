"""The order of the folders: who may import whom. docs/architecture.md draws it."""

from __future__ import annotations

import graphlib
import sys
from collections.abc import Iterator

import grimp
import pytest
import small

# From the top down; a folder imports from lower lines only. Those of one line do not know each other.
LAYERS = (
    {"__main__"},
    {"_api", "cli"},
    {"documents"},
    {"doctor", "quantization", "remote", "training"},
    {"advice", "reports"},
    {"comparison", "features"},
    {"export", "runs"},
    {"backbones", "data", "inspection", "synthetic"},
    {"_lib"},
)
DEVICE_LAYERS = (
    {"__main__"},
    {"frames", "stream"},
    {"bench", "doctor", "live", "verify"},
    {"classifier"},
    {"bundle"},
    {"runtime"},
    {"delegates", "preprocess", "storage"},
    {"machine"},
    {"reasons", "scores"},
    {"documents", "options"},
    {"child", "folders", "jsonfile"},
    {"files"},
    {"errors", "telemetry"},
    {"text"},
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of both packages, those inside functions and for type checkers too."""
    return grimp.build_graph("edgetl", "edgetl_device", cache_dir=None)


def imports_of_siblings(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """Return which of its siblings each child of a package imports, all that is below it taken together."""
    children = sorted(graph.find_children(package))
    owner = {module: child for child in children for module in {child, *graph.find_descendants(child)}}
    found: dict[str, set[str]] = {child: set() for child in children}
    for module, child in owner.items():
        for imported in graph.find_modules_directly_imported_by(module):
            if owner.get(imported, child) != child:
                found[child].add(owner[imported])
    return found


def circle(graph: grimp.ImportGraph, package: str) -> str:
    """Return a circle among the children of a package, or nothing."""
    try:
        graphlib.TopologicalSorter(imports_of_siblings(graph, package)).prepare()
    except graphlib.CycleError as error:
        return " imports ".join(reversed(error.args[1]))
    return ""


def circles(graph: grimp.ImportGraph) -> list[str]:
    packages = sorted(module for module in graph.modules if graph.find_children(module))
    return [found for package in packages if (found := circle(graph, package))]


def upward(graph: grimp.ImportGraph, package: str, layers: tuple[set[str], ...]) -> Iterator[str]:
    """Yield each import between children of a package that does not go down, and each child without a layer."""
    place = {f"{package}.{name}": depth for depth, layer in enumerate(layers) for name in layer}
    for child, imported in imports_of_siblings(graph, package).items():
        if child not in place:
            yield f"{child} has no layer"
            continue
        yield from (f"{child} imports {one}" for one in sorted(imported) if place.get(one, -1) <= place[child])


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
    wrong.add_import(importer="edgetl_device.errors", imported="edgetl_device.files")
    wrong.add_import(importer="edgetl_device.files", imported="edgetl._lib.cache")
    assert circles(wrong) != []
    assert list(upward(wrong, "edgetl", LAYERS)) == ["edgetl.data imports edgetl.training"]
    assert list(upward(wrong, "edgetl_device", DEVICE_LAYERS)) == ["edgetl_device.errors imports edgetl_device.files"]
    assert wrong.find_shortest_chains("edgetl_device", "edgetl", as_packages=True)


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
