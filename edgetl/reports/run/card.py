"""``MODEL_CARD.md``: what a run's model is, how good, how fast, and what it is not for.

Its sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv:1810.03993, and of Hugging
Face's template, and its metadata is what Hugging Face reads. Everything is from the run's records, but for the fields
that a person fills in, which stay when the card is written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgetl.data import Split
from edgetl.runs.document import RunDocument
from edgetl.runs.metrics import Metrics
from edgetl.runs.model_card import FIELDS, FILE, Words, field_text, licence_line, read_words, sealed
from edgetl_device._lib.documents import Unknown
from edgetl_device._lib.files import write_text
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.text import LISTED, shown
from edgetl_device.truth import NOT_KNOWN
from edgetl_device.unknown import Accepted

from . import page
from .boards import BoardRow
from .facts import licences
from .int8 import Int8

_SPLITS: dict[Split, str] = {"test": "test", "val": "validation", "train": "training"}
_SPECIAL = re.compile(r"([\\`*_\[\]|#~])")


def write_card(
    folder: Path, document: RunDocument, split: Split | None, int8: Int8 | None, boards: Sequence[BoardRow]
) -> Words:
    """Write the card of a run, with the words that a person wrote in the one before; return these.

    Raises:
        InputError: The card was changed outside of the fields to fill in.
    """
    words = read_words(folder / FILE)
    write_text(folder / FILE, card(folder.resolve().name, document, split, int8, boards, words))
    return words


def card(
    name: str,
    document: RunDocument,
    split: Split | None,
    int8: Int8 | None,
    boards: Sequence[BoardRow],
    words: Words,
) -> str:
    """Return the card as Markdown, every word from outside escaped.

    Args:
        name: Name of the run.
        document: ``run.json``.
        split: The split that results are reported on; None if no photos were held out.
        int8: Results of quantizing the run, if it was.
        boards: Latency by board.
        words: What a person wrote.
    """
    parts = [
        *_metadata(name, document, split, words),
        f"# {escaped(name)}",
        *_details(document),
        "## Uses",
        "### Intended use",
        _field("intended use", words),
        "### Out-of-scope use",
        _field("out of scope", words),
        "## Training data",
        _photos(document),
        _field("training data", words),
        "## Factors",
        _field("factors", words),
        "## Training procedure",
        *_procedure(document),
        "## Evaluation",
        *_evaluation(document, split),
        "## int8",
        *_int8(int8),
        *_unknown(int8),
        "## Latency by board",
        *_latency(boards),
        "## Limitations",
        *(f"- {escaped(one)}" for one in page.limits(document, split, tells_unknown=bool(int8 and int8.unknown))),
        "## Ethical considerations",
        _field("ethical considerations", words),
        "## Licences",
        *(f"- {escaped(one)}" for one in licences(document)),
        "## Contact",
        _field("contact", words),
        *_kept(words),
    ]
    return sealed("\n\n".join(_joined(parts)) + "\n\n")


def escaped(text: str) -> str:
    """Return a word from outside as Markdown that shows it: no markup, no HTML, one line."""
    plain = shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)


def _joined(parts: Sequence[str]) -> Iterator[str]:
    """Yield paragraphs; neighbouring items of a list, or rows of a table, are one."""
    block: list[str] = []
    for part in parts:
        if block and part[:2] in ("- ", "| ") and block[-1][:2] == part[:2]:
            block.append(part)
            continue
        if block:
            yield "\n".join(block)
        block = [part]
    yield "\n".join(block)


def _field(name: str, words: Words) -> str:
    placeholder = next(one.placeholder for one in FIELDS if one.name == name)
    return field_text(name, words.fields.get(name, placeholder))


def _kept(words: Words) -> Iterator[str]:
    """Yield fields that this version of edgetl does not have."""
    known = {one.name for one in FIELDS}
    for name, text in words.fields.items():
        if name not in known:
            yield f"## {name.capitalize()}"
            yield field_text(name, text)


def _metadata(name: str, document: RunDocument, split: Split | None, words: Words) -> Iterator[str]:
    """Yield the metadata (https://huggingface.co/docs/hub/model-cards); values are JSON, which YAML includes."""
    lines = [
        licence_line(words.licence),
        "library_name: keras",
        "pipeline_tag: image-classification",
        f"tags: {json.dumps(['image-classification', 'edgetl', document.config.backbone])}",
        *([] if document.dataset.truth == "model" else ["metrics: [accuracy, f1]"]),
    ]
    if split is not None:
        metrics = document.metrics[split]
        found = [("accuracy", "Top-1 accuracy", metrics.accuracy.top1), ("f1", "Macro F1", metrics.macro_f1)]
        index = {
            "name": shown(name),
            "results": [
                {
                    "task": {"type": "image-classification"},
                    "dataset": {"name": shown(document.dataset.root), "type": "imagefolder", "split": split},
                    "metrics": [{"type": kind, "name": said, "value": round(value, 4)} for kind, said, value in found],
                }
            ],
        }
        lines.append(f"model-index: {json.dumps([index])}")
    yield "\n".join(["---", *lines, "---"])


def _details(document: RunDocument) -> Iterator[str]:
    labels = ", ".join(map(escaped, document.labels[:LISTED]))
    more = f" and {len(document.labels) - LISTED:,} more" if len(document.labels) > LISTED else ""
    origin = "trained by edgetl"
    if document.imported:
        origin = f"imported from {escaped(document.imported.name)} ({document.imported.format})"
    elif document.started_from:
        origin = f"trained by edgetl from the model of the run {escaped(document.started_from.name)}"
    yield f"An image classifier with {len(document.labels):,} classes, {origin}: {labels}{more}."
    model = document.model
    yield f"- Network: {escaped(document.config.backbone)}, {model.parameters:,} parameters"
    yield f"- Input: raw RGB, 0 to 255, {escaped(document.preprocess.described())}"
    yield f"- Model file: {escaped(model.file)}, {model.bytes / 1e6:.2f} MB, SHA-256 `{model.sha256}`"
    yield f"- Written: {document.created[:10]}, by {escaped(document.producer)}"


def _photos(document: RunDocument) -> str:
    if without := page.pictures(document):
        return without
    photos = document.dataset.photos
    return (
        f"{photos.all:,} photos of the data set {escaped(document.dataset.root)} "
        f"(fingerprint `{document.dataset.fingerprint}`): "
        f"{photos.train:,} for training, {photos.val:,} for validation, {photos.test:,} for the test."
    )


def _procedure(document: RunDocument) -> Iterator[str]:
    if document.imported:
        yield "edgetl did not train this model. How it was trained is not recorded."
    if document.command:
        yield f"```sh\n{shown(document.command).replace('```', '')}\n```"
    yield f"{document.seconds:.0f} s in total. All settings are in `run.json`."


def _evaluation(document: RunDocument, split: Split | None) -> Iterator[str]:
    if split is None and document.imported is not None and document.dataset.truth == "model":
        same = document.imported.agreement
        yield page.doubts(document, split)[0]
        yield (
            f"- {same.agree} of {same.photos} drawn pictures have the answer of the original in "
            f"{escaped(document.imported.runtime)}; outputs differ by {same.max_abs:.1e} at most"
        )
        return
    if split is None:
        yield "No photos were held out, so the accuracy of this model is unknown."
        return
    metrics = document.metrics[split]
    accuracy = metrics.accuracy
    low, high = accuracy.ci95
    yield f"On {accuracy.photos:,} {_SPLITS[split]} photos, with 95% intervals (Wilson):"
    yield f"- Top-1 accuracy: {accuracy.top1:.1%} ({100 * low:.1f} to {high:.1%})"
    yield f"- Macro F1: {metrics.macro_f1:.3f}"
    if metrics.calibration_error:
        error = metrics.calibration_error
        yield f"- Expected calibration error: {error.ece:.1%}; by chance alone it would be {error.ece_by_chance:.1%}"
    for caution in page.doubts(document, split):
        yield f"**{escaped(caution)}**"
    yield from _classes(metrics)


def _classes(metrics: Metrics) -> Iterator[str]:
    rows = page.classes(metrics)
    yield "| class | photos | precision | recall | 95% interval | F1 |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for row in rows[:LISTED]:
        ends = row.recall_ci95
        interval = "-" if ends is None or isinstance(ends, Unknown) else f"{100 * ends[0]:.1f} to {ends[1]:.1%}"
        cells = (escaped(row.label), f"{row.photos:,}", _of(row.precision), _share(row.recall), interval, _of(row.f1))
        yield f"| {' | '.join(cells)} |"
    if len(rows) > LISTED:
        yield f"The {LISTED} classes with the lowest F1 of {len(rows):,}; all are in `run.json`."


def _int8(int8: Int8 | None) -> Iterator[str]:
    if int8 is None:
        yield "The model was not quantized yet."
        return
    if int8.truth == "model":
        yield from _against_original(int8)
        return
    yield f"On {int8.photos:,} {_SPLITS[int8.split]} photos, against the float model. {escaped(int8.bundle)}"
    yield "| variant | size, MB | top-1 | 95% interval | drop, pp | 95% interval | agreement | SHA-256 |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for row in int8.variants:
        (low, high), (least, most) = row.accuracy.ci95, row.agreement.drop_ci95_pp
        agree = wilson95(row.agreement.agree, row.agreement.photos)
        cells = (
            escaped(row.name),
            f"{row.bytes / 1e6:.2f}",
            f"{row.accuracy.top1:.1%}",
            f"{100 * low:.1f} to {high:.1%}",
            f"{row.agreement.drop_pp:+.2f}",
            f"{least:+.1f} to {most:+.1f}",
            f"{row.agreement.top1:.1%} ({100 * agree[0]:.1f} to {agree[1]:.1%})",
            f"`{row.sha256[:12]}`" if row.sha256 else "-",
        )
        yield f"| {' | '.join(cells)} |"
    for warning in int8.warnings:
        yield f"- {escaped(warning)}"


def _against_original(int8: Int8) -> Iterator[str]:
    """Yield the table of a model without photos: its files against the original and the float model."""
    yield f"On {int8.photos:,} drawn pictures, with 95% intervals; {NOT_KNOWN}. {escaped(int8.bundle)}"
    yield "| variant | size, MB | as the original | as the float model | SHA-256 |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for row in int8.variants:
        (low, high), agree = row.accuracy.ci95, wilson95(row.agreement.agree, row.agreement.photos)
        cells = (
            escaped(row.name),
            f"{row.bytes / 1e6:.2f}",
            f"{row.accuracy.top1:.1%} ({100 * low:.1f} to {high:.1%})",
            f"{row.agreement.top1:.1%} ({100 * agree[0]:.1f} to {agree[1]:.1%})",
            f"`{row.sha256[:12]}`" if row.sha256 else "-",
        )
        yield f"| {' | '.join(cells)} |"
    for warning in int8.warnings:
        yield f"- {escaped(warning)}"


def _unknown(int8: Int8 | None) -> Iterator[str]:
    if int8 is None or not int8.unknown:
        return
    yield "## Unknown photos"
    yield "Share of photos taken for known, with 95% intervals. Of the held-out ones all should be, of the others none."
    yield f"| variant | held out | unknown | {' | '.join(map(escaped, int8.unknown[0].drawn))} |"
    yield f"| --- |{' ---: |' * (2 + len(int8.unknown[0].drawn))}"
    for row in int8.unknown:
        shares = [_accepted(row.held_out), "-" if row.unknown is None else _accepted(row.unknown)]
        yield f"| {' | '.join([escaped(row.name), *shares, *map(_accepted, row.drawn.values())])} |"


def _accepted(found: Accepted) -> str:
    low, high = found.ci95
    return f"{found.share:.1%} ({100 * low:.1f} to {high:.1%})"


def _latency(boards: Sequence[BoardRow]) -> Iterator[str]:
    if not boards:
        yield "Not measured yet."
        return
    yield "Model: pixels to probabilities. Photo: from a file's bytes to a label."
    yield "| board | measured | variant | model p50, ms | model p95, ms | photo p95, ms | verdict | bundle |"
    yield "| --- | --- | --- | ---: | ---: | ---: | --- | --- |"
    for row in boards:
        verdict = "; ".join([row.status, *row.reasons])
        bundle = f"`{row.digest}`" + ("" if row.of_bundle else ", not the run's bundle")
        times = (_ms(row.p50_ms), _ms(row.p95_ms), _ms(row.photo_p95_ms))
        cells = (escaped(row.board), row.measured, escaped(row.name), *times, escaped(verdict), bundle)
        yield f"| {' | '.join(cells)} |"


def _of(value: float | Unknown) -> str:
    return "-" if isinstance(value, Unknown) else f"{value:.3f}"


def _share(value: float | Unknown) -> str:
    return "-" if isinstance(value, Unknown) else f"{value:.1%}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
