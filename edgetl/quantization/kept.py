"""Find the variants of a run's bundle that can be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgetl.export.bundle import VariantFile
from edgetl.runs.directory import Run
from edgetl_device.bundle import Bundle, Variant
from edgetl_device.errors import InputError
from edgetl_device.options import Value

from .options import QuantizeOptions
from .variants import INT8_NAMES

# The options that every file depends on: what tells unknown photos is one for the whole bundle.
_ALL_SETTINGS = ("unknown", "unknown_photos")
# The options that int8 files depend on.
INT8_SETTINGS = (
    "int8_file",
    "repair",
    "calibration",
    "calibration_photos",
    "max_drop",
    "min_agreement",
    "target",
    "seed",
    *_ALL_SETTINGS,
)
# Their names in documents, where they differ.
RECORDED = {"max_drop": "max_drop_pp"}
_ORDER = ("float32", "float32-onnx", "float16", "dynamic", *INT8_NAMES)
_REPLACE = "Add --overwrite to replace it."


@dataclass(frozen=True, eq=False)
class Kept:
    """The parts of an existing bundle that are kept.

    Attributes:
        variants: Variants that are not made again.
        compiled: Compiled files of int8 variants that are made again; valid only for identical int8 files.
        settings: Options under which the kept int8 variants were made; None without any.
        sha256: Hashes of all files of the existing bundle's variants, by name.
        signed: Whether the existing bundle is signed; the new one is not.
    """

    variants: tuple[VariantFile, ...] = ()
    compiled: tuple[VariantFile, ...] = ()
    settings: QuantizeOptions | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    signed: bool = False


def kept_variants(run: Run, options: QuantizeOptions, made: Iterable[str], *, overwrite: bool) -> Kept:
    """Return the parts of ``RUN/bundle`` that are kept; the bundle may be missing.

    Args:
        run: The run.
        options: Options of this call.
        made: Names of the variants that this call makes.
        overwrite: Whether variants made under other settings may be replaced or removed.

    Raises:
        InputError: A variant made under other settings would be replaced or removed, or the bundle is damaged, and
            ``overwrite`` is not set.
    """
    folder, names = run.folder / "bundle", set(made)
    if not folder.exists():
        return Kept()
    try:
        bundle = Bundle.open(folder)
        _check_same_model(bundle, run)
        found = {one.name: _file(bundle, one) for one in bundle.variants}
        signed = bool(bundle.signatures())
        int8 = any(one.precision == "int8" for one in bundle.variants) and bool(names & set(INT8_NAMES))
        other = _other_settings(bundle, options, INT8_SETTINGS if int8 else _ALL_SETTINGS)
    except InputError as error:
        if overwrite:
            return Kept()
        raise InputError(error.what, why=error.why, hint=_REPLACE) from None
    if other and not overwrite:
        raise InputError(
            f"{folder}: its {'int8 ' * int8}files were made and measured with other settings",
            why=", ".join(f"{{{name}=}} now, {then} then" for name, then in other.items()),
            hint="Add --overwrite to replace them.",
            options=options.by_name() | {name: getattr(options, name) for name in INT8_SETTINGS},
        )
    compiled = {one.name for one in bundle.variants if one.compilation is not None}
    # Files of other settings do not stay.
    everything = bool(other.keys() & set(_ALL_SETTINGS))
    anew = {name for name in found if other and (everything or found[name].precision == "int8")}
    stays = [name for name in found if name not in names | anew]
    waits = [name for name in stays if name in compiled and name.rpartition("-")[0] in names]
    kept = tuple(found[name] for name in stays if name not in waits)
    return Kept(
        kept,
        tuple(found[name] for name in waits),
        _settings(bundle) if any(one.precision == "int8" for one in kept) else None,
        {one.name: one.sha256 for one in bundle.variants},
        signed,
    )


def bundled(run: Run, name: str, target: str) -> VariantFile | None:
    """Return a variant of ``RUN/bundle``; None if there is none of this run's model with one output for the target.

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
    # Other programs expect one output.
    if bundle.unknown is not None:
        return None
    if variant is None or not same or (variant.precision == "int8" and _settings(bundle).target != target):
        return None
    return _file(bundle, variant)


def in_order(variants: Iterable[VariantFile]) -> list[VariantFile]:
    """Return variants in the order of bundles: float, int8, then compiled files."""
    return sorted(variants, key=lambda one: _ORDER.index(one.name) if one.name in _ORDER else len(_ORDER))


def _check_same_model(bundle: Bundle, run: Run) -> None:
    origin, found = bundle.provenance.get("run"), bundle.provenance
    if not isinstance(origin, dict) or origin.get("model_sha256") != run.document.model.sha256:
        raise InputError(f"{bundle.path}: is a bundle of another model")
    if (found.get("dataset_fingerprint"), found.get("held_out")) != (run.document.dataset.fingerprint, run.held_out):
        raise InputError(f"{bundle.path}: is a bundle with other held-out photos")


def _other_settings(bundle: Bundle, options: QuantizeOptions, names: Iterable[str]) -> dict[str, Value]:
    """Return those of the bundle's settings, among ``names``, that differ from ``options``."""
    now, then = recorded(options), _settings(bundle)
    found = {name: getattr(then, name) for name in names}
    return {name: value for name, value in found.items() if value != getattr(now, name)}


def recorded(options: QuantizeOptions) -> QuantizeOptions:
    """Return options as bundles record them: with the names, not the paths, of the user's files and folders."""
    own, unknown, file = options.calibration_photos, options.unknown_photos, options.int8_file
    if not own and not unknown and not file:
        return options
    return replace(
        options,
        calibration_photos=own and Path(own).name,
        unknown_photos=unknown and Path(unknown).resolve().name,
        int8_file=file and Path(file).name,
    )


def _settings(bundle: Bundle) -> QuantizeOptions:
    """Return the options under which the bundle's int8 variants were made."""
    found = bundle.provenance.get("quantize")
    known = found if isinstance(found, dict) else {}
    names = {name: RECORDED.get(name, name) for name in INT8_SETTINGS}
    return QuantizeOptions.of(**{name: known[key] for name, key in names.items() if key in known})


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
