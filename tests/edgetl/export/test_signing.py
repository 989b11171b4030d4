"""Keys and signatures on the workstation: made, refused, and kept when a bundle is packed or unpacked."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from small import edgetl as command
from small import python, refused

import edgetl
from edgetl._lib.owned import check_bundle
from edgetl.export import signature
from edgetl.export.signature import KeyFiles, generate, sign
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.packing import pack
from edgetl_device.signature import PublicKey, check, moment, now, read_keys

pytest.importorskip("cryptography")

TINY = Path(__file__).parents[2] / "golden" / "tiny.edgetl"


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return generate(tmp_path / "release")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(pack(TINY, tmp_path / "tiny.edgetl"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(TINY) as archive:
        archive.extractall(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_private_key_is_its_owners(tmp_path: Path) -> None:
    """Its mode does not depend on the umask, and a key that others can read is refused."""
    before = os.umask(0)
    try:
        made = generate(tmp_path / "open")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.public.stat().st_mode) == 0o644
    assert made.public.read_text() == f"edgetl-ed25519 {made.key.public} open\n"
    assert read_keys([made.public]) == (made.key,)
    made.private.chmod(0o640)
    with pytest.raises(InputError, match="others can read"):
        sign(TINY, [made.private])


def test_a_key_is_not_replaced(keys: KeyFiles, tmp_path: Path) -> None:
    before = keys.private.read_bytes()
    with pytest.raises(InputError, match=r"release\.key: exists already"):
        generate(tmp_path / "release")
    assert keys.private.read_bytes() == before
    keys.private.unlink()
    with pytest.raises(InputError, match=r"release\.pub: exists already"):
        generate(tmp_path / "release")
    assert not keys.private.exists()


@pytest.mark.parametrize("suffix", [".key", ".pub"])
def test_a_key_that_appears_meanwhile_is_not_replaced(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two starts at the same moment both see that there is no key yet."""
    late = tmp_path / f"release{suffix}"
    kept = signature.PublicKey.line

    def slow(key: PublicKey) -> str:
        late.write_text("another's")
        return kept(key)

    monkeypatch.setattr(signature.PublicKey, "line", slow)
    with pytest.raises(InputError, match=rf"release\{suffix}: exists already"):
        generate(tmp_path / "release")
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {late.name: "another's"}


@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_signature_survives_packing(
    form: str, keys: KeyFiles, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(form)
    digest = Bundle.open(bundle).digest
    (statement,) = sign(bundle, [keys.private], version=4, expires="2099-01-01")
    assert statement.expires == "2099-01-01T23:59:59+00:00"
    packed = pack(bundle, tmp_path / "packed.edgetl")
    for place in (bundle, packed):
        opened = Bundle.open(place)
        assert opened.digest == digest
        assert opened.signatures() == (statement,)
        assert check(opened.digest, opened.signatures(), [keys.key], at=now(), min_version=4)
    # The same bundle gives the same bytes.
    assert packed.read_bytes() == pack(bundle, tmp_path / "again.edgetl").read_bytes()
    if form == "folder":
        check_bundle(bundle)  # the signature does not count as a foreign file


def test_unsigned_bundles_are_packed_as_ever(file: Path) -> None:
    with zipfile.ZipFile(file) as packed, zipfile.ZipFile(TINY) as golden:
        assert packed.namelist() == golden.namelist()
        assert "signature.json" not in packed.namelist()


def test_a_second_key_signs_beside_the_first(keys: KeyFiles, file: Path, tmp_path: Path) -> None:
    other = generate(tmp_path / "next", expires="2099-06-30")
    sign(file, [keys.private], version=1)
    both = sign(file, [other.private], version=2)
    assert {one.key: one.version for one in both} == {keys.key.id: 1, other.key.id: 2}
    again = sign(file, [keys.private, other.private], version=3)
    assert {one.version for one in again} == {3}
    assert len(again) == 2
    assert read_keys([tmp_path]) == (other.key, keys.key)


def test_the_version_is_the_time_unless_it_is_given(keys: KeyFiles, file: Path) -> None:
    (statement,) = sign(file, [keys.private])
    assert statement.version == int(moment(statement.created).strftime("%Y%m%d%H%M%S"))
    for version in (-1, 10**15):
        with pytest.raises(InputError, match="must be 0 to"):
            sign(file, [keys.private], version=version)
    with pytest.raises(InputError, match="in the past"):
        sign(file, [keys.private], expires="2001-01-01")
    with pytest.raises(InputError, match="is not a time"):
        sign(file, [keys.private], expires="soon")
    assert Bundle.open(file).signatures() == (statement,)


def test_what_is_no_private_key(keys: KeyFiles, file: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

    def pem(key: Any, encryption: Any) -> bytes:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        found: bytes = key.private_bytes(*form, encryption)
        return found

    mine = serialization.load_pem_private_key(keys.private.read_bytes(), None)
    assert isinstance(mine, ed25519.Ed25519PrivateKey)  # other programs read it, too
    plain = serialization.NoEncryption()
    for data, said in (
        (keys.public.read_bytes(), "is not a private key"),
        (pem(x25519.X25519PrivateKey.generate(), plain), "not an Ed25519 key"),
        (pem(mine, serialization.BestAvailableEncryption(b"x")), "is encrypted"),
        (b"", "is not a private key"),
    ):
        other = tmp_path / "other.key"
        other.write_bytes(data)
        other.chmod(0o600)
        with pytest.raises(InputError, match=said):
            sign(file, [other])
    assert Bundle.open(file).signatures() == ()


def test_the_commands(file: Path, tmp_path: Path) -> None:
    made = command("keygen", "site/release", "--expires", "2099-06-30", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "next      edgetl sign BUNDLE --key site/release.key" in made.stdout
    assert "exists already" in refused(command("keygen", "site/release", cwd=tmp_path))
    assert "edgetl keygen creates one" in refused(command("sign", file))
    done = command("sign", file, "--key", "site/release.key", "--version", "7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (key,) = read_keys([tmp_path / "site"])
    assert f"signed    version 7 by {key.id}" in done.stdout
    done = command("verify", file, "--trust", tmp_path / "site", "--min-version", "7")
    assert done.returncode == 0, done.stderr
    assert "\nok       signature" in done.stdout
    assert "checked with cryptography" in done.stdout
    assert "signature" in refused(command("verify", file, "--trust", tmp_path / "site", "--min-version", "8"))
    assert "--min-version 8 without --trust" in refused(command("verify", file, "--min-version", "8"))
    done = command("sign", file, "--key", "site/release.key", "--version", "8", "--json", cwd=tmp_path)
    assert [one["version"] for one in json.loads(done.stdout)["signatures"]] == [8]


def test_in_python(file: Path, keys: KeyFiles) -> None:
    bundle = edgetl.sign(str(file), [str(keys.private)], version=3)
    assert isinstance(bundle, edgetl.Bundle)
    assert edgetl.verify(bundle, trust=[keys.public], min_version=3).ok
    report = edgetl.verify(bundle, trust=[keys.public], min_version=4)
    assert not report.ok
    assert "is signed as version 3" in report.checks[-1].detail
    with pytest.raises(InputError, match="min_version=4 without trust"):
        edgetl.verify(bundle, min_version=4)


def test_without_cryptography_signing_says_what_is_missing(file: Path, keys: KeyFiles) -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from edgetl.cli import main\n"
        f"sys.argv = ['edgetl', 'sign', {str(file)!r}, '--key', {str(keys.private)!r}]\nmain()"
    )
    assert "pip install ./device '.[sign]'" in refused(python(script), 4)
