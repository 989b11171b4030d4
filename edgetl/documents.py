"""All documents that edgetl writes or prints, by name: class, JSON Schema, reference page."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping

from edgetl_device._lib.documents import Document, Json, json_schema
from edgetl_device.errors import InputError
from edgetl_device.text import closest

# Loaded on first use, so that listing names does not import every module with a document.
_CLASSES = {
    "run": "edgetl.runs.document:RunDocument",
    "quantize": "edgetl.runs.quantize_report:QuantizeReport",
    "explain": "edgetl.runs.explain_report:ExplainReport",
    "bundle": "edgetl_device.bundle:Manifest",
    "signature": "edgetl_device.signature:Signatures",
    "result": "edgetl_device.bench.result:Result",
    "latency-model": "edgetl.latency.document:LatencyModel",
    "predicted-latency": "edgetl.latency.document:PredictedLatency",
    "comparison": "edgetl.comparison.document:Comparison",
    "stored": "edgetl.store.document:StoredRows",
    "queued": "edgetl.store.document:Queued",
    "evaluation": "edgetl.runs.evaluation:Evaluation",
    "data": "edgetl.data:DatasetDescription",
    "advice": "edgetl.advice.document:AdviceDocument",
    "search": "edgetl.searching.document:SearchDocument",
    "models": "edgetl.backbones.document:ModelsDocument",
    "predictions": "edgetl_device.classifier:Predictions",
    "live-prediction": "edgetl_device.live.session:LivePrediction",
    "monitor": "edgetl_device.monitor.record:MonitorRecord",
    "monitor-photos": "edgetl_device.monitor.collection:CollectionDocument",
    "monitor-reference": "edgetl_device.monitor.measures:ReferenceDocument",
    "monitor-folder": "edgetl_device.monitor.folder:FolderDocument",
    "imagenet-predictions": "edgetl.backbones.imagenet:ImageNetPredictions",
    "weights-match": "edgetl.backbones.document:WeightsMatch",
    "contents": "edgetl.inspection.contents:FileContents",
    "bundle-contents": "edgetl.inspection.contents:BundleContents",
    "difference": "edgetl.inspection.difference:FileDifference",
    "edgetpu-prediction": "edgetl.inspection.edgetpu.predict:EdgeTpuPrediction",
    "edgetpu-compilation": "edgetl.export.edgetpu:CompileReport",
    "deployment": "edgetl.remote.deployment:Deployment",
    "slots": "edgetl_device.slots:SlotsState",
    "update": "edgetl_device.update.run:UpdateReport",
    "adapted": "edgetl_device.adapt.result:Adapted",
    "verify": "edgetl_device.verify:Verification",
    "doctor": "edgetl_device.doctor:Report",
    "field": "edgetl.field.summary:FieldSummary",
    "field-pull": "edgetl.remote.pull:Pull",
    "review": "edgetl.review.decisions:ReviewDocument",
    "unfinished": "edgetl.training.resume_state:RequestDocument",
}
NAMES = tuple(_CLASSES)

_INTRODUCTION = """# Documents

edgetl's documents are JSON; their field `schema` has a name and a version. `edgetl schema NAME` prints the JSON Schema
of a document (draft 2020-12). A missing field, a wrong type or a number out of bounds is an error that names the field,
exit code 2; unknown fields are ignored. A value that could not be measured is `{"unknown": "why"}`. This page is
generated from the classes that read the documents.
"""


def document_class(name: str) -> type[Document]:
    """Return the class of a document.

    Raises:
        InputError: There is no document of this name.
    """
    if name not in _CLASSES:
        raise InputError(f"{name}: no such document", why=f"there are {', '.join(NAMES)}", hint=closest(name, NAMES))
    module, _, attribute = _CLASSES[name].partition(":")
    found: type[Document] = getattr(importlib.import_module(module), attribute)
    return found


def schema(name: str) -> dict[str, Json]:
    """Return the JSON Schema of a document; raises as :func:`document_class`."""
    return json_schema(document_class(name))


def page() -> str:
    """Return the page about all documents as Markdown."""
    return _INTRODUCTION + "".join(f"\n{section(schema(name))}" for name in NAMES)


def section(schema: Mapping[str, Json]) -> str:
    """Return a JSON Schema of :func:`schema` as Markdown: a table of its fields, and one for each part."""
    title = str(schema["title"])
    lines = [f"## {title}", "", *_described(schema, title)]
    for name, part in schema.get("$defs", {}).items():
        lines += [f"### {name} {{: #{_anchor(title, name)} }}", "", *_described(part, title)]
    return "\n".join(lines)


def _described(schema: Mapping[str, Json], title: str) -> list[str]:
    """Return the description of an object and the table of its fields; ``title`` is that of its document."""
    required = schema.get("required", ())
    lines = [_cell(schema["description"]), "", "| field | type | |", "|---|---|---|"]
    for name, field in schema.get("properties", {}).items():
        about = field.get("description", "")
        about = about if name in required else f"May be absent. {about}"
        lines.append(f"| `{name}` | {_type(field, title)} | {_cell(about).strip()} |")
    if others := schema.get("additionalProperties"):
        lines.append(f"| others | {_type(others, title)} | |")
    return [*lines, ""]


def _anchor(title: str, name: str) -> str:
    # Two documents may have parts with the same name.
    return re.sub(r"[./]", "-", title.removeprefix("edgetl.")) + f"-{name.lower()}"


def _type(field: Mapping[str, Json], title: str) -> str:
    """Return a type as text."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{_anchor(title, name)})"
    if "const" in field or "enum" in field:
        return " or ".join(f"`{json.dumps(one)}`" for one in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(_type(one, title) for one in field["anyOf"])
    if "prefixItems" in field:
        return f"list of {', '.join(_type(one, title) for one in field['prefixItems'])}"
    if field.get("type") == "array":
        return f"list of {_type(field['items'], title)}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"object of {_type(field['additionalProperties'], title)}"
    return " ".join([field.get("type", "anything"), *_bounds(field)])


def _bounds(field: Mapping[str, Json]) -> Iterator[str]:
    for key, word in (("minimum", "from"), ("exclusiveMinimum", "over"), ("maximum", "to")):
        if key in field:
            yield f"{word} {field[key]:g}"
    if "pattern" in field:
        yield "like `" + field["pattern"].replace("|", "\\|") + "`"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")
