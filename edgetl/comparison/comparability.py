"""Comparability of results: different measurements are refused, different conditions give a warning."""

from __future__ import annotations

from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.errors import InputError
from edgetl_device.text import listed

from .document import Warning

# Conditions that change the latency of the same model.
_CIRCUMSTANCES = (
    ("board", "boards"),
    ("cpu", "CPUs"),
    ("machine", "processor types"),
    ("cores", "numbers of cores"),
    ("governor", "governors"),
    ("os", "operating systems"),
    ("python", "versions of Python"),
)


def require_alike(one: Result, one_name: str, two: Result, two_name: str) -> None:
    """Refuse two results that do not measure the same thing.

    Raises:
        InputError: Their labels, preprocessing or photos differ.
    """
    pair = f"{one_name} and {two_name} cannot be compared"
    labels, other_labels = one.bundle.labels, two.bundle.labels
    if labels != other_labels:
        raise InputError(
            f"{pair}: different labels",
            why=f"{listed(labels)} / {listed(other_labels)}",
            hint="Compare models that were trained on the same classes.",
        )
    spec, other_spec = one.bundle.preprocess, two.bundle.preprocess
    if spec != other_spec:
        given, other_given = (vars(found) | {"size": found.size.px} for found in (spec, other_spec))
        pairs = ((key, value, other_given[key]) for key, value in given.items())
        raise InputError(
            f"{pair}: different preprocessing",
            why="; ".join(f"{key} {value} / {other}" for key, value, other in pairs if value != other),
            hint="Compare bundles of the same input size and fit.",
        )
    if one.evalset.digest != two.evalset.digest:
        of_folder = "folder" in (one.evalset.source, two.evalset.source)
        raise different_photos(
            pair,
            [(photo.sha256, labels[photo.index]) for photo in one.evalset.photos],
            [(photo.sha256, labels[photo.index]) for photo in two.evalset.photos],
            hint="Bench both on the same folder: --data DIR."
            if of_folder
            else "Bench bundles that were made from the same data set, split and seed.",
            what="photos" if of_folder else "held-out photos",
        )


def different_photos(
    pair: str,
    one: list[tuple[str, str]],
    two: list[tuple[str, str]],
    *,
    hint: str,
    what: str = "held-out photos",
) -> InputError:
    """Return the error for two sets of photos, each given as SHA-256 and label."""
    why = f"{len(one)} and {len(two)} photos, {len(set(one) & set(two))} of them the same"
    if relabelled := len({sha for sha, _ in one} & {sha for sha, _ in two}) - len({*one} & {*two}):
        why += f", {relabelled} under another label"
    return InputError(f"{pair}: different {what}", why=why, hint=hint)


def require_valid(run: ResultRun, name: str) -> None:
    """Refuse a run whose verdict is invalid.

    Raises:
        InputError: The verdict is invalid; the message has the reasons.
    """
    if run.verdict.status == "invalid":
        raise InputError(
            f"{name}: the measurement is invalid",
            why="; ".join(run.verdict.reasons),
            hint="Measure it again, or leave it out with --variants.",
        )


def circumstances(one: Result, two: Result, about: str) -> list[Warning]:
    """Return a warning for each condition in which two results differ; unknown values count as equal."""
    old, new = one.environment, two.environment
    pairs = [(plural, getattr(old, name), getattr(new, name)) for name, plural in _CIRCUMSTANCES]
    pairs += [(f"versions of {name}", version, new.packages.get(name)) for name, version in old.packages.items()]
    pairs.append(("versions of edgetl-device", one.producer.version, two.producer.version))
    return [
        Warning(about, f"different {plural}: {_text(before)} / {_text(after)}")
        for plural, before, after in pairs
        # Ignore the wording of the reason why a value is unknown.
        if before != after and not (isinstance(before, Unknown) and isinstance(after, Unknown))
    ]


def run_circumstances(one: ResultRun, one_name: str, two: ResultRun, two_name: str) -> list[Warning]:
    """Return a warning for each condition in which two runs differ, and for a verdict that is not valid."""
    about = f"{one_name} / {two_name}"
    warnings = []
    if one.threads != two.threads:
        warnings.append(Warning(about, f"different numbers of threads: {one.threads} / {two.threads}"))
    old, new = (f"{run.runtime.name} {run.runtime.version}" for run in (one, two))
    if old != new:
        warnings.append(Warning(about, f"different runtimes: {old} / {new}"))
    old, new = (_text(run.delegate) for run in (one, two))
    if old != new:
        warnings.append(Warning(about, f"different delegates: {old} / {new}"))
    for run, name in ((one, one_name), (two, two_name)):
        if run.verdict.status == "degraded":
            warnings += [Warning(name, f"degraded: {reason}", "degraded") for reason in run.verdict.reasons]
    return warnings


def _text(value: object) -> str:
    return "unknown" if isinstance(value, Unknown) else str(value)
