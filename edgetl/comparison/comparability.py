"""Which results may be compared: a refusal for unlike measurements, a warning for unlike circumstances.

Not for: the comparison itself.
"""

from __future__ import annotations

from typing import Any

from edgetl_device.errors import InputError

Document = dict[str, Any]

# What makes the same model slower or faster without being another model.
_CIRCUMSTANCES = (
    ("board", "boards"),
    ("cpu", "CPUs"),
    ("machine", "processor types"),
    ("cores", "numbers of cores"),
    ("governor", "governors"),
    ("os", "operating systems"),
    ("python", "versions of Python"),
)


def require_alike(one: Document, one_name: str, two: Document, two_name: str) -> None:
    """Refuse two results that do not measure the same thing.

    Raises:
        InputError: Their labels, preprocessing or photos differ.
    """
    pair = f"{one_name} and {two_name} cannot be compared"
    labels, other_labels = one["bundle"]["labels"], two["bundle"]["labels"]
    if labels != other_labels:
        raise InputError(
            f"{pair}: different labels",
            why=f"{', '.join(labels)} / {', '.join(other_labels)}",
            hint="Compare models that were trained on the same classes.",
        )
    spec, other_spec = one["bundle"]["preprocess"], two["bundle"]["preprocess"]
    if spec != other_spec:
        raise InputError(
            f"{pair}: different preprocessing",
            why="; ".join(f"{key} {spec[key]} / {other_spec[key]}" for key in spec if spec[key] != other_spec[key]),
            hint="Compare bundles of the same input size and fit.",
        )
    if one["evalset"]["digest"] != two["evalset"]["digest"]:
        of_folder = "folder" in {document["evalset"].get("source") for document in (one, two)}
        raise different_photos(
            pair,
            [(photo["sha256"], labels[photo["label"]]) for photo in one["evalset"]["photos"]],
            [(photo["sha256"], labels[photo["label"]]) for photo in two["evalset"]["photos"]],
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


def require_valid(run: dict[str, Any], name: str) -> None:
    """Refuse a run whose verdict is invalid.

    Raises:
        InputError: It is; the message has the reasons.
    """
    if run["verdict"]["status"] == "invalid":
        raise InputError(
            f"{name}: the measurement is invalid",
            why="; ".join(run["verdict"]["reasons"]),
            hint="Measure it again, or leave it out with --variants.",
        )


def warning(about: str, text: str) -> dict[str, str]:
    """Return one warning: what it is ``about`` and its ``text``."""
    return {"about": about, "text": text}


def circumstances(one: Document, two: Document, about: str) -> list[dict[str, str]]:
    """Return a warning for each circumstance in which two results differ; what neither knows does not differ."""
    old, new = one["environment"], two["environment"]
    pairs = [(plural, old[key], new[key]) for key, plural in _CIRCUMSTANCES]
    pairs += [(f"versions of {name}", old["packages"][name], new["packages"].get(name)) for name in old["packages"]]
    pairs.append(("versions of edgetl-device", one["producer"]["version"], two["producer"]["version"]))
    return [
        warning(about, f"different {plural}: {_text(before)} / {_text(after)}")
        for plural, before, after in pairs
        # Why a value is unknown may be worded differently; that is no difference.
        if before != after and not (isinstance(before, dict) and isinstance(after, dict))
    ]


def run_circumstances(one: dict[str, Any], one_name: str, two: dict[str, Any], two_name: str) -> list[dict[str, str]]:
    """Return a warning for each circumstance in which two runs differ, and for a verdict that is not valid."""
    about = f"{one_name} / {two_name}"
    warnings = []
    if one["threads"] != two["threads"]:
        warnings.append(warning(about, f"different numbers of threads: {one['threads']} / {two['threads']}"))
    old, new = (f"{run['runtime']['name']} {run['runtime']['version']}" for run in (one, two))
    if old != new:
        warnings.append(warning(about, f"different runtimes: {old} / {new}"))
    old, new = (_text(run["delegate"]) for run in (one, two))
    if old != new:
        warnings.append(warning(about, f"different delegates: {old} / {new}"))
    for run, name in ((one, one_name), (two, two_name)):
        if run["verdict"]["status"] == "degraded":
            warnings += [warning(name, f"degraded: {reason}") for reason in run["verdict"]["reasons"]]
    return warnings


def _text(value: Any) -> str:
    return "unknown" if isinstance(value, dict) else str(value)
