"""What messages say about installing fits how edgetl is installed: from a checkout, or from a package index."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import small

from edgetl._lib.extras import install

ROOT = Path(__file__).parents[3]
PACKAGES = (ROOT / "edgetl", ROOT / "device" / "edgetl_device")


def test_in_a_checkout_it_is_the_checkout() -> None:
    assert install("train") == "In edgetl's checkout: pip install ./device '.[train]'"
    assert install() == "In edgetl's checkout: pip install ./device"


def test_installed_it_is_the_distribution(tmp_path: Path) -> None:
    # As a wheel lays it out: the packages alone.
    for package in PACKAGES:
        shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    # Without the working directory, which is the checkout; Python 3.10 has no option for that.
    script = (
        "import sys; sys.path.remove(''); from edgetl._lib.extras import install; print(install('train'), install())"
    )
    done = small.python(script, env={"PYTHONPATH": str(tmp_path)})
    wanted = "Run: pip install 'edgetl[train]' Run: pip install edgetl-device\n"
    assert done.stdout == wanted, done.stderr


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the strings of a module that are not docstrings, with their lines."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_no_other_message_needs_a_checkout() -> None:
    modules = [path for package in PACKAGES for path in package.rglob("*.py")]
    assert len(modules) > 200
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules
        if path != ROOT / "edgetl" / "_lib" / "extras.py"
        for line, text in messages(path)
        if re.search(r"\./device|checkout|(^|[ (])docs/", text)
    ]
    assert found == []


def test_the_demo_says_what_it_lacks_before_it_draws(tmp_path: Path) -> None:
    for module in ("tensorflow", "ai_edge_litert", "matplotlib"):
        words = ["edgetl", "demo", "--out", str(tmp_path / "demo")]
        script = (
            f"import sys; sys.modules[{module!r}] = None; sys.argv = {words!r}; from edgetl.cli import main; main()"
        )
        done = small.python(script)
        assert f"needs {module}" in small.refused(done, 4)
        assert done.stderr.startswith("error: ")
        assert list(tmp_path.iterdir()) == []
