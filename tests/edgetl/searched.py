"""Trials of a search on one small network, in this process or as a program: for tests of searches that are ended."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import small

NETWORK = {"backbone": "mobilenet_v2", "width": 1.0, "size": 48, "truncate": "block_6", "blocks": 7}
# A whole search. The whole network has about 2.7 MB, the one that ends after 13 blocks 0.8.
BUDGET = ("p95_ms<1000", "mb<2.2", "drop_pp<100")
SPACE: dict[str, Any] = {"backbones": ("mobilenet_v2",), "sizes": (48,), "depths": 1, "epochs": 2}
FLAGS = ("--backbones", "mobilenet_v2", "--sizes", 48, "--depths", 1, "--epochs", 2)


def search(folder: Path, photos: Path, *, trials: int, epochs: int = 6) -> Any:
    """Return a search whose networks are decided: one that ends after seven blocks."""
    from edgetl.data import load_dataset
    from edgetl.searching.options import SearchOptions
    from edgetl.searching.space import Architecture
    from edgetl.searching.trials import Search
    from edgetl_device.input_size import square
    from edgetl_device.preprocess import Preprocess

    @cache
    def of_size(size: int) -> Any:
        return load_dataset(photos, Preprocess(size=square(size)), seed=0, val=0.15, test=0.15)

    folder.mkdir(exist_ok=True)
    options = SearchOptions(budget=("mb<3",), trials=trials, epochs=epochs, sizes=(48,))
    network = Architecture(**NETWORK, int8_bytes=1, multiply_adds=1)  # type: ignore[arg-type]
    return Search(folder, photos, options, (network,), of_size)


def run(folder: Path, photos: Path, *, trials: int, epochs: int = 6) -> tuple[Any, Any]:
    """Train the trials of a search that are left; return it and its store."""
    from edgetl.searching.trials import open_store, run_trials

    made = search(folder, photos, trials=trials, epochs=epochs)
    study = open_store(folder, made.options, epochs)
    run_trials(made, study, ends_s=None, told=lambda: None)
    return made, study


def program(folder: Path, photos: Path, *, trials: int, epochs: int = 6, first: str = "") -> list[str]:
    """Return the command that does the same as a program, after some lines of Python."""
    here = Path(small.__file__).parent
    lines = [
        f"import sys; sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]",
        "import searched; from pathlib import Path; from edgetl_device.errors import EdgetlError, from_os_error",
        first,
        f"try: searched.run(Path({str(folder)!r}), Path({str(photos)!r}), trials={trials}, epochs={epochs})",
        "except (EdgetlError, OSError) as error:",
        "    error = from_os_error(error) if isinstance(error, OSError) else error",
        "    print('error:', error); sys.exit(error.exit_code)",
    ]
    return [sys.executable, "-c", "\n".join(lines)]
