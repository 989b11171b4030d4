"""Find the variants of a run's bundle that need not be made again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgetl.export.bundle import VariantFile
from edgetl.runs.directory import Run
from edgetl_device.bundle import Bundle, Variant
from edgetl_device.documents import Json
from edgetl_device.errors import InputError

from .options import QuantizeOptions
from .variants import INT8_NAMES

# The options that int8 files depend on; float files depend on none.
INT8_SETTINGS = ("repair", "calibration", "calibration_photos", "max_drop", "min_agreement", "target", "seed")
_ORDER = ("float32", "float32-onnx", "float16", "dynamic", *INT8_NAMES)
_REPLACE = "Add --overwrite to replace it."


@dataclass(frozen=True, eq=False)
class Kept:
    """What stays of the existing bundle.

    Attributes:
        variants: Variants that are not made again.
        compiled: Compiled files of int8 variants that are made again; valid only for identical int8 files.
        settings: Options under which the kept int8 variants were made; empty without any.
        sha256: Hashes of all files of the existing bundle's variants, by name.
    """

    variants: tuple[VariantFile, ...] = ()
    compiled: tuple[VariantFile, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)


def kept_variants(
    folder: Path, options: QuantizeOptions, made: Iterable[str], provenance: Mapping[str, Json], *, overwrite: bool
) -> Kept:
    """Return what stays of an existing bundle.

    Args:
        folder: The bundle's folder; it may be missing.
        options: Options of this call.
        made: Names of the variants that this call makes.
        provenance: What the new bundle will say about the model and its photos.
        overwrite: Whether variants made under other settings may be replaced or removed.

    Raises:
        InputError: A variant made under other settings would be replaced or removed, or the bundle is damaged, and
            ``overwrite`` is not set.
    """
    if not folder.exists():
        return Kept()
    names = set(made)
    try:
        bundle = Bundle.open(folder)
        _check_same_model(bundle, provenance)
        found = {one.name: _file(bundle, one) for one in bundle.variants}
    except InputError as error:
        if overwrite:
            return Kept()
        raise InputError(error.what, why=error.why, hint=_REPLACE) from None
    other = _other_settings(bundle, options) if names & set(INT8_NAMES) else {}
    if other and not overwrite:
        raise InputError(
            f"{folder}: its int8 files were made and measured with other settings",
            why=", ".join(f"{{{name}=}} now, {then} then" for name, then in other.items()),
            hint="Add --overwrite to replace them.",
            options=options.by_name() | {name: getattr(options, name) for name in INT8_SETTINGS},
        )
    compiled = {one.name for one in bundle.variants if one.compilation is not None}
    stays = [name for name in found if name not in names and not (other and found[name].precision == "int8")]
    waits = [name for name in stays if name in compiled and name.rpartition("-")[0] in names]
    kept = tuple(found[name] for name in stays if name not in waits)
    return Kept(
        kept,
        tuple(found[name] for name in waits),
        _settings(bundle) if any(one.precision == "int8" for one in kept) else {},
        {one.name: one.sha256 for one in bundle.variants},
    )


def bundled(run: Run, name: str, target: str) -> VariantFile | None:
    """Return a variant of ``RUN/bundle``; None if there is none of this run's model, or none for the target.

    Raises:
        InputError: The bundle is damaged.
    """
    folder = run.folder / "bundle"
    if not folder.exists():
        return None
    bundle = Bundle.open(folder)
    variant = {one.name: one for one in bundle.variants}.get(name)
    origin = bundle.provenance.get("run")
    same = isinstance(origin, dict) and origin.get("model_sha256") == run.document.model.sha256
    if variant is None or not same:
        return None
    if variant.precision == "int8" and _settings(bundle).get("target") != target:
        return None
    return _file(bundle, variant)


def in_order(variants: Iterable[VariantFile]) -> list[VariantFile]:
    """Return variants in the order of bundles: float, int8, then compiled files."""
    return sorted(variants, key=lambda one: _ORDER.index(one.name) if one.name in _ORDER else len(_ORDER))


def _check_same_model(bundle: Bundle, provenance: Mapping[str, Json]) -> None:
    for key, what in (("run", "another model"), ("dataset_fingerprint", "other photos"), ("held_out", "another split")):
        if bundle.provenance.get(key) != provenance[key]:
            raise InputError(f"{bundle.path}: is a bundle of {what}")


def _other_settings(bundle: Bundle, options: QuantizeOptions) -> dict[str, Json]:
    """Return the settings of the bundle's int8 variants that differ from ``options``, by name; none without int8."""
    if not any(one.precision == "int8" for one in bundle.variants):
        return {}
    now, then = settings_of(options), _settings(bundle)
    defaults = settings_of(QuantizeOptions())
    return {name: then.get(name, defaults[name]) for name in now if then.get(name, defaults[name]) != now[name]}


def settings_of(options: QuantizeOptions) -> dict[str, Json]:
    """Return the options that int8 files depend on, as bundles record them: without the path of the user's photos."""
    own = options.calibration_photos
    found = {name: value for name, value in options.to_json().items() if name in INT8_SETTINGS}
    return found | {"calibration_photos": own and Path(own).name}


def _settings(bundle: Bundle) -> dict[str, Json]:
    found = bundle.provenance.get("quantize")
    return {name: found[name] for name in INT8_SETTINGS if name in found} if isinstance(found, dict) else {}


def _file(bundle: Bundle, variant: Variant) -> VariantFile:
    return VariantFile(
        variant.name,
        variant.format,
        variant.precision,
        bundle.read(variant.file),
        variant.calibration,
        variant.accuracy,
        variant.agreement,
        described=variant,
    )
