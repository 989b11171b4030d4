"""What contributors rely on: the changelog, the contributing pages, the workflow."""

from __future__ import annotations

import re
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edgetl

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPO = Path(__file__).parents[2]
WORKFLOWS = sorted((REPO / ".github" / "workflows").glob("*.yml"))


def read(name: str) -> str:
    return (REPO / name).read_text()


def test_the_changelog_goes_by_version_and_date() -> None:
    text = read("CHANGELOG.md")
    first, *versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    rows = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", version) for version in versions]
    assert all(rows), versions
    released = [(tuple(map(int, row[1].split("."))), date.fromisoformat(row[2])) for row in rows if row]
    assert released == sorted(released, reverse=True)
    assert versions[0].startswith(f"[{edgetl.__version__}]")
    sections = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_architecture_has_a_line_for_every_folder() -> None:
    for package in ("edgetl", "device/edgetl_device"):
        folders = {file.parent.name for file in (REPO / package).glob("*/__init__.py")}
        assert [name for name in sorted(folders) if f"`{name}/`" not in read("docs/architecture.md")] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_pages_link_to_what_is_here(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page))
    assert [link for link in links if not (REPO / link).exists()] == []


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w.-]+):", read("Makefile"), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", *(str(file.relative_to(REPO)) for file in WORKFLOWS)):
        named = re.findall(r"(?:^|`|run: |`, `)\s*make ((?:[a-z][\w.-]*)(?: types)?)", read(page), re.MULTILINE)
        for name in {one for words in named for one in words.split()}:
            assert name in targets, f"{page}: make {name}"


def test_the_workflow_runs_every_python_that_the_packages_name() -> None:
    matrix = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["test"]["strategy"]["matrix"]
    for file in ("pyproject.toml", "device/pyproject.toml"):
        assert re.findall(r'"Programming Language :: Python :: (3\.\d+)"', read(file)) == matrix["python"]
    assert [row["dependencies"] for row in matrix["include"]] == ["lowest"]


def test_every_tier_of_tests_runs_in_a_workflow() -> None:
    """What is left out of ``make test`` runs every night."""
    markers = re.search(r"-m '(.*)'", tomllib.loads(read("pyproject.toml"))["tool"]["pytest"]["ini_options"]["addopts"])
    assert markers is not None
    left_out = {f"test-{one}" for one in re.findall(r"not (\w+)", markers[1])}
    nightly = yaml.safe_load(read(".github/workflows/nightly.yml"))
    assert set(nightly[True]) == {"schedule", "workflow_dispatch"}  # YAML takes "on" for a truth value
    job = nightly["jobs"]["test"]
    assert set(job["strategy"]["matrix"]["target"]) == left_out | {"coverage"}
    assert left_out == {"test-containers", "test-faults", "test-readme", "test-slow"}
    assert job["steps"][-1]["run"] == "make ${{ matrix.target }}"
    assert left_out | {"coverage"} <= set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))


def test_the_workflow_trusts_pinned_actions_only_and_may_little() -> None:
    for file in WORKFLOWS:
        uses = re.findall(r"uses: (.*)", file.read_text())
        assert uses
        assert [one for one in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", one)] == []
        workflow = yaml.safe_load(file.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        rights = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
        if file.name != "ci.yml":
            assert rights == {}
            continue
        assert rights == {"publish": {"id-token": "write"}}
        assert set(workflow["jobs"]["publish"]["needs"]) == set(workflow["jobs"]) - {"publish"}


LOCKED = {"demo": ("train",), "ci": ("dev", "camera", "heif"), "tools": ()}


@pytest.mark.parametrize("name", LOCKED)
def test_what_is_locked_is_what_is_asked_for(name: str) -> None:
    """``make lock`` after a change of dependencies: each with its hashes, and from nowhere in particular."""
    text = read(f"requirements/{name}.txt")
    assert "://" not in text
    rows = text.replace("\\\n", " ").splitlines()
    pinned = {}
    for row in rows:
        found = re.fullmatch(r"([a-z0-9.-]+)==(\S+) ( *--hash=sha256:[0-9a-f]{64})+", row)
        assert found, row
        pinned[found[1]] = found[2]
    asked = requirements(*LOCKED[name]) if LOCKED[name] else read("requirements/tools.in").splitlines()
    for line in asked:
        one = Requirement(line.partition("#")[0] or "pip")
        if line.startswith("#") or (one.marker and not one.marker.evaluate(LINUX)):
            continue
        assert one.specifier.contains(pinned[canonicalize_name(one.name)]), line


# Where they are locked for.
LINUX = {
    "python_version": "3.12", "python_full_version": "3.12.0", "sys_platform": "linux", "platform_machine": "x86_64",
    "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
    "platform_python_implementation": "CPython", "extra": "",
}  # fmt: skip


def requirements(*extras: str) -> list[str]:
    """What both distributions ask for, on their own and with extras, without each other."""
    found: list[str] = []
    for file in ("pyproject.toml", "device/pyproject.toml"):
        project = tomllib.loads(read(file))["project"]
        waiting = [*project["dependencies"], *(f"{project['name']}[{extra}]" for extra in extras)]
        while waiting:
            one = Requirement(line := waiting.pop())
            if one.name == project["name"]:
                waiting += [more for extra in one.extras for more in project["optional-dependencies"].get(extra, [])]
            elif not one.name.startswith("edgetl"):
                found.append(line)
    return found


def test_hooks_run_the_tools_whose_versions_pyproject_states() -> None:
    hooks = [hook for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]]
    tools = [hook["entry"].split()[0] for hook in hooks]
    assert tools == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]
    for tool in ("ruff", "mypy"):
        assert re.search(rf'"{tool}==[\d.]+"', read("pyproject.toml"))


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports test files by name alone, and aborts the run if two have the same name."""
    names = [path.name for path in (REPO / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
