"""The files that ``figures.py`` writes: one JSON per run, and a Markdown table of the newest value of every row."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import DISTURBED_CORES, REPO, is_scattered

from edgetl_device._lib.documents import to_json
from edgetl_device._lib.files import write_text
from edgetl_device._lib.jsonfile import read_json, write_json
from edgetl_device.errors import InputError
from edgetl_device.machine import environment

SCHEMA = "edgetl.figures/1"
TABLE = "FIGURES.md"

_PACKAGES = (
    "edgetl", "edgetl-device", "tensorflow", "keras", "ai-edge-litert", "onnxruntime", "tf2onnx", "numpy", "pillow",
    "scikit-learn",
)  # fmt: skip
_ABOUT = """\
# Figures

Written by `python benchmarks/figures.py`: the newest value of each row, with the file in this folder that has every
round of it. Medians, with the smallest and the largest round in brackets. [METHOD.md](../METHOD.md) says how each
row is measured and what it does not show.
"""


@dataclass(frozen=True)
class Results:
    """The document of one run, rewritten after each row, so that an interrupted run keeps its rows.

    Attributes:
        file: The JSON.
        document: Its content.
        names: Names of all rows, in the order of the table.
    """

    file: Path
    document: dict[str, Any]
    names: tuple[str, ...]

    @classmethod
    def start(cls, folder: Path, names: tuple[str, ...], *, settings: dict[str, Any], trial: bool) -> Results:
        """Describe this machine and choose a new file name; a trial stays out of the table."""
        described = to_json(environment.describe())
        now = datetime.now(timezone.utc)
        document = {
            "schema": SCHEMA,
            "created": now.isoformat(timespec="seconds"),
            "commit": _commit(),
            "trial": trial,
            "settings": settings,
            "environment": described | {"before": to_json(environment.state())},
            "versions": {package: _version(package) for package in _PACKAGES},
            "rows": [],
        }
        mark = "-trial" if trial else ""
        return cls(folder / f"{now:%Y-%m-%d-%H%M%S}-{machine_name(described)}{mark}.json", document, names)

    def add(self, record: dict[str, Any]) -> None:
        """Append a row, and write the JSON and the table."""
        record["disturbed"] = _disturbed(record)
        self.document["rows"].append(record)
        write_json(self.file, self.document)
        newest = sorted(_newest(self.file.parent), key=lambda found: self.names.index(found[0]["name"]))
        if newest:
            text = f"{_ABOUT}\n{_markdown(newest)}\n{_machines(self.file.parent, newest)}"
            write_text(self.file.parent / TABLE, text)


def table(document: dict[str, Any]) -> str:
    """Return the Markdown table of one run."""
    return _markdown([(record, "") for record in document["rows"]])


def _newest(folder: Path) -> list[tuple[dict[str, Any], str]]:
    """Return the newest record of each row with the name of its file; without trials."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for file in sorted(folder.glob("*.json")):
        try:
            document = read_json(file, SCHEMA)
        except InputError:
            continue  # another script's result
        if not document["trial"]:
            found |= {record["name"]: (record, file.name) for record in document["rows"]}
    return list(found.values())


def _markdown(records: list[tuple[dict[str, Any], str]]) -> str:
    lines = ["| what | target | measured | met | file |", "|---|---|---|---|---|"]
    for record, file in records:
        if "failed" in record:
            measured, met = f"failed: {record['failed']}", "no"
        else:
            measured, met = record["measured"], "yes" if record["met"] else "**no**"
        if record["disturbed"]:
            measured += f" (disturbed: {'; '.join(record['disturbed'])})"
        cells = [record["what"], record["reach"], measured, met, f"[{file[:17]}]({file})" if file else ""]
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _machines(folder: Path, records: list[tuple[dict[str, Any], str]]) -> str:
    lines = []
    for name in sorted({file for _, file in records}):
        document = read_json(folder / name, SCHEMA)
        about, versions = document["environment"], document["versions"]
        lines.append(
            f"- `{name}`: {about['cpu']}, {about['cores']} cores, {_gigabytes(about['memory_bytes'])}, {about['os']}, "
            f"Python {about['python']}, TensorFlow {versions['tensorflow']}, Keras {versions['keras']}, LiteRT "
            f"{versions['ai-edge-litert']}; commit {document['commit']}; {document['settings']['rounds']} rounds"
        )
    return "\n".join(lines) + "\n"


def _disturbed(record: dict[str, Any]) -> list[str]:
    """Return why a record may be disturbed: other programs ran, or the rounds of a ratio or a time differ widely."""
    if "failed" in record:
        return []
    reasons = []
    others = record["others_cores"]
    if isinstance(others, float) and others > DISTURBED_CORES:
        reasons.append(f"other programs kept {others:.2f} cores busy")
    scattered = sorted(set(_scattered(record.get("values", {}))))
    if scattered:
        reasons.append(f"rounds far apart: {', '.join(scattered)}")
    return reasons


def _scattered(values: dict[str, Any], name: str = "") -> list[str]:
    if "median" in values and "all" in values:
        return [name] if is_scattered(values) else []
    nested = [(key, value) for key, value in values.items() if isinstance(value, dict)]
    return [found for key, value in nested for found in _scattered(value, f"{name} {key}".strip())]


def machine_name(described: dict[str, Any]) -> str:
    """Return the machine's name in names of results: CPU and cores."""
    cpu = described["cpu"] if isinstance(described["cpu"], str) else described["machine"]
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(.*?\)|@.*|\bcpu\b|\bprocessor\b", "", cpu.lower())).strip("-")
    return f"{slug}-{described['cores']}-cores"


def _gigabytes(value: Any) -> str:
    return f"{value / 1e9:.0f} GB" if isinstance(value, int) else "memory unknown"


def _commit() -> str:
    """Return the commit, and whether there are uncommitted changes other than results."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + (
            " and uncommitted changes" if _git("status", "--porcelain", "--", ".", ":!benchmarks/results") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=REPO, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
