"""The report of an imported run says what its numbers do not prove."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgetl._lib.extras import keras
from edgetl.reports.grad_cam import grad_cam
from edgetl.reports.run import facts, page
from edgetl.runs.directory import Run
from edgetl.runs.import_record import ImportAgreement, ImportRecord, InputRecord, LabelOrder
from edgetl_device.errors import InputError

RECORD = ImportRecord(
    name="theirs.onnx",
    format="onnx",
    sha256="0" * 64,
    file="original.onnx",
    runtime="onnxruntime 1",
    producer="pytorch 2",
    opset=17,
    layout="nchw",
    ends_in="logits",
    labels_from="file",
    held_out="unknown",
    input=InputRecord(
        name="imagenet",
        factor=(1.0,),
        offset=(0.0,),
        channels="RGB",
        fit="crop",
        chosen_by="photos",
        photos=20,
        tried=(),
        undecided=("-1..1", "stretch"),
    ),
    label_order=LabelOrder(photos=20, accuracy=0.1, assigned_accuracy=0.9, permuted=True, order=("b", "a")),
    agreement=ImportAgreement(20, 20, 1e-6, 1e-7),
)


def test_what_is_not_certain_is_said(tiny_run: Run) -> None:
    document = replace(tiny_run.document, imported=RECORD)
    text = " ".join(page.doubts(document, "test"))
    for part in ("is not known", "imagenet, crop from -1..1, stretch", "look permuted: 10.0%", "the order b, a"):
        assert part in text
    sure = replace(RECORD, held_out="user", input=replace(RECORD.input, undecided=()))
    sure = replace(sure, label_order=replace(RECORD.label_order, permuted=False))
    plain = page.doubts(tiny_run.document, "test")
    assert page.doubts(replace(document, imported=sure), "test") == plain
    rows = dict(facts.provenance(document))
    assert rows["Imported from"] == "theirs.onnx (onnx, pytorch 2)"
    assert "Imported from" not in dict(facts.provenance(tiny_run.document))


def test_grad_cam_needs_a_pool() -> None:
    import numpy as np

    layers = keras().layers
    model = keras().Sequential([layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, name="logits")])
    with pytest.raises(InputError, match="this model has none"):
        grad_cam(model, np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64))
