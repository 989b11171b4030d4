"""Run ``edgetpu_compiler`` on a file and parse its log.

The compiler is Google's, closed-source, and exists for x86-64 Linux only.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgetl_device._lib.documents import Count
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.text import GUIDES

PROGRAM = "edgetpu_compiler"

# As in coral.ai/docs/edgetpu/compiler, but with the key in a file: Debian 13 has no apt-key.
HOW_TO_GET = """\
How to get edgetpu_compiler, which exists for x86-64 Linux only. On Debian or Ubuntu:
  curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo gpg --dearmor -o /etc/apt/keyrings/coral.gpg
  echo "deb [signed-by=/etc/apt/keyrings/coral.gpg] https://packages.cloud.google.com/apt coral-edgetpu-stable main" \\
    | sudo tee /etc/apt/sources.list.d/coral-edgetpu.list
  sudo apt update && sudo apt install edgetpu-compiler
Elsewhere: edgetl compile BUNDLE --edgetpu --prepare model.tflite, then compile that file
  in Docker: docker run --rm -it --platform linux/amd64 -v "$PWD:/work" -w /work debian:bookworm, and there as above
  or in Colab: https://colab.research.google.com/github/google-coral/tutorials/blob/master/compile_for_edgetpu.ipynb
and bring it back with: edgetl compile BUNDLE --edgetpu --compiled model_edgetpu.tflite
"""

_MAPPED = "Mapped to Edge TPU"
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIMEOUT_S = 900.0
# Longest number that it prints.
_DIGITS = r"\d{1,15}"

# Its failure messages; several may occur together.
_FAILURES = (
    r"ERROR: (?!Registration failed)(.+)",
    r"Compilation failed: (.+)",
    r"Invalid model: .+\n(.+)",
    r"(Internal compiler error)",
)


@dataclass(frozen=True)
class OperatorStatus:
    """One line of the log's table.

    Attributes:
        name: Operator type.
        count: Number of operators of this type with this status.
        status: The compiler's description of the status.
        mapped: Whether the Edge TPU runs them.
    """

    name: str
    count: Count
    status: str
    mapped: bool


@dataclass(frozen=True)
class Log:
    """The compiler's report on one model. Sizes are rounded by the compiler, and None if the log has none.

    Attributes:
        version: Version of the compiler.
        rows: The table of operators; empty without ``--show_operations``.
        total: Operators in the model.
        mapped: Operators that the Edge TPU runs.
        subgraphs: Partitions on the Edge TPU.
        on_chip_bytes: Parameters kept in the Edge TPU's memory.
        on_chip_remaining_bytes: Free memory on the Edge TPU.
        off_chip_bytes: Parameters streamed for every photo.
        failure: Why compilation failed, or "".
    """

    version: str
    rows: tuple[OperatorStatus, ...]
    total: int | None
    mapped: int | None
    subgraphs: int | None
    on_chip_bytes: int | None
    on_chip_remaining_bytes: int | None
    off_chip_bytes: int | None
    failure: str

    @property
    def mapped_percent(self) -> float | None:
        """Percentage of the operators that the Edge TPU runs, 0 to 100; None if the log does not say."""
        return None if self.mapped is None or not self.total else 100 * self.mapped / self.total


def parse_log(text: str) -> Log:
    """Parse the output of ``edgetpu_compiler``, its ``.log`` file, or both in one text.

    After several attempts (``--search_delegate``) the last one counts.

    Raises:
        InputError: The text is not a log of the compiler.
    """
    version = _last(r"Edge TPU Compiler version (\S+)", text)
    if version is None:
        raise InputError("not a log of edgetpu_compiler", why="it does not name the compiler's version")
    rows = _rows(text)
    total, on_tpu = _number("Total number of operations", text), _number(r"Number of operations .* on Edge TPU", text)
    failures = [why.strip() for pattern in _FAILURES for why in re.findall(pattern, text)]
    output = re.search(r"^Output(?: model)?: ", text, re.MULTILINE)
    if rows:
        total, on_tpu = sum(row.count for row in rows), sum(row.count for row in rows if row.mapped)
    elif on_tpu is None and output:
        on_tpu = total  # printed only when the model is partitioned
    return Log(
        version=version,
        rows=rows,
        total=total,
        mapped=on_tpu,
        subgraphs=_number("Number of Edge TPU subgraphs", text),
        on_chip_bytes=_size("On-chip memory used for caching model parameters", text),
        on_chip_remaining_bytes=_size("On-chip memory remaining for caching model parameters", text),
        off_chip_bytes=_size("Off-chip memory used for streaming uncached model parameters", text),
        failure="" if output else "; ".join(dict.fromkeys(failures)) or "it gives no reason",
    )


def compile_model(model: bytes, *, min_runtime_version: int | None = None) -> tuple[bytes, Log]:
    """Compile a TFLite file and return the result with the log.

    Args:
        model: An int8 TFLite file.
        min_runtime_version: Runtime version, such as 13, of a device whose libedgetpu is older than the compiler.

    Raises:
        InputError: The compiler refuses the file.
        Unavailable: The compiler is not installed, cannot run here, or hangs.
    """
    program = find_compiler()
    with tempfile.TemporaryDirectory(prefix="edgetl-edgetpu-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        command = [program, "--show_operations", "--out_dir", name]
        command += [] if min_runtime_version is None else ["--min_runtime_version", str(min_runtime_version)]
        try:
            done = subprocess.run(
                [*command, str(folder / "model.tflite")],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{PROGRAM} took over {_TIMEOUT_S:.0f} s", hint="Try a smaller model.") from None
        except OSError as error:
            raise Unavailable(f"{program} cannot be started", why=str(error), hint="It is for x86-64 Linux.") from None
        printed = done.stdout.decode(errors="replace")
        compiled = folder / "model_edgetpu.tflite"
        log = _log_of(printed)
        if done.returncode != 0 or not compiled.is_file():
            raise InputError(
                f"{PROGRAM} rejects the model (exit code {done.returncode})",
                why=log.failure,
                hint="edgetl inspect --edgetpu MODEL shows what the Edge TPU can run.",
            )
        return compiled.read_bytes(), log


def find_compiler() -> str:
    """Return the path of ``edgetpu_compiler``.

    Raises:
        Unavailable: It is not on ``PATH``; :data:`HOW_TO_GET` has full instructions.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        machine = platform.machine()
        raise Unavailable(
            f"{PROGRAM} is not installed here",
            why=f"it exists for x86-64 Linux only, and this is {machine}" if machine != "x86_64" else "not on PATH",
            hint=f"sudo apt install edgetpu-compiler from Coral's source, or Docker, or Colab: {GUIDES}/coral.md",
        )
    return program


def _log_of(printed: str) -> Log:
    try:
        return parse_log(printed)
    except InputError:
        return Log(
            "unknown", (), None, None, None, None, None, None, " ".join(printed.split()[-30:]) or "it printed nothing"
        )


def _rows(text: str) -> tuple[OperatorStatus, ...]:
    # Output and .log file both contain the table, so a text with both has it twice.
    table = re.split(r"^Operator\s+Count\s+Status\s*$", text, flags=re.MULTILINE)
    if len(table) == 1:
        return ()
    rows = []
    for line in table[-1].splitlines():
        if match := re.fullmatch(rf"(\S+)\s+({_DIGITS})\s{{2,}}(\S.*)", line.strip()):
            status = match[3].strip()
            rows.append(OperatorStatus(match[1], int(match[2]), status, mapped=status == _MAPPED))
        elif rows and line.strip():
            break
    return tuple(rows)


def _last(pattern: str, text: str) -> str | None:
    found = re.findall(pattern, text)
    return found[-1] if found else None


def _number(label: str, text: str) -> int | None:
    found = _last(rf"{label}: ({_DIGITS})\b", text)
    return None if found is None else int(found)


def _size(label: str, text: str) -> int | None:
    number = rf"{_DIGITS}(?:\.{_DIGITS})?"
    found = _last(rf"{label}: ({number}[KMG]?i?B)", text)
    if found is None:
        return None
    match = re.fullmatch(rf"({number})(B|KiB|MiB|GiB)", found)
    return None if match is None else round(float(match[1]) * _UNITS[match[2]])
