"""The float model as a SavedModel, for TensorFlow Serving and converters of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetl._lib import extras
from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.quiet import quietly
from edgetl_device._lib.files import atomic_path

from .conversion import INPUT_NAME, OUTPUT_NAME

Keras = Any


@uninterrupted()
def write_saved_model(model: Keras, folder: Path) -> None:
    """Write a model's graph and weights as a SavedModel with one signature, ``serving_default``.

    It takes ``pixels``, raw RGB, float32 [n, H, W, C] in 0..255, and returns ``probabilities``, float32 [n, classes].

    Raises:
        FileExistsError: ``folder`` exists.
    """
    tf = extras.tensorflow()
    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name=INPUT_NAME)
    module = tf.Module()
    # What the signature reads is saved if it hangs on the module.
    module.weights = model.variables

    @tf.function(autograph=False)
    def serve(pixels: Any) -> dict[str, Any]:
        return {OUTPUT_NAME: model(pixels, training=False)}

    with atomic_path(folder, directory=True) as part, quietly():
        tf.saved_model.save(module, str(part), signatures=serve.get_concrete_function(spec))
