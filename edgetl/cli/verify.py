"""``edgetl verify``: check that a bundle is intact and gives the same results here as where it was made."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo

from .json_output import JSON, OUT, check_out, deliver

_Bundle = typer.Argument(
    ..., help="A bundle folder, a run folder, or an .edgetl file.", readable=False, show_default=False
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("verify")(verify)


def verify(
    bundle: Path = _Bundle,
    trust: list[Path] = typer.Option(
        [],
        metavar="PUBKEY",
        help="A public key, or a folder of them, one of which must have signed the bundle. May be repeated.",
        show_default=False,
    ),
    min_version: int = typer.Option(0, metavar="N", help="With --trust: refuse signatures with a lower version."),
    json: bool = JSON,
    out: Path | None = OUT,
) -> None:
    """Check a bundle: signature, hashes, labels, pixels, and each variant against the float reference on a few photos.

    Exit code 2 if a check fails.

    Example: edgetl verify runs/parts/bundle

    Example: edgetl verify parts.edgetl --trust release-2027.pub
    """
    from edgetl_device.bundle import Bundle
    from edgetl_device.console import verification_lines
    from edgetl_device.signature import check_request, read_keys
    from edgetl_device.verify import raise_failures
    from edgetl_device.verify import verify as run

    check_request(trust, min_version)
    keys = read_keys(trust)
    check_out(out)
    report = run(Bundle.open(bundle), trust=keys, min_version=min_version)
    if not deliver(report, json=json, out=out):
        for line in verification_lines(report):
            echo(line)
    raise_failures(report)
