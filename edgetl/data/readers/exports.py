"""What tools for labels export, as it is: one row of :data:`EXPORTS` a format, known by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetl._lib.progress import Advance, ignore
from edgetl.data.types import Split
from edgetl_device._lib.folders import PHOTO_SUFFIXES, children, files_below
from edgetl_device.errors import InputError
from edgetl_device.text import shown

from .folders import Scan
from .listed import Row, as_scan, field, objects, only, read_columns, read_json, read_json_lines, read_table
from .split_names import split_of

LABEL_FILES = (".json", ".jsonl", ".labels")
# Files by which the folder of an export is known, in it or in its split folders.
_MARKS = ("info.labels", "_classes.csv", "_annotations.coco.json", "metadata.csv", "metadata.jsonl")


@dataclass(frozen=True)
class Export:
    """A format.

    Attributes:
        name: The tool and what it calls the format.
        known: Whether a file is of this format, by its name and its content: columns of a CSV, or a JSON document.
        rows: Yield the photos in such a file.
        tails: As in :func:`.listed.as_scan`.
    """

    name: str
    known: Callable[[Path, Any], bool]
    rows: Callable[[Path, Any], Iterator[Row]]
    tails: bool = False


def find_export(data: Path, advance: Advance = ignore) -> Scan | None:
    """Return the photos of an export, given as its file or its folder; None if it is of no known format.

    Raises:
        InputError: It is of a known format, and damaged, or photos are missing or have several labels.
    """
    if data.is_dir():
        return _in_folder(data, advance)
    suffix = data.suffix.lower()
    if suffix == ".csv":
        # A table of one's own may be separated by anything; only its columns are looked at here.
        if _export_of(data, (read_columns(data), [])) is None:
            return None
    elif suffix not in LABEL_FILES:
        return None
    opened = _opened(data)
    export = _export_of(data, opened)
    if export is None:
        names = ", ".join(one.name for one in EXPORTS)
        raise InputError(f"{data}: is in no format of labels that edgetl knows", why=f"known are {names}")
    return as_scan(data.parent, export.rows(data, opened), tails=export.tails, advance=advance)


def _in_folder(root: Path, advance: Advance) -> Scan | None:
    found = children(root)
    splits: dict[Path, Split] = {}
    for name in found.folders:
        if split := split_of(name):
            splits[root / name] = split
    rows: list[Row] = []
    marked: set[Path] = set()
    for place in (root, *splits):
        for export, file, opened in _marks_in(place):
            marked.add(place)
            rows += (replace(row, split=row.split or splits.get(place)) for row in export.rows(file, opened))
    if not rows:
        return None
    if root not in marked and (bare := [place for place in splits if place not in marked]):
        raise InputError(f"{bare[0]}: has no file of labels, as {min(marked)} has", hint="Export all splits together.")
    listed = as_scan(root, rows, advance=advance)
    used = {*listed.ignored, *(file.path for file in listed.files)}
    below = (path.relative_to(root).as_posix() for path in files_below(root) if _is_photo(path))
    return replace(listed, ignored=(*listed.ignored, *sorted(path for path in below if path not in used)))


def _marks_in(place: Path) -> Iterator[tuple[Export, Path, Any]]:
    for name in _MARKS:
        file = place / name
        if not file.is_file():
            continue
        if name == "metadata.csv" and _export_of(file, (read_columns(file), [])) is None:
            continue
        opened = _opened(file)
        if (export := _export_of(file, opened)) is not None:
            yield export, file, opened


def _is_photo(path: Path) -> bool:
    return path.name.lower().endswith(PHOTO_SUFFIXES)


def _opened(file: Path) -> Any:
    """Return a JSON document, the lines of a JSON-lines file, or a CSV's columns and rows."""
    if file.suffix.lower() == ".csv":
        return read_table(file)
    return list(read_json_lines(file)) if file.suffix.lower() == ".jsonl" else read_json(file)


def _export_of(file: Path, opened: Any) -> Export | None:
    return next((one for one in EXPORTS if one.known(file, opened)), None)


# Label Studio: labelstud.io, "Export annotations" and "Label Studio Task Format".


def _is_studio_tasks(file: Path, opened: Any) -> bool:
    return file.suffix.lower() == ".json" and _starts_with(opened, {"data", "annotations"})


def _is_studio_min(file: Path, opened: Any) -> bool:
    return file.suffix.lower() == ".json" and _starts_with(opened, {"annotation_id"})


def _starts_with(opened: Any, keys: set[str]) -> bool:
    return isinstance(opened, list) and bool(opened) and isinstance(opened[0], dict) and keys <= opened[0].keys()


def _studio_tasks(file: Path, opened: Any) -> Iterator[Row]:
    for where, task in objects({"tasks": opened}, "tasks", file, "task"):
        data = field(task, "data", dict, f"{file}: {where}")
        row = Row(file, where, _studio_photo(data, file, where), None, None, file.parent)
        labels: list[Any] = []
        for _, annotation in objects(task, "annotations", file, f"{where}, annotation"):
            if annotation.get("was_cancelled") is True:
                continue
            for place, result in objects(annotation, "result", file, f"{where}, result"):
                if result.get("type") == "choices":
                    value = field(result, "value", dict, f"{file}: {place}")
                    labels += field(value, "choices", list, f"{file}: {place}")
                elif result.get("type") in ("rectanglelabels", "polygonlabels", "brushlabels", "keypointlabels"):
                    raise row.refuse("has regions", why="edgetl classifies whole photos", hint="Export choices.")
        yield replace(row, label=only(labels, row))


def _studio_min(file: Path, opened: Any) -> Iterator[Row]:
    rows = list(objects({"rows": opened}, "rows", file, "row"))
    photo, column = _studio_columns(file, [one for _, one in rows])
    for where, one in rows:
        row = Row(file, where, field(one, photo, str, f"{file}: {where}"), None, None, file.parent)
        label = one.get(column)
        labels = label.get("choices") if isinstance(label, dict) else [label] if label is not None else []
        yield replace(row, label=only(labels if isinstance(labels, list) else [labels], row))


# Columns that Label Studio adds to those of the photo and of its labels.
_STUDIO_OWN = {
    *("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"),
    *("annotation_history", "predictions", "comments"),
}


def _is_studio_csv(file: Path, opened: Any) -> bool:
    return file.suffix.lower() == ".csv" and {"annotation_id", "annotator"} <= set(opened[0])


def _studio_csv(file: Path, opened: Any) -> Iterator[Row]:
    columns, rows = opened
    named = [(f"line {line}", dict(zip(columns, fields, strict=True))) for line, fields in rows]
    photo, column = _studio_columns(file, [one for _, one in named])
    for where, one in named:
        row = Row(file, where, one[photo], None, None, file.parent)
        label = one.get(column, "").strip()
        if label.startswith("{"):
            raise row.refuse(
                f"has several labels: {shown(label)}", why="edgetl trains classifiers of one label a photo"
            )
        yield replace(row, label=label or None)


def _studio_photo(data: dict[str, Any], file: Path, where: str) -> str:
    """Return the photo of a task, whose fields have the project's names."""
    name = _photo_field([data])
    if name is None:
        raise InputError(f"{file}: {where} names no photo", hint="Export a project of images.")
    return field(data, name, str, f"{file}: {where}")  # type: ignore[no-any-return]


def _photo_field(rows: Sequence[dict[str, Any]]) -> str | None:
    names = dict.fromkeys(("image", "img", "photo"), None) | dict.fromkeys(name for row in rows for name in row)
    return next((name for name in names if name not in _STUDIO_OWN and any(map(_is_path, _of(rows, name)))), None)


def _of(rows: Sequence[dict[str, Any]], name: str) -> Iterator[Any]:
    return (row.get(name) for row in rows)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or "." in value)


def _studio_columns(file: Path, rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return the columns of the photo and of its label, which have the project's names; the same ones for all rows.

    Raises:
        InputError: No column has photos, or none or several may have the labels.
    """
    photo = _photo_field(rows)
    if photo is None:
        raise InputError(f"{file}: names no photo", hint="Export a project of images.")
    rest = list(dict.fromkeys(name for row in rows for name in row if name not in _STUDIO_OWN and name != photo))
    known = [name for name in ("choice", "label", "class") if name in rest] or rest
    if len(known) != 1 and known == rest:
        raise InputError(
            f"{file}: has the labels in no column" if not rest else f"{file}: has the labels in one of {_names(rest)}",
            why="a column named choice, label or class is read, or the only one beside that of the photos",
            hint="Name the choices choice, or leave the other columns out.",
        )
    return photo, known[0]


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(shown, columns[:4])) + (" and others" if len(columns) > 4 else "")


# Roboflow: docs.roboflow.com, "Multiclass classification CSV": a column for each class, 1 where it applies.


def _is_classes_csv(file: Path, opened: Any) -> bool:
    return file.name == "_classes.csv" and bool(opened[0]) and opened[0][0].lower() == "filename"


def _classes_csv(file: Path, opened: Any) -> Iterator[Row]:
    columns, rows = opened
    for line, fields in rows:
        row = Row(file, f"line {line}", fields[0], None, None, file.parent)
        marks = [mark.strip() for mark in fields[1:]]
        if wrong := [mark for mark in marks if mark not in ("0", "1")]:
            raise row.refuse(f"{shown(wrong[0])!r} is neither 0 nor 1")
        label = only([name for name, mark in zip(columns[1:], marks, strict=True) if mark == "1"], row)
        yield replace(row, label=label)


# Edge Impulse: docs.edgeimpulse.com, "Edge Impulse labels".


def _is_info_labels(file: Path, opened: Any) -> bool:
    return file.suffix.lower() in (".labels", ".json") and _has(opened, {"version", "files"})


def _info_labels(file: Path, opened: Any) -> Iterator[Row]:
    for where, one in objects(opened, "files", file, "file"):
        path = field(one, "path", str, f"{file}: {where}")
        category = one.get("category")
        split = split_of(category) if isinstance(category, str) else None
        row = Row(file, where, path, None, split, file.parent)
        label = one.get("label")
        if label is None:
            boxes = objects({"boxes": one.get("boundingBoxes") or []}, "boxes", file, f"{where}, box")
            yield replace(row, label=only([box.get("label") for _, box in boxes], row))
        elif isinstance(label, dict) and label.get("type") == "label":
            yield replace(row, label=only([label.get("label")], row))
        elif isinstance(label, dict) and label.get("type") == "unlabeled":
            yield row
        else:
            raise row.refuse("its label is not of the type label", why="edgetl reads one label a photo")


# COCO: cocodataset.org, "Data format": images, annotations, categories.


def _is_coco(_file: Path, opened: Any) -> bool:
    return _has(opened, {"images", "annotations", "categories"})


def _coco(file: Path, opened: Any) -> Iterator[Row]:
    names: dict[Any, str] = {}
    for where, category in objects(opened, "categories", file, "category"):
        key = field(category, "id", (int, str), f"{file}: {where}")
        if key in names:
            raise InputError(f"{file}: {where} has the id of another one, {shown(str(key))}", hint="Export it again.")
        names[key] = field(category, "name", str, f"{file}: {where}")
    labels: dict[Any, list[str]] = {}
    for where, image in objects(opened, "images", file, "image"):
        key = field(image, "id", (int, str), f"{file}: {where}")
        if key in labels:
            raise InputError(f"{file}: {where} has the id of another one, {shown(str(key))}", hint="Export it again.")
        labels[key] = []
    for where, annotation in objects(opened, "annotations", file, "annotation"):
        photo = field(annotation, "image_id", (int, str), f"{file}: {where}")
        category = field(annotation, "category_id", (int, str), f"{file}: {where}")
        if photo not in labels or category not in names:
            kind, key = ("image", photo) if photo not in labels else ("category", category)
            raise InputError(f"{file}: {where}: there is no {kind} {shown(str(key))}", hint="Export it again.")
        labels[photo].append(names[category])
    for where, image in objects(opened, "images", file, "image"):
        row = Row(file, where, field(image, "file_name", str, f"{file}: {where}"), None, None, file.parent)
        yield replace(row, label=only(labels[image["id"]], row))


# Hugging Face datasets: huggingface.co/docs/datasets, "Create an image dataset": file_name and columns of one's own.


def _is_metadata(file: Path, opened: Any) -> bool:
    if file.suffix.lower() == ".csv":
        return file.name == "metadata.csv" and {"file_name", "label"} <= set(opened[0])
    return file.suffix.lower() == ".jsonl" and bool(opened) and _has(opened[0][1], {"file_name", "label"})


def _metadata(file: Path, opened: Any) -> Iterator[Row]:
    lines: Any = opened
    if file.suffix.lower() == ".csv":
        columns, rows = opened
        lines = ((line, dict(zip(columns, fields, strict=True))) for line, fields in rows)
    for line, one in lines:
        path = field(one, "file_name", str, f"{file}: line {line}")
        first, _, rest = path.replace("\\", "/").partition("/")
        row = Row(file, f"line {line}", path, None, split_of(first) if rest else None, file.parent)
        label = one.get("label")
        yield replace(row, label=only([] if label is None or label == "" else [label], row))


def _has(opened: Any, keys: set[str]) -> bool:
    return isinstance(opened, dict) and keys <= opened.keys()


EXPORTS: tuple[Export, ...] = (
    Export("Label Studio's JSON", _is_studio_tasks, _studio_tasks, tails=True),
    Export("Label Studio's JSON-MIN", _is_studio_min, _studio_min, tails=True),
    Export("Label Studio's CSV", _is_studio_csv, _studio_csv, tails=True),
    Export("Roboflow's _classes.csv", _is_classes_csv, _classes_csv),
    Export("Edge Impulse's info.labels", _is_info_labels, _info_labels),
    Export("COCO's JSON", _is_coco, _coco),
    Export("Hugging Face's metadata.csv and metadata.jsonl", _is_metadata, _metadata),
)
