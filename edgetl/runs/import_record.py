"""What ``run.json`` says of a model that edgetl did not train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgetl_device._lib.documents import Count, Positive, Sha256, Share, Text, optional
from edgetl_device.scores import Accuracy

Fit = Literal["stretch", "crop", "pad"]


@dataclass(frozen=True)
class TriedInput:
    """One way to feed photos to the model, and how well it classified them.

    Attributes:
        input: Name of the scaling.
        fit: How photos were fitted to the input.
        accuracy: Accuracy on the photos used to choose; null if an output was NaN or infinite.
        loss: Mean cross-entropy on them, nats; null likewise.
    """

    input: Text
    fit: Fit
    accuracy: Accuracy | None
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class InputRecord:
    """How photos become what the model takes, and how that was found.

    Attributes:
        name: ``raw``, ``0..1``, ``-1..1``, ``imagenet``, ``caffe`` or ``custom``.
        factor: The model takes ``pixel * factor + offset``; one number for all channels, or one per channel.
        offset: Likewise.
        channels: Order of the channels that the model takes, ``RGB`` or ``BGR``.
        fit: How photos are fitted to the input.
        chosen_by: ``user``, the ``model`` (it scales pixels itself) or the ``photos`` (it was found by trying).
        photos: Number of photos used to choose; 0 if none were needed.
        tried: Everything that was tried, best first.
        undecided: Names of other scalings, and of other fits, that these photos cannot tell from the chosen one.
    """

    name: Text
    factor: tuple[float, ...]
    offset: tuple[float, ...]
    channels: Literal["RGB", "BGR"]
    fit: Fit
    chosen_by: Literal["user", "model", "photos"]
    photos: Count
    tried: tuple[TriedInput, ...]
    undecided: tuple[Text, ...]


@dataclass(frozen=True, kw_only=True)
class LabelOrder:
    """Whether another order of the labels would fit the model's outputs better; nothing is ever reordered.

    Attributes:
        photos: Number of photos that it was judged on.
        accuracy: Accuracy with the labels in the given order.
        assigned_accuracy: Accuracy in the order that fits best, found by assignment on the confusion matrix.
        permuted: Whether the given order looks wrong: the difference is more than chance.
        order: The labels in the order that fits best.
    """

    photos: Positive
    accuracy: Share
    assigned_accuracy: Share
    permuted: bool
    order: tuple[Text, ...]


@dataclass(frozen=True)
class ImportAgreement:
    """The imported model against the original on the same photos.

    Attributes:
        photos: Number of photos.
        agree: Photos with the same most likely class.
        max_abs: Largest difference of an output, after softmax or sigmoid.
        rounding: Largest change of an output of the original itself when the last bit of every input changes.
        near_ties: Photos with another most likely class whose two best ones are equal but for rounding.
    """

    photos: Positive
    agree: Count
    max_abs: float
    rounding: float
    near_ties: Count = optional(0)


@dataclass(frozen=True, kw_only=True)
class ImportRecord:
    """The model that a run was imported from.

    Attributes:
        name: Name of the file as given.
        format: Format of the file.
        sha256: SHA-256 of the file as given; of a folder, of ``file``.
        file: The original in the run directory: the same file; for ONNX with external data, both in one file; for a
            SavedModel, a zip of its graph and weights.
        code_run: Whether code in the file was run, as the user asked, to write ``file``, a SavedModel without it.
        runtime: What runs the original: the reference that the import agrees with.
        producer: The program that wrote the file, if it says so.
        opset: Opset of ONNX.
        layout: Layout of its input.
        ends_in: What the original puts out.
        labels_from: Source of the labels: the user's ``file``, the ``metadata`` of the model, the ``photos`` (their
            classes, sorted by name), or, without any of them, the ``numbers`` of the outputs.
        held_out: Whether the test photos were kept from the training of the model: ``user`` if the user says so, else
            ``unknown``. edgetl cannot know it.
        input: How photos become what the model takes.
        label_order: Whether the order of the labels looks right; null if there were no photos to tell it by.
        agreement: Agreement of the imported model with the original.
    """

    name: Text
    format: Literal["keras", "h5", "onnx", "tflite", "saved_model"]
    sha256: Sha256
    file: Text
    code_run: bool = optional(False)
    runtime: Text
    producer: str = ""
    opset: Positive | None = optional()
    layout: Literal["nhwc", "nchw"]
    ends_in: Literal["softmax", "log-softmax", "sigmoids", "one sigmoid", "logits", "one logit"]
    labels_from: Literal["file", "metadata", "photos", "numbers"]
    held_out: Literal["user", "unknown"]
    input: InputRecord
    label_order: LabelOrder | None
    agreement: ImportAgreement
