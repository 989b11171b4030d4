"""A model file of a stranger in a child process first: ``python -m edgetl.importing.scan FORMAT FOLDER SIZE``.

HDF5, ONNX Runtime, TensorFlow and LiteRT are native code that is not made for such files: a crash here is a message
there. The file comes by stdin; what is written to stdout is a line of JSON, :class:`Scan`, and for all but Keras an
ONNX graph with static shapes and without what does not depend on the photo.
"""

from __future__ import annotations

import io
import json
import math
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from edgetl._lib import extras, reader_process
from edgetl_device._lib.documents import of_json, optional, to_json
from edgetl_device.errors import InputError
from edgetl_device.input_size import LARGEST, SMALLEST, InputSize, parse_size
from edgetl_device.text import shown

from . import saved_model_file, tflite_file
from .onnx_labels import labels_in
from .plain import MOST_OUTPUTS
from .source import Source

# A model of 100 MB takes seconds.
_TIMEOUT_S = 300.0
OPSETS = (9, 23)
_AS_FLOAT = "Convert the model to float32 (in PyTorch: model.float()), and export it again."
_SMALLER = "Export it for a smaller input."
_MOST_WEIGHTS = 1 << 31
# Integer weights become float32.
_MOST_TIMES, _MOST_MORE = 8, 1 << 26
_MOST_CONFIG = 1 << 26
_LARGE_CONFIG = f"its architecture has over {_MOST_CONFIG >> 20} MB"
_MOST_PRODUCER = 100


@dataclass(frozen=True)
class Scan:
    """What a model file says of itself.

    Attributes:
        config: Keras: the architecture, JSON as text.
        weights: Keras: the number of weights in the file.
        producer: The program that wrote it.
        opset: ONNX: its opset.
        layout: ONNX: ``nchw`` or ``nhwc``.
        size: All but Keras: height, width and channels of the input.
        batch: ONNX: whether the batch may be of any size.
        external: ONNX: names of the files beside it that held its weights.
        labels: TFLite and ONNX: the labels in its metadata.
        weights_type: TFLite: the type of its weights: ``float32``, ``float16`` or ``int8``.
        tensors: SavedModel: names of the input and the output in its graph.
    """

    config: str = optional("")
    weights: int = optional(0)
    producer: str = optional("")
    opset: int | None = optional()
    layout: str = optional("nhwc")
    size: InputSize | None = optional()
    batch: bool = optional(False)
    external: tuple[str, ...] = optional(())
    labels: tuple[str, ...] = optional(())
    weights_type: str = optional("float32")
    tensors: tuple[str, ...] = optional(())


@dataclass(frozen=True, eq=False)
class Scanned:
    """A scan with its graphs.

    Attributes:
        scan: What the file says.
        whole: The reference: the ONNX model with all its weights, in one file; the TFLite model with weights in
            float32; the GraphDef of a SavedModel.
        simplified: ONNX for a batch of 1, constants folded.
    """

    scan: Scan
    whole: bytes
    simplified: bytes


def scanned(source: Source, *, size: InputSize | None = None) -> Scanned:
    """Read a model file in a child process.

    Args:
        source: The file.
        size: Height and width of the input, for models that take any.

    Raises:
        InputError: It is damaged, or is no image classifier that edgetl can import.
    """
    extras.check_installed("h5py" if source.format in ("h5", "keras") else "onnxruntime")
    folder = str(source.path.resolve().parent)
    try:
        found = reader_process.read(
            "importing.scan", source.data, source.format, folder, str(size or ""), timeout_s=_TIMEOUT_S
        )
    except ValueError as error:
        what, _, hint = str(error).partition(" || ")
        raise InputError(
            f"{source.path}: cannot be imported", why=what[:400], hint=hint or "If it is damaged, copy it again."
        ) from None
    line, _, rest = found.partition(b"\n")
    scan = of_json(Scan, json.loads(line), name="the scan of a model file")
    length = int.from_bytes(rest[:8], "big")
    return Scanned(scan, rest[8 : 8 + length], rest[8 + length :])


class Refusal(ValueError):
    """A reason not to import, and what to do, in one text for stderr."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(f"{why} || {hint}" if hint else why)


def scan_here(data: bytes, format: str, folder: Path, size: InputSize | None) -> Scanned:
    """Scan a file in this process, which may crash; any exception means that it cannot be imported."""
    if format == "onnx":
        return _onnx(data, folder, size)
    if format in ("tflite", "saved_model"):
        try:
            return _tflite(data, folder, size) if format == "tflite" else _saved_model(data, folder, size)
        except InputError as error:
            raise Refusal(f"{error.what}: {error.why}" if error.why else error.what, error.hint) from None
    return Scanned(_h5(data) if format == "h5" else _keras(data), b"", b"")


def _h5(data: bytes) -> Scan:
    import h5py

    from edgetl.backbones.hdf5 import check_links

    with h5py.File(io.BytesIO(data), "r") as file:
        check_links(file)
        config = file.attrs.get("model_config")
        if config is None:
            raise Refusal(
                "it has weights, but no architecture",
                'Save the whole model where its code is: model.save("model.keras").',
            )
        version = file.attrs.get("keras_version", "")
        weights = _read_all(file, len(data))
    text, version = (one.decode() if isinstance(one, bytes) else str(one) for one in (config, version))
    if len(text) > _MOST_CONFIG:
        raise Refusal(_LARGE_CONFIG)
    json.loads(text)
    return Scan(config=text, weights=weights, producer=_shown(f"keras {version}"))


def _shown(producer: str) -> str:
    return shown(" ".join(producer.split())[:_MOST_PRODUCER])


def _read_all(file: Any, size: int) -> int:
    """Read every array once; return the number of the floats among their elements.

    Args:
        file: The open HDF5 file.
        size: Its bytes. Arrays may state sizes that are nowhere stored.
    """
    import h5py
    import numpy as np

    total = count = 0

    def visit(_: str, node: Any) -> None:
        nonlocal total, count
        if isinstance(node, h5py.Dataset):
            total += node.nbytes
            count += node.size if node.dtype.kind == "f" else 0
            if total > _MOST_WEIGHTS:
                raise Refusal("it has over 2 GB of weights")
            if total > size * _MOST_TIMES + _MOST_MORE:
                raise Refusal("its weights are far larger than the file")
            if not np.isfinite(np.asarray(node[()], np.float64)).all() and node.dtype.kind == "f":
                raise Refusal(f"{node.name} has NaN or infinite weights", "Import an earlier checkpoint.")

    file.visititems(visit)
    return count


def _keras(data: bytes) -> Scan:
    import h5py

    from edgetl.backbones.hdf5 import check_links

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(one.file_size for one in archive.infolist()) > _MOST_WEIGHTS:
            raise Refusal("it unpacks to over 2 GB")
        if archive.getinfo("config.json").file_size > _MOST_CONFIG:
            raise Refusal(_LARGE_CONFIG)
        config = archive.read("config.json").decode()
        about = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
        if "model.weights.h5" not in archive.namelist():
            raise Refusal("it has no model.weights.h5")
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
            check_links(file)
            weights = _read_all(file, len(data))
    json.loads(config)
    return Scan(config=config, weights=weights, producer=_shown(f"keras {about.get('keras_version', '')}"))


def _onnx(data: bytes, folder: Path, size: InputSize | None) -> Scanned:
    onnx = extras.require("onnx")
    try:
        model = onnx.load_from_string(data)
    except Exception:
        raise Refusal("it is not a valid ONNX file", "It is truncated or damaged; copy it again.") from None
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise Refusal(
            f"it has opset {opset}; edgetl reads {OPSETS[0]} to {OPSETS[1]}", "Export it with opset_version=17."
        )
    external = _load_external(model, folder)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise Refusal(
            f"it has {len(inputs)} inputs and {len(model.graph.output)} outputs; an image classifier has one of each",
            "Detectors are not supported. Export a model with the scores of the classes as its only output.",
        )
    scan = _input(inputs[0], size)
    whole = model.SerializeToString(deterministic=True) if external else data
    _fix_shapes(model, inputs[0], scan)
    onnx.checker.check_model(model)
    _check_sizes(model)
    simplified = _simplified(model.SerializeToString(), [1, *_sides(scan)], inputs[0].name)
    about = Scan(
        producer=_producer(model),
        opset=opset,
        layout=scan.layout,
        size=scan.size,
        batch=scan.batch,
        external=external,
        labels=_labels(model),
    )
    return Scanned(about, whole, simplified)


def _tflite(data: bytes, folder: Path, size: InputSize | None) -> Scanned:
    found = tflite_file.read(data)
    graph = _onnx(tflite_file.to_onnx(found.floats), folder, size)
    tflite_file.run_once(found.floats, [1, *_sides(graph.scan)])
    about = replace(graph.scan, producer="", opset=None, labels=found.labels, weights_type=found.weights_type)
    return Scanned(about, found.floats, graph.simplified)


def _saved_model(data: bytes, folder: Path, size: InputSize | None) -> Scanned:
    found = saved_model_file.read(data)
    graph = _onnx(saved_model_file.to_onnx(found, size), folder, size)
    saved_model_file.run_once(found, [1, *_sides(graph.scan)])
    about = replace(graph.scan, producer=_shown(found.producer), opset=None, tensors=(found.pixels, found.scores))
    return Scanned(about, found.graph, graph.simplified)


def _producer(model: Any) -> str:
    """Return program and version; tf2onnx adds the commit, which may be ``None``."""
    version = str(model.producer_version).split(" ")[0]
    return _shown(f"{model.producer_name} {version}")


def _labels(model: Any) -> tuple[str, ...]:
    try:
        return labels_in({one.key: one.value for one in model.metadata_props})
    except InputError as error:
        raise Refusal(error.what, "Export it again with the right labels, or with none.") from None


def _sides(scan: Scan) -> list[int]:
    assert scan.size is not None
    height, width, channels = scan.size.shape
    return [channels, height, width] if scan.layout == "nchw" else [height, width, channels]


def _load_external(model: Any, folder: Path) -> tuple[str, ...]:
    """Load weights from files beside the model, never from elsewhere; return the names of the files."""
    onnx = extras.require("onnx")
    helper = onnx.external_data_helper
    if any(tensor.DESCRIPTOR.name == "SparseTensorProto" for tensor in _tensors(model)):
        raise Refusal("it has sparse weights", "Export it with dense weights.")
    names = []
    for tensor in helper._get_all_tensors(model):
        if not helper.uses_external_data(tensor):
            continue
        name = helper.ExternalDataInfo(tensor).location
        place = folder / name
        if not name or PurePosixPath(name).name != name or place.is_symlink():
            raise Refusal(f"its weights are in {name!r}", "They must lie in a file beside the model; export it again.")
        if not place.is_file():
            raise Refusal(f"its weights are in {name}, which is not there", f"Copy {name} into the same folder.")
        names.append(name)
    if sum((folder / name).stat().st_size for name in set(names)) > _MOST_WEIGHTS:
        raise Refusal("it has over 2 GB of weights")
    if names:
        helper.load_external_data_for_model(model, str(folder))
    for tensor in _tensors(model):
        if tensor.external_data or tensor.data_location:
            # ONNX Runtime would read it.
            raise Refusal(f"{tensor.name!r} has its values in another file", "Export it with all weights in one file.")
    return tuple(sorted(set(names)))


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor of a model, dense and sparse, wherever it is."""
    messages = [model]
    while messages:
        message = messages.pop()
        if message.DESCRIPTOR.name in ("SparseTensorProto", "TensorProto"):
            yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                messages.extend([value] if hasattr(value, "ListFields") else value)


def _check_sizes(model: Any) -> None:
    """Refuse a graph for one photo with a huge tensor, before it is computed."""
    onnx = extras.require("onnx")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*inferred.value_info, *inferred.output):
        count = math.prod(side.dim_value for side in value.type.tensor_type.shape.dim if side.HasField("dim_value"))
        if count > MOST_OUTPUTS:
            raise Refusal(
                f"{value.name!r} has {count:,} values for one photo; at most {MOST_OUTPUTS:,} are computed",
                _SMALLER,
            )


def _input(value: Any, size: InputSize | None) -> Scan:
    onnx = extras.require("onnx")
    kind = value.type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        name = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise Refusal(f"its input is {name}, not float32", _AS_FLOAT)
    shape = [side.dim_value if side.HasField("dim_value") else None for side in kind.shape.dim]
    shown = ", ".join("?" if side is None else str(side) for side in shape)
    # Three channels first: no photo is three pixels high, but some models take a batch of one grey one.
    places = [place for count in (3, 1) for place in (1, 3) if len(shape) == 4 and shape[place] == count]
    if not places:
        raise Refusal(
            f"its input has shape [{shown}]; a photo is [batch, C, H, W] or [batch, H, W, C], with 3 or 1 channels C",
            "Models of other inputs than photos are not supported.",
        )
    layout, channels = "nchw" if places[0] == 1 else "nhwc", shape[places[0]]
    sides = shape[2:4] if layout == "nchw" else shape[1:3]
    asked = [size.height, size.width] if size else [None, None]
    if size and any(side not in (None, given) for side, given in zip(sides, asked, strict=True)):
        raise Refusal(f"its input has shape [{shown}], not --size {size}", "Leave out --size.")
    height, width = (side or given for side, given in zip(sides, asked, strict=True))
    if height is None or width is None:
        raise Refusal(
            f"its input has shape [{shown}]: it takes any size",
            "Give the one it was made for: --size 224, or --size HEIGHTxWIDTH.",
        )
    if not all(SMALLEST <= side <= LARGEST for side in (height, width)):
        takes = f"edgetl takes {SMALLEST} x {SMALLEST} to {LARGEST} x {LARGEST}"
        raise Refusal(f"its input is {height} x {width}; {takes}", _SMALLER if max(height, width) > LARGEST else "")
    return Scan(layout=layout, size=InputSize(height, width, 1 if channels == 1 else 3), batch=shape[0] is None)


def _fix_shapes(model: Any, value: Any, scan: Scan) -> None:
    """Make the shapes of the graph those of one photo."""
    del model.graph.value_info[:]
    for dim, side in zip(value.type.tensor_type.shape.dim, [1, *_sides(scan)], strict=True):
        dim.dim_value = side
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()  # it follows from the input


def _simplified(data: bytes, shape: list[int], name: str) -> bytes:
    """Fold what does not depend on the photo, and run the graph once: any model that cannot run is refused here."""
    import numpy as np

    runtime = extras.require("onnxruntime")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        path = Path(folder) / "simplified.onnx"
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        try:
            # It turns a product over the channels of a feature map into one of two axes, without the batch.
            disabled = ["MatMulAddFusion"]
            session = runtime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
            )
            (output,) = session.run(None, {name: np.zeros(shape, np.float32)})
        except Exception as error:  # ONNX Runtime's exceptions have no base class
            text = " ".join(str(error).split())
            raise Refusal(f"ONNX Runtime {runtime.__version__} cannot run it: {text[:250]}") from None
        if output.dtype != np.float32:
            raise Refusal(f"its output is {output.dtype}, not float32", _AS_FLOAT)
        # Constants that are computed may be larger than the file.
        if path.stat().st_size > len(data) * _MOST_TIMES + _MOST_MORE:
            raise Refusal(
                f"its constants take {path.stat().st_size / 1e6:,.0f} MB, and the file {len(data) / 1e6:,.0f} MB"
            )
        return path.read_bytes()


def _parts(found: Scanned) -> Iterator[bytes]:
    yield json.dumps(to_json(found.scan)).encode() + b"\n"
    yield len(found.whole).to_bytes(8, "big")
    yield found.whole
    yield found.simplified


def _answer(data: bytes, out: BinaryIO) -> None:
    _, format, folder, size = sys.argv
    for part in _parts(scan_here(data, format, Path(folder), parse_size(size) if size else None)):
        out.write(part)


if __name__ == "__main__":
    reader_process.serve(_answer)
