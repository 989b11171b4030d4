"""Models that edgetl did not train, tiny, and what the import makes of them. For tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgetl._lib.extras import keras
from edgetl.backbones.spec import Scaling
from edgetl.importing import plain
from edgetl.importing.inputs import feed
from edgetl.importing.keras_graph import flat_network
from edgetl.importing.onnx_graph import network_of
from edgetl.importing.original import KerasOriginal, OnnxOriginal
from edgetl.importing.pipeline import graph_of
from edgetl.importing.scan import Scanned, scan_here
from edgetl.importing.source import open_source
from edgetl_device.input_size import InputSize, square

SIZE = 32
UNIT = Scaling((1 / 255,), (0.0,))


def pixels(count: int = 4, size: InputSize = square(SIZE)) -> npt.NDArray[np.uint8]:  # noqa: B008  # frozen
    """Return random photos, each of another colour, uint8 [count, H, W, C]."""
    random = np.random.default_rng(0)
    tints = random.uniform(0, 200, (count, 1, 1, size.channels))
    noise = random.uniform(0, 55, (count, *size.shape))
    return (tints + noise).astype(np.uint8)


def randomized(model: Any, seed: int = 0) -> Any:
    """Give every variable of a Keras model a value of its own, so that no mistake in one can hide."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance", "variance") else (-0.3, 0.3)
        if variable.dtype == "float32":
            variable.assign(random.uniform(low, high, variable.shape))
    return model


def import_keras(model: Any, *, size: InputSize | None = None, scaling: Scaling | None = UNIT) -> plain.Finished:
    """Convert a Keras model as the import does, and check that it puts out what the original does."""
    flat = flat_network(model, size=size, shown=Path("theirs.keras"))
    return _checked(flat.network, KerasOriginal(model), flat.size, scaling)


def scan_onnx(model: onnx.ModelProto, *, size: InputSize | None = None) -> Scanned:
    """Scan an ONNX model in this process."""
    return scan_here(model.SerializeToString(), "onnx", Path("/nowhere"), size)


def import_onnx(model: onnx.ModelProto, *, scaling: Scaling | None = UNIT) -> plain.Finished:
    """Convert an ONNX model as the import does, and check that it puts out what ONNX Runtime does."""
    found = scan_onnx(model)
    scan, nchw = found.scan, found.scan.layout == "nchw"
    assert scan.size is not None
    network = network_of(found.simplified, nchw=nchw, size=scan.size, shown="theirs.onnx").network
    original = OnnxOriginal(found.whole, nchw=nchw, batch=scan.batch)
    return _checked(network, original, scan.size, scaling)


def import_file(path: Path, *, scaling: Scaling | None = UNIT) -> plain.Finished:
    """Convert a TFLite file or SavedModel as the import does, and check that it puts out what its own runtime does."""
    source = open_source(path)
    loaded = graph_of(source, scan_here(source.data, source.format, path.parent, None))
    return _checked(loaded.network, loaded.original, loaded.size, scaling)


def _checked(network: Any, original: Any, size: InputSize, scaling: Scaling | None) -> plain.Finished:
    made = plain.finished(network, scaling, size=size, name="theirs")
    photos = pixels(size=size)
    logits = keras().Model(made.model.input, made.model.get_layer("logits").output)
    ours = plain.original_outputs(np.asarray(logits.predict_on_batch(photos.astype(np.float32))), made.ends_in)
    given = photos.astype(np.float32) if scaling is None else feed(photos, scaling)
    theirs = plain.comparable(original.outputs(given), made.ends_in)
    # Photos differ, or a constant would pass for the model.
    assert np.ptp(theirs, axis=0).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    return made


def kinds(model: Any) -> list[str]:
    """Return the class names of the operations of a model, without its input and its ends."""
    return [plain.kind(node.operation) for node in plain.nodes_of(model)][1:-2]


class Onnx:
    """Builds an ONNX model step by step; weights are random but the same each time.

    Args:
        opset: Its opset.
        layout: ``nchw`` or ``nhwc``, of the input ``pixels``.
        batch: The batch, or its name.
        size: Height and width, or a name of both.
        width: The width, if it differs.
        channels: Channels of the input.
    """

    def __init__(
        self,
        opset: int = 17,
        layout: str = "nchw",
        batch: int | str = 1,
        size: int | str = SIZE,
        width: int | None = None,
        channels: int = 3,
    ) -> None:
        self.opset, self._random = opset, np.random.default_rng(7)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        across = width or size
        sides = [channels, size, across] if layout == "nchw" else [size, across, channels]
        self._input = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [batch, *sides])

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant and return its name."""
        name = f"constant{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weights(self, *shape: int, scale: float = 0.5) -> str:
        """Add random weights and return their name."""
        return self.constant(self._random.uniform(-scale, scale, shape))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node and return the name of its output, or their names."""
        place = len(self._nodes)
        names = [f"out{place}_{number}" for number in range(outputs)]
        self._nodes.append(
            onnx.helper.make_node(operator, inputs, names, name=f"/part/{operator}_{place}", **attributes)
        )
        return names[0] if outputs == 1 else names

    def conv(self, source: str, channels: int, out: int, kernel: int = 3, **attributes: Any) -> str:
        """Add a convolution with a bias."""
        groups = attributes.get("group", 1)
        weights = self.weights(out, channels // groups, kernel, kernel)
        return str(self.add("Conv", source, weights, self.weights(out), **attributes))

    def head(self, source: str, channels: int, classes: int = 4) -> str:
        """Add a pool, a Flatten and a Gemm."""
        flat = self.add("Flatten", self.add("GlobalAveragePool", source))
        return str(self.add("Gemm", flat, self.weights(classes, channels, scale=2), self.weights(classes), transB=1))

    def model(self, *outputs: str) -> onnx.ModelProto:
        """Return the model with these outputs."""
        ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", "classes"]) for name in outputs]
        graph = onnx.helper.make_graph(self._nodes, "theirs", [self._input], ends, self._constants)
        opsets = [onnx.helper.make_opsetid("", self.opset)]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="a test")
