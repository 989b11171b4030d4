"""Kinds of audit findings, each with its stable code, severity and advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from edgetl_device.decoding.heif import INSTALL
from edgetl_device.reasons import Reason, Severity

from .types import Finding

_FILE = "Replace or remove the files; edgetl leaves them out."
_ALL_SPLITS = "Move or add photos, so that every split has every class."

# By ``kind``, which documents had before codes existed.
AUDIT: Mapping[str, Reason] = {
    "empty": Reason("empty-file", "warning", "Files of zero bytes.", _FILE),
    "not_image": Reason("not-an-image", "warning", "Files in no image format that edgetl reads.", _FILE),
    "truncated": Reason("truncated-image", "warning", "Images that are truncated or damaged.", _FILE),
    "too_large": Reason("too-many-pixels", "warning", "Images with too many pixels to decode.", "Make them smaller."),
    "no_pixels": Reason("no-pixels", "warning", "Images without pixels.", _FILE),
    "unsupported": Reason("unsupported-pixels", "warning", "Images in a pixel format that edgetl cannot read.", _FILE),
    "pointer": Reason(
        "pointer-file",
        "warning",
        "Files that stand for photos that Git LFS or git-annex has not fetched.",
        "Fetch them: git lfs pull, or git annex get.",
    ),
    "no_decoder": Reason(
        "no-decoder",
        "warning",
        "HEIC or AVIF files, and this machine has no decoder for them.",
        f"Install it: {INSTALL}; or save them as JPEG.",
    ),
    "lost_class": Reason(
        "class-unreadable",
        "error",
        "Half of the photos of a class, or more, cannot be read.",
        "Do what the reason asks for, replace the files, or remove them or the class.",
    ),
    "heif": Reason(
        "heif-photos",
        "info",
        "Photos in HEIC or AVIF. Boards can read bundles made from them, but not such photos without a decoder.",
        "Install edgetl-device[heif] on boards that are given HEIC or AVIF.",
    ),
    "broken_profile": Reason(
        "broken-colour-profile",
        "warning",
        "Photos with a colour profile that cannot be used; their colours are taken for sRGB.",
        "Save them again in sRGB, or without the profile if they are in sRGB.",
    ),
    "narrow_depth": Reason(
        "narrow-depth-range",
        "warning",
        "Grey photos of 16 bits that use at most a quarter of the range, and so become dark or flat in 8 bits.",
        "Give the range that they use with --depth-range LO..HI, or --depth-range auto.",
    ),
    "no_access": Reason(
        "unreadable-file",
        "warning",
        "Files that cannot be opened, or whose names are not UTF-8.",
        "Change their permissions or names.",
    ),
    "stray": Reason(
        "ignored-file", "info", "Files outside any class folder.", "Move photos into the folder of their class."
    ),
    "mask": Reason(
        "mask-beside-photo",
        "warning",
        "Files named like masks of photos beside them, such as a_mask.png of a.png; left out.",
        "Rename them if they are photos.",
    ),
    "wrapped": Reason(
        "wrapped-folder",
        "info",
        "The class folders are not in the folder given, but in the only folder there.",
        "If that is not what you meant, put photos of other classes beside it.",
    ),
    "leak": Reason(
        "leak-identical",
        "warning",
        "The same photo in two splits; only the evaluation copy is kept.",
        "Remove one of them, so that other tools do not train on it.",
    ),
    "near_leak": Reason(
        "leak-near-duplicate",
        "warning",
        "The same photo in two splits, turned, mirrored, rescaled, recompressed or cropped; only evaluation copies are"
        " kept.",
        "Remove one of them, so that other tools do not train on it.",
    ),
    "kept_split": Reason(
        "split-kept-of-run",
        "warning",
        "Photos that the run which training starts from had in another split than their folder says; they stay there.",
        "Evaluate on photos that the model was not trained on: move these to the folder of their split.",
    ),
    "near_conflict": Reason(
        "label-conflict-near-duplicate",
        "warning",
        "The same photo under two labels, turned, mirrored, rescaled, recompressed or cropped.",
        "Decide which label is right and remove the other copies.",
    ),
    "near_duplicate": Reason(
        "near-duplicate",
        "info",
        "The same photo in one split more than once, turned, mirrored, rescaled, recompressed or cropped; all kept.",
        "Remove copies if each photo should count once.",
    ),
    "alike": Reason(
        "photos-alike",
        "warning",
        "More photos look alike than can be copies of one, such as frames of a fixed camera; not treated as copies.",
        "Give split folders, with photos of one scene or one day in one split only.",
    ),
    "duplicate_file": Reason(
        "duplicate-file",
        "info",
        "The same file twice in one split; the first is kept.",
        "Remove the copies.",
    ),
    "duplicate_pixels": Reason(
        "duplicate-pixels",
        "info",
        "The same pixels in two files of one split; the first is kept.",
        "Remove the copies.",
    ),
    "conflict": Reason(
        "label-conflict",
        "error",
        "The same photo under two labels; only a warning if all copies are dropped.",
        "Decide which label is right and remove the other copies, or drop all copies.",
    ),
    "small": Reason("small-photo", "warning", "Photos with a side under 32 pixels.", "Use larger photos."),
    "empty_class": Reason("empty-class", "warning", "Classes without a usable photo, left out.", "Add photos."),
    "few_photos": Reason("few-photos", "warning", "Classes with fewer than 5 photos.", "Add photos."),
    "one_class": Reason("one-class", "error", "Only one class: a classifier needs two.", "Add another class."),
    "imbalance": Reason(
        "class-imbalance",
        "warning",
        "The largest class has over 4 times the training photos of the smallest.",
        "Add photos of the smallest class.",
    ),
    "class_mismatch": Reason(
        "class-mismatch", "warning", "Classes that are in one split folder but not in another.", _ALL_SPLITS
    ),
}


def finding(
    kinds: Mapping[str, Reason],
    kind: str,
    message: str,
    files: Sequence[str] = (),
    *,
    groups: Sequence[tuple[str, ...]] = (),
    severity: Severity | None = None,
) -> Finding:
    """Return a finding with the code of its kind.

    Args:
        kinds: A table of kinds, such as :data:`AUDIT`.
        kind: A key of ``kinds``.
        message: One sentence: what was found, and what edgetl did about it.
        files: Files concerned; by default those in ``groups``.
        groups: Files that belong together.
        severity: Overrides the kind's usual severity.
    """
    reason = kinds[kind]
    listed = tuple(files) or tuple(chain.from_iterable(groups))
    return Finding(kind, severity or reason.severity, message, listed, tuple(groups), reason.code)
