"""Export TFLite as C source and header for microcontrollers: aligned array, labels, quantization, arena size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetl import __version__
from edgetl._lib.owned import WRITTEN_BY, check_written
from edgetl.inspection.tflite.file import Tensor, TFLiteModel, describe
from edgetl.inspection.tflite.micro import PACKAGE, Arena
from edgetl_device._lib.files import atomic_path, sha256_bytes
from edgetl_device.errors import InputError
from edgetl_device.text import shown

# Alignment that TensorFlow Lite for Microcontrollers requires of model and arena.
ALIGNMENT_BYTES = 16
SOURCE_SUFFIXES = (".c", ".cc", ".cpp")
_BYTES_A_LINE = 16


@dataclass(frozen=True)
class CArray:
    """Text of source and header, and the prefix of their identifiers."""

    name: str
    header: str
    source: str


def c_array(model: bytes, *, name: str, labels: Sequence[str], arena: Arena) -> CArray:
    """Return a TFLite image classifier as source that is valid C99 and C++.

    Args:
        model: A TFLite file with one input [1, height, width, channels] and one output [1, classes].
        name: Prefix of all identifiers; converted to a valid one if needed.
        labels: Class names, in the order of the output.
        arena: Result of :func:`edgetl.inspection.tflite.micro.measure_arena`.

    Raises:
        InputError: The model is damaged or not such a classifier.
    """
    found = describe(model)
    source, result = _ends(found, len(labels))
    identifier = _identifier(name)
    header = _header(identifier, model, found, source, result, labels, arena)
    return CArray(identifier, header, _source(identifier, model, labels))


def write_c_array(array: CArray, target: Path) -> Path:
    """Write ``target`` and the header beside it, and return the header's path. Neither appears until both are written.

    Raises:
        InputError: ``target`` does not end with .c, .cc or .cpp, or the header beside it is not edgetl's.
    """
    check_target(target)
    header = target.with_suffix(".h")
    with atomic_path(header) as temporary_header, atomic_path(target) as temporary_source:
        temporary_header.write_text(array.header, encoding="ascii")
        # Everything except the name of the header is ASCII.
        temporary_source.write_text(f'#include "{header.name}"\n\n{array.source}', encoding="utf-8")
    return header


def check_target(target: Path) -> None:
    """Check that a path is a C or C++ source file whose header would not overwrite a foreign one.

    Raises:
        InputError: It does not end with .c, .cc or .cpp, or the header beside it is not edgetl's.
    """
    if target.suffix not in SOURCE_SUFFIXES:
        raise InputError(f"{target}: not a C source file", hint=f"Choose a name that ends with {SOURCE_SUFFIXES[0]}.")
    if shown(target.name) != target.name or set(target.name) & set('"\\'):
        raise InputError(
            f"{target}: its name cannot be used in an #include",
            hint="Choose one without quotes, backslashes and control characters.",
        )
    check_written(target.with_suffix(".h"), hint="Choose another name with --out.")


def _ends(model: TFLiteModel, classes: int) -> tuple[Tensor, Tensor]:
    inputs, outputs = ([model.tensors[index] for index in side] for side in (model.inputs, model.outputs))
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or outputs[0].shape[-1:] != (classes,):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (*inputs, *outputs))
        raise InputError(f"a model from and to {shapes}", why=f"an image classifier of {classes} classes is needed")
    return inputs[0], outputs[0]


def _header(
    name: str,
    model: bytes,
    found: TFLiteModel,
    source: Tensor,
    result: Tensor,
    labels: Sequence[str],
    arena: Arena,
) -> str:
    upper = name.upper()
    _, height, width, channels = source.shape
    operators = " ".join(sorted({operator.name for operator in found.operators}))
    lines = [
        f"/* {WRITTEN_BY} {__version__}. Do not edit: export the model again.",
        f" * SHA-256 of the model: {sha256_bytes(model)}",
        f" * Operators for the resolver: {_comment(operators)}",
        " */",
        f"#ifndef {upper}_H_",
        f"#define {upper}_H_",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"/* The TFLite file; its address is a multiple of {ALIGNMENT_BYTES}. */",
        f"#define {upper}_MODEL_BYTES {len(model)}",
        f"extern const unsigned char {name}_model[{upper}_MODEL_BYTES];",
        f"extern const size_t {name}_model_bytes;",
        "",
        f"/* Input: {_form(source)}, one photo {'in grey' if channels == 1 else 'as RGB'}, rows from the top. */",
        f"#define {upper}_INPUT_HEIGHT {height}",
        f"#define {upper}_INPUT_WIDTH {width}",
        f"#define {upper}_INPUT_CHANNELS {channels}",
        *_grid(f"{upper}_INPUT", source),
        "",
        f"/* Output: {_form(result)}, one probability a class. */",
        *_grid(f"{upper}_OUTPUT", result),
        f"#define {upper}_CLASSES {len(labels)}",
        "/* UTF-8, in the order of the output. */",
        f"extern const char *const {name}_labels[{upper}_CLASSES];",
        "",
        *_arena(upper, arena),
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        f"#endif /* {upper}_H_ */",
    ]
    return "\n".join(lines) + "\n"


def _source(name: str, model: bytes, labels: Sequence[str]) -> str:
    upper, digits = name.upper(), model.hex()
    hexes = [f"0x{digits[place : place + 2]}" for place in range(0, len(digits), 2)]
    rows = (", ".join(hexes[start : start + _BYTES_A_LINE]) for start in range(0, len(hexes), _BYTES_A_LINE))
    array = ",\n  ".join(rows)
    quoted = ",\n  ".join(_quoted(label) for label in labels)
    # Clang and GCC have the attribute in every version of C and C++; others need C11 or C++11.
    return f"""#if defined(__GNUC__) || defined(__clang__)
#define {upper}_ALIGNED __attribute__((aligned({ALIGNMENT_BYTES})))
#elif defined(__cplusplus)
#define {upper}_ALIGNED alignas({ALIGNMENT_BYTES})
#else
#define {upper}_ALIGNED _Alignas({ALIGNMENT_BYTES})
#endif

{upper}_ALIGNED const unsigned char {name}_model[{upper}_MODEL_BYTES] = {{
  {array}
}};
const size_t {name}_model_bytes = sizeof {name}_model;

const char *const {name}_labels[{upper}_CLASSES] = {{
  {quoted}
}};
"""


def _form(tensor: Tensor) -> str:
    text = f"{tensor.dtype} [{', '.join(map(str, tensor.shape))}]"
    return f"{text}, real = scale * (value - zero point)" if tensor.scales else text


def _grid(prefix: str, tensor: Tensor) -> list[str]:
    if not tensor.scales:
        return []
    zero_point = tensor.zero_points[0] if tensor.zero_points else 0
    # Nine significant digits represent any float32 exactly.
    scale = f"{tensor.scales[0]:.9g}"
    if not re.search(r"[.e]", scale):
        scale += ".0"
    return [f"#define {prefix}_SCALE {scale}f", f"#define {prefix}_ZERO_POINT {zero_point}"]


def _arena(upper: str, arena: Arena) -> list[str]:
    if arena.bytes is None:
        return [
            f"/* arena: not measured ({_comment(arena.why)}).",
            f" * Install {PACKAGE} where edgetl runs (pip install {PACKAGE}) and export again; or give the interpreter",
            " * plenty on the device and read MicroInterpreter::arena_used_bytes() after AllocateTensors().",
            " */",
        ]
    return [
        f"/* The smallest tensor arena, measured with {arena.measured_by} on a 64-bit machine;",
        f" * 32-bit ones need a little less. Align it to {ALIGNMENT_BYTES} bytes.",
        " */",
        f"#define {upper}_ARENA_BYTES {arena.bytes}",
    ]


def _identifier(name: str) -> str:
    made = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_").lower() or "model"
    return f"model_{made}" if made[0].isdigit() else made


def _comment(text: str) -> str:
    """Make text safe inside a C comment: operator names come from the model."""
    return shown(text).encode("ascii", "replace").decode().replace("*/", "* /").replace("/*", "/ *")


def _quoted(label: str) -> str:
    """Return an ASCII C string literal with three-digit octal escapes (hexadecimal ones have no fixed length)."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in label.encode()
    )
    return f'"{plain}"'
