"""``edgetl classify``: classify photos and live frames with a bundle, or into the ImageNet classes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo, note
from edgetl_device.monitor.options import MonitorOptions

from .json_output import OUT, check_out, deliver
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl_device.classifier import AnyClassifier, Observer
    from edgetl_device.live.session import Live

_Bundle = typer.Argument(
    ...,
    help="A bundle or run folder, an .edgetl file, or a board's slots; with --backbone the first photo.",
    readable=False,
    show_default=False,
)
_Photos = typer.Argument(
    None, help="Photos, folders of photos, patterns in quotes, or - for standard input.", show_default=False
)
_OF_BUNDLES = ("--variant", "--threads", "--delegate", "--trust", "--monitor")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add_command(app, "classify", MonitorOptions, classify, configured=False)


def classify(
    asked: Asked[MonitorOptions],
    bundle: Path = _Bundle,
    photos: list[Path] = _Photos,
    variant: str = typer.Option("int8", help="Variant of the bundle to run."),
    threads: int = typer.Option(1, help="CPU threads."),
    top: int | None = typer.Option(None, help="Number of classes to print per photo.  [default: 5]"),
    trust: list[Path] = typer.Option(
        [],
        metavar="PUBKEY",
        help="A public key, or a folder of them, one of which must have signed the bundle. May be repeated.",
        show_default=False,
    ),
    delegate: str = typer.Option("", help="edgetpu[:usb|:pci|:N], or PATH.so[:key=value,...].", show_default=False),
    camera: str = typer.Option("", metavar="N", help="0, /dev/video2, opencv:0 or picamera2:0.", show_default=False),
    video: str = typer.Option("", metavar="FILE", help="A video file.", show_default=False),
    watch: str = typer.Option(
        "", metavar="DIR", help="Classify photos as they appear in this folder.", show_default=False
    ),
    existing: bool = typer.Option(
        False, "--existing", help="With --watch: also classify photos that are already there."
    ),
    smooth: float | None = typer.Option(
        None, metavar="SECONDS", help="Smooth over time.  [default: 0.3; with --watch none]"
    ),
    every: float = typer.Option(0.0, metavar="SECONDS", help="Classify at most one frame per interval."),
    frames: int | None = typer.Option(None, metavar="N", help="Stop after N frames or photos."),
    threshold: float = typer.Option(0.0, metavar="P", help="Predictions below this probability are unsure."),
    backbone: str = typer.Option(
        "",
        metavar="NAME",
        help="Classify into the 1000 ImageNet classes with this backbone, without a BUNDLE.",
        show_default=False,
    ),
    weights: str = typer.Option("imagenet", help="With --backbone: imagenet (Keras' own), or a weights file with top."),
    width: float = typer.Option(1.0, help="With --backbone: width multiplier."),
    size: int | None = typer.Option(None, help="With --backbone: input size in pixels.  [default: its training size]"),
    json: bool = typer.Option(
        False, "--json", help="Print one JSON document; for live sources one per line, for each frame or photo."
    ),
    out: Path | None = OUT,
) -> None:
    """Classify photos, a camera, a video or a watched folder with a model of a bundle.

    Example: edgetl classify runs/parts/bundle photo.jpg --top 3

    Example: edgetl classify parts.edgetl --camera 0 --threshold 0.6

    Example: edgetl classify parts.edgetl --watch inbox/ --monitor field/ --collect 200

    Example: edgetl classify --backbone mobilenet_v2 photo.jpg
    """
    from edgetl_device.classifier import Failures, classify_each, open_classifier, predictions
    from edgetl_device.console import classified_line, prediction_line
    from edgetl_device.delegates.delegate import parse_delegate
    from edgetl_device.errors import InputError
    from edgetl_device.live.session import Live
    from edgetl_device.monitor.watching import monitored
    from edgetl_device.signature import read_keys

    # With --backbone there is no bundle, so the first path is a photo, too.
    named = [str(path) for path in ([bundle] if backbone else []) + list(photos or [])]
    live = Live.asked(
        named,
        top=top,
        camera=camera,
        video=video,
        watch=watch,
        existing=existing,
        smooth_s=smooth,
        every_s=every,
        frames=frames,
        threshold=threshold,
    )
    _refuse_mixture(backbone, {"--weights": weights != "imagenet", "--width": width != 1.0, "--size": size is not None})
    _refuse_mixture(
        not backbone,
        {
            "--variant": variant != "int8",
            "--threads": threads != 1,
            "--delegate": delegate,
            "--trust": trust,
            "--monitor": asked.options.monitor,
        },
    )
    if live and out:
        raise InputError("--out with --camera, --video or --watch", why="they have no end", hint="Redirect --json.")
    check_out(out)
    shown = 5 if top is None else top
    failures = Failures()
    if backbone:
        from edgetl.backbones.imagenet import imagenet_predictions

        document = imagenet_predictions(named, backbone, failures, weights=weights, width=width, size=size, top=shown)
        if not deliver(document, json=json, out=out):
            for row in document.photos:
                echo(prediction_line(row.photo, row.predictions, row.error))
        failures.raise_any()
        return
    chosen = parse_delegate(delegate) if delegate else None
    keys = read_keys(trust)
    with (
        open_classifier(bundle, variant, threads, delegate=chosen, trust=keys, say=note) as classifier,
        monitored(classifier, asked.options, frames=bool(live and not live.watch), say=note) as monitor,
    ):
        if (used := classifier.runtime.external) and (share := classifier.runtime.share):
            note(f"delegate {used.name} ran {share.operators} of {share.of} operators")
        if live:
            _stream(classifier, live, monitor, json=json)
        else:
            printed, rows = False, classify_each(classifier, named, failures, top=shown, observer=monitor)
            if json or out:
                found = predictions(classifier, rows)
                rows = iter(found.photos)
                printed = deliver(found, json=json, out=out)
            if not printed:
                for one in rows:
                    echo(classified_line(one))
            failures.raise_any()


def _refuse_mixture(wanted: object, given: dict[str, object]) -> None:
    from edgetl_device.errors import InputError

    for flag, value in given.items():
        if value and not wanted:
            other = "--backbone, which uses no bundle" if flag in _OF_BUNDLES else "a bundle, whose models are fixed"
            raise InputError(f"{flag} cannot be used with {other}", hint="See: edgetl classify --help")


def _stream(classifier: AnyClassifier, live: Live, observer: Observer | None, *, json: bool) -> None:
    from edgetl_device.live.session import Tally, as_json, as_text, classify_live

    tally = Tally(live)
    # On a terminal, frames share one line; a new line starts when the prediction changes.
    in_place = sys.stdout.isatty() and not json and not live.watch
    before = ""
    with classify_live(classifier, live, observer=observer) as (description, lines):
        note(description)
        try:
            for line in lines:
                label = tally.add(line)
                if in_place:
                    sys.stdout.write(("\n" if before and label != before else "\r\x1b[2K") + as_text(line, live))
                    before = label
                else:
                    sys.stdout.write(as_json(line, live) if json else as_text(line, live) + "\n")
                sys.stdout.flush()
        finally:
            if in_place and before:
                sys.stdout.write("\n")
            # If stdout is for a program, the summary goes to stderr.
            (note if json else echo)(tally.text())
        tally.raise_any()
