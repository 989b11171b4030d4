"""Synchronous data parallelism: every step is split over several devices and their gradients are summed.

Keras' own ``keras.distribution.DataParallel`` does nothing on TensorFlow; this is ``tf.distribute.MirroredStrategy``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import keras, tensorflow

from .devices import is_usual
from .folded import fold_fixed_norms

_REPLICA_SEED = 1_000_003  # dropout seeds are below 2**31, so adding multiples of this keeps replicas apart in int64


@contextmanager
def mirrored(tail: Any, devices: tuple[str, ...]) -> Iterator[Any]:
    """Yield the model to train in place of a tail: its own layers on the default device, else one replica per device.

    Fixed BatchNorms are folded either way (:func:`fold_fixed_norms`). Compile and train the model in the block, with
    ``train_on_batch`` and ``predict_on_batch``, which split their batches. A step updates the weights as on one device,
    up to the rounding of sums: the gradient is that of the mean over all photos of the step, however they are split,
    and trainable BatchNorm computes its statistics over all of them (Ioffe & Szegedy 2015, arXiv:1502.03167, across
    devices). Only dropout draws other numbers.

    Args:
        tail: keras.Model from activations or pixels to logits. It receives the copy's weights when the block ends.
        devices: From :func:`edgetl.training.devices.training_devices`.
    """
    if is_usual(devices):
        yield fold_fixed_norms(tail)
        return
    distribute = tensorflow().distribute
    # Sum on the first device, in a fixed order, so that a resumed run is bit-identical. The default, collectives,
    # fails with a process' second strategy (tensorflow/tensorflow#62790), and every stage has its own.
    strategy = distribute.MirroredStrategy([f"/{device}" for device in devices], distribute.ReductionToOneDevice())
    with strategy.scope():
        copy = keras().models.clone_model(tail, clone_function=_cloned)
        _copy(tail, copy)
        yield _mirror(copy, strategy)
        _copy(copy, tail)


def _mirror(copy: Any, strategy: Any) -> Any:
    """Wrap a model made in the strategy's scope so that it splits its steps; variables are shared."""
    library, tf = keras(), tensorflow()
    replicas = strategy.num_replicas_in_sync
    classes = copy.output.shape[-1]

    class Mirror(library.Model):  # type: ignore[misc, name-defined]  # Keras is imported on use
        """A functional model whose steps and predictions are split over the replicas."""

        def train_on_batch(
            self,
            inputs: npt.NDArray[np.float32],
            targets: npt.NDArray[np.float32],
            *,
            sample_weight: npt.NDArray[np.float32],
            return_dict: bool = True,  # noqa: ARG002  # as Keras calls it
        ) -> dict[str, float]:
            """Run one step; return the weighted mean loss and the accuracy over all its photos."""
            loss, accuracy = self._steps(*(_split(array, strategy) for array in (inputs, targets, sample_weight)))
            return {"loss": float(loss), "accuracy": float(accuracy)}

        def predict_on_batch(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            """Return the outputs, float32 [rows, classes]."""
            # Every replica needs at least one row.
            full = np.resize(inputs, (max(len(inputs), replicas), *inputs.shape[1:]))
            parts = strategy.experimental_local_results(self._predictions(_split(full, strategy)))
            return np.concatenate([part.numpy() for part in parts])[: len(inputs)]

        @tf.function
        def _steps(self, inputs: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
            photos = sum(part.shape[0] for part in strategy.experimental_local_results(inputs))
            losses, right = strategy.run(self._step, args=(inputs, targets, weights, photos))
            loss, correct = (tf.add_n(strategy.experimental_local_results(parts)) for parts in (losses, right))
            return loss, correct / photos

        @tf.function
        def _predictions(self, inputs: Any) -> Any:
            return strategy.run(self, args=(inputs,), kwargs={"training": False})

        def _step(self, inputs: Any, targets: Any, weights: Any, photos: int) -> tuple[Any, Any]:
            """Run one replica's part of a step; return its part of the loss and its number of correct photos."""
            context = tf.distribute.get_replica_context()
            # Keras divides each replica's mean by the number of replicas, which is right only for equal parts.
            share = inputs.shape[0] * replicas / photos
            with _own_seeds(self, context), tf.GradientTape() as tape:
                logits = self(inputs, training=True)
                loss = share * self.compute_loss(inputs, targets, logits, weights)
                scaled = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, self.trainable_variables)
            if isinstance(self.optimizer, library.optimizers.LossScaleOptimizer):
                gradients = _finite_everywhere(gradients, context)
            self.optimizer.apply(gradients, self.trainable_variables)  # which sums them over the replicas
            right = library.metrics.categorical_accuracy(targets[:, :classes], logits)
            return loss, tf.reduce_sum(tf.cast(right, tf.float32))

    return Mirror(copy.input, copy.output)


def _cloned(layer: Any) -> Any:
    settings = layer.get_config()
    if isinstance(layer, keras().layers.BatchNormalization) and layer.trainable:
        # Statistics of a single device's part get worse with every device added.
        settings["synchronized"] = True
    return type(layer).from_config(settings)


def _copy(source: Any, target: Any) -> None:
    """Copy weights, moving statistics and seeds from one model to another with the same layers."""
    layers = [[layer for layer in model.layers if layer.variables] for model in (source, target)]
    for one, other in zip(*layers, strict=True):
        if one.name != other.name:
            raise RuntimeError(f"the copy has its layers in a different order: {other.name} instead of {one.name}")
        for variable, copy in zip(one.variables, other.variables, strict=True):
            copy.assign(variable.numpy())


def _split(array: npt.NDArray[Any], strategy: Any) -> Any:
    """Split the rows of an array over the devices; parts differ by at most one row."""
    tf = tensorflow()
    parts = np.array_split(array, strategy.num_replicas_in_sync)

    def part(context: Any) -> Any:
        place = context.replica_id_in_sync_group
        with tf.device(strategy.extended.worker_devices[place]):
            return tf.constant(parts[place])

    return strategy.experimental_distribute_values_from_function(part)


@contextmanager
def _own_seeds(model: Any, context: Any) -> Iterator[None]:
    """Let dropout draw different numbers on each replica while the block is traced; the stored seeds stay equal."""
    generators = [getattr(layer, "seed_generator", None) for layer in model.layers]
    states = [generator.state for generator in generators if generator is not None]
    shift = [context.replica_id_in_sync_group * _REPLICA_SEED, 0]
    for state in states:
        state.assign_add(shift)
    yield
    for state in states:
        state.assign_add([-shift[0], 0])


def _finite_everywhere(gradients: Sequence[Any], context: Any) -> list[Any]:
    """Make gradients NaN on every replica if they are not finite on one of them.

    Keras' LossScaleOptimizer checks only the first replica before it skips a step (Keras 3.15, ``_tf_apply``), and
    would apply another replica's infinities to all weights.
    """
    tf = tensorflow()
    broken = [tf.reduce_any(~tf.math.is_finite(gradient)) for gradient in gradients if gradient is not None]
    anywhere = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(tf.reduce_any(broken), tf.float32)) > 0
    poison = tf.where(anywhere, float("nan"), 0.0)
    return [None if gradient is None else gradient + tf.cast(poison, gradient.dtype) for gradient in gradients]
