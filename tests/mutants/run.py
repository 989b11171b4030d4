"""Break the code on purpose, one mutant at a time, and see its tests fail: ``python tests/mutants/run.py``.

Works on copies of the checkout. First the tests of all chosen mutants must pass on the code as it is; then each mutant
must fail each of its tests. A mutant that survives, hangs, or only breaks an import ends the run with 1.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutant import ROOT, Mutant, all_mutants, mutated

_TIMEOUT_S = 900.0
_REASON = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*?\])?(?: - (.*))?$")


@dataclass(frozen=True)
class Ran:
    """What tests did.

    Attributes:
        code: Exit code of pytest; None if it was ended after a time.
        failed: Ids of the tests that failed, without parameters, and the first line of why.
        text: The end of what pytest printed.
    """

    code: int | None
    failed: dict[str, str]
    text: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="run mutants with this text in their name, file or tests"
    )
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests on the code as it is first")
    given = parser.parse_args()
    chosen = [one for one in all_mutants() if is_asked_for(one, given.only)]
    if not chosen:
        parser.error("no mutant has that in its name, file or tests")
    with tempfile.TemporaryDirectory(prefix="edgetl-mutants-") as scratch:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(given.jobs):
            copies.put(copy_of_the_checkout(Path(scratch) / str(number)))
        if not given.no_baseline and not passes(chosen, copies.queue[0]):
            return 1

        def one(mutant: Mutant) -> tuple[str, float]:
            copy = copies.get()
            started = time.monotonic()
            try:
                return verdict(mutant, copy), time.monotonic() - started
            finally:
                copies.put(copy)

        survived = 0
        with ThreadPoolExecutor(given.jobs) as pool:
            for mutant, (found, took_s) in zip(chosen, pool.map(one, chosen), strict=True):
                survived += found != "caught"
                print(f"{found:9} {took_s:5.0f} s  {mutant.what}  ({', '.join(mutant.tests)})", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutants caught")
    return int(survived > 0)


def is_asked_for(mutant: Mutant, texts: Sequence[str] | None) -> bool:
    """Whether a mutant has one of the texts in its name, file or tests; without texts all are asked for."""
    return not texts or any(text in " ".join((mutant.what, mutant.file, *mutant.tests)) for text in texts)


def copy_of_the_checkout(target: Path) -> Path:
    """Copy what git tracks or would track, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def passes(mutants: Iterable[Mutant], copy: Path) -> bool:
    """Whether all tests of mutants pass on the code as it is: otherwise their failures would prove nothing."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    ran = run_tests(tests, copy, timeout_s=10 * _TIMEOUT_S)
    if ran.code == 0:
        print(f"{len(tests)} tests pass on the code as it is", flush=True)
        return True
    print(ran.text)
    return False


def verdict(mutant: Mutant, copy: Path) -> str:
    """Return ``caught``, ``SURVIVED``, ``HANGS`` or ``BROKEN``: the tests could not even be collected."""
    file = copy / mutant.file
    before = file.read_text("utf-8")
    status = file.stat()
    try:
        file.write_text(mutated(mutant, before), "utf-8")
        ran = run_tests(mutant.tests, copy, timeout_s=_TIMEOUT_S)
    finally:
        # With the time that it had: it is what compiled files are held against.
        file.write_text(before, "utf-8")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    if ran.code is None:
        return "HANGS"
    if ran.code == 1 and set(mutant.tests) <= set(ran.failed):
        return "caught"
    if ran.code in (0, 1):
        return "SURVIVED"
    print(ran.text, flush=True)
    return "BROKEN"


def run_tests(tests: Sequence[str], copy: Path, *, timeout_s: float) -> Ran:
    """Run tests on a copy of the checkout."""
    path = os.pathsep.join([str(copy), str(copy / "device")])
    # No compiled files are written: those of a mutant must not outlive it.
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "--tb", "line", "-r", "fE",
        "-m", "", *tests,
    ]  # fmt: skip
    with tempfile.TemporaryFile() as printed:
        child = subprocess.Popen(
            command, cwd=copy, env=environment, stdout=printed, stderr=printed, start_new_session=True
        )
        code: int | None = None
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            child.wait()
        printed.seek(0)
        text = printed.read().decode(errors="replace")
    failed = {}
    for line in text.splitlines():
        match = _REASON.match(line)
        if match and "::" in match[1]:
            failed[match[1]] = match[2] or ""
    return Ran(code, failed, text[-3000:])


if __name__ == "__main__":
    sys.exit(main())
