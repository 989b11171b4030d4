"""Options of an update, shared by workstation and board."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.options import Options, option

_CHECKS, _TRUST = "Checks", "Signatures"
# Copied from edgetl_device.signature, which is slow to import; a test compares the two.
MAX_VERSION = 10**15 - 1


@dataclass(frozen=True)
class UpdateOptions(Options):
    """Options of an update.

    Raises:
        OptionError: A value is out of bounds.
    """

    trust: tuple[str, ...] = option(
        (),
        metavar="PUBKEY,...",
        unset="the keys that the board trusts already",
        group=_TRUST,
        help="Public keys, or folders of them. One must have signed the bundle; from then on the board trusts them.",
    )
    min_version: int = option(
        0, low=0, high=MAX_VERSION, group=_TRUST, help="Refuse a bundle signed with a lower version, now and later."
    )
    allow_downgrade: bool = option(
        False,
        group=_TRUST,
        help="Accept a version below the highest that ran on the board, and make it the new minimum.",
    )
    variant: str | None = option(
        None, group=_CHECKS, metavar="NAME", unset="int8 if there is one", help="Variant that must run on the board."
    )
    photos: int = option(20, low=0, high=100_000, group=_CHECKS, help="Held-out photos to classify before the switch.")
    health: str | None = option(
        None,
        group=_CHECKS,
        metavar="COMMAND",
        unset="none",
        help="Shell command to run on the board after the switch; if it fails, the board rolls back.",
    )
    health_timeout: float = option(
        60.0,
        above=0,
        high=3600,
        group=_CHECKS,
        metavar="SECONDS",
        help="Time limit of the health command.",
    )
