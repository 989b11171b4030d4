"""Rows about classifying single photos: against MediaPipe, against Keras, against a bare loop, and large JPEGs.

METHOD.md explains each row. ``inference.py`` has the rows of the model alone.
"""

from __future__ import annotations

import sys
import venv
from pathlib import Path
from typing import Any

from harness import SCRIPTS, Outcome, RowFailed, Workspace, alternated, in_words, run, say, spread
from PIL import Image

MEDIAPIPE = "1.2.2"
_PHOTOS = 200
_KERAS_RATIO = 20.0
_LARGE, _LARGE_PHOTOS, _LARGE_RATIO = (4000, 3000), 12, 2.0
_ARRAY_COST = 0.05


def against_mediapipe(work: Workspace) -> Outcome:
    """Classify the same JPEGs with edgetl and with MediaPipe Tasks, int8, in separate processes."""
    bundle, photos = work.flowers_bundle(), _photos(work)
    model = bundle / "models" / "int8.tflite"
    python = _mediapipe_python(work)
    return _compared(work, ("edgetl", sys.executable, bundle), ("mediapipe", python, model), photos, reach=1.0)


def against_keras(work: Workspace) -> Outcome:
    """Classify the same JPEGs with edgetl and with load_img and predict on model.keras."""
    bundle, photos = work.flowers_bundle(), _photos(work)
    keras = ("keras", sys.executable, bundle.parent)
    return _compared(work, ("edgetl", sys.executable, bundle), keras, photos, reach=_KERAS_RATIO)


def large_jpegs(work: Workspace) -> Outcome:
    """Classify 12-megapixel JPEGs, and the same decoded at full size first."""
    bundle = work.flowers_bundle()
    folder = work.new_folder("large")
    folder.mkdir()
    photos = []
    for source in _photos(work)[:: _PHOTOS // _LARGE_PHOTOS]:
        photos.append(folder / source.name)
        with Image.open(source) as image:
            image.convert("RGB").resize(_LARGE, Image.Resampling.BICUBIC).save(photos[-1], quality=92)
    full = ("full-size", sys.executable, bundle)
    return _compared(work, ("edgetl", sys.executable, bundle), full, photos, reach=_LARGE_RATIO)


def array(work: Workspace) -> Outcome:
    """Run Classifier and a bare interpreter on the same arrays, call by call."""
    bundle = work.flowers_bundle()
    rows = [run([sys.executable, SCRIPTS / "array_to_label.py", bundle]).last_json() for _ in range(work.short_rounds)]
    ratio = spread([row["edgetl_ns"] / row["bare_ns"] for row in rows])
    return Outcome(
        in_words(ratio, ".3f", " times"), ratio["median"] <= 1 + _ARRAY_COST, {"rounds": rows, "ratio": ratio}
    )


def _photos(work: Workspace) -> list[Path]:
    return sorted(work.photos_of("flowers").glob("test/*/*.jpg"))[:_PHOTOS]


def _compared(
    work: Workspace,
    ours: tuple[str, Any, Path],
    theirs: tuple[str, Any, Path],
    photos: list[Path],
    *,
    reach: float,
) -> Outcome:
    def classify(way: tuple[str, Any, Path]) -> dict[str, Any]:
        name, python, model = way
        done: dict[str, Any] = run([python, SCRIPTS / "photo_to_label.py", name, model, *photos]).last_json()
        done["ms"] = spread([sample / 1e6 for sample in done["samples_ns"]])["median"]
        return done

    rounds = alternated(work.short_rounds, lambda _: classify(ours), lambda _: classify(theirs))
    ratio = spread([b["ms"] / a["ms"] for a, b in rounds])
    ms = {
        name: spread([row["ms"] for row in rows])
        for name, rows in zip(("ours", "theirs"), zip(*rounds, strict=True), strict=True)
    }
    first, second = rounds[0]
    same = sum(a == b for a, b in zip(first["labels"], second["labels"], strict=True))
    say(f"{ours[0]} against {theirs[0]}: {in_words(ratio)}")
    return Outcome(
        measured=f"{in_words(ratio, '.2f', ' times')} faster: {ms['ours']['median']:.2f} ms against "
        f"{ms['theirs']['median']:.2f} ms; the same label on {same} of {len(photos)} photos",
        met=ratio["median"] > reach,
        values={"ratio": ratio, "ms": ms, "photos": len(photos), "same_labels": same},
    )


def _mediapipe_python(work: Workspace) -> Path:
    """Return the Python of a new environment with MediaPipe, whose pinned dependencies conflict with edgetl's."""
    folder = work.new_folder("mediapipe")
    say("set up an environment with MediaPipe")
    venv.create(folder, with_pip=True)
    python: Path = folder / "bin" / "python"
    try:
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"mediapipe=={MEDIAPIPE}"])
    except RowFailed as error:
        raise RowFailed(f"MediaPipe cannot be installed: {error}") from None
    return python
