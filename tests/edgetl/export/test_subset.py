"""A small bundle is a whole one: its proof is of the same model, and everything is listed."""

from __future__ import annotations

import collections
import shutil
from pathlib import Path

import numpy as np
import pytest
import small

from edgetl.export.signature import generate, sign
from edgetl.export.subset import write_subset
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.packing import pack
from edgetl_device.verify import verify


def test_a_small_bundle_verifies_and_its_photos_keep_their_reference(tiny_bundle: Path, tmp_path: Path) -> None:
    whole, out = Bundle.open(tiny_bundle), tmp_path / "small.edgetl"
    done = small.edgetl("pack", tiny_bundle, "--variants", "int8", "--evalset", 5, "-o", out)
    assert done.returncode == 0, done.stderr
    packed = Bundle.open(out)
    assert [variant.name for variant in packed.variants] == ["int8"]
    assert packed.variant("int8") == whole.variant("int8")
    photos, reference = packed.photos(), packed.reference()
    rows = {photo.sha256: row for row, photo in enumerate(whole.photos())}
    assert len(photos) == len(reference.probabilities) == len(reference.logits) == 5
    for photo, probabilities, logits in zip(photos, reference.probabilities, reference.logits, strict=True):
        row = rows[photo.sha256]
        assert photo.index == whole.photos()[row].index
        np.testing.assert_array_equal(probabilities, whole.reference().probabilities[row])
        np.testing.assert_array_equal(logits, whole.reference().logits[row])
    counts = collections.Counter(photo.index for photo in photos)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == len(whole.labels)
    assert len(reference.golden_pixels) == len(whole.reference().golden_pixels)
    checks = verify(packed)
    assert checks.ok, checks
    assert {check.name for check in checks.checks if check.status == "ok"} >= {"golden pixels", "reference, int8"}
    assert packed.provenance["packed_from"] == whole.digest
    assert packed.digest != whole.digest
    text = packed.read("README.txt").decode()
    assert f"5 of {len(whole.photos())} held-out photos" in text
    assert ", ".join(small.LABELS) in text
    assert "float32" not in text
    assert out.stat().st_size < 0.5 * pack(tiny_bundle, tmp_path / "whole.edgetl").stat().st_size


def test_the_same_subset_has_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_subset(Bundle.open(tiny_bundle), tmp_path / name, variants=["float32", "float32"], photos=1)
        files.append(pack(tmp_path / name, tmp_path / f"{name}.edgetl").read_bytes())
    assert files[0] == files[1]
    one = Bundle.open(tmp_path / "a.edgetl")
    assert len(one.photos()) == len(one.reference().golden_rows) == 1
    assert verify(one).ok


def test_what_cannot_be_packed_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    file = pack(tiny_bundle, tmp_path / "it.edgetl")
    before = file.read_bytes()
    assert "Did you mean int8?" in small.refused(small.edgetl("pack", file, "--variants", "in8", "-o", tmp_path / "x"))
    assert "is the bundle itself" in small.refused(small.edgetl("pack", file, "--variants", "int8", "-o", file))
    assert file.read_bytes() == before
    with pytest.raises(InputError, match="variant '' is not in"):
        write_subset(Bundle.open(file), tmp_path / "y", variants=["int8", ""])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it.edgetl"]


def test_signatures_do_not_apply_to_a_subset(tiny_bundle: Path, tmp_path: Path) -> None:
    file = pack(tiny_bundle, tmp_path / "it.edgetl")
    pytest.importorskip("cryptography")
    sign(file, [generate(tmp_path / "me").private], version=1)
    done = small.edgetl("pack", file, "--evalset", 3, "-o", tmp_path / "small.edgetl")
    assert done.returncode == 0, done.stderr
    assert "not signed" in done.stderr
    assert Bundle.open(tmp_path / "small.edgetl").signatures() == ()


def test_the_card_of_the_run_goes_with_its_bundle_and_changes_no_digest(tiny_bundle: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_bundle.parent, tmp_path / "run"))
    (run / "MODEL_CARD.md").unlink(missing_ok=True)
    digest = Bundle.open(run).digest
    assert Bundle.open(packed(run, tmp_path / "none.edgetl")).card() is None
    me = generate(tmp_path / "me")
    sign(run / "bundle", [me.private], version=1)
    (run / "MODEL_CARD.md").write_text("# What it is for\n")
    whole = Bundle.open(packed(run, tmp_path / "whole.edgetl"))
    part = Bundle.open(packed(run, tmp_path / "part.edgetl", "--variants", "int8"))
    again = Bundle.open(packed(tmp_path / "part.edgetl", tmp_path / "again.edgetl", "--evalset", "3"))
    assert [one.card() for one in (whole, part, again)] == [b"# What it is for\n"] * 3
    # It is no part of what is signed.
    assert whole.digest == digest
    assert verify(whole, trust=[me.key]).ok
    assert "MODEL_CARD.md" not in whole.files
    # Signing again keeps it.
    sign(whole.path, [me.private], version=2)
    assert Bundle.open(whole.path).card() == b"# What it is for\n"


def packed(bundle: Path, out: Path, *more: str) -> Path:
    done = small.edgetl("pack", bundle, "-o", out, *more)
    assert done.returncode == 0, done.stderr
    return out


def test_a_huge_card_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_bundle.parent, tmp_path / "run"))
    (run / "bundle" / "MODEL_CARD.md").write_bytes(b"#" * 1_000_001)
    with pytest.raises(InputError, match=r"(?s)MODEL_CARD\.md.*it is larger than 1000000 bytes"):
        pack(run / "bundle", tmp_path / "it.edgetl")
