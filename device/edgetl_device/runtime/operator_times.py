"""Times of a model's operators by LiteRT's own profiler, which only the C interface of compiled models has.

``python -m edgetl_device.runtime.operator_times THREADS SECONDS DELEGATE`` reads a TFLite model from stdin and prints
JSON. It is a process of its own: the interface has no stable ABI, and a wrong call ends the process. Signatures and
structs are those of LiteRT 2.3 (``litert/c`` in its sources).
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgetl_device.errors import Unavailable

LIBRARY = "libLiteRt.so"
_PACKAGE = "ai_edge_litert"
_CPU = 1
_WRITE = 1
# Types of events: an operator of LiteRT's own, and one of XNNPACK. Others are of whole inferences or internal.
_OPERATORS = (1 << 1, 1 << 3)
# XNNPACK's own name in LiteRT's list of operators, where it may be listed as one.
_WHOLE_DELEGATE = "TfLiteXNNPackDelegate"
_WARM_UP_S, _LEAST, _ROUND = 0.2, 20, 5
# Every byte of the input: 64 as an integer, 3.0 as a float.
_INPUT_BYTE = 0x40
# The other bits of the field say whether there are strides.
_RANK = 0x7F
_VOID = ctypes.c_void_p
_DESTRUCTOR = ctypes.CFUNCTYPE(None, _VOID)


class _Memory(ctypes.Structure):
    _fields_ = [("footprint_kb", ctypes.c_int64), ("allocated", ctypes.c_int64), ("in_use", ctypes.c_int64)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", _Memory),
        ("memory_after", _Memory),
        ("metadata1", ctypes.c_uint64),
        ("metadata2", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class _TensorType(ctypes.Structure):
    _fields_ = [
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("sizes", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
        # In case that it grows.
        ("more", ctypes.c_uint64 * 16),
    ]

    def fix_sizes(self) -> bool:
        """Set sizes that are open, such as the batch, to 1; return whether there were any."""
        opened = [place for place in range(self.rank & _RANK) if self.sizes[place] < 0]
        for place in opened:
            self.sizes[place] = 1
        return bool(opened)


def library() -> Path:
    """Return the path of LiteRT's C library.

    Raises:
        Unavailable: ``ai-edge-litert`` is not installed, or has no such library.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise Unavailable(
            "times of operators: ai-edge-litert is not installed",
            why="no other runtime has a profiler that edgetl can read",
            hint="Install ai-edge-litert, or leave {profile} out.",
            options={"profile": True},
        )
    path = Path(found.origin).parent / LIBRARY
    if not path.is_file():
        raise Unavailable(
            f"times of operators: ai-edge-litert has no {LIBRARY}",
            why="its profiler is in there, from version 2 on",
            hint="Update ai-edge-litert, or leave {profile} out.",
            options={"profile": True},
        )
    return path


class _Compiled:
    """A model compiled for the CPU, with its profiler. It is never freed: the process ends."""

    def __init__(self, model: bytes, threads: int, *, xnnpack: bool) -> None:
        self._library = ctypes.CDLL(str(library()))
        self._kept: list[Any] = [ctypes.create_string_buffer(model, len(model))]
        self._environment = self._made("LiteRtCreateEnvironment", 0, None)
        opened = self._made(
            "LiteRtCreateModelFromBuffer", self._environment, self._kept[0], ctypes.c_size_t(len(model))
        )
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add(options, "runtime_options_string", "enable_profiling = true\n")
        kernels = "xnnpack" if xnnpack else "builtin"
        self._add(options, "xnnpack", f'num_threads = {threads}\nkernel_mode = "{kernels}"\n')
        self._model = self._made("LiteRtCreateCompiledModel", self._environment, opened, options)
        self._signature = self._made("LiteRtGetModelSignature", opened, ctypes.c_size_t(0))
        self._inputs, self._outputs = self._buffers("Input"), self._buffers("Output")
        for buffer in self._inputs:
            self._fill(buffer)
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._model)

    def run(self) -> None:
        """Run the model once."""
        first = ctypes.c_size_t(0)
        given = (ctypes.c_size_t(len(self._inputs)), (_VOID * len(self._inputs))(*self._inputs))
        taken = (ctypes.c_size_t(len(self._outputs)), (_VOID * len(self._outputs))(*self._outputs))
        self._call("LiteRtRunCompiledModel", self._model, first, *given, *taken)

    def profiled(self) -> list[tuple[str, int]]:
        """Run the model once; return the name and the microseconds of each operator, in order."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self.run()
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(1, count.value))()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        found = [
            (event.tag.decode("utf-8", "replace"), int(event.elapsed_us))
            for event in events[: count.value]
            if event.type in _OPERATORS and event.tag
        ]
        return [one for one in found if one[0] != _WHOLE_DELEGATE]

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise OSError(f"{name} failed with status {status}")

    def _made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        made = _VOID()
        self._call(name, *arguments, ctypes.byref(made))
        return made

    def _add(self, options: ctypes.c_void_p, name: str, toml: str) -> None:
        payload, nothing = ctypes.create_string_buffer(toml.encode()), _DESTRUCTOR(lambda _: None)
        self._kept += [payload, nothing]
        one = self._made("LiteRtCreateOpaqueOptions", name.encode(), ctypes.cast(payload, _VOID), nothing)
        self._call("LiteRtAddOpaqueOptions", options, one)

    def _buffers(self, kind: str) -> list[ctypes.c_void_p]:
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{kind}s", self._signature, ctypes.byref(count))
        made = []
        for place in map(ctypes.c_size_t, range(count.value)):
            tensor = self._made(f"LiteRtGetSignature{kind}TensorByIndex", self._signature, place)
            kind_of = _TensorType()
            self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(kind_of))
            if kind_of.fix_sizes() and kind == "Input":
                rank = kind_of.rank & _RANK
                sizes = (ctypes.c_int * rank)(*kind_of.sizes[:rank])
                first = ctypes.c_size_t(0)
                self._call(
                    "LiteRtCompiledModelResizeInputTensor", self._model, first, place, sizes, ctypes.c_size_t(rank)
                )
            required = self._made(
                f"LiteRtGetCompiledModel{kind}BufferRequirements", self._model, ctypes.c_size_t(0), place
            )
            made.append(
                self._made(
                    "LiteRtCreateManagedTensorBufferFromRequirements",
                    self._environment,
                    ctypes.byref(kind_of),
                    required,
                )
            )
        return made

    def _fill(self, buffer: ctypes.c_void_p) -> None:
        size, place = ctypes.c_size_t(), _VOID()
        self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
        self._call("LiteRtLockTensorBuffer", buffer, ctypes.byref(place), _WRITE)
        ctypes.memset(place, _INPUT_BYTE, size.value)
        self._call("LiteRtUnlockTensorBuffer", buffer)


def _interpreter(model: bytes, threads: int, *, xnnpack: bool) -> Callable[[], None]:
    from .litert import LITERT, tflite_module

    _, module = tflite_module(LITERT)
    kinds = module.OpResolverType
    interpreter = module.Interpreter(
        model_content=model,
        num_threads=threads,
        experimental_op_resolver_type=kinds.AUTO if xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    run: Callable[[], None] = interpreter.invoke
    return run


@dataclass(frozen=True)
class Measured:
    """Times of operators and of whole inferences, measured in turns.

    Attributes:
        operators: Names and mean milliseconds, in the middle half of the inferences by their total.
        inferences: Number of profiled inferences.
        interpreter_ms: The median of inferences by the interpreter, which has no profiler.
    """

    operators: tuple[tuple[str, float], ...]
    inferences: int
    interpreter_ms: float


def measure(model: bytes, threads: int, seconds: float, *, xnnpack: bool) -> Measured:
    """Time operators and whole inferences in turns.

    Args:
        model: The bytes of a TFLite file.
        threads: CPU threads.
        seconds: How long to measure, after warming up.
        xnnpack: Use XNNPACK's kernels where it has some, else LiteRT's own.

    Raises:
        OSError: A call of LiteRT failed, or its profiler contradicts itself.
    """
    compiled = _Compiled(model, threads, xnnpack=xnnpack)
    invoke = _interpreter(model, threads, xnnpack=xnnpack)
    ends = time.perf_counter() + _WARM_UP_S
    while time.perf_counter() < ends:
        compiled.run()
        invoke()
    runs: list[list[tuple[str, int]]] = []
    whole_ns: list[int] = []
    ends = time.perf_counter() + seconds
    while len(runs) < _LEAST or time.perf_counter() < ends:
        runs += [compiled.profiled() for _ in range(_ROUND)]
        for _ in range(_ROUND):
            started = time.perf_counter_ns()
            invoke()
            whole_ns.append(time.perf_counter_ns() - started)
    names = [name for name, _ in runs[0]]
    if not names or any([name for name, _ in one] != names for one in runs):
        raise OSError("the profiler lists other operators in each inference, or none")
    runs.sort(key=lambda one: sum(us for _, us in one))
    middle = runs[len(runs) // 4 : -(len(runs) // 4)]
    means = [sum(one[place][1] for one in middle) / len(middle) / 1000 for place in range(len(names))]
    operators = tuple(zip(names, means, strict=True))
    return Measured(operators, len(runs), sorted(whole_ns)[len(whole_ns) // 2] / 1e6)


def _main(threads: str, seconds: str, delegate: str) -> None:
    found = measure(sys.stdin.buffer.read(), int(threads), float(seconds), xnnpack=delegate != "none")
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
