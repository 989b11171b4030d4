"""``edgetl sign``: sign a bundle."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo, word

from .json_output import JSON


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("sign")(sign)


def sign(
    bundle: Path = typer.Argument(
        ..., help="A bundle folder, a run folder, or an .edgetl file.", readable=False, show_default=False
    ),
    key: list[Path] = typer.Option(
        [], "--key", metavar="FILE", help="A private key from edgetl keygen. May be repeated.", show_default=False
    ),
    version: int | None = typer.Option(
        None,
        metavar="N",
        help="Version; must exceed that of the release before.  [default: the time, 20270630120000]",
        show_default=False,
    ),
    expires: str | None = typer.Option(
        None, metavar="DATE", help="Last day on which boards accept the signature.", show_default=False
    ),
    json: bool = JSON,
) -> None:
    """Sign a bundle in place. Its digest does not change, and signatures by other keys are kept.

    Example: edgetl sign parts.edgetl --key release-2027.key
    """
    from edgetl.export.signature import sign as write_signatures
    from edgetl_device._lib.documents import Named
    from edgetl_device.signature import Signatures

    signatures = write_signatures(bundle, key, version=version, expires=expires)
    if json:
        from edgetl import __version__
        from edgetl.cli.console.output import print_json

        print_json(Signatures(Named("edgetl", __version__), signatures))
        return
    for one in signatures:
        until = f", until {one.expires}" if one.expires else ""
        echo(f"signed    version {one.version} by {one.key}{until}")
    echo(f"next      edgetl verify {word(bundle)} --trust PUBKEY")
