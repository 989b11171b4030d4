"""Check that a bundle is intact and gives the same pixels and predictions here as where it was made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

import numpy as np

from ._lib.documents import Json, Text, Unknown, to_json
from .bundle import INDEX, LABELS, Bundle, BundleName, BundleReference, EvalPhoto, Variant
from .classifier import Classifier
from .errors import InputError, Unavailable
from .preprocess import preprocess
from .signature import PublicKey, described, now
from .storage import damaged
from .truth import NOT_KNOWN
from .unknown import Accepted, UnknownVariant

# Golden pixels, per photo, in steps of 0..255. The same Pillow gives 0. A build with another JPEG decoder stays within
# a mean of 0.25; another resampling does not (tf.image.resize: mean 1.65; with antialiasing 0.28, and up to 112).
PIXEL_MEAN_TOLERANCE = 0.25
PIXEL_MAX_TOLERANCE = 16

# float32 kernels sum in different orders; differences of about 1e-5 in probability have been observed.
FLOAT_TOLERANCE = 1e-3

# A quantized variant may differ from the reference by what bundle.json records plus a dozen steps of 1/256, because
# kernels for other processors may round differently.
ROUNDING_ALLOWANCE = 0.05

# Kernels of other processors move a few photos over the threshold of unknown ones.
UNKNOWN_TOLERANCE = 0.05

_PHOTOS = 8
_UNKNOWN_PHOTOS = 100
_COPY_AGAIN = "Copy the bundle again. If it still fails, make it again or use the versions named in its provenance."
_REFERENCE = "reference, "
_UNKNOWN = "unknown, "
_SIGNATURE = "signature"
_ACCURACY = "accuracy"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: What was checked.
        status: Result; ``skipped`` if this machine or this bundle does not allow the check.
        detail: The finding, on one line.
    """

    name: Text
    status: Literal["ok", "failed", "skipped"]
    detail: str


@dataclass(frozen=True)
class Verification:
    """The result of verifying a bundle.

    Attributes:
        bundle: The bundle.
        ok: Whether no check failed.
        checks: All checks.
    """

    SCHEMA: ClassVar[str] = "edgetl.verify/1"

    bundle: BundleName
    ok: bool
    checks: tuple[Check, ...]

    def to_json(self) -> Json:
        """Return the document that ``edgetl verify --json`` prints."""
        return to_json(self)


def verify(
    bundle: Bundle,
    *,
    prefer: str | None = None,
    trust: Sequence[PublicKey] = (),
    min_version: int = 0,
    at: datetime | None = None,
) -> Verification:
    """Check every file, the labels, the golden pixels, and, on a few photos, each variant that can run here.

    For variants that tell unknown photos, it counts again how many held-out and unknown photos they take for known.

    A damaged file is a failed check, not an exception, so that one report lists all problems.

    Args:
        bundle: The bundle.
        prefer: For TFLite variants, require ``ai-edge-litert`` or ``tflite-runtime``.
        trust: Trusted keys: one of them must have signed the bundle, else its models do not run. If empty, no signature
            is required.
        min_version: The lowest accepted version of a trusted signature.
        at: The time at which signature and key must be valid; None means now.
    """
    signed = _check(_SIGNATURE, lambda: _signature(bundle, trust, min_version, at))
    checks = [_files(bundle), _check("labels", lambda: _labels(bundle))]
    if signed.status == "failed":
        # Never pass an untrusted model to native code.
        checks += [Check(name, "skipped", "the signature failed") for name in _names_of_runs(bundle)]
    else:
        checks.append(_check("golden pixels", lambda: _golden(bundle)))
        checks += [
            _check(_REFERENCE + variant.name, lambda variant=variant: _reference(bundle, variant, prefer))  # type: ignore[misc]
            for variant in bundle.variants
        ]
        checks += [
            _check(_UNKNOWN + one.name, lambda one=one: _unknown(bundle, one, prefer))  # type: ignore[misc]
            for one in _telling(bundle)
        ]
    if bundle.truth == "model":
        checks.append(Check(_ACCURACY, "skipped", NOT_KNOWN))
    checks.append(signed)
    return Verification(
        BundleName(bundle.path.name, bundle.digest), all(check.status != "failed" for check in checks), tuple(checks)
    )


def raise_failures(report: Verification) -> None:
    """Raise an error that lists the failed checks of a report, at most three lines long.

    Raises:
        InputError: A check failed.
        Unavailable: No variant could be run here, so predictions are unverified.
    """
    failed = [check for check in report.checks if check.status == "failed"]
    if failed:
        first, hint = failed[0], _COPY_AGAIN
        if failed[-1].name == _SIGNATURE:
            first, hint = failed[-1], "Use only bundles from people you trust; edgetl sign adds a signature."
        raise InputError(
            f"{report.bundle.name}: {len(failed)} of {len(report.checks)} checks failed: "
            + ", ".join(check.name for check in failed),
            why=first.detail,
            hint=hint,
        )
    _check_one_ran(report)


def _check_one_ran(report: Verification) -> None:
    answers = [check for check in report.checks if check.name.startswith(_REFERENCE)]
    if all(check.status == "skipped" for check in answers):
        raise Unavailable(
            f"{report.bundle.name}: none of its {len(answers)} variants could be checked on this machine",
            why=answers[0].detail if answers else "",
            hint="See what is missing: edgetl doctor, or python -m edgetl_device doctor",
        )


def _check(name: str, run: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", run())
    except _Skipped as why:
        return Check(name, "skipped", str(why))
    except Unavailable as error:
        return Check(name, "skipped", _one_line(error))
    except MemoryError:
        return Check(name, "skipped", "this machine has not enough memory left for it")
    except InputError as error:
        return Check(name, "failed", _one_line(error))


class _Skipped(Exception):
    pass


def _names_of_runs(bundle: Bundle) -> list[str]:
    references = [_REFERENCE + variant.name for variant in bundle.variants]
    return ["golden pixels", *references, *(_UNKNOWN + one.name for one in _telling(bundle))]


def _telling(bundle: Bundle) -> tuple[UnknownVariant, ...]:
    return bundle.unknown.variants if bundle.unknown else ()


def _signature(bundle: Bundle, trust: Sequence[PublicKey], min_version: int, at: datetime | None) -> str:
    found = bundle.signatures()
    if not trust:
        raise _Skipped(described(found) + ("; no trusted key to check it with" if found else ""))
    good = bundle.check_signed(trust, at=at or now(), min_version=min_version)
    by = " ".join(filter(None, (good.key.id, good.key.name)))
    until = f", until {good.signature.expires}" if good.signature.expires else ""
    return f"version {good.signature.version} by {by}{until}; checked with {good.checker}"


def _files(bundle: Bundle) -> Check:
    wrong = [why for file in bundle.files if (why := _wrong(bundle, file))]
    if wrong:
        detail = f"{len(wrong)} of {len(bundle.files)}: " + "; ".join(wrong)
        return Check("files", "failed", detail)
    size_mb = sum(entry.bytes for entry in bundle.files.values()) / 1e6
    return Check("files", "ok", f"{len(bundle.files)} files, {size_mb:.1f} MB, as listed")


def _wrong(bundle: Bundle, file: str) -> str:
    try:
        bundle.read(file)
    except InputError as error:
        return f"{error.what}: {error.why}"
    return ""


def _labels(bundle: Bundle) -> str:
    written = bundle.read(LABELS).decode("utf-8", errors="replace").splitlines()
    if tuple(written) != bundle.labels:
        raise InputError(f"{LABELS} and bundle.json differ in their labels or the order of them")
    return f"{len(written)} labels, identical in {LABELS} and bundle.json"


def _golden(bundle: Bundle) -> str:
    reference, photos = bundle.reference(), bundle.photos()
    if len(reference.golden_rows) == 0:
        raise _Skipped("the bundle has no golden pixels")
    worst_mean = worst_max = 0.0
    for row, golden in zip(reference.golden_rows, reference.golden_pixels, strict=True):
        pixels = preprocess(bundle.read(photos[row].file), bundle.preprocess)
        difference = np.abs(pixels.astype(np.int16) - golden)
        worst_mean, worst_max = max(worst_mean, float(difference.mean())), max(worst_max, float(difference.max()))
        if difference.mean() > PIXEL_MEAN_TOLERANCE or difference.max() > PIXEL_MAX_TOLERANCE:
            raise InputError(
                f"{photos[row].file}: pixels differ by {difference.mean():.2f} on average, {difference.max()} at most",
                why=f"the limits are {PIXEL_MEAN_TOLERANCE} and {PIXEL_MAX_TOLERANCE} of 255",
                hint="This machine decodes or resizes photos differently; install the Pillow named in the provenance.",
            )
    count = len(reference.golden_rows)
    return f"{count} photos, differing by {worst_mean:.3f} on average and {worst_max:.0f} of 255 at most"


def _reference(bundle: Bundle, variant: Variant, prefer: str | None) -> str:
    reference, photos = bundle.reference(), bundle.photos()
    limit_max, limit_mean = _limits(variant)
    rows = np.unique(np.linspace(0, len(photos) - 1, min(_PHOTOS, len(photos))).round().astype(int))
    with Classifier(bundle, variant.name, prefer=prefer) as classifier:
        difference = _differences(classifier, photos, reference, rows.tolist())
        runtime = f"{classifier.runtime.name} {classifier.runtime.version}"
    found = f"probabilities differ by {difference.mean():.2g} on average and {difference.max():.2g} at most"
    # Written so that NaN fails.
    if not (difference.max() <= limit_max and difference.mean() <= limit_mean):
        raise InputError(
            f"{variant.file} on {runtime}: {found}",
            why=f"the limits are {limit_mean:.2g} and {limit_max:.2g}",
            hint="This runtime does not reproduce the reference predictions; try another version of it.",
        )
    return f"{len(rows)} photos on {runtime}: {found}"


def _unknown(bundle: Bundle, recorded: UnknownVariant, prefer: str | None) -> str:
    photos, unknown = [photo.file for photo in bundle.photos()], bundle.unknown.photos if bundle.unknown else ()
    if not photos:
        raise damaged(INDEX, "it lists no photos")
    some = np.unique(np.linspace(0, len(photos) - 1, min(_UNKNOWN_PHOTOS, len(photos))).round().astype(int))
    with Classifier(bundle, recorded.name, prefer=prefer) as classifier:

        def counted(what: str, files: Sequence[str], then: Accepted) -> str:
            accepted = sum(not classifier.classify(bundle.read(file), top=1).unknown for file in files)
            found = f"{accepted} of {len(files)} {what} photos are taken for known"
            # One photo of a few is a large share; and a part of the photos differs from all of them by chance: two
            # standard errors of a sample without replacement (Cochran 1977, Sampling Techniques, equation 3.8).
            left = max(0.0, 1 - len(files) / then.photos)
            chance = 2 * math.sqrt(then.share * (1 - then.share) / len(files) * left)
            if abs(accepted / len(files) - then.share) > UNKNOWN_TOLERANCE + 1 / len(files) + chance:
                raise InputError(
                    f"{recorded.name}: {found}",
                    why=f"the bundle was measured with {then.accepted} of {then.photos}",
                    hint="This runtime does not reproduce the features; try another version of it.",
                )
            return found

        found = [counted("held-out", [photos[place] for place in some], recorded.held_out)]
        if unknown and recorded.in_bundle is not None:
            found.append(counted("unknown", unknown, recorded.in_bundle))
    return "; ".join(found)


def _limits(variant: Variant) -> tuple[float, float]:
    if variant.precision == "float32":
        return FLOAT_TOLERANCE, FLOAT_TOLERANCE
    found = variant.agreement
    if found is None or isinstance(found, Unknown):
        raise _Skipped("bundle.json does not record this variant's difference from the reference")
    # These few photos may be harder than average, so allow three times the recorded mean plus 2.5 steps of 1/256.
    return found.max_abs + ROUNDING_ALLOWANCE, 3 * found.mae + 0.01


def _differences(
    classifier: Classifier, photos: Sequence[EvalPhoto], reference: BundleReference, rows: Sequence[int]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(
        [
            np.abs(
                classifier.probabilities(classifier.bundle.read(photos[row].file)).astype(np.float64)
                - reference.probabilities[row]
            )
            for row in rows
        ]
    )


def _one_line(error: Exception) -> str:
    return "; ".join(str(error).splitlines())
