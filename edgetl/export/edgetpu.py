"""The Edge TPU variant of a bundle: predicted, compiled, gated, and added with new hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetl.export.edgetpu_variant import SUFFIX, add_compiled
from edgetl.inspection.edgetpu.compiler import Log, compile_model, parse_log
from edgetl.inspection.edgetpu.dense import per_tensor_dense
from edgetl.inspection.edgetpu.predict import EdgeTpuPrediction, predict
from edgetl_device import jsonfile
from edgetl_device.bundle import Bundle, Variant
from edgetl_device.delegates.delegate import needs_edgetpu
from edgetl_device.errors import GateFailed, InputError
from edgetl_device.files import sha256_bytes

SCHEMA = "edgetl.inspection.edgetpu-compilation/1"


def prepare(bundle: Bundle, variant: str = "int8") -> tuple[bytes, EdgeTpuPrediction]:
    """Return the file that the compiler gets for a variant, with one scale a dense layer, and its prediction.

    Raises:
        InputError: The bundle has no such variant, or it is not TFLite, or compiled already.
    """
    chosen = bundle.variant(variant)
    model = bundle.read(chosen.file)
    if chosen.format != "tflite" or needs_edgetpu(model):
        what = "compiled already" if chosen.format == "tflite" else f"in the format {chosen.format}"
        raise InputError(f"{bundle.path}: the variant {variant} is {what}", why="the compiler takes int8 TFLite files")
    prepared = per_tensor_dense(model)
    return prepared, predict(prepared)


def compile_bundle(
    bundle: Bundle,
    *,
    variant: str = "int8",
    min_mapped_percent: float | None = None,
    compiled: Path | None = None,
    min_runtime_version: int | None = None,
) -> dict[str, Any]:
    """Compile a variant and put the result into the bundle as ``<variant>-edgetpu``, replacing one of that name.

    Args:
        bundle: A folder or an ``.edgetl`` file; it changes as a whole or not at all.
        variant: An int8 TFLite variant.
        min_mapped_percent: Refuse a result with a smaller share of operators on the Edge TPU, 0 to 100. One with none
            is always refused.
        compiled: A file that was compiled elsewhere from what :func:`prepare` gives; its log is read from the same
            name with ``.log``, where there is one. By default the compiler runs here.
        min_runtime_version: As for :func:`edgetl.inspection.edgetpu.compiler.compile_model`.

    Returns:
        ``edgetl.inspection.edgetpu-compilation/1``, also written beside the bundle (:func:`report_path`).

    Raises:
        GateFailed: Too little is mapped; the report is written, the bundle is as it was.
        InputError: The variant or the compiled file is wrong, or the compiler refuses it.
        Unavailable: The compiler is not here.
    """
    if min_mapped_percent is not None and not 0 <= min_mapped_percent <= 100:
        raise InputError(f"--min-mapped {min_mapped_percent:g}", why="must be a percentage, 0 to 100")
    model, prediction = prepare(bundle, variant)
    source = bundle.variant(variant)
    result, log = (
        compile_model(model, min_runtime_version=min_runtime_version) if compiled is None else _read_compiled(compiled)
    )
    report = _report(source, model, result, log, prediction)
    place = report_path(bundle)
    jsonfile.write_json(place, report)
    _gate(bundle, report, min_mapped_percent)
    row = {key: report[key] for key in ("compiler", "mapped", "total", "on_chip_bytes", "off_chip_bytes", "source")}
    add_compiled(bundle, source, result, row)
    return report


def report_path(bundle: Bundle) -> Path:
    """Return where the report of a compilation goes: ``RUN/bundle.edgetpu.json``, ``flowers.edgetpu.json``."""
    return bundle.path.with_name(f"{bundle.path.stem}.edgetpu.json")


def _read_compiled(path: Path) -> tuple[bytes, Log | None]:
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="Give the compiler's output, *_edgetpu.tflite.")
    log = path.with_suffix(".log")
    return path.read_bytes(), parse_log(log.read_text(errors="replace")) if log.is_file() else None


def _report(
    source: Variant, model: bytes, result: bytes, log: Log | None, prediction: EdgeTpuPrediction
) -> dict[str, Any]:
    unknown = {"unknown": "the compiler's log is not beside the file"}
    said = log.to_json() if log is not None else {}
    known = {key: unknown if said.get(key) is None else said[key] for key in (
        "mapped", "total", "mapped_percent", "subgraphs", "on_chip_bytes", "on_chip_remaining_bytes", "off_chip_bytes",
    )}  # fmt: skip
    return {
        "schema": SCHEMA,
        "variant": source.name + SUFFIX,
        "compiler": log.version if log is not None else unknown,
        **known,
        "operators": said.get("rows", unknown),
        "prediction": {
            "mapped": prediction.mapped,
            "total": len(prediction.operators),
            "risks": list(prediction.risks),
        },
        "source": {"variant": source.name, "sha256": sha256_bytes(model)},
        "compiled": {
            "sha256": sha256_bytes(result),
            "bytes": len(result),
            "holds_edgetpu_operator": needs_edgetpu(result),
        },
    }


def _gate(bundle: Bundle, report: dict[str, Any], min_mapped_percent: float | None) -> None:
    place = report_path(bundle)
    if not report["compiled"]["holds_edgetpu_operator"]:
        rows = [] if isinstance(report["operators"], dict) else report["operators"]
        reasons = sorted({row["status"] for row in rows if not row["mapped"]})
        raise GateFailed(
            "none of the operators is mapped to the Edge TPU",
            why="; ".join(reasons) or "the compiled file holds no operator of the Edge TPU",
            hint=f"The report is in {place}; the bundle is as it was.",
        )
    if min_mapped_percent is None:
        return
    if isinstance(report["mapped_percent"], dict):
        raise InputError(
            "--min-mapped cannot be judged",
            why=report["mapped_percent"]["unknown"],
            hint="Put the .log beside the file.",
        )
    if report["mapped_percent"] < min_mapped_percent:
        left = [f"{row['count']} {row['name']}: {row['status']}" for row in report["operators"] if not row["mapped"]]
        raise GateFailed(
            f"{report['mapped_percent']:.1f}% of the operators are mapped, below {min_mapped_percent:g}%",
            why="; ".join(left[:3]) + ("; ..." if len(left) > 3 else ""),
            hint=f"The report is in {place}; the bundle is as it was.",
        )
