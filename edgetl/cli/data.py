"""``edgetl data``: check and split data sets."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli import data_fetch, data_preview
from edgetl.cli.console.output import DATA_FORMS, echo, note, print_json, print_table
from edgetl.cli.groups import command_group
from edgetl.cli.input_options import GREY, SIZE
from edgetl.cli.json_output import JSON, OUT, check_out, deliver
from edgetl_device.text import LISTED, listed

if TYPE_CHECKING:
    from edgetl.data import Dataset, Finding, LabelCheck

_FILES_SHOWN = 5
_SUSPECTS_SHOWN = 20


class OnConflict(str, Enum):
    """How to handle a photo with two labels."""

    error = "error"
    drop = "drop"


# readable=False: typer would check the permission itself and print its usage text instead of our error.
_Data = typer.Argument(
    ...,
    metavar="DATA",
    help=DATA_FORMS,
    readable=False,
    show_default=False,
)
_Seed = typer.Option(0, "--seed", help="Seed of the split.")
_Val = typer.Option(0.15, "--val", help="Share of validation photos, if there is no val folder.")
_Test = typer.Option(0.15, "--test", help="Share of test photos, if there are no split folders, or only train.")
_OnConflict = typer.Option(OnConflict.error, "--on-conflict", help="A photo with two labels: error, or drop it.")
_Labels = typer.Option(
    False, "--labels", help="Also list photos whose label is probably wrong; needs TensorFlow, some 30 ms a photo."
)
_Page = typer.Option(
    None, "--page", metavar="FILE", help="With --labels: show these photos on an HTML page.", show_default=False
)
_Out = typer.Argument(..., metavar="OUT", help="Folder to create; must not exist.", show_default=False)
_Link = typer.Option(
    False, "--link/--copy", help="Make hard links: they take no space, but editing one file in place changes both."
)


def register(app: typer.Typer) -> None:
    """Add the command group to the command line."""
    group = command_group("Check, split and fetch data sets of photos.")
    group.command("check")(check)
    group.command("split")(split)
    data_fetch.register(group)
    data_preview.register(group)
    app.add_typer(group, name="data")


def check(
    data: Path = _Data,
    size: str = SIZE,
    grey: bool = GREY,
    seed: int = _Seed,
    val: float = _Val,
    test: float = _Test,
    on_conflict: OnConflict = _OnConflict,
    labels: bool = _Labels,
    page: Path | None = _Page,
    json: bool = JSON,
    out: Path | None = OUT,
) -> None:
    """List classes, splits and problems of a data set, with the same audit as `train`.

    Exit code 0: ready to train; 2: fix something first.

    Example: edgetl data check photos/ --labels --page labels.html
    """
    from edgetl._lib.extras import check_installed
    from edgetl.data import AUDIT, check_dataset
    from edgetl_device._lib.files import write_text
    from edgetl_device.errors import InputError
    from edgetl_device.input_size import parse_size
    from edgetl_device.preprocess import Preprocess

    if page and not labels:
        raise InputError("--page: needs --labels", why="it shows the photos whose label is probably wrong")
    if page:
        check_installed("jinja2", extra="report")
    for file in (out, page):
        check_out(file, data=data)
    spec = Preprocess(size=parse_size(size, channels=1 if grey else 3))
    dataset = check_dataset(data, spec, seed=seed, val=val, test=test, on_conflict=on_conflict.value)
    checked = None
    if labels:
        from edgetl.labels import check_labels

        checked = check_labels(dataset)
    if not deliver(replace(dataset.describe(), label_check=checked), json=json, out=out):
        _print_counts(dataset)
        for finding in dataset.findings:
            _print_finding(finding)
        if checked:
            _print_suspects(checked)
    if checked and page:
        from edgetl.labels.page import render

        write_text(page, render(dataset, checked))
        note(f"written: {page}")
    errors = [finding for finding in dataset.findings if finding.severity == "error"]
    if errors:
        conflict = any(finding.kind == "conflict" for finding in errors)
        raise InputError(
            f"{data}: cannot be used yet",
            why="; ".join(finding.message for finding in errors),
            hint="Remove the wrong copies, or pass --on-conflict drop." if conflict else AUDIT[errors[0].kind].advice,
        )


def split(
    data: Path = _Data,
    out: Path = _Out,
    seed: int = _Seed,
    val: float = _Val,
    test: float = _Test,
    link: bool = _Link,
    on_conflict: OnConflict = _OnConflict,
    json: bool = JSON,
) -> None:
    """Write the split that `train` would use as OUT/{train,val,test}/<class>/; the originals are not changed.

    Files are copied unless --link is given. Photos that the audit leaves out are not written.

    Example: edgetl data split photos/ photos-split/ --seed 1
    """
    from edgetl.data import load_dataset
    from edgetl.data.split_folders import refuse_target, write_folders
    from edgetl_device._lib.documents import to_json
    from edgetl_device.preprocess import Preprocess

    refuse_target(data, out)
    dataset = load_dataset(data, Preprocess(), seed=seed, val=val, test=test, on_conflict=on_conflict.value)
    renamed = write_folders(dataset, out, link=link)
    if json:
        print_json({**to_json(dataset.describe()), "out": str(out), "linked": link, "renamed": renamed})
        return
    _print_counts(dataset)
    for finding in dataset.findings:
        _print_finding(finding)
    if renamed:
        note(f"{len(renamed)} files renamed: another file had the same name.")
    echo(f"{len(dataset.samples)} photos {'linked' if link else 'copied'} to {out}")


def _print_suspects(checked: LabelCheck) -> None:
    found = checked.suspects
    echo()
    if checked.unchecked:
        echo(f"labels not checked, too few photos: {listed(checked.unchecked)}")
    if not found:
        echo(f"labels   none of {checked.photos:,} photos looks like another class")
        return
    shown = found[:_SUSPECTS_SHOWN]
    count = f"the first {len(shown)} of {len(found):,}" if len(shown) < len(found) else f"{len(found)}"
    echo(f"labels   {count} photos, of {checked.photos:,}, that look like another class than their label; look at each")
    print_table(
        ["photo", "label", "looks like", "margin"],
        [[one.path, one.label, one.suggested, f"{one.margin:.2f}"] for one in shown],
    )


def _print_counts(dataset: Dataset) -> None:
    from edgetl.data import SPLITS

    shown = [split for split in SPLITS if dataset.of(split)]
    counts = dataset.counts()
    labels = list(dataset.labels)
    if len(labels) > LISTED:
        labels.sort(key=lambda label: sum(counts[label].values()))
    rows = [
        [label, *(str(counts[label][split]) for split in shown), str(sum(counts[label].values()))]
        for label in labels[:LISTED]
    ]
    if more := len(labels) - len(rows):
        rows.append([f"and {more:,} more, none with fewer photos", *("" for _ in shown), ""])
    rows.append(["all", *(str(len(dataset.of(split))) for split in shown), str(len(dataset.samples))])
    print_table(["class", *shown, "all"], rows)


def _print_finding(finding: Finding) -> None:
    entries = [" = ".join(group) for group in finding.groups] or list(finding.files)
    echo(f"{finding.severity:<8} {finding.kind}: {finding.message}")
    for entry in entries[:_FILES_SHOWN]:
        echo(f"           {entry}")
    if len(entries) > _FILES_SHOWN:
        echo(f"           ... and {len(entries) - _FILES_SHOWN} more (--json lists all)")
