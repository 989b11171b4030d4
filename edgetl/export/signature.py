"""Generate signing keys, and sign bundles."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetl import __version__
from edgetl._lib import extras
from edgetl._lib.lock import bundle_locked
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Named
from edgetl_device._lib.files import check_regular, heal, new_files
from edgetl_device.bundle import SIGNATURES, Bundle
from edgetl_device.errors import InputError
from edgetl_device.packing import pack
from edgetl_device.signature import MAX_VERSION, PUBLIC_SUFFIX, PublicKey, Signature, Signatures, key_id, moment, now

PRIVATE_SUFFIX = ".key"
_MAX_PRIVATE_BYTES = 64 << 10


@dataclass(frozen=True)
class KeyFiles:
    """A new key pair.

    Attributes:
        private: File of the private key, readable only by its owner.
        public: File of the public key.
        key: The public key.
    """

    private: Path
    public: Path
    key: PublicKey


def generate(name: str | os.PathLike[str], *, expires: str | None = None) -> KeyFiles:
    """Write a new key pair, ``name.key`` (PKCS #8 PEM, mode 600) and ``name.pub`` (one line of text).

    Args:
        name: Path without suffix; the last part becomes the key's name.
        expires: End of the key's validity, as a date or time in ISO 8601.

    Raises:
        InputError: One of the files exists, or ``expires`` is not a time.
        Unavailable: ``cryptography`` is not installed.
    """
    serialization, ed25519 = _library()
    stem = Path(name)
    until = None if expires is None else moment(expires).isoformat()
    private_file, public_file = (stem.with_name(stem.name + suffix) for suffix in (PRIVATE_SUFFIX, PUBLIC_SUFFIX))
    heal(private_file)
    for file in (private_file, public_file):
        if os.path.lexists(file):
            raise _taken(file)
    private = ed25519.Ed25519PrivateKey.generate()
    pem: bytes = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = PublicKey(_public(private), until, " ".join(stem.name.split()))
    try:
        # The private key last: without it the public one is of no use, and may be removed.
        with new_files(public_file, private_file) as (public, hidden):
            _create(hidden, pem, 0o600)
            _create(public, f"{key.line()}\n".encode(), 0o644)
    except FileExistsError as error:
        raise _taken(Path(error.filename)) from None
    return KeyFiles(private_file, public_file, key)


def sign(
    bundle: str | os.PathLike[str],
    keys: Sequence[str | os.PathLike[str]],
    *,
    version: int | None = None,
    expires: str | None = None,
) -> tuple[Signature, ...]:
    """Sign a bundle in place, folder or ``.edgetl``, and return all its signatures, including those by other keys.

    The digest does not change. A signature by the same key is replaced.

    Args:
        bundle: Path of the bundle.
        keys: Files of private keys, at least one; several during a key change.
        version: 0 to 10^15 - 1; must exceed that of the release before. None uses the time, such as 20270630120000.
        expires: End of the signatures' validity, as a date or time in ISO 8601.

    Raises:
        InputError: The bundle, a key or a value is wrong, or a key is readable by others.
        Unavailable: ``cryptography`` is not installed.
    """
    if not keys:
        raise InputError("no key to sign with", hint="Give a private key; edgetl keygen creates one.")
    created = now()
    if version is None:
        version = int(created.strftime("%Y%m%d%H%M%S"))
    if not 0 <= version <= MAX_VERSION:
        raise InputError(f"version {version}", why=f"must be 0 to {MAX_VERSION}")
    until = None if expires is None else moment(expires)
    if until is not None and until <= created:
        raise InputError(f"{expires!r} is in the past", why="the signature would never be valid")
    privates = [_private(Path(key)) for key in keys]
    opened = Bundle.open(bundle)
    with bundle_locked(opened.path):
        opened = Bundle.open(opened.path)
        by_key = {one.key: one for one in opened.signatures() if one.bundle == opened.digest}
        for private in privates:
            facts = Signature(
                key=key_id(base64.b64decode(_public(private))),
                bundle=opened.digest,
                version=version,
                created=created.isoformat(),
                expires=until.isoformat() if until else None,
                signature="A" * 86 + "==",
            )
            signature: bytes = private.sign(facts.message())
            by_key[facts.key] = replace(facts, signature=base64.b64encode(signature).decode())
        document = Signatures(Named("edgetl", __version__), tuple(by_key.values()))
        if opened.path.is_dir():
            documents.write(opened.path / SIGNATURES, document)
        else:
            pack(opened.path, opened.path, signatures=document)
    return document.signatures


def _library() -> tuple[Any, Any]:
    """Return cryptography's modules for key serialization and for Ed25519."""
    where = "cryptography.hazmat.primitives"
    return (
        extras.require(f"{where}.serialization", extra="sign"),
        extras.require(f"{where}.asymmetric.ed25519", extra="sign"),
    )


def _public(private: Any) -> str:
    serialization, _ = _library()
    raw: bytes = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()


def _private(file: Path) -> Any:
    """Read a private key; refuse one that others can read."""
    serialization, ed25519 = _library()
    check_regular(file)
    with open(file, "rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        data = stream.read(_MAX_PRIVATE_BYTES)
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(
            f"{file}: others can read this private key",
            why=f"its mode is {stat.S_IMODE(mode):03o}",
            hint=f"Run chmod 600 {file}. If others use this machine, make a new key.",
        )
    try:
        found = serialization.load_pem_private_key(data, None)
    except TypeError:
        raise InputError(f"{file}: is encrypted", hint="Decrypt it first: openssl pkey -in FILE -out OTHER.") from None
    except Exception as error:
        # cryptography's errors for damaged files have no common base.
        raise InputError(
            f"{file}: is not a private key", why=str(error), hint="Give a file that edgetl keygen wrote."
        ) from None
    if not isinstance(found, ed25519.Ed25519PrivateKey):
        raise InputError(f"{file}: is not an Ed25519 key", hint="Give a file that edgetl keygen wrote.")
    return found


def _taken(file: Path) -> InputError:
    return InputError(
        f"{file}: exists already", why="an overwritten key cannot be recovered", hint="Choose another name."
    )


def _create(file: Path, data: bytes, mode: int) -> None:
    """Write a new file of this mode, whatever the umask says."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(data)
