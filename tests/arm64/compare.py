"""Compare the device package's output on arm64 with its output here, and print the differences.

Fails if a check failed on arm64, labels or pixels differ, or an emulated measurement is not called invalid.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgetl_device.bench import result


def main(folder: Path) -> int:
    there, here = ({name: _read(folder, name, where) for name in ("verify", "classify")} for where in ("arm64", "here"))
    failures = []
    for check in there["verify"]["checks"]:
        print(f"verify: {check['status']}: {check['name']}: {check['detail']}")
        if check["status"] != "ok":
            failures.append(f"verify: {check['name']}: {check['status']}")
    golden = [_check(document["verify"], "golden pixels") for document in (there, here)]
    if golden[0] != golden[1]:
        failures.append(f"golden pixels: {golden[0]} there, {golden[1]} here")
    for one, other in zip(there["classify"]["photos"], here["classify"]["photos"], strict=True):
        answers = [{row["label"]: row["probability"] for row in photo["predictions"]} for photo in (one, other)]
        apart = max(abs(answers[0][label] - answers[1][label]) for label in answers[1])
        print(f"classify: {Path(one['photo']).name}: {one['predictions'][0]['label']}, probabilities {apart:.2g} apart")
        if one["predictions"][0]["label"] != other["predictions"][0]["label"]:
            failures.append(f"classify: {one['photo']}: another label")

    benches = [result.read(folder / f"bench-{where}.json").to_json() for where in ("arm64", "here")]
    environment = benches[0]["environment"]
    print(f"bench: {environment['machine']}, emulated: {environment['emulated']}, {environment['os']}")
    if environment["machine"] != "aarch64" or environment["emulated"] is not True:
        failures.append("bench: not recognised as an emulated aarch64")
    rows = [{run["variant"]: run for run in bench["runs"]} for bench in benches]
    if set(rows[0]) != set(rows[1]):
        failures.append(f"bench: variants {sorted(rows[0])} there, {sorted(rows[1])} here")
    for name in sorted(set(rows[0]) & set(rows[1])):
        failures += _compare(name, rows[0][name], rows[1][name])
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


def _compare(name: str, there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    classes, sure = zip(there["answers"]["predicted"], here["answers"]["predicted"], strict=True), "probability"
    differing = sum(one != other for one, other in classes)
    apart = max(abs(one - other) for one, other in zip(there["answers"][sure], here["answers"][sure], strict=True))
    verdict = there["verdict"]
    print(
        f"bench: {name}: {differing} of {there['accuracy']['photos']} labels differ, top-1 probabilities at most"
        f" {apart:.2g} apart; measurement {verdict['status']}: {'; '.join(verdict['reasons'])}"
    )
    failures = [f"bench: {name}: {differing} labels differ"] if differing else []
    if verdict["status"] != "invalid" or not any("emulated" in reason for reason in verdict["reasons"]):
        failures.append(f"bench: {name}: times of an emulated processor are called {verdict['status']}")
    return failures


def _check(report: dict[str, Any], name: str) -> str:
    return next(str(check["detail"]) for check in report["checks"] if check["name"] == name)


def _read(folder: Path, name: str, where: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / f"{name}-{where}.json").read_text())
    return document


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
