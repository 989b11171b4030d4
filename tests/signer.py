"""Sign in plain Python (RFC 8032, section 5.1.6), for tests where ``cryptography`` is not installed."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgetl_device._lib import documents, ed25519
from edgetl_device._lib.documents import Named
from edgetl_device.bundle import Bundle
from edgetl_device.signature import PublicKey, Signature, Signatures, key_id

ORDER = ed25519._ORDER


@dataclass(frozen=True)
class Signer:
    """A key derived from a seed of 32 bytes."""

    seed: bytes = field(default=bytes(range(32)))

    @property
    def _scalar(self) -> int:
        number = int.from_bytes(hashlib.sha512(self.seed).digest()[:32], "little")
        return (number & (1 << 254) - 8) | 1 << 254

    @property
    def public(self) -> bytes:
        return ed25519._encoded(ed25519._times(self._scalar, ed25519._BASE))

    def key(self, expires: str | None = None) -> PublicKey:
        return PublicKey(base64.b64encode(self.public).decode(), expires, "test")

    def raw(self, message: bytes) -> bytes:
        nonce = _hashed(hashlib.sha512(self.seed).digest()[32:], message)
        first = ed25519._encoded(ed25519._times(nonce, ed25519._BASE))
        scalar = (nonce + _hashed(first, self.public, message) * self._scalar) % ORDER
        return first + scalar.to_bytes(32, "little")

    def statement(self, bundle: str, version: int = 1, expires: str | None = None) -> Signature:
        facts = Signature(key_id(self.public), bundle, version, "2026-11-29T00:00:00+00:00", expires, "A" * 86 + "==")
        return replace(facts, signature=base64.b64encode(self.raw(facts.message())).decode())


def _hashed(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER


def signed(source: Path, target: Path, *statements: Signature) -> Path:
    """Copy an ``.edgetl`` file, adding signatures."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            if member.filename != "signature.json":
                new.writestr(member, old.read(member))
        if statements:
            new.writestr("signature.json", documents.dumps(Signatures(Named("test", "1"), statements)))
    return target


def release(source: Path, target: Path, number: int, *signers: Signer, expires: str | None = None) -> Path:
    """Make another bundle with the same models, and sign it as version ``number``."""
    from edgetl_device._lib import jsonfile

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename == "bundle.json":
                document = json.loads(data)
                document["provenance"]["release"] = number
                document["digest"] = jsonfile.digest(document)
                data = json.dumps(document).encode()
            new.writestr(member, data)
    digest = Bundle.open(target).digest
    whole = target.with_suffix(".signed")
    signed(target, whole, *(one.statement(digest, number, expires) for one in signers))
    return whole.replace(target)
