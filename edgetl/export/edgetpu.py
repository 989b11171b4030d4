"""Edge TPU variant of a bundle: predict the mapping, compile, apply the gate, add the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from edgetl.export.edgetpu_variant import SUFFIX, add_compiled
from edgetl.inspection.edgetpu.compiler import Log, OperatorStatus, compile_model, parse_log
from edgetl.inspection.edgetpu.dense import per_tensor_dense
from edgetl.inspection.edgetpu.predict import EdgeTpuPrediction, MappedPercent, predict
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Count, Sha256, Text, Unknown
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bundle import Bundle, Compilation, CompiledFrom, Variant
from edgetl_device.delegates.delegate import needs_edgetpu
from edgetl_device.errors import GateFailed, InputError

T = TypeVar("T")


@dataclass(frozen=True)
class PredictedMapping:
    """Mapping predicted before compilation.

    Attributes:
        mapped: Number of operators predicted to run on the Edge TPU.
        total: Number of operators in the file.
        risks: Reasons why compiler or device may deviate from the prediction, one line each.
    """

    mapped: Count
    total: Count
    risks: tuple[str, ...]


@dataclass(frozen=True)
class CompiledFile:
    """The compiled file.

    Attributes:
        sha256: SHA-256 of the file.
        bytes: Size of the file in bytes.
        holds_edgetpu_operator: Whether any part of it runs on the Edge TPU.
    """

    sha256: Sha256
    bytes: Count
    holds_edgetpu_operator: bool


@dataclass(frozen=True)
class CompileReport:
    """Report on an Edge TPU compilation; sizes as rounded by the compiler.

    Attributes:
        variant: Name of the variant in the bundle.
        compiler: Version of the compiler.
        mapped: Number of operators that run on the Edge TPU.
        total: Number of operators in the source file.
        mapped_percent: 100 * mapped / total
        subgraphs: Number of partitions on the Edge TPU.
        on_chip_bytes: Parameters cached in the Edge TPU's memory, in bytes.
        on_chip_remaining_bytes: Unused memory of the Edge TPU, in bytes.
        off_chip_bytes: Parameters streamed from the host for every photo, in bytes.
        operators: The compiler's table of operators.
        prediction: Mapping predicted before compilation.
        source: The file that was compiled.
        compiled: The compiled file.
    """

    SCHEMA: ClassVar[str] = "edgetl.inspection.edgetpu-compilation/1"

    variant: Text
    compiler: str | Unknown
    mapped: Count | Unknown
    total: Count | Unknown
    mapped_percent: MappedPercent | Unknown
    subgraphs: Count | Unknown
    on_chip_bytes: Count | Unknown
    on_chip_remaining_bytes: Count | Unknown
    off_chip_bytes: Count | Unknown
    operators: tuple[OperatorStatus, ...] | Unknown
    prediction: PredictedMapping
    source: CompiledFrom
    compiled: CompiledFile


def prepare(bundle: Bundle, variant: str = "int8") -> tuple[bytes, EdgeTpuPrediction]:
    """Return the compiler's input for a variant, with per-tensor dense weights, and the predicted mapping.

    Raises:
        InputError: The bundle has no such variant, or it is not TFLite or already compiled.
    """
    chosen = bundle.variant(variant)
    model = bundle.read(chosen.file)
    if chosen.format != "tflite" or needs_edgetpu(model):
        what = "compiled already" if chosen.format == "tflite" else f"in the format {chosen.format}"
        raise InputError(f"{bundle.path}: the variant {variant} is {what}", why="the compiler takes int8 TFLite files")
    if bundle.unknown is not None:
        raise InputError(
            f"{bundle.path}: its models have outputs of features, which tell unknown photos",
            why="files for the Edge TPU have one output",
            hint="Compile a bundle made by edgetl quantize without --unknown.",
        )
    prepared = per_tensor_dense(model)
    return prepared, predict(prepared)


def compile_bundle(
    bundle: Bundle,
    *,
    variant: str = "int8",
    min_mapped_percent: float | None = None,
    compiled: Path | None = None,
    min_runtime_version: int | None = None,
) -> CompileReport:
    """Compile a variant and add the result to the bundle as ``<variant>-edgetpu``, replacing an existing one.

    Args:
        bundle: A folder or an ``.edgetl`` file; updated atomically.
        variant: An int8 TFLite variant.
        min_mapped_percent: Minimum percentage of operators on the Edge TPU, 0 to 100. Zero mapped operators always
            fail.
        compiled: A file compiled elsewhere from the output of :func:`prepare`; its log is read from the same name with
            ``.log``, if present. By default the compiler runs on this machine.
        min_runtime_version: As for :func:`edgetl.inspection.edgetpu.compiler.compile_model`.

    Returns:
        The report, also written beside the bundle (:func:`report_path`).

    Raises:
        GateFailed: Too few operators are mapped; the report is written, the bundle is unchanged.
        InputError: The variant or the compiled file is invalid, or the compiler rejects it.
        Unavailable: The compiler is not installed.
    """
    if min_mapped_percent is not None and not 0 <= min_mapped_percent <= 100:
        raise InputError(f"--min-mapped {min_mapped_percent:g}", why="must be a percentage, 0 to 100")
    model, prediction = prepare(bundle, variant)
    source = bundle.variant(variant)
    result, log = (
        compile_model(model, min_runtime_version=min_runtime_version) if compiled is None else _read_compiled(compiled)
    )
    report = _report(source, model, result, log, prediction)
    documents.write(report_path(bundle), report)
    _gate(bundle, report, min_mapped_percent)
    said = Compilation(
        report.compiler, report.mapped, report.total, report.on_chip_bytes, report.off_chip_bytes, report.source
    )
    add_compiled(bundle, source, result, said)
    return report


def report_path(bundle: Bundle) -> Path:
    """Return the path of the compilation report, such as ``RUN/bundle.edgetpu.json`` or ``flowers.edgetpu.json``."""
    return bundle.path.with_name(f"{bundle.path.stem}.edgetpu.json")


def _read_compiled(path: Path) -> tuple[bytes, Log | None]:
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="Give the compiler's output, *_edgetpu.tflite.")
    log = path.with_suffix(".log")
    return path.read_bytes(), parse_log(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else None


def _report(
    source: Variant, model: bytes, result: bytes, log: Log | None, prediction: EdgeTpuPrediction
) -> CompileReport:
    unknown = Unknown("the compiler's log is not beside the file")

    def known(value: T | None) -> T | Unknown:
        return unknown if value is None else value

    return CompileReport(
        variant=source.name + SUFFIX,
        compiler=log.version if log else unknown,
        mapped=known(log.mapped if log else None),
        total=known(log.total if log else None),
        mapped_percent=known(log.mapped_percent if log else None),
        subgraphs=known(log.subgraphs if log else None),
        on_chip_bytes=known(log.on_chip_bytes if log else None),
        on_chip_remaining_bytes=known(log.on_chip_remaining_bytes if log else None),
        off_chip_bytes=known(log.off_chip_bytes if log else None),
        operators=log.rows if log else unknown,
        prediction=PredictedMapping(prediction.mapped, prediction.total, prediction.risks),
        source=CompiledFrom(source.name, sha256_bytes(model)),
        compiled=CompiledFile(sha256_bytes(result), len(result), needs_edgetpu(result)),
    )


def _gate(bundle: Bundle, report: CompileReport, min_mapped_percent: float | None) -> None:
    place = report_path(bundle)
    rows = () if isinstance(report.operators, Unknown) else report.operators
    if not report.compiled.holds_edgetpu_operator:
        reasons = sorted({row.status for row in rows if not row.mapped})
        raise GateFailed(
            "none of the operators is mapped to the Edge TPU",
            why="; ".join(reasons) or "the compiled file holds no operator of the Edge TPU",
            hint=f"The report is in {place}; the bundle is unchanged.",
        )
    if min_mapped_percent is None:
        return
    if isinstance(report.mapped_percent, Unknown):
        raise InputError(
            "--min-mapped cannot be checked", why=report.mapped_percent.unknown, hint="Put the .log beside the file."
        )
    if report.mapped_percent < min_mapped_percent:
        left = [f"{row.count} {row.name}: {row.status}" for row in rows if not row.mapped]
        raise GateFailed(
            f"{report.mapped_percent:.1f}% of the operators are mapped, below {min_mapped_percent:g}%",
            why="; ".join(left[:3]) + ("; ..." if len(left) > 3 else ""),
            hint=f"The report is in {place}; the bundle is unchanged.",
        )
