"""``edgetl keygen``: generate a key pair to sign bundles with."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo, word


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("keygen")(keygen)


def keygen(
    name: Path = typer.Argument(..., help="Path of the key files, without suffix.", show_default=False),
    expires: str | None = typer.Option(
        None, metavar="DATE", help="Last day on which its signatures are trusted: 2027-06-30.", show_default=False
    ),
) -> None:
    """Generate an Ed25519 key pair to sign bundles with: NAME.key, to keep secret, and NAME.pub, for boards.

    Example: edgetl keygen release-2027 --expires 2028-06-30
    """
    from edgetl.export.signature import generate

    made = generate(name, expires=expires)
    echo(f"private   {made.private}: keep it secret, and back it up")
    echo(f"public    {made.public}: {made.key.id}")
    echo(f"next      edgetl sign BUNDLE --key {word(made.private)}")
