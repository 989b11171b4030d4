"""Time ``edgetl field pull`` from several boards at once, then cut one of them at random moments: what is lost?

Each board is a real sshd on loopback with a monitor's folder of its own: a month of records, photos of random bytes.

    python benchmarks/field_pull.py --boards 8 --photos 200 --cuts 20
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent

# For the tests' sshd and records, and what these import.
sys.path[:0] = [str(REPO / "tests" / "edgetl"), str(REPO / "tests")]

_PHOTO_BYTES = 100_000


def write_folder(folder: Path, photos: int, seed: int) -> None:
    """Write a monitor's folder: 30 days of records, and photos of 100 kB."""
    import fleet_records

    from edgetl_device._lib import documents
    from edgetl_device.monitor.folder import FolderDocument

    fleet_records.write_board(folder, hours=30 * 24)
    documents.write(folder / "monitor.json", FolderDocument())
    (folder / "photos").mkdir()
    drawn = random.Random(seed)
    for _ in range(photos):
        data = drawn.randbytes(_PHOTO_BYTES)
        name = f"random-{hashlib.sha256(data).hexdigest()[:16]}.jpg"
        (folder / "photos" / name).write_bytes(data)


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of each file that a pull brings, by name."""
    files = [*folder.glob("*.jsonl"), *folder.glob("photos/*.jpg")]
    return {str(one.relative_to(folder)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def main() -> None:
    from sshd import Lab

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=8)
    parser.add_argument("--photos", type=int, default=200, help="photos of 100 kB on each board")
    parser.add_argument("--cuts", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgetl-pull-") as name, Lab(Path(name) / "lab") as lab:
        folder = Path(name)
        boards = [lab.board(f"board{number}") for number in range(arguments.boards)]
        for number, board in enumerate(boards):
            write_folder(board.folder / "field", arguments.photos, number)
        rows = [
            f'[[board]]\nname = "{one.name}"\nhost = "{one.name}"\npython = "{sys.executable}"\n'
            f'field = "{one.folder}/field"\n'
            for one in boards
        ]
        fleet = folder / "fleet.toml"
        fleet.write_text("\n".join(rows), encoding="utf-8")
        environment = os.environ | lab.environment
        command = [sys.executable, "-m", "edgetl", "field", "pull", "--json"]
        before = {one.name: contents(one.folder / "field") for one in boards}
        started = time.monotonic()
        done = subprocess.run(
            [*command, "--fleet", str(fleet), "--out", str(folder / "home")],
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        wall_s = time.monotonic() - started
        pulled: list[dict[str, Any]] = json.loads(done.stdout)["boards"]
        lost = sum(contents(folder / "home" / one.name) != before[one.name] for one in boards)

        cut = boards[0]
        shutil.rmtree(cut.folder / "field")
        write_folder(cut.folder / "field", arguments.photos, 99)
        there, moments, failed = contents(cut.folder / "field"), random.Random(0), 0
        one_board = [*command, "--on", cut.name, "--folder", str(cut.folder / "field"), "--out", str(folder / "cut")]
        for _ in range(arguments.cuts):
            with subprocess.Popen(
                one_board,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=environment,
            ) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    if " of " in line:
                        break
                threading.Thread(target=process.stderr.read).start()
                time.sleep(moments.uniform(0, 1.0))
                cut.cut()
                failed += process.wait(60) != 0
            here = contents(folder / "cut" / cut.name)
            gone = {name for name in there if name not in here and not (cut.folder / "field" / name).exists()}
            damaged = {name for name, sha256 in here.items() if there[name] != sha256}
            assert not gone, gone
            assert not damaged, damaged
        subprocess.run(one_board, check=True, capture_output=True, env=environment)
        print(
            json.dumps(
                {
                    "boards": len(boards),
                    "megabytes_each": round(sum(row["bytes"] for row in pulled) / 1e6 / len(boards), 1),
                    "boards_that_differ": lost,
                    "slowest_board_s": max(row["seconds"] for row in pulled),
                    "wall_s": round(wall_s, 1),
                    "cuts": arguments.cuts,
                    "pulls_that_failed": failed,
                    "files_lost": len(set(there.items()) - set(contents(folder / "cut" / cut.name).items())),
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
