"""Coverage of both packages by the whole suite, and its lower bounds."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Percent of lines and branches together, as coverage.py counts them.
BOUNDS = {"edgetl": 90.0, "edgetl_device": 95.0}
LOWEST = 12

# The environment of child processes that are not measured: those that a test kills, whose files or memory it limits, or
# whose imports it checks. A partial data file from such a child would break the whole report.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}


@dataclass(frozen=True)
class Module:
    """Coverage of a module: numbers of lines and branches.

    Attributes:
        file: Its path in the repository.
        covered: Lines and branches that were run.
        total: Lines and branches that it has.
    """

    file: str
    covered: int
    total: int

    @property
    def package(self) -> str:
        return Path(self.file).parts[1 if self.file.startswith("device/") else 0]


def measured(data: Path) -> list[Module]:
    """Read coverage.py's data file. Relative paths are relative to the current folder."""
    import coverage

    found = coverage.Coverage(data_file=str(data))
    found.load()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "coverage.json"
        found.json_report(outfile=str(file))
        document = json.loads(file.read_text())
    if not document["meta"]["branch_coverage"]:
        raise RuntimeError("coverage.py measured lines only; [tool.coverage.run] in pyproject.toml asks for branches")
    return [
        Module(
            name,
            row["summary"]["covered_lines"] + row["summary"]["covered_branches"],
            row["summary"]["num_statements"] + row["summary"]["num_branches"],
        )
        for name, row in document["files"].items()
    ]


def report(modules: list[Module], bounds: dict[str, float] = BOUNDS) -> tuple[str, bool]:
    """Return a text about packages and the least covered modules, and whether every package meets its bound."""
    lines, enough = [], True
    for package, bound in bounds.items():
        own = [module for module in modules if module.package == package]
        # An empty measurement must fail.
        share = percent(sum(module.covered for module in own), sum(module.total for module in own)) if own else 0.0
        # Do not round up to a bound that is not met.
        kept = share >= bound
        lines.append(f"{package:14}{share:7.2f}%  at least {bound:g}%{'' if kept else ': NOT REACHED'}")
        enough = enough and kept
    # Copies that tests installed elsewhere are no modules of ours.
    ours = [module for module in modules if module.package in bounds]
    lowest = sorted(ours, key=lambda module: (percent(module.covered, module.total), -module.total))[:LOWEST]
    lines += [f"{percent(module.covered, module.total):7.1f}%  {module.file}" for module in lowest]
    return "\n".join(lines), enough


def percent(covered: int, total: int) -> float:
    """Return the share in percent; 100 if there is nothing to cover."""
    return 100 * covered / total if total else 100.0
