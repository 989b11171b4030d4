"""Time ``edgetl bench --fleet`` on several boards at once, against the slowest board and the sum of all.

Each board is a real sshd on loopback with its own cache. Its bench is replaced by a wait of known length and a recorded
result, so that the boards do not compete for this machine's cores. What remains is the overhead of edgetl: starting
Python, SSH, the protocol, checking and writing results.

Example: python benchmarks/fleet.py --boards 8 --shortest 4 --step 0.5
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
TINY = REPO / "tests" / "golden" / "tiny.edgetl"

# For the tests' sshd, and what that imports.
sys.path[:0] = [str(REPO / "tests" / "edgetl"), str(REPO / "tests")]

# Replaces the device package on a board.
_STAND_IN = """
import os, sys, time
time.sleep(float(os.environ["SIMULATED_S"]))
sys.stdout.write(open(os.environ["RECORDED"]).read())
"""


def main() -> None:
    from sshd import Lab

    from edgetl_device import __version__

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=8)
    parser.add_argument("--shortest", type=float, default=4.0, help="seconds of the first board's bench")
    parser.add_argument("--step", type=float, default=0.5, help="seconds added for each further board")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="edgetl-fleet-") as name, Lab(Path(name) / "lab") as lab:
        folder = Path(name)
        recorded = folder / "recorded.json"
        bench = [sys.executable, "-m", "edgetl", "bench", str(TINY)]
        subprocess.run(
            [*bench, "--variants", "int8", "--quick", "--out", str(recorded)],
            check=True,
            capture_output=True,
        )
        package = folder / "stand-in" / "edgetl_device"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"__version__ = {__version__!r}\n", encoding="utf-8")
        (package / "__main__.py").write_text(_STAND_IN, encoding="utf-8")

        simulated_s = [arguments.shortest + number * arguments.step for number in range(arguments.boards)]
        boards = [
            lab.board(f"board{number}", env=f"PYTHONPATH={package.parent} RECORDED={recorded} SIMULATED_S={seconds}")
            for number, seconds in enumerate(simulated_s)
        ]
        out = folder / "out"
        started = time.monotonic()
        subprocess.run(
            [*bench, "--fleet", str(lab.fleet(*boards)), "--out", str(out)],
            check=True,
            capture_output=True,
            env=os.environ | lab.environment,
        )
        wall_s = time.monotonic() - started
        print(
            json.dumps(
                {
                    "boards": len(boards),
                    "results": len(list(out.iterdir())),
                    "simulated_s": simulated_s,
                    "sum_s": sum(simulated_s),
                    "slowest_s": max(simulated_s),
                    "wall_s": round(wall_s, 2),
                    "over_slowest_s": round(wall_s - max(simulated_s), 2),
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
