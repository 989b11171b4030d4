"""How much of both packages the whole suite runs, and how much it must."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Percent of lines and branches together, as coverage.py counts them.
BOUNDS = {"edgetl": 90.0, "edgetl_device": 95.0}
LOWEST = 12

# The environment of children that coverage.py leaves alone: those that a test kills, whose files or memory it limits,
# or of which it asks what they load. What is left of the data file of such a child would end the whole report.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}


@dataclass(frozen=True)
class Module:
    """What was run of a module: numbers of lines and branches.

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
    """Read what coverage.py measured, its data file ``data``. Relative paths count from this process's folder."""
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
    """Return a text about packages and the least covered modules, and whether every package keeps its bound."""
    lines, enough = [], True
    for package, bound in bounds.items():
        own = [module for module in modules if module.package == package]
        # Nothing measured is not everything measured.
        share = percent(sum(module.covered for module in own), sum(module.total for module in own)) if own else 0.0
        # Not rounded up to a bound that is not reached.
        kept = share >= bound
        lines.append(f"{package:14}{share:7.2f}%  at least {bound:g}%{'' if kept else ': NOT REACHED'}")
        enough = enough and kept
    lowest = sorted(modules, key=lambda module: (percent(module.covered, module.total), -module.total))[:LOWEST]
    lines += [f"{percent(module.covered, module.total):7.1f}%  {module.file}" for module in lowest]
    return "\n".join(lines), enough


def percent(covered: int, total: int) -> float:
    """Return the share in percent; of nothing, none is missing."""
    return 100 * covered / total if total else 100.0
