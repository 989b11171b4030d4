"""Signatures of bundles, and the public keys to check them with.

An Ed25519 signature (RFC 8032) covers the bundle's digest, a version, and times. It is checked with ``cryptography`` if
installed, else with :mod:`edgetl_device._lib.ed25519`; both accept the same signatures.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timezone
from pathlib import Path
from typing import Annotated, ClassVar

from ._lib import documents, ed25519, jsonfile
from ._lib.documents import Is, Json, Named, Sha256, Time
from ._lib.files import check_regular
from .errors import InputError, OptionError

KeyId = Annotated[str, Is(pattern="[0-9a-f]{16}")]
Base64Key = Annotated[str, Is(pattern="[A-Za-z0-9+/]{43}=")]
Base64Signature = Annotated[str, Is(pattern="[A-Za-z0-9+/]{86}==")]

PUBLIC_SUFFIX = ".pub"
# 15 digits: enough for a timestamp such as 20270630120000.
MAX_VERSION = 10**15 - 1
Version = Annotated[int, Is(low=0, high=MAX_VERSION)]
_KIND = "edgetl-ed25519"
_MAX_KEY_FILE_BYTES = 64 << 10
_EXPIRES = "expires="


@dataclass(frozen=True)
class Signature:
    """A signature of a bundle by one key.

    Attributes:
        key: Id of the key: the first 16 hexadecimal digits of the SHA-256 of the public key.
        bundle: Digest of the bundle.
        version: Version, which increases from release to release; devices refuse one below their minimum.
        created: Time of signing, UTC.
        expires: End of its validity, UTC; null if it does not expire.
        signature: Ed25519 signature, in base64, of the canonical form (sorted keys, no spaces) of this object without
            this field and with the document's field ``schema``.
    """

    key: KeyId
    bundle: Sha256
    version: Version
    created: Time
    expires: Time | None
    signature: Base64Signature

    def __post_init__(self) -> None:
        for one in filter(None, (self.created, self.expires)):
            moment(one)

    def message(self) -> bytes:
        """Return the bytes that are signed."""
        facts: dict[str, Json] = {"schema": Signatures.SCHEMA, **documents.to_json(self)}
        return jsonfile.canonical({name: value for name, value in facts.items() if name != "signature"})


@dataclass(frozen=True)
class Signatures:
    """The signatures of a bundle: its ``signature.json``, which the digest does not cover.

    Attributes:
        producer: The program that wrote it.
        signatures: One for each key.
    """

    SCHEMA: ClassVar[str] = "edgetl.signature/1"

    producer: Named
    signatures: Annotated[tuple[Signature, ...], Is(items=1)]

    def __post_init__(self) -> None:
        keys = [one.key for one in self.signatures]
        if len(set(keys)) < len(keys):
            raise InputError("has two signatures by the same key")


@dataclass(frozen=True)
class PublicKey:
    """A public key.

    Attributes:
        public: Its 32 bytes in base64.
        expires: End of its validity, UTC; null if it does not expire.
        name: A label for people; not checked.
    """

    public: Base64Key
    expires: Time | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not ed25519.is_public_key(self.data):
            raise InputError("is not an Ed25519 public key")
        if self.expires is not None:
            moment(self.expires)

    @property
    def data(self) -> bytes:
        """Its 32 bytes."""
        return base64.b64decode(self.public)

    @property
    def id(self) -> str:
        """Its id, by which signatures refer to it."""
        return key_id(self.data)

    def line(self) -> str:
        """Return the key as a line of a public key file."""
        until = f"{_EXPIRES}{self.expires}" if self.expires else ""
        return " ".join(filter(None, (_KIND, self.public, until, self.name)))


@dataclass(frozen=True)
class Checked:
    """A valid signature by a trusted key.

    Attributes:
        signature: The signature.
        key: The key.
        checker: The software that checked it.
    """

    signature: Signature
    key: PublicKey
    checker: str


def key_id(public: bytes) -> str:
    """Return the id of a public key, given as 32 bytes."""
    return hashlib.sha256(public).hexdigest()[:16]


def moment(text: str) -> datetime:
    """Parse a time in UTC; a date alone means the end of that day.

    Raises:
        InputError: It is not a date or time in ISO 8601.
    """
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            found = datetime.combine(found.date(), time(23, 59, 59))
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise InputError(f"{text!r} is not a time", why="expected 2027-06-30 or 2027-06-30T12:00:00+00:00") from None


def now() -> datetime:
    """Return the current time in UTC, in whole seconds."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def read_keys(places: Sequence[str | os.PathLike[str]]) -> tuple[PublicKey, ...]:
    """Read public keys from files, or from the ``*.pub`` files of folders; a file has a key on each line.

    A line is ``edgetl-ed25519 BASE64 [expires=TIME] [name]``; empty lines and those that begin with ``#`` are skipped.

    Raises:
        InputError: A file is missing or not a public key file, or a place has no keys.
    """
    keys: dict[bytes, PublicKey] = {}
    for place in map(Path, places):
        files = sorted(place.glob(f"*{PUBLIC_SUFFIX}")) if place.is_dir() else [place]
        found = [key for file in files for key in _read_file(file)]
        if not found:
            what = f"no *{PUBLIC_SUFFIX} files" if place.is_dir() else "no key"
            raise InputError(f"{place}: has {what}", hint="Give a file that edgetl keygen wrote.")
        keys |= {key.data: key for key in found}
    return tuple(keys.values())


def check_request(trust: Sequence[object], min_version: int) -> None:
    """Refuse a minimum version that is out of range, or that is given without trusted keys.

    Raises:
        OptionError: The minimum version is refused.
    """
    if not 0 <= min_version <= MAX_VERSION:
        raise OptionError(f"{{min_version=}}: must be 0 to {MAX_VERSION}", min_version=min_version)
    if min_version and not trust:
        raise OptionError(
            "{min_version=} without {trust}",
            why="a version counts only if a trusted key signed it",
            min_version=min_version,
        )


def check(
    bundle: str,
    signatures: Sequence[Signature],
    trusted: Sequence[PublicKey],
    *,
    at: datetime | None = None,
    min_version: int = 0,
) -> Checked:
    """Return the valid signature with the highest version by a trusted key.

    Args:
        bundle: Digest of the bundle.
        signatures: Its signatures.
        trusted: Trusted keys, at least one.
        at: The time at which keys and signatures must be valid; None ignores expiry.
        min_version: A lower version is refused.

    Raises:
        InputError: No signature is valid; the message says why.
    """
    ids = {key.id: key for key in trusted}
    if not signatures:
        raise InputError("is not signed", why=f"only bundles signed by {_listed(ids)} are accepted")
    mine = [(one, ids[one.key]) for one in signatures if one.key in ids]
    if not mine:
        raise InputError(
            f"is signed by {_listed(one.key for one in signatures)}", why=f"only {_listed(ids)} is trusted"
        )
    results = [_check_one(one, key, bundle, at) for one, key in mine]
    good = [one for one in results if isinstance(one, Checked)]
    if not good:
        raise next(one for one in results if isinstance(one, InputError))
    best = max(good, key=lambda one: one.signature.version)
    if best.signature.version < min_version:
        raise InputError(
            f"is signed as version {best.signature.version}",
            why=f"versions below {min_version} are refused, to prevent downgrades",
            hint="Sign a newer bundle, or sign this one again with a higher version.",
        )
    return best


def described(signatures: Iterable[Signature]) -> str:
    """Return signatures as text, on one line."""
    parts = [f"{one.key}, version {one.version}" for one in signatures]
    return f"signed by {' and '.join(parts)}" if parts else "not signed"


def _check_one(one: Signature, key: PublicKey, bundle: str, at: datetime | None) -> Checked | InputError:
    """Check a signature by its key; return the error if it is not valid."""
    if one.bundle != bundle:
        return InputError(
            f"has a signature by {one.key} for another bundle",
            why=f"it is for {one.bundle[:12]}, and this is {bundle[:12]}",
            hint="The bundle was changed after signing; get it again, or sign it again.",
        )
    valid, checker = _verified(key.data, one.message(), base64.b64decode(one.signature))
    if not valid:
        return InputError(
            f"has an invalid signature by {one.key}",
            why="the signature or the bundle was changed after signing",
            hint="Do not use this bundle; get it again from its maker.",
        )
    for what, until in (("signature by", one.expires), ("signature by the key", key.expires)):
        if at is not None and until is not None and at > moment(until):
            return InputError(
                f"has a {what} {one.key}, which expired at {until}",
                why=f"it is {at.isoformat()}",
                hint="Sign the bundle again.",
            )
    return Checked(one, key, checker)


def _verified(public: bytes, message: bytes, signature: bytes) -> tuple[bool, str]:
    try:
        import cryptography
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return ed25519.is_valid(public, message, signature), "edgetl's own Ed25519"
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False, ""
    return True, f"cryptography {cryptography.__version__}"


def _read_file(file: Path) -> list[PublicKey]:
    check_regular(file)
    with open(file, "rb") as stream:
        data = stream.read(_MAX_KEY_FILE_BYTES + 1)
    if len(data) > _MAX_KEY_FILE_BYTES:
        raise InputError(f"{file}: is larger than {_MAX_KEY_FILE_BYTES} bytes", why="public key files are smaller")
    if b"PRIVATE KEY" in data:
        raise InputError(
            f"{file}: is a private key",
            why="it must stay where bundles are signed",
            hint=f"Give its {PUBLIC_SUFFIX} file.",
        )
    lines = enumerate(data.decode("utf-8", errors="replace").splitlines(), start=1)
    return [_parsed(line.split(), f"{file}: line {at}") for at, line in lines if line.strip() and line[0] != "#"]


def _parsed(words: list[str], where: str) -> PublicKey:
    try:
        if len(words) < 2 or words[0] != _KIND or len(base64.b64decode(words[1], validate=True)) != 32:
            raise InputError("is not a public key", why=f"expected {_KIND} and 32 bytes in base64")
        expires = words.pop(2).removeprefix(_EXPIRES) if words[2:] and words[2].startswith(_EXPIRES) else None
        return PublicKey(words[1], expires, " ".join(words[2:]))
    except ValueError as error:  # not base64, or not ASCII
        raise InputError(f"{where}: is not a public key", why=str(error)) from None
    except InputError as error:
        raise InputError(
            f"{where}: {error.what}", why=error.why, hint="Give a file that edgetl keygen wrote."
        ) from None


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(ids)
