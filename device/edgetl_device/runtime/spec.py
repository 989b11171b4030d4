"""The protocol of a runtime, specs of its tensors, and checks and conversions shared by all runtimes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Is, Positive, optional
from edgetl_device.delegates.share import External, Share
from edgetl_device.errors import InputError
from edgetl_device.runtime import integer_grid

Pixels = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]

# float16 has steps of 1/1024 near 1.
_ROUNDING = 1e-3
# Probabilities, pooled features, and a feature map.
_OUTPUTS_MAX = 3
_FEATURE_RANKS = (2, 4)
# Of features that are all zero, which have no direction.
_TINY = 1e-12


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        dtype: NumPy's name: ``float32``, ``uint8`` or ``int8``.
        shape: Shape, starting with the batch, the number of images per inference.
        scale: Quantization step in real units, ``real = scale * (q - zero_point)``; None if not quantized.
        zero_point: The integer that represents 0.0; None if not quantized.
    """

    dtype: str
    shape: Annotated[tuple[Positive, ...], Is(items=1)]
    scale: float | None = optional()
    zero_point: int | None = optional()


class Runtime(Protocol):
    """A loaded model. Not thread-safe.

    Attributes:
        name: The package that runs the model.
        version: Version of the package.
        threads: Number of CPU threads.
        input: Spec of the pixels.
        output: Spec of the probabilities.
        features: Specs of the outputs after the first, [n, C] or feature maps [n, H, W, C], of which the pooled
            features are made; empty for models without any.
        external: The external delegate, if requested.
        delegate: The delegate that runs part of the model, requested or not: ``xnnpack``, the name of the external
            one, or ``none``. None for runtimes without delegates.
        share: How much of the model it runs; None for runtimes without delegates.
    """

    name: str
    version: str
    threads: int
    input: TensorSpec
    output: TensorSpec
    features: tuple[TensorSpec, ...]
    external: External | None
    delegate: str | None
    share: Share | None

    def set_input(self, pixels: Pixels, row: int = 0) -> None:
        """Copy one photo (uint8 0..255, [H, W, C]) to a row of the batch; rows count from 0.

        Float models get the same values as float32.
        """

    def invoke(self) -> None:
        """Run the model on the inputs set last."""

    def probabilities(self, row: int = 0) -> Probabilities:
        """Return a row's probabilities after the last run: float32 [classes], dequantized, owned by the caller."""

    def pooled(self, row: int = 0) -> Features:
        """Return a row's pooled features after the last run, as :func:`pool`: float32 [features], owned by the caller.

        Only for models with such outputs.
        """

    def dense_input(self, row: int = 0) -> Features:
        """Return the input of the last dense layer after the last run: float32 [C], owned by the caller.

        It is the first output of features, which only some models have.
        """

    def close(self) -> None:
        """Free the model's memory. The runtime cannot be used afterwards."""


def only(tensors: list[Any], what: str) -> Any:
    """Return the only tensor of a list; InputError if there are more, or none."""
    if len(tensors) != 1:
        raise InputError(f"the model has {len(tensors)} {what}s", why="an image classifier has one")
    return tensors[0]


def check_outputs(tensors: list[Any]) -> list[Any]:
    """Return the outputs of a model: the probabilities and, in some, features; InputError otherwise."""
    if not 1 <= len(tensors) <= _OUTPUTS_MAX:
        raise InputError(
            f"the model has {len(tensors)} outputs",
            why="an image classifier has one, and one or two for features if it tells unknown photos",
        )
    return tensors


def pool(outputs: Sequence[Features]) -> Features:
    """Return the features of one photo, float32 [features]: the mean of each output over its positions, one by one.

    Each is scaled to unit length first, so that none outweighs another by the size of its values.

    Args:
        outputs: float32 [C] or [H, W, C] each.
    """
    means = [one if one.ndim == 1 else one.reshape(-1, one.shape[-1]).mean(axis=0) for one in outputs]
    return np.concatenate([mean / max(math.sqrt(float(mean @ mean)), _TINY) for mean in means])


def features_in(specs: Sequence[TensorSpec]) -> int:
    """Return the number of pooled features that outputs with these specs give."""
    return sum(spec.shape[-1] for spec in specs)


def check_classifier(
    input: TensorSpec, output: TensorSpec, batch: int = 1, *, features: Sequence[TensorSpec] = ()
) -> None:
    """Refuse a model whose input is not RGB or grey photos, or whose outputs are not a row of readable numbers each."""
    shape, photos = input.shape, "one RGB or grey photo" if batch == 1 else f"{batch} RGB or grey photos"
    if len(shape) != 4 or shape[0] != batch or shape[3] not in (1, 3):
        expected = f"expected [{batch}, H, W, 3] or [{batch}, H, W, 1]: {photos}"
        raise InputError(f"the model's input has shape {list(shape)}", why=expected)
    if len(output.shape) != 2 or output.shape[0] != batch:
        raise InputError(f"the model's output has shape {list(output.shape)}", why=f"expected [{batch}, classes]")
    for spec in features:
        if len(spec.shape) not in _FEATURE_RANKS or spec.shape[0] != batch:
            raise InputError(
                f"the model has an output of shape {list(spec.shape)}",
                why=f"expected features, [{batch}, C] or [{batch}, H, W, C]",
            )
    for what, spec in (("input", input), ("output", output), *(("output of features", one) for one in features)):
        if spec.dtype not in ("float32", "uint8", "int8"):
            raise InputError(f"the model's {what} is of type {spec.dtype}", why="expected float32, uint8 or int8")
    if output.dtype != "float32" and output.scale is None:
        raise InputError(f"the model's {output.dtype} output has no scale", why="it cannot be read as probabilities")
    if any(spec.dtype != "float32" and spec.scale is None for spec in features):
        raise InputError("an output of the model has integers without a scale", why="it cannot be read as features")


def check_pixels(pixels: Pixels, spec: TensorSpec) -> None:
    """Refuse pixels that are not uint8 of the input's shape."""
    if pixels.dtype != np.uint8 or pixels.shape != spec.shape[1:]:
        raise InputError(
            f"pixels of type {pixels.dtype} and shape {list(pixels.shape)}",
            why=f"the model takes uint8 of shape {list(spec.shape[1:])}",
        )


def grid(spec: TensorSpec) -> Probabilities | None:
    """Return the lookup table of an 8-bit output: the real value of each byte; None for floats.

    A lookup is one NumPy call; dequantizing takes four, each with cold caches after the model has run.
    """
    if spec.scale is None or spec.zero_point is None:
        return None
    return integer_grid.to_real(np.arange(256, dtype=np.uint8).view(spec.dtype), spec.scale, spec.zero_point)


def real(values: npt.NDArray[Any], grid: Probabilities | None) -> Probabilities:
    """Return an output as float32, dequantized by its :func:`grid` if it has one; the caller owns it."""
    return np.array(values, np.float32) if grid is None else grid[values.view(np.uint8)]


def check_probabilities(probabilities: Probabilities) -> None:
    """Refuse an output that is not probabilities.

    Raises:
        InputError: A number is NaN, infinite or outside 0..1 by more than rounding.
    """
    # Written so that NaN fails.
    low, high = float(probabilities.min()), float(probabilities.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        found = "NaN" if math.isnan(low) else f"numbers from {low:.4g} to {high:.4g}"
        raise InputError(
            f"the model outputs {found}",
            why="probabilities are 0 to 1",
            hint="Its weights are damaged, or it does not end in a softmax; export it again.",
        )


def not_a_model(format: str, why: str) -> InputError:
    """Return the error for bytes that are not a model of this format."""
    return InputError(
        f"not a model in the {format} format", why=why, hint="The file is damaged or in another format; copy it again."
    )
