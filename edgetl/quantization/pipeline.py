"""Turn a run into a bundle: export float and int8 variants, measure them on the held-out photos, apply the gates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetl import __version__
from edgetl._lib.lock import bundle_locked
from edgetl._lib.owned import check_bundle
from edgetl._lib.progress import note, step
from edgetl.export.bundle import PhotoFile, VariantFile, write_bundle
from edgetl.reports.run import refresh_page
from edgetl.runs.directory import Run
from edgetl.runs.held_out import find_photos, held_out
from edgetl.runs.quantize_report import (
    DOCUMENT,
    BoundWarning,
    Candidates,
    HeldOut,
    QuantizeReport,
    TargetReport,
    VariantScores,
)
from edgetl_device._lib import documents
from edgetl_device._lib.files import check_writable, sha256_bytes
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.bundle import Bundle, ReferenceArrays
from edgetl_device.errors import GateFailed, InputError
from edgetl_device.options import command_text
from edgetl_device.scores import Agreement

from .bounds import bound_warnings
from .calibration_photos import Calibration
from .candidates import SearchResult, incompatibility, int8_names, judge_file, search
from .explain import FOLDER as EXPLAINED
from .explain import Plain, check_explained, explain_export
from .int8_file import read_int8_file
from .kept import INT8_SETTINGS, RECORDED, Kept, in_order, kept_variants, recorded
from .measurement import Expected, Measured, expected, measured
from .options import QuantizeOptions
from .targets import TARGETS
from .unknown.given import unknown_given
from .unknown.measure import unknown_files, unknown_pixels
from .variants import (
    ModelForms,
    PreparedModel,
    calibration_of,
    float_variant,
    int8_variants,
    plain,
    repaired,
    with_features_output,
)
from .without_photos import check_without_photos

# A float export differs only in the order of operations; a larger difference means a conversion error.
FLOAT_TOLERANCE = 1e-4
_EVALSET_MAX = 1000


def quantize(
    run: Run, options: QuantizeOptions, *, data: Path | None = None, overwrite: bool = False
) -> QuantizeReport:
    """Export a run, measure every file on the held-out photos and write ``RUN/bundle``.

    Variants of an existing bundle that are not made again stay in it.

    With a bound on the int8 loss, candidates are tried on the validation photos until one is within it
    (:mod:`edgetl.quantization.candidates`). ``RUN/quantize.json`` is written before the bundle and holds all
    measurements, even if no candidate passes. On any error an existing bundle is left unchanged.

    Args:
        run: A finished run.
        options: Quantization options. A run that was trained with ``unknown`` sets the one of that name,
            unless ``target`` or ``int8_file`` rules it out.
        data: The data set's folder if it has moved since training.
        overwrite: Replace or remove variants of the bundle that were made under other settings, or of another model.

    Raises:
        InputError: The run, its model or its photos changed since training, the calibration photos are unusable,
            ``RUN/bundle`` is not a bundle, has foreign files or needs ``overwrite``, or another process is writing it.
        GateFailed: A float export differs from the model, no int8 candidate is within the bounds, or the target cannot
            run int8.
    """
    if run.document.config.unknown:
        options = _telling(options)
    check_without_photos(run, options)
    # Fail early: check output paths, then the user's photos.
    check_writable(run.folder / DOCUMENT)
    check_bundle(run.folder / "bundle")
    if options.explain:
        check_explained(run.folder / EXPLAINED)
    try:
        with bundle_locked(run.folder / "bundle"):
            report = _quantize(run, options, data, overwrite=overwrite)
    except GateFailed:
        refresh_page(run, data=data)  # it says that, and why
        raise
    refresh_page(run, data=data)
    return report


def _telling(options: QuantizeOptions) -> QuantizeOptions:
    """Return options that tell unknown photos, as the run asks, unless other options rule that out."""
    ruled_out = {"--int8-file": options.int8_file is not None, "--target": options.target != "generic"}
    for flag, given in ruled_out.items():
        if given:
            note(f"warning: the run was trained with --unknown, but with {flag} this bundle cannot tell unknown photos")
            return options
    return replace(options, unknown=True)


def _quantize(run: Run, options: QuantizeOptions, data: Path | None, *, overwrite: bool) -> QuantizeReport:
    kept = kept_variants(run, options, _made_names(options), overwrite=overwrite)
    file = Path(options.int8_file) if options.int8_file is not None else None
    int8 = read_int8_file(file, run) if file is not None else None
    calibration = calibration_of(run, options, data) if options.int8 and file is None else None
    given = unknown_given(run, Path(options.unknown_photos)) if options.unknown_photos is not None else None
    model = run.load_model()
    against = expected(
        model, find_photos(run, held_out(run, most=_EVALSET_MAX), data=data), description="Float reference"
    )
    pixels = unknown_pixels(run, against.photos, given, data=data) if options.unknown else None

    def scored(variant: VariantFile) -> Measured:
        return measured(with_features_output(variant, run) if options.unknown else variant, against, run.labels)

    variants = [scored(float_variant(model, name, run)) for name in _float_names(options)]
    forms = None if calibration is None else ModelForms(model, calibration)
    search_result = None
    if forms is not None:
        search_result = _int8(forms, run, options, data)
    elif file is not None and int8 is not None:
        search_result = judge_file(int8, file.name, model, run, options, data=data)
    if search_result is not None and search_result.taken is not None:
        variants += [scored(variant) for variant in search_result.variants]
    unknown = None
    if search_result is None or search_result.taken is not None:
        taken = in_order([*(one.variant for one in variants), *kept.variants, *_still_valid(kept, variants)])
        unknown = unknown_files(taken, pixels) if pixels else None
    report = _with_kept(_report(run, options, against, variants, search_result, calibration), run, kept)
    report = replace(report, unknown=unknown.variants if unknown else ())
    documents.write_or_keep(run.folder / DOCUMENT, report)
    if options.explain and search_result is not None and search_result.prepared is not None and forms is not None:
        tested = [one.variant for one in variants if one.variant.name == "int8"] or search_result.variants
        _explain(run, search_result.prepared, tested, against, forms)
    _gate(variants, search_result, options, run)
    with step("Writing the bundle"):
        write_bundle(
            run.folder / "bundle",
            labels=run.labels,
            preprocess=run.preprocess,
            variants=taken,
            evalset=[
                PhotoFile(path, sample.label, sample.sha256)
                for path, sample in zip(against.photos.paths, against.photos.samples, strict=True)
            ],
            reference=ReferenceArrays(probabilities=against.probabilities, logits=against.logits),
            provenance=_provenance(run, options, kept),
            unknown=unknown,
            truth=run.truth,
        )
    if kept.signed:
        note("note: the new bundle is not signed, as the one before was: sign it again")
    return report


def variant_names(run: Run, options: QuantizeOptions) -> tuple[str, ...]:
    """Return the names of the variants that a run's bundle will have: those to make, and those that it has."""
    made = _made_names(options)
    there = Bundle.open(run.folder / "bundle").variants if (run.folder / "bundle").is_dir() else ()
    return tuple(dict.fromkeys([*made, *(one.name for one in there)]))


def _still_valid(kept: Kept, variants: list[Measured]) -> list[VariantFile]:
    """Return the compiled files whose int8 file was made again unchanged; warn about the others."""
    hashes = {one.variant.name: sha256_bytes(one.variant.data) for one in variants}
    found = []
    for one in kept.compiled:
        source = one.name.rpartition("-")[0]
        if hashes[source] == kept.sha256[source]:
            found.append(one)
        else:
            note(f"warning: {one.name} was compiled from another {source} file and is no longer in the bundle")
    return found


def _with_kept(report: QuantizeReport, run: Run, kept: Kept) -> QuantizeReport:
    """Add the kept variants to a report and, for kept int8 files, their entries in the last report."""
    last = _last_report(run)
    known = {} if last is None else {row.sha256: row for row in last.variants}
    rows = tuple(
        known.get(kept.sha256[one.name])
        or VariantScores(one.name, one.format, len(one.data), one.accuracy, one.agreement, kept.sha256[one.name])
        for one in kept.variants
        if one.accuracy is not None and isinstance(one.agreement, Agreement)
    )
    report = replace(report, variants=report.variants + rows)
    if kept.settings is None:
        return report
    names = {"int8", *(RECORDED.get(name, name) for name in INT8_SETTINGS)}
    int8 = {kept.sha256[one.name] for one in kept.variants if one.precision == "int8"}
    if not known.keys() & int8:
        last = None  # it is of other int8 files
    config = last.config if last else kept.settings.by_name()
    report = replace(report, config=report.config | {name: config[name] for name in config if name in names})
    if last is None:
        return report
    return replace(
        report,
        calibration=last.calibration,
        target=last.target,
        candidates=last.candidates,
        warnings=last.warnings,
    )


def _last_report(run: Run) -> QuantizeReport | None:
    """Return ``quantize.json``; None if it is missing or damaged: it is about to be replaced."""
    try:
        return documents.read(QuantizeReport, run.folder / DOCUMENT)
    except InputError:
        return None


def _float_names(options: QuantizeOptions) -> list[str]:
    return [
        "float32",
        "float32-onnx",
        *(["float16"] if options.float16 else []),
        *(["dynamic"] if options.dynamic else []),
    ]


def _made_names(options: QuantizeOptions) -> tuple[str, ...]:
    if not options.int8:
        return tuple(_float_names(options))
    int8 = ("int8",) if options.int8_file is not None else int8_names(TARGETS[options.target])
    return (*_float_names(options), *int8)


def _int8(forms: ModelForms, run: Run, options: QuantizeOptions, data: Path | None) -> SearchResult:
    """Return the int8 variants of the first candidate within the bounds; without bounds, of the default one."""
    if options.gated:
        return search(forms, run, options, data=data)
    target = TARGETS[options.target]
    prepared = repaired(forms, target) if options.repair else plain(forms)
    variants = int8_variants(prepared, run, forms.calibration, int8_names(target), target=target)
    return SearchResult(
        prepared, variants, (), "repair" if options.repair else "plain", incompatibility(variants, target)
    )


def _explain(
    run: Run, prepared: PreparedModel, variants: list[VariantFile], against: Expected, forms: ModelForms
) -> None:
    (int8,) = (variant.data for variant in variants if variant.name == "int8")
    is_repaired = prepared.model is not forms.folded
    before = Plain(forms.folded, forms.calibration.pixels) if is_repaired else None
    explain_export(run, prepared.exact, int8, against.photos, against.probabilities, plain=before)


def _gate(variants: list[Measured], search_result: SearchResult | None, options: QuantizeOptions, run: Run) -> None:
    report = f"The report is in {run.folder / DOCUMENT}; no bundle was written."
    for one in variants:
        difference = one.agreement.max_abs
        if one.variant.precision == "float32" and difference > FLOAT_TOLERANCE:
            raise GateFailed(
                f"{one.variant.name} differs from model.keras by {difference:.1e} in probability",
                why=f"a float export must agree within {FLOAT_TOLERANCE:g}",
                hint=report,
            )
    if search_result is not None and search_result.incompatibility is not None:
        raise GateFailed(
            "int8 does not fit {target=}",
            why=search_result.incompatibility,
            hint=f"Choose another backbone, or another {{target}}. {report}",
            options={"target": options.target},
        )
    if search_result is not None and search_result.taken is None:
        last = search_result.candidates[-1]
        worst = min(last.variants, key=lambda row: row.agreement.top1)
        lost = worst.agreement
        drop_low, drop_high = lost.drop_ci95_pp
        low, high = wilson95(lost.agree, lost.photos)
        bounds = {name: options.changed().get(name) for name in ("max_drop", "min_agreement")}
        missed = [f"{{{name}=}}" for name, bound in bounds.items() if bound is not None]
        raise GateFailed(
            f"no int8 candidate is within {' and '.join(missed)}; tried: "
            f"{', '.join(one.name for one in search_result.candidates)}",
            why=f"the last one: {worst.name} loses {lost.drop_pp:.2f} pp (95% CI {drop_low:.1f} to "
            f"{drop_high:.1f}) on {lost.photos} validation photos, with {lost.top1:.1%} agreement "
            f"(95% CI {100 * low:.0f} to {100 * high:.0f})",
            hint=report,
            options=bounds,
        )


def _report(
    run: Run,
    options: QuantizeOptions,
    against: Expected,
    variants: list[Measured],
    search_result: SearchResult | None,
    calibration: Calibration | None,
) -> QuantizeReport:
    candidates: Candidates | None = None
    warnings: tuple[BoundWarning, ...] = ()
    if search_result is not None and search_result.candidates:
        candidates = Candidates("val", search_result.taken, search_result.candidates)
        if search_result.taken is not None:
            warnings = bound_warnings(
                options,
                judged=[(one.name, one.agreement) for one in search_result.candidates[-1].variants],
                final=[(one.variant.name, one.agreement) for one in variants if one.variant.precision == "int8"],
                split=run.held_out,
            )
    return QuantizeReport(
        producer=f"edgetl {__version__}",
        config=options.by_name(),
        held_out=HeldOut(run.held_out, len(against.photos.targets)),
        reference=against.accuracy,
        variants=tuple(
            VariantScores(
                one.variant.name,
                one.variant.format,
                len(one.variant.data),
                one.accuracy,
                one.agreement,
                sha256_bytes(one.variant.data),
                one.calibration,
            )
            for one in variants
        ),
        calibration=calibration.record if calibration else None,
        target=TargetReport(options.target, search_result.incompatibility if search_result else None),
        candidates=candidates,
        warnings=warnings,
        command=command_text(["edgetl", "quantize", str(run.folder)], options),
        truth=run.truth,
    )


def _provenance(run: Run, options: QuantizeOptions, kept: Kept) -> dict[str, Any]:
    document, settings = run.document, recorded(options).to_json()
    if kept.settings is not None:
        int8 = kept.settings.to_json()
        names = ("int8", *(RECORDED.get(name, name) for name in INT8_SETTINGS))
        settings |= {name: int8[name] for name in names}
    return {
        "quantize": settings,
        "run": {"model_sha256": document.model.sha256, "created": document.created},
        "dataset_fingerprint": document.dataset.fingerprint,
        "held_out": run.held_out,
        "backbone": {
            "backbone": document.config.backbone,
            "width": document.config.width,
            "size": document.config.size,
            "grey": document.preprocess.size.channels == 1,
        },
        "weights": vars(document.weights),
        "versions": document.versions,
    }
