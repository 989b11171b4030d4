"""A SavedModel in TensorFlow gives the run's own predictions, and can be imported again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small

from edgetl._lib.extras import tensorflow
from edgetl.runs import float_model
from edgetl.runs.directory import Run


@pytest.mark.slow
def test_tensorflow_gives_the_same_predictions(short_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "saved"
    done = small.edgetl("export", short_run.folder, "--to-saved-model", "-o", out)
    assert done.returncode == 0, done.stderr
    function = tensorflow().saved_model.load(str(out)).signatures["serving_default"]
    pixels = np.random.default_rng(0).integers(0, 256, (3, small.SIZE, small.SIZE, 3), np.uint8)
    found = function(pixels=tensorflow().constant(pixels, "float32"))["probabilities"].numpy()
    logits = float_model.logits(short_run.load_model(), pixels, np.arange(3), description="Comparing")
    np.testing.assert_allclose(found, float_model.softmax(logits), atol=1e-5)
    assert "exists already" in small.refused(small.edgetl("export", short_run.folder, "--to-saved-model", "-o", out))


def test_it_is_the_float_model_only(short_run: Run, tmp_path: Path) -> None:
    asked = ("export", short_run.folder, "--to-saved-model", "--variant", "int8", "-o", tmp_path / "saved")
    assert "--to-saved-model with --variant" in small.refused(small.edgetl(*asked))
