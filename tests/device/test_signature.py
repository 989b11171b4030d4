"""Signatures of bundles: Ed25519, the signed content, and trusted keys."""

from __future__ import annotations

import base64
import importlib.util
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from signer import ORDER, Signer, release, signed

from edgetl_device._lib import ed25519
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.signature import PublicKey, Signature, check, moment, read_keys
from edgetl_device.verify import verify

Device = Callable[..., subprocess.CompletedProcess[str]]
Refuses = Callable[..., None]

# RFC 8032, section 7.1: public key, message, signature.
VECTORS = {
    "1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    "2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
    "SHA(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
        "3dca179c138ac17ad9bef1177331a704",
    ),
}
# Points whose order divides 8, in every encoding that a lenient decoder accepts.
SMALL_ORDER = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
)
MINE, OTHER = Signer(), Signer(bytes(32))
NOW = moment("2026-11-29T12:00:00+00:00")

needs_cryptography = pytest.mark.skipif(
    importlib.util.find_spec("cryptography") is None, reason="cryptography is not installed here"
)


@pytest.mark.parametrize("vector", VECTORS)
def test_the_vectors_of_the_rfc(vector: str) -> None:
    public, message, signature = map(bytes.fromhex, VECTORS[vector])
    assert ed25519.is_public_key(public)
    assert ed25519.is_valid(public, message, signature)
    assert not ed25519.is_valid(public, message + b"\0", signature)
    for place in (0, 31, 32, 63):
        changed = bytearray(signature)
        changed[place] ^= 1
        assert not ed25519.is_valid(public, message, bytes(changed))
        changed = bytearray(public)
        changed[place % 32] ^= 1
        assert not ed25519.is_valid(bytes(changed), message, signature)


def test_a_second_form_of_a_signature_is_none() -> None:
    """S plus the group's order gives the same point; accepting it would make signatures malleable."""
    public, message, signature = map(bytes.fromhex, VECTORS["2"])
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not ed25519.is_valid(public, message, signature[:32] + scalar.to_bytes(32, "little"))
    for wrong in (signature[:-1], signature + b"\0", b""):
        assert not ed25519.is_valid(public, message, wrong)


@pytest.mark.parametrize("encoded", SMALL_ORDER)
def test_a_key_for_which_any_message_is_signed_is_no_key(encoded: str) -> None:
    public = bytes.fromhex(encoded)
    assert not ed25519.is_public_key(public)
    with pytest.raises(InputError, match="not an Ed25519 public key"):
        PublicKey(base64.b64encode(public).decode())


@needs_cryptography
def test_both_checkers_answer_alike() -> None:
    """For valid, damaged and forged signatures by accepted keys, plain Python agrees with OpenSSL."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    def by_openssl(public: bytes, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    chance = random.Random(8032)
    answers = []
    for _ in range(150):
        private = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        public, message = private.public_key().public_bytes_raw(), chance.randbytes(chance.randrange(200))
        signature = private.sign(message)
        first, scalar = signature[:32], int.from_bytes(signature[32:], "little")
        bit = 1 << chance.randrange(512)
        candidates = [
            signature,
            (int.from_bytes(signature, "little") ^ bit).to_bytes(64, "little"),
            first + ((scalar + ORDER) % 2**256).to_bytes(32, "little"),
            bytes.fromhex(chance.choice(SMALL_ORDER)) + signature[32:],
            bytes.fromhex(chance.choice(SMALL_ORDER)) + bytes(32),
            chance.randbytes(64),
            chance.randbytes(32) + (chance.randrange(ORDER)).to_bytes(32, "little"),
        ]
        assert ed25519.is_public_key(public)
        for one in candidates:
            answers.append(ed25519.is_valid(public, message, one))
            assert answers[-1] == by_openssl(public, message, one), (public, message, one)
    assert sum(answers) == 150


@needs_cryptography
def test_a_key_with_a_part_of_small_order_is_treated_alike() -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    small = ed25519._decoded(bytes.fromhex(SMALL_ORDER[6]))
    mine = ed25519._decoded(MINE.public)
    assert small is not None
    assert mine is not None
    mixed = ed25519._encoded(ed25519._add(mine, small))
    assert ed25519.is_public_key(mixed)
    for number in range(40):
        message = bytes([number])
        signature = MINE.raw(message)
        try:
            Ed25519PublicKey.from_public_bytes(mixed).verify(signature, message)
            valid = True
        except InvalidSignature:
            valid = False
        assert ed25519.is_valid(mixed, message, signature) == valid


# What is signed


@pytest.fixture(scope="module")
def digest() -> str:
    return "5" * 64


def refusal(digest: str, *statements: Signature, trusted: tuple[PublicKey, ...] = (MINE.key(),), **more: Any) -> str:
    with pytest.raises(InputError) as raised:
        check(digest, statements, trusted, **({"at": NOW} | more))
    return str(raised.value)


@pytest.mark.parametrize("library", ["cryptography", "own"])
def test_every_fact_of_a_signature_is_signed(digest: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "own":
        monkeypatch.setitem(sys.modules, "cryptography", None)
    else:
        pytest.importorskip("cryptography")
    good = MINE.statement(digest, 7, "2027-01-01T00:00:00+00:00")
    found = check(digest, [good], [MINE.key()], at=NOW)
    assert (found.signature, found.key) == (good, MINE.key())
    assert library in found.checker
    changes: dict[str, Any] = {
        "version": 8,
        "created": "2026-11-28T00:00:00+00:00",
        "expires": None,
        "signature": base64.b64encode(bytes([base64.b64decode(good.signature)[0] ^ 1]) + bytes(63)).decode(),
    }
    for name, value in changes.items():
        assert "an invalid signature" in refusal(digest, replace(good, **{name: value})), name
    assert "an invalid signature" in refusal("6" * 64, replace(good, bundle="6" * 64))
    assert "for another bundle" in refusal("6" * 64, good)
    assert "is trusted" in refusal(digest, replace(good, key=OTHER.key().id))
    # A stranger's signature with the id of a trusted key.
    assert "an invalid signature" in refusal(digest, replace(OTHER.statement(digest), key=MINE.key().id))
    assert set(changes) | {"key", "bundle"} == set(Signature.__dataclass_fields__)


def test_unsigned_and_unknown(digest: str) -> None:
    assert "not signed" in refusal(digest)
    assert f"is signed by {OTHER.key().id}" in refusal(digest, OTHER.statement(digest))


def test_expiry_of_signatures_and_of_keys(digest: str) -> None:
    past, future = "2026-11-29T11:59:59+00:00", "2026-11-29T12:00:00+00:00"
    assert "a signature by" in refusal(digest, MINE.statement(digest, expires=past))
    assert "expired at" in refusal(digest, MINE.statement(digest, expires=past))
    assert check(digest, [MINE.statement(digest, expires=future)], [MINE.key()], at=NOW)
    assert "by the key" in refusal(digest, MINE.statement(digest), trusted=(MINE.key(past),))
    assert check(digest, [MINE.statement(digest)], [MINE.key(future)], at=NOW)
    # Expiry is not checked for what already runs.
    assert check(digest, [MINE.statement(digest, expires=past)], [MINE.key(past)], at=None)
    # A date means the end of that day.
    assert moment("2026-11-29").isoformat() == "2026-11-29T23:59:59+00:00"
    assert moment("2026-11-29T01:00:00+02:00").isoformat() == "2026-11-28T23:00:00+00:00"
    for wrong in ("tomorrow", "2026-13-01", "20", "0001-01-01T00:00:00+23:00"):
        with pytest.raises(InputError, match="is not a time"):
            moment(wrong)


def test_downgrade_is_refused(digest: str) -> None:
    assert "is signed as version 6" in refusal(digest, MINE.statement(digest, 6), min_version=7)
    assert check(digest, [MINE.statement(digest, 7)], [MINE.key()], at=NOW, min_version=7)
    # A high version signed by a stranger has no effect.
    both = (MINE.statement(digest, 6), OTHER.statement(digest, 9))
    assert "is signed as version 6" in refusal(digest, *both, min_version=7)


def test_rotation(digest: str) -> None:
    """Boards that trust either key accept a bundle signed by both, and later only the new key's."""
    both = (MINE.statement(digest, 3), OTHER.statement(digest, 3))
    for trusted in (MINE, OTHER):
        assert check(digest, both, [trusted.key()], at=NOW).key == trusted.key()
    assert check(digest, both[1:], [MINE.key(), OTHER.key()], at=NOW).key == OTHER.key()
    assert "is trusted" in refusal(digest, both[0], trusted=(OTHER.key(),))
    # An invalid signature does not affect a valid one.
    assert check(digest, (replace(both[0], version=4), both[1]), [MINE.key(), OTHER.key()], at=NOW).key == OTHER.key()


# Files of keys


def test_files_and_folders_of_keys(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text(f"# ours\n\n{MINE.key('2027-06-30').line()}\n")
    (tmp_path / "b.pub").write_text(OTHER.key().line())
    (tmp_path / "notes.txt").write_text("nothing")
    assert read_keys([tmp_path]) == (MINE.key("2027-06-30"), OTHER.key())
    assert read_keys([tmp_path / "b.pub", tmp_path / "a.pub"]) == (OTHER.key(), MINE.key("2027-06-30"))
    assert read_keys([]) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no key"),
        ("ssh-ed25519 AAAA mine", "line 1: is not a public key"),
        ("edgetl-ed25519 AAAA", "32 bytes"),
        ("edgetl-ed25519 ?", "is not a public key"),
        (f"edgetl-ed25519 {base64.b64encode(bytes(32)).decode()}", "not an Ed25519 public key"),
        (f"{MINE.key().line()}\nedgetl-ed25519", "line 2"),
        (f"edgetl-ed25519 {MINE.key().public} expires=never", "'never' is not a time"),
        ("-----BEGIN PRIVATE KEY-----", "is a private key"),
        ("#" * 70_000, "larger than"),
    ],
)
def test_what_is_no_public_key(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(text)
    with pytest.raises(InputError) as raised:
        read_keys([tmp_path / "key.pub"])
    assert said in str(raised.value)
    with pytest.raises((InputError, FileNotFoundError)):
        read_keys([tmp_path / "none.pub"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \*\.pub files"):
        read_keys([tmp_path / "empty"])


# Bundles


def test_a_signature_leaves_the_bundle_as_it_is(tiny_file: Path, tiny: Bundle, tmp_path: Path) -> None:
    file = signed(tiny_file, tmp_path / "tiny.edgetl", MINE.statement(tiny.digest, 5))
    bundle = Bundle.open(file)
    assert bundle.digest == tiny.digest
    assert [one.version for one in bundle.signatures()] == [5]
    assert tiny.signatures() == ()
    report = verify(bundle, trust=[MINE.key()], min_version=5)
    assert report.ok
    assert report.checks[-1].name == "signature"
    assert f"version 5 by {MINE.key().id} test" in report.checks[-1].detail


def test_verify_says_who_signed_and_refuses_strangers(
    device: Device, refuses: Refuses, tiny_file: Path, tiny: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "mine.pub").write_text(MINE.key().line())
    (tmp_path / "other.pub").write_text(OTHER.key().line())
    file = signed(tiny_file, tmp_path / "tiny.edgetl", MINE.statement(tiny.digest, 5))

    done = device("verify", file)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout)["checks"][-1]
    assert last["status"] == "skipped"
    assert last["detail"] == f"signed by {MINE.key().id}, version 5; no trusted key to check it with"
    assert json.loads(device("verify", tiny_file).stdout)["checks"][-1]["detail"] == "not signed"

    assert device("verify", file, "--trust", tmp_path / "mine.pub", "--min-version", "5").returncode == 0
    done = device("verify", file, "--trust", tmp_path / "other.pub")
    refuses(done, 2, "signature", "is trusted")
    statuses = {one["name"]: one["status"] for one in json.loads(done.stdout)["checks"]}
    # Native code does not see a stranger's model.
    assert {status for name, status in statuses.items() if name.startswith(("golden", "reference"))} == {"skipped"}
    assert device("verify", file, "--trust", tmp_path).returncode == 0
    refuses(device("verify", file, "--trust", tmp_path, "--min-version", "6"), 2, "is signed as version 5")
    refuses(device("verify", tiny_file, "--trust", tmp_path), 2, "not signed")
    refuses(device("verify", file, "--min-version", "5"), 2, "--min-version 5 without --trust")
    refuses(device("verify", file, "--trust", tmp_path / "none.pub"), 2, "none.pub")


def test_tampering_with_a_signed_bundle(tiny_file: Path, tmp_path: Path, refuses: Refuses, device: Device) -> None:
    """Any change, to the bundle's files or its manifest, breaks a hash or the signature."""
    (tmp_path / "mine.pub").write_text(MINE.key().line())
    one, two = (release(tiny_file, tmp_path / f"{number}.edgetl", number, MINE) for number in (1, 2))
    assert verify(Bundle.open(one), trust=[MINE.key()]).ok
    # A changed bundle with a new digest and the signature of the original.
    old = Bundle.open(one)
    mixed = signed(two, tmp_path / "mixed.edgetl", *old.signatures())
    report = verify(Bundle.open(mixed), trust=[MINE.key()])
    assert not report.ok
    assert "for another bundle" in report.checks[-1].detail
    # A changed file of a signed bundle: the signature stays valid, the file's hash does not.
    data = bytearray(one.read_bytes())
    start = data.index(old.read("models/int8.tflite"))
    data[start + 5000] ^= 1
    (tmp_path / "flipped.edgetl").write_bytes(data)
    done = device("verify", tmp_path / "flipped.edgetl", "--trust", tmp_path / "mine.pub")
    refuses(done, 2, "checks failed")


def test_a_damaged_signature_file(folder: Path, tiny: Bundle) -> None:
    good = MINE.statement(tiny.digest)
    document: dict[str, Any] = {
        "schema": "edgetl.signature/1",
        "producer": {"name": "edgetl", "version": "0"},
        "signatures": [vars(good)],
    }
    changes: dict[str, Callable[[], object]] = {
        "not valid JSON": lambda: None,
        "signatures is empty": lambda: document.update(signatures=[]),
        "two signatures by the same key": lambda: document.update(signatures=[vars(good)] * 2),
        "which does not match": lambda: document.update(signatures=[vars(good) | {"signature": "AAAA"}]),
        "is not a time": lambda: document.update(signatures=[vars(good) | {"expires": "soon"}]),
        "under 0": lambda: document.update(signatures=[vars(good) | {"version": -1}]),
        "edgetl.signature/9": lambda: document.update(schema="edgetl.signature/9"),
    }
    for said, change in changes.items():
        kept = dict(document)
        change()
        text = "{" if said == "not valid JSON" else json.dumps(document)
        (folder / "signature.json").write_text(text)
        document = kept
        with pytest.raises(InputError) as raised:
            Bundle.open(folder).signatures()
        assert said in str(raised.value)
        assert not verify(Bundle.open(folder)).ok
    (folder / "signature.json").write_bytes(b" " * 70_000)
    with pytest.raises(InputError, match="larger than"):
        Bundle.open(folder).signatures()


def test_a_manifest_may_not_list_the_signature(
    reseal: Callable[[Callable[[dict[str, Any]], None]], Path], folder: Path
) -> None:
    shutil.copy(folder / "labels.txt", folder / "signature.json")

    def edit(document: dict[str, Any]) -> None:
        document["files"]["signature.json"] = document["files"]["labels.txt"]

    with pytest.raises(InputError, match=r"files lists signature\.json"):
        Bundle.open(reseal(edit))
