"""Coverage-guided fuzzing of all readers with Atheris (libFuzzer): ``python tests/fuzz/run.py [TARGET ...]``.

Each target runs in a separate process, with bounded time and memory. An exception that a reader must not raise is a
finding: its input is kept under ``--out``, and the run continues. A native crash, a hang or too much memory ends the
target.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="names of targets; none: all")
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions of each target")
    parser.add_argument("--seconds", type=int, default=600, help="end a target after this time")
    parser.add_argument("--out", type=Path, default=ROOT / ".fuzz", help="folder of corpora and findings")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return fuzz(given.targets[0], given.out.resolve(), given.runs, given.seconds)
    import targets

    names = [one.name for one in targets.targets()]
    if unknown := set(given.targets) - set(names):
        parser.error(f"no such targets: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    failed = 0
    print(f"{'target':14} {'executions':>11} {'per s':>7} {'peak MB':>8}  findings")
    for name in given.targets or names:
        row = start(name, given.out.resolve(), given.runs, given.seconds)
        failed += bool(row["findings"])
        print(
            f"{name:14} {row['executions']:11,} {row['per_s']:7,} {row['peak_mb']:8,}  "
            + ("; ".join(row["findings"]) or "none"),
            flush=True,
        )
    return failed


def start(name: str, out: Path, runs: int, seconds: int) -> dict[str, Any]:
    """Fuzz one target in a separate process; return its row of the table."""
    command = [
        sys.executable,
        __file__,
        name,
        "--child",
        "--runs",
        str(runs),
        "--seconds",
        str(seconds),
        "--out",
        str(out),
    ]
    path = os.pathsep.join([str(ROOT), str(ROOT / "device"), os.environ.get("PYTHONPATH", "")])
    begun = time.monotonic()
    log = out / name / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as stream:
        done = subprocess.run(
            command, stdout=stream, stderr=stream, check=False, env={**os.environ, "PYTHONPATH": path}
        )
    took = time.monotonic() - begun
    text = log.read_text(errors="replace")
    counts = [int(one) for one in re.findall(r"^#(\d+)\s", text, re.MULTILINE)]
    peak = [int(one) for one in re.findall(r"rss: (\d+)Mb", text)]
    found = out / name / "findings.json"
    findings = sorted(json.loads(found.read_text())) if found.exists() else []
    if done.returncode:
        findings.append(f"ended with {done.returncode}, see {log}")
    ran = max(counts, default=0)
    return {"executions": ran, "per_s": round(ran / took), "peak_mb": max(peak, default=0), "findings": findings}


def fuzz(name: str, out: Path, runs: int, seconds: int) -> int:
    """Fuzz one target in this process, with edgetl's code instrumented."""
    import atheris

    with atheris.instrument_imports(include=["edgetl", "edgetl_device"]):
        import targets

    target = next(one for one in targets.targets() if one.name == name)
    corpus, kept = out / name / "corpus", out / name / "findings"
    shutil.rmtree(out / name / "findings", ignore_errors=True)
    for folder in (corpus, kept):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
        if (error := targets.execute(target, seed)) is not None:
            raise error
    findings: dict[str, str] = {}
    record = out / name / "findings.json"
    record.write_text("{}")

    def once(data: bytes) -> None:
        error = targets.execute(target, data)
        if error is None:
            return
        where = describe(error)
        if where not in findings:
            file = kept / f"{len(findings)}.bin"
            file.write_bytes(data)
            file.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))
            findings[where] = file.name
            record.write_text(json.dumps(findings, indent=1))

    options: dict[str, Any] = {}
    if target.mutate is not None:
        change = target.mutate

        def mutated(data: bytes, size: int, seed: int) -> bytes:
            return change(data, size, atheris.Mutate, random.Random(seed))

        options["custom_mutator"] = mutated
    arguments = [
        f"-runs={runs}", f"-max_total_time={seconds}", f"-max_len={target.max_bytes}", f"-timeout={target.timeout_s}",
        f"-rss_limit_mb={target.memory_mb}", f"-artifact_prefix={kept}/", "-print_final_stats=1", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *arguments], once, **options)
    atheris.Fuzz()
    return 0


def describe(error: BaseException) -> str:
    """Return the kind of an error and the innermost line of edgetl that raised it."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "edgetl" in one.filename]
    own = [one for one in frames if "/fuzz/" not in one.filename] or frames
    at = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    return f"{type(error).__name__} at {at}"


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(ROOT), str(ROOT / "device")]
    sys.exit(main())
