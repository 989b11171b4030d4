"""The project's promises, as far as they concern more than one module.

Tested elsewhere: raw pixels (test_run, test_int8), no leaks (test_train, test_dataset, test_quantize_pipeline), nothing
half-written (test_cli_train, test_bundling), verdicts (device/test_latency).
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benched
import numpy as np
import pytest
import small

from edgetl import cli
from edgetl.runs.directory import Run
from edgetl_device import errors
from edgetl_device.bundle import Bundle
from edgetl_device.preprocess import preprocess
from edgetl_device.runtime import open_runtime

REPO = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted([*(REPO / "edgetl").rglob("*.py"), *(REPO / "device" / "edgetl_device").rglob("*.py")])
DEVICE = [path for path in SOURCES if "edgetl_device" in path.parts]
HEAVY = {"tensorflow", "keras", "numpy", "PIL", "sklearn", "onnx", "onnxruntime", "matplotlib", "ai_edge_litert"}


def dotted(node: ast.expr) -> str:
    """Return a dotted expression as text, ``a.b.c``; parts that are not names become ``?``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


# 1. One preprocessing

PIXELS_FROM_BYTES = re.compile(
    r"Image\.(open|frombytes|frombuffer)$|ImageFile\.Parser$|\.(resize|resize_with_pad|reduce|thumbnail|draft)$"
    r"|(^|\.)(decode_(image|jpeg|png|gif|bmp)|load_img|img_to_array|imread|imdecode|image_dataset_from_directory"
    r"|Resizing|CenterCrop|exif_transpose|smart_resize)$"
)
ALLOWED = {
    "device/edgetl_device/preprocess.py": "*",
    # Reads the size in the header for the audit; its pixels come from edgetl_device.preprocess.
    # And makes thumbnails of them, to find near-duplicates; no model sees these.
    "edgetl/data/pixels.py": {"Image.open", "reference.resize"},
    # Reads the orientation in the header; the stripped file is compared using edgetl_device.preprocess.
    "device/edgetl_device/photo_metadata.py": {"Image.open"},
    # Overlays heat maps on photos for display; the photos come from edgetl_device.preprocess.
    "edgetl/reports/pictures.py": {"?.resize"},
}


def pixel_code(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Attribute, ast.Name)):
            name = dotted(node)
            # np.resize repeats an array; it does not scale pictures.
            if PIXELS_FROM_BYTES.search(name) and name != "np.resize":
                yield name


def test_bytes_become_pixels_in_one_place_only() -> None:
    for path in SOURCES:
        name = path.relative_to(REPO).as_posix()
        # Draws pictures and saves them; it reads none.
        reads_only = name.startswith("edgetl/synthetic/")
        allowed = ALLOWED.get(name, set())
        for found in pixel_code(path.read_text()):
            if allowed == "*" or found in allowed or (reads_only and "open" not in found):
                continue
            pytest.fail(f"{name} uses {found}: photos become tensors in edgetl_device.preprocess and nowhere else")


@pytest.mark.parametrize(
    "code",
    [
        "Image.open(p)",
        "PIL.Image.open(p)",
        "picture.resize((1, 1))",
        "tf.image.resize(x, s)",
        "tf.io.decode_jpeg(b)",
        "keras.utils.load_img(p)",
        "layers.Resizing(1, 1)",
    ],
)
def test_the_scan_sees_other_ways_of_reading_photos(code: str) -> None:
    assert list(pixel_code(code))


def test_training_and_device_see_the_same_pixels(tiny_run: Run, tiny_bundle: Path) -> None:
    """The pixels in training's cache equal the golden pixels, and the bundle's own preprocessing gives the same."""
    from edgetl.runs.held_out import find_photos

    bundle = Bundle.open(tiny_bundle)
    photos = find_photos(tiny_run, tiny_run.of("test"))
    for row, photo in enumerate(bundle.photos()):
        np.testing.assert_array_equal(photos.pixels[row], preprocess(bundle.read(photo.file), bundle.preprocess))
    reference = bundle.reference()
    np.testing.assert_array_equal(reference.golden_pixels, photos.pixels[list(reference.golden_rows)])


# 2. The model eats raw RGB


def test_variants_take_raw_pixels(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    pixels = preprocess(bundle.read(bundle.photos()[0].file), bundle.preprocess)
    for variant in bundle.variants:
        runtime = open_runtime(bundle.read(variant.file), variant.format)
        if variant.name == "int8":
            assert (runtime.input.dtype, runtime.input.scale, runtime.input.zero_point) == ("uint8", 1.0, 0)
        elif variant.precision == "float32":
            assert runtime.input.dtype == "float32"
        assert runtime.input.shape == (1, small.SIZE, small.SIZE, 3)
        runtime.set_input(pixels)
        runtime.invoke()
        np.testing.assert_allclose(runtime.probabilities(), bundle.reference().probabilities[0], atol=0.2)
        runtime.close()


# 3. The bundle carries its own proof, 7. Device code is light


def test_a_device_without_tensorflow_checks_itself(tiny_bundle: Path) -> None:
    done = small.python(f"""
import sys
for name in ("tensorflow", "keras", "edgetl", "typer", "rich", "matplotlib", "sklearn"):
    sys.modules[name] = None
from edgetl_device.__main__ import main
sys.exit(main(["verify", {str(tiny_bundle)!r}]))
""")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    said = " ".join(check["name"] for check in report["checks"])
    for variant in ("float32", "int8"):
        assert variant in said


def test_the_bundle_lists_everything_with_its_hash(tiny_bundle: Path) -> None:
    document = json.loads((tiny_bundle / "bundle.json").read_text())
    there = {path.relative_to(tiny_bundle).as_posix() for path in tiny_bundle.rglob("*") if path.is_file()}
    assert set(document["files"]) == there - {"bundle.json"}
    assert {"labels.txt", "reference.npz", "evalset/index.csv", "models/int8.tflite"} <= there
    with np.load(tiny_bundle / "reference.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"probabilities", "logits", "golden_rows", "golden_pixels"}


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def test_device_code_imports_numpy_pillow_and_a_runtime() -> None:
    allowed = {"numpy", "PIL", "ai_edge_litert", "tflite_runtime", "onnxruntime", "edgetl_device"}
    assert len(DEVICE) > 10
    for path in DEVICE:
        # Optional, with a fallback in ed25519.py; test_signature.py runs both.
        extras = {"cryptography"} if path.name == "signature.py" else set()
        assert imported(path) - set(sys.stdlib_module_names) <= allowed | extras, path


def test_pickle_is_nowhere() -> None:
    for path in SOURCES:
        assert not imported(path) & {"pickle", "dill", "joblib", "marshal", "shelve"}, path
        assert "allow_pickle=True" not in path.read_text(), path


# 5. No silent fallback


def test_where_the_weights_come_from_is_said(tiny_run: Run) -> None:
    weights = tiny_run.document.weights
    assert weights.source == "embedded"
    assert weights.file == "weights.npz"
    assert weights.licence


def swallows(source: str) -> Iterator[int]:
    """Yield the lines where any exception is caught and ignored, in any syntax."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            silent = all(
                isinstance(line, ast.Pass | ast.Continue | ast.Break)
                or (isinstance(line, ast.Return) and isinstance(line.value, ast.Constant | None))
                or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
                for line in node.body
            )
            if node.type is None or (silent and any(map(is_broad, types_of(node.type)))):
                yield node.lineno
        elif (
            isinstance(node, ast.Call)
            and dotted(node.func).rpartition(".")[2] == "suppress"
            and any(is_broad(kind) for argument in node.args for kind in types_of(argument))
        ):
            yield node.lineno


def types_of(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def is_broad(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute | ast.Name) and dotted(node).rpartition(".")[2] in (
        "Exception",
        "BaseException",
    )


def test_errors_are_never_swallowed_whole() -> None:
    for path in SOURCES:
        for line in swallows(path.read_text()):
            pytest.fail(f"{path}:{line} forgets every error")


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("try: f()\nexcept: raise", True),
        ("try: f()\nexcept Exception: pass", True),
        ("try: f()\nexcept (ValueError, Exception): ...", True),
        ("for x in y:\n try: f()\n except BaseException: continue", True),
        ("def g():\n try: f()\n except Exception: return None", True),
        ("with suppress(Exception): f()", True),
        ("with contextlib.suppress(OSError, BaseException): f()", True),
        ("with suppress(builtins.Exception): f()", True),
        ("with suppress(OSError): f()", False),
        ("try: f()\nexcept ValueError: pass", False),
        ("try: f()\nexcept Exception as error: say(error)", False),
        ("try: f()\nexcept BaseException:\n close()\n raise", False),
    ],
)
def test_the_scan_sees_errors_that_are_swallowed(code: str, seen: bool) -> None:
    assert bool(list(swallows(code))) == seen


def test_what_fails_while_photos_are_decoded_is_what_is_raised() -> None:
    from edgetl.training.pipeline import _while_importing

    # As a library that failed to load: the second attempt fails with an unhelpful error.
    errors = [ImportError("libcudart.so.12: cannot open shared object file"), ImportError("partially initialized")]

    def load() -> None:
        raise errors.pop(0)

    done = []
    with pytest.raises(ImportError, match="libcudart"), _while_importing(load):
        done.append("decoded")
    assert done == ["decoded"]


# 8. A measurement has a verdict, and unlike ones refuse to be compared


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document["evalset"]["photos"][0].update(sha256="0" * 64), "different held-out photos"),
        (lambda document: document["bundle"]["preprocess"].update(size=64), "different preprocessing"),
        (lambda document: document["bundle"].update(labels=["disc", "square", "triangle"]), "different labels"),
        (
            lambda document: document["runs"][1]["verdict"].update(status="invalid", reasons=["throttling"]),
            "throttling",
        ),
    ],
)
def test_unlike_measurements_refuse_to_be_compared(tmp_path: Path, change: Any, said: str) -> None:
    files = [benched.save(tmp_path / "before.json"), benched.save(tmp_path / "after.json", change)]
    done = small.edgetl("compare", *files, "--format", "csv")
    assert said in small.refused(done)
    assert done.stdout == ""


# Commands


def commands() -> list[tuple[str, ...]]:
    import typer

    group = typer.main.get_command(cli.app)
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [(name, one) for one in inner] if inner else [(name,)]
    return found


@pytest.mark.parametrize("command", [(), *commands()], ids=" ".join)
def test_help_has_an_example_and_loads_nothing_heavy(command: tuple[str, ...]) -> None:
    words = ["edgetl", *command, "--help"]
    done = small.python(f"""
import sys
sys.argv = {words!r}
from edgetl.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
heavy = {HEAVY!r} & set(sys.modules)
sys.exit(f"loaded: {{heavy}}" if heavy else code)
""")
    assert done.returncode == 0, done.stderr
    if command:
        assert f"Example: edgetl {' '.join(command)}" in done.stdout
    else:
        for name in ("data", "train", "evaluate", "quantize", "export", "bench", "compare", "classify", "verify"):
            assert re.search(rf"^\W*{name}\b", done.stdout, re.MULTILINE), name


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        ("InputError('what', why='why', hint='hint')", 2, "error: what\nwhy\nhint\n"),
        ("InputError('what\\nmore', why='why\\nagain')", 2, "error: what more\nwhy again\n"),
        ("GateFailed('missed')", 3, "error: missed\n"),
        ("Unavailable('lacking')", 4, "error: lacking\n"),
        ("OSError(errno.ENOSPC, 'No space left on device', 'f')", 4, "error: f: could not be written"),
        ("FileNotFoundError(errno.ENOENT, 'none', 'f')", 2, "error: f: no such file"),
        ("PermissionError(errno.EACCES, 'Permission denied', 'f')", 2, "error: f: Permission denied"),
        ("IsADirectoryError(errno.EISDIR, 'Is a directory', 'f')", 2, "error: f: Is a directory"),
        ("OSError(errno.EIO, 'Input/output error', 'f')", 4, "error: f: Input/output error"),
        ("OSError(errno.EROFS, 'Read-only file system', 'f')", 4, "error: f: Read-only file system"),
        ("OSError(errno.ESTALE, 'Stale file handle', 'f')", 4, "error: f: Stale file handle"),
        ("OSError(errno.EMFILE, 'Too many open files')", 4, "error: Too many open files"),
        ("OSError(errno.ENETUNREACH, 'Network is unreachable')", 4, "error: Network is unreachable"),
        ("ConnectionRefusedError(errno.ECONNREFUSED, 'Connection refused')", 4, "error: Connection refused"),
        ("TimeoutError('timed out')", 4, "error: timed out"),
        ("__import__('socket').gaierror(-2, 'Name or service not known')", 4, "error: Name or service not known"),
        # Its errno is 1: an OpenSSL code, which is EPERM in the system's numbering.
        ("__import__('ssl').SSLError(1, 'certificate verify failed')", 4, "error: certificate verify failed"),
        ("__import__('urllib.error').error.URLError('no route')", 4, "no route"),
        ("OSError('of nobody knows what')", 1, "Traceback"),
        ("OSError(errno.EINVAL, 'Invalid argument')", 1, "Traceback"),
        ("KeyboardInterrupt()", 130, ""),
        ("ZeroDivisionError('oh')", 1, "Traceback"),
        ("None", 0, ""),
    ],
)
def test_exit_codes(raised: str, code: int, said: str) -> None:
    done = small.python(f"""
import errno, sys
from edgetl import cli
from edgetl_device.errors import GateFailed, InputError, Unavailable

@cli.app.command("fail")
def fail() -> None:
    error = {raised}
    if error is not None:
        raise error

sys.argv = ["edgetl", "fail"]
cli.main()
""")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    if code == 1:
        assert "Please report it" in done.stderr
    else:
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 3


def test_a_failing_disk_is_no_damaged_file() -> None:
    """Linux returns EIO for reading this file from its start, as for a failing disk."""
    from edgetl.data.pixels import hash_files
    from edgetl.training.checkpoint import CheckpointFile

    failing = Path("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error"):
        hash_files([failing])
    with pytest.raises(OSError, match="Input/output error"):
        CheckpointFile(failing, {}).load()


def test_error_classes_carry_the_codes_of_the_table() -> None:
    codes = {"EdgetlError": 1, "InputError": 2, "GateFailed": 3, "Unavailable": 4}
    assert {name: getattr(errors, name).exit_code for name in codes} == codes


def test_a_reader_that_goes_away_is_no_defect(tiny_bundle: Path) -> None:
    command = f"{sys.executable} -m edgetl inspect {tiny_bundle} --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
