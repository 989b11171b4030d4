"""The architecture in a Keras file, JSON, checked before Keras reads it: no code, known classes only, no quantization.

Keras looks classes up by module and name, imports modules for that, and calls what it finds. So only names of a fixed
list pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgetl_device._lib.documents import Json
from edgetl_device.errors import InputError

# Layers that are the same for the converters and the int8 preparation of edgetl's own models, by class name.
KNOWN = (
    "Activation", "Add", "Average", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Cropping2D",
    "Dense", "DepthwiseConv2D", "ELU", "Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "LayerNormalization",
    "LeakyReLU", "MaxPooling2D", "Maximum", "Minimum", "Multiply", "Normalization", "Permute", "ReLU", "Rescaling",
    "Reshape", "Resizing", "SeparableConv2D", "Softmax", "Subtract", "UpSampling2D", "ZeroPadding2D",
)  # fmt: skip
# Layers that do nothing after training. RandomCrop is none of them: it then crops the middle.
IDLE = (
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "RandomApply",
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomErasing", "RandomFlip",
    "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
    "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
    "SpatialDropout2D",
)  # fmt: skip
# Operations of keras.ops.
OPERATIONS = (
    "Absolute", "Add", "Clip", "Divide", "Exp", "GetItem", "Maximum", "Mean", "Minimum", "Multiply", "Negative", "Pad",
    "Power", "Relu", "Relu6", "Reshape", "Rsqrt", "Sigmoid", "Silu", "Softmax", "Sqrt", "Square", "Subtract", "Tanh",
    "Transpose", "TrueDivide",
)  # fmt: skip
_MODELS = ("Functional", "Model", "Sequential")
_SETTINGS = (
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "IdentityInitializer",
    "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer", "RandomNormal", "RandomUniform",
    "TruncatedNormal", "VarianceScaling", "Zeros",
    "L1", "L1L2", "L2", "OrthogonalRegularizer", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "DTypePolicy", "Policy",
)  # fmt: skip
_VALUES = (
    "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__", "__tuple__", "slice", "TensorShape"
)  # fmt: skip
_ALLOWED = frozenset((*KNOWN, *IDLE, *OPERATIONS, *_MODELS, "InputLayer", *_SETTINGS, *_VALUES))
_FUNCTIONS = (
    "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "leaky_relu", "linear", "log_softmax",
    "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh",
)  # fmt: skip
_LAMBDA = ("Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
WITHOUT_CODE = (
    "Where its code is, build the model from standard layers, or export it to ONNX: tf2onnx.convert.from_keras(model)."
)
# Variables are float32 under these policies.
_MIXED = ("mixed_float16", "mixed_bfloat16")
_HALF = ("float16", "bfloat16")
_MOST_DEPTH = 100
_SHOWN = 60
_KERNEL = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
# By class of layer: settings that Keras 2 wrote, with no effect or one effect only, and that Keras 3 does not take.
_OF_KERAS_2 = {
    "BatchNormalization": ("fused", "renorm", "renorm_clipping", "renorm_momentum", "virtual_batch_size", "adjustment"),
    "DepthwiseConv2D": ("groups", *_KERNEL),
    "SeparableConv2D": ("groups", *_KERNEL),
}


@dataclass(frozen=True)
class _Object:
    """An object in a configuration.

    Attributes:
        class_name: Name of its class.
        owner: Name of the layer that it is or belongs to.
        fields: What the configuration says of it.
    """

    class_name: str
    owner: str
    fields: dict[str, Json]


def check_config(text: str, path: Path) -> None:
    """Refuse an architecture with code or unknown layers, before Keras reads it.

    Raises:
        InputError: It is no model, or it has a Lambda, a custom object, a quantized layer, one of half precision, or a
            class that edgetl does not know; the layer is named.
    """
    config = _read(text, str(path))
    top = config.get("class_name") if isinstance(config, dict) else None
    if not isinstance(top, str) or not isinstance(config.get("config"), (dict, list)):
        raise InputError(f"{path}: its architecture is damaged", why="it is not that of an object of Keras")
    for one in _objects(config, "", 0):
        _check(one, path)
    if top not in _MODELS:
        raise InputError(
            f"{path}: is a {top[:_SHOWN]}, not a model", hint='Save the whole model: model.save("model.keras").'
        )


def _read(text: str, shown: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown}: its architecture is damaged", why=str(error)[:200]) from None


def code_in(text: str, shown: str) -> tuple[str, ...]:
    """Return what in an architecture is, or may be, Python code: Lambdas, custom layers and functions.

    Keras 2 did not write where a class is from: there, each that is not of the list counts.

    Raises:
        InputError: It is damaged.
    """
    found = []
    for one in _objects(_read(text, shown), "", 0):
        if code := _code(one):
            found.append(f"{one.owner!r} {code[0]}")
        elif one.fields.get("module") is None and one.class_name not in _ALLOWED:
            found.append(f"{one.owner!r} is a {one.class_name[:_SHOWN]}")
    return tuple(dict.fromkeys(found))


def _code(one: _Object) -> tuple[str, str] | None:
    """Return what of an object is code, and why that cannot be imported; None if nothing is."""
    fields, class_name, shown = one.fields, one.class_name, one.class_name[:_SHOWN]
    if class_name in _LAMBDA:
        return f"is a {shown}", "it is Python code in a file"
    if _quantized(one):
        return None
    module, registered = fields.get("module"), fields.get("registered_name")
    ours = module is None or module == "keras" or str(module).startswith("keras.")
    if class_name == "function":
        if fields.get("config") in _FUNCTIONS and (ours or module == "builtins"):
            return None
        return f"has the custom function {str(fields.get('config'))[:_SHOWN]!r}", "its code is not in the file"
    if not ours or registered not in (None, "", class_name, f"keras>{class_name}"):
        return f"is a custom {shown}", "its code is not in the file"
    return None


def _quantized(one: _Object) -> bool:
    return one.class_name.startswith("Quantized") or isinstance(one.fields.get("quantization_config"), dict)


def _check(one: _Object, path: Path) -> None:
    fields, class_name, where = one.fields, one.class_name, f"{path}: layer {one.owner!r}"
    shown = class_name[:_SHOWN]
    if code := _code(one):
        what, why = code
        raise InputError(
            f"{where} {what}",
            why=why,
            hint=f"{WITHOUT_CODE} If you trust who made the file, {{trust_code}} runs its code in its own process; "
            "custom layers need {code} FILE, too.",
            options={"trust_code": False, "code": None},
        )
    if _quantized(one):
        raise InputError(
            f"{where} is quantized by Keras",
            why=f"it has a {shown}",
            hint="Import the float model, as it was before model.quantize(); edgetl quantize makes int8 files of it.",
        )
    if class_name == "function":
        return
    if class_name not in _ALLOWED:
        raise InputError(
            f"{where} is a {shown}, which edgetl cannot import",
            why=f"known are {', '.join(KNOWN)}",
            hint="Export the model to ONNX, which may have it as simpler operators: tf2onnx.convert.from_keras(model).",
        )
    settings = fields.get("config")
    policy = settings.get("name") if class_name in ("DTypePolicy", "Policy") and isinstance(settings, dict) else None
    dtype = settings.get("dtype") if isinstance(settings, dict) and class_name in KNOWN else None
    for name in (policy, dtype):
        if name in _HALF:
            raise InputError(
                f"{where} has {name} weights",
                why="edgetl imports float32, of which int8 is made",
                hint="Build the model with keras.config.set_dtype_policy('float32'), set its weights, and save that.",
            )


def _objects(config: Json, owner: str, depth: int) -> Iterator[_Object]:
    """Yield every object in a configuration, outer ones first. How a model was compiled is not among them."""
    if depth > _MOST_DEPTH:
        raise InputError("the architecture is nested too deeply")
    if isinstance(config, dict):
        if "class_name" in config:
            class_name, inner = config["class_name"], config.get("config")
            if not isinstance(class_name, str):
                raise InputError("the architecture is damaged", why=f"a class is called {str(class_name)[:_SHOWN]}")
            # Settings of layers, such as initializers, have no name; dtype policies have one that is no layer's.
            if class_name not in _SETTINGS and not class_name.startswith("Quantized"):
                named = config.get("name") or (inner.get("name") if isinstance(inner, dict) else "")
                owner = str(named or owner or class_name)[:_SHOWN]
            yield _Object(class_name, owner or class_name[:_SHOWN], config)
        for key, value in config.items():
            # Not read: models are loaded without what they were compiled with.
            if key != "compile_config":
                yield from _objects(value, owner, depth + 1)
    elif isinstance(config, list):
        for value in config:
            yield from _objects(value, owner, depth + 1)


def mixed_precision(text: str) -> str:
    """Return the policy of mixed precision that a checked architecture has; empty without one."""
    return next((name for name in _MIXED if f'"{name}"' in text), "")


def prepared(text: str) -> str:
    """Return a checked architecture as Keras 3 reads it: in float32, not compiled, without Keras 2's settings."""

    def modern(config: Json) -> Json:
        if isinstance(config, list):
            return [modern(value) for value in config]
        if isinstance(config, str) and config in _MIXED:
            return "float32"
        if not isinstance(config, dict):
            return config
        # How it was compiled was not checked, so it is left out.
        found = {name: None if name == "compile_config" else modern(value) for name, value in config.items()}
        settings, class_name = found.get("config"), found.get("class_name")
        if class_name == "Policy" and isinstance(settings, dict):
            return settings.get("name")  # of Keras 2
        if class_name == "__keras_tensor__" and isinstance(settings, dict) and settings.get("dtype") in _HALF:
            settings["dtype"] = "float32"
        if isinstance(settings, dict) and isinstance(class_name, str):
            for name in _OF_KERAS_2.get(class_name, ()):
                settings.pop(name, None)
            axis = settings.get("axis")
            if class_name == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
                settings["axis"] = axis[0]
        return found

    return json.dumps(modern(json.loads(text)))
