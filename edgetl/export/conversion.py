"""Convert Keras models to float TFLite or ONNX with TensorFlow's converter and tf2onnx.

Every result has one input ``pixels``, NHWC (optionally NCHW for ONNX) with batch 1: a device classifies one photo at a
time, and delegates and execution providers for phones and NPUs need static shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from edgetl._lib import extras
from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.quiet import quietly
from edgetl_device.errors import InputError

Keras = Any
Layout = Literal["nhwc", "nchw"]

# Newest opset with complete CPU kernels in ONNX Runtime 1.18, the oldest that the device package supports.
ONNX_OPSET = 17
# tf2onnx numbers the names that it makes.
_COUNTER = re.compile(r"__\d+")
INPUT_NAME, OUTPUT_NAME = "pixels", "probabilities"


def float32_tflite(model: Keras) -> bytes:
    """Return ``model`` as float32 TFLite: input float32 [1, H, W, C] in 0..255, output float32 [1, classes].

    Raises:
        InputError: TFLite lacks an operation of the model; the message names it. There is no fallback to TensorFlow
            ops (Flex) or custom ops.
    """
    return converted(model)


def float16_tflite(model: Keras) -> bytes:
    """Return ``model`` as TFLite with float16 weights: half the size, same float32 input and output.

    Raises:
        InputError: As :func:`float32_tflite`.
    """

    def halve(converter: Any) -> None:
        tf = extras.tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return converted(model, halve)


def dynamic_tflite(model: Keras) -> bytes:
    """Return ``model`` as TFLite with int8 weights and float activations (dynamic range), float32 input and output.

    Raises:
        InputError: As :func:`float32_tflite`.
    """

    def narrow(converter: Any) -> None:
        converter.optimizations = [extras.tensorflow().lite.Optimize.DEFAULT]

    return converted(model, narrow)


@uninterrupted()
def float32_onnx(model: Keras, *, layout: Layout = "nhwc") -> bytes:
    """Return ``model`` as ONNX, opset 17: ``pixels`` float32 [1, H, W, C] in 0..255 to ``probabilities`` [1, classes].

    Args:
        model: A Keras model.
        layout: ``nchw`` makes the input [1, C, H, W], for runtimes and NPU compilers that need it.

    Raises:
        InputError: Standard ONNX lacks an operation of the model; the message names it.
    """
    onnx = extras.require("onnx")
    tf2onnx_convert = extras.require("tf2onnx.convert")
    function, spec = _function(_without_xla(model))
    with quietly():
        channels_first = [INPUT_NAME] if layout == "nchw" else None
        proto, _ = tf2onnx_convert.from_function(
            function,
            (spec,),
            opset=ONNX_OPSET,
            inputs_as_nchw=channels_first,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    # tf2onnx leaves unknown operations in the graph under their TensorFlow names.
    unknown = {node.op_type for node in proto.graph.node if node.domain or not onnx.defs.has(node.op_type)}
    if unknown:
        raise _unmapped("ONNX", unknown)
    # tf2onnx puts a Python function name and a counter here.
    proto.graph.name, proto.graph.doc_string = model.name, ""
    _rename(proto.graph)
    onnx.checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _rename(graph: Any) -> None:
    """Name and sort constants by their first use, and count nodes by their place.

    tf2onnx takes both from sets, whose order differs each time.
    """
    names: dict[str, str] = {}
    constants = {one.name: one for one in graph.initializer}
    used: list[str] = []
    for place, node in enumerate(graph.node):
        node.name = _COUNTER.sub(f"__{place}", node.name)
        names |= {output: _COUNTER.sub(f"__{place}", output) for output in node.output}
        for name in node.input:
            if name in constants and name not in names:
                names[name] = f"constant_{len(used)}"
                used.append(name)
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    del graph.initializer[:]
    for name in used:
        constants[name].name = names[name]
        graph.initializer.append(constants[name])


@uninterrupted()
def converted(model: Keras, configure: Callable[[Any], None] | None = None) -> bytes:
    """Run TensorFlow's converter on ``model`` after ``configure(converter)``.

    Raises:
        InputError: The converter does not support an operation of the model.
    """
    tf = extras.tensorflow()
    function, spec = _function(model)
    with quietly():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(spec)], model)
        # Converting via a SavedModel takes three times as long and leaves the weights as variables.
        converter.experimental_lower_to_saved_model = False
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if configure is not None:
            configure(converter)
        try:
            data: bytes = converter.convert()
        except Exception as error:
            # The converter's own exception class is not public.
            if type(error).__name__ != "ConverterError":
                raise
            names = set(re.findall(r"'tf\.(\w+)' op is neither", str(error)))
            if names:
                raise _unmapped("TFLite", names) from None
            raise InputError("TensorFlow's converter refuses the model", why=str(error)[:300]) from None
    return data


def _erfc(context: Any, node: Any, name: str, args: Any) -> Any:  # noqa: ARG001  # the signature of tf2onnx
    """Write Erfc, which TensorFlow's exact GELU has, as 1 - Erf, as ONNX has no Erfc."""
    one = context.make_const(f"{node.name}_one", extras.require("numpy").ones((), "float32"))
    (output,), dtypes, shapes = node.output, [context.get_dtype(node.output[0])], [context.get_shape(node.output[0])]
    context.remove_node(node.name)
    erf = context.make_node("Erf", node.input, dtypes=dtypes, shapes=shapes)
    return context.make_node("Sub", [one.output[0], erf.output[0]], outputs=[output], dtypes=dtypes, shapes=shapes)


def _without_xla(model: Keras) -> Keras:
    """Return a model whose grouped convolutions are operations, not functions compiled by XLA, for tf2onnx."""
    keras, tf = extras.keras(), extras.tensorflow()
    if all(getattr(layer, "groups", 1) == 1 for layer in model.layers):
        return model

    class Grouped(keras.layers.Conv2D):  # type: ignore[misc, name-defined]
        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            return tf.nn.conv2d(
                inputs,
                kernel,
                strides=list(self.strides),
                padding=self.padding.upper(),
                dilations=list(self.dilation_rate),
            )

    def clone(operation: Any) -> Any:
        kind = Grouped if type(operation) is keras.layers.Conv2D and operation.groups > 1 else type(operation)
        return kind.from_config(operation.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def _function(model: Keras) -> tuple[Any, Any]:
    tf = extras.tensorflow()
    spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name=INPUT_NAME)

    @tf.function(autograph=False)
    def probabilities(pixels: Any) -> dict[str, Any]:
        return {OUTPUT_NAME: model(pixels, training=False)}

    return probabilities, spec


def _unmapped(target: str, names: set[str]) -> InputError:
    return InputError(
        f"the model has operations that {target} does not have: {', '.join(sorted(names))}",
        why="falling back to TensorFlow or custom ops would make a file that a device cannot run",
        hint="Build those layers from standard operations.",
    )
