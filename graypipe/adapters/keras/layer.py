"""Keras: the layer that executes a plan where the model is, under the TensorFlow, JAX and torch backends."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ...bands import show
from ...engine import Execution, element_type
from ...errors import ChannelError, DTypeError, LayoutError, RangeError
from ...extras import needs
from ...plan import Plan
from .._shared import elementwise
from .._shared.layer import (
    MAX_EXACT_INTEGER,
    check_layer,
    initial_weights,
    largest_level,
    layer_dtype,
    unit_plan,
)

with needs("tensorflow", "keras", "tensorflow"):
    import keras
    from keras import ops

Tensor = Any
Shape = tuple[int | None, ...]

AXES = {"channels_last": ("HWC", -1), "channels_first": ("CHW", -3)}

IN_A_MAP = "in Dataset.map use graypipe.adapters.tf_data.ToBackbone"


@keras.saving.register_keras_serializable(package="graypipe")
class ChannelLayer(keras.Layer):  # type: ignore[misc]  # Keras has no types
    """A plan as a layer: batches of stored values (N, ..., H, W, C) in, what the backbone expects out.

    ``plan``: its source declares a range, since Keras casts uint8 to float32 before a layer sees it, and no dtype,
    which nothing could check after that; its target is floating. The layouts are those of ``data_format``:
    "channels_last", "channels_first" for (N, ..., C, H, W), or None for `keras.config.image_data_format()` now.
    ``trainable=True``: a convolution on unit intensities with "same" padding, whose weights ``kernel`` (``kernel_size``
    odd, HWIO) and ``bias`` start as the plan, so that the first output is the plan's. Pixels of nodata stay 0, and
    their neighbours read them as black. Without it the layer has no weights, whatever its ``trainable`` is set to.

    The result has the dtype of the plan's target under every dtype policy: the input is not cast, the pass computes in
    float32 (float64 where the plan does) under mixed precision too, and the next layer casts for itself.
    Raises LayoutError, ChannelError, RangeError or DTypeError for a plan or a tensor that does not fit.
    """

    # Keras writes `__module__` into a saved model: it names the public path, which is
    # frozen, rather than this file.
    __module__ = "graypipe.adapters.keras"

    def __init__(
        self,
        plan: Plan,
        trainable: bool = False,
        kernel_size: int = 1,
        data_format: str | None = None,
        name: str | None = None,
    ) -> None:
        _check_plan(plan, trainable, kernel_size)
        # Its policy stays the global one, though it computes by none: a Sequential model without a keras.Input casts to
        # the model's policy, and back to that of its first layer, which could hide from `_widened` what that has lost.
        super().__init__(name=name, trainable=trainable, autocast=False)
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in AXES:
            raise LayoutError(
                f"data_format is {' or '.join(map(repr, AXES))}, got {data_format!r}"
            )
        layout, self._axis = AXES[self.data_format]
        self.plan = plan.with_layouts(layout, layout)
        self.kernel_size = kernel_size
        self._learns = trainable
        self._full = replace(
            self.plan, target=replace(self.plan.target, dtype=layer_dtype(plan))
        )
        self._unit = unit_plan(self.plan)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Check the shape, and make the weights of a layer that learns."""
        self._check(input_shape)
        if self._learns:
            kernel, bias = initial_weights(self.plan, self.kernel_size)
            self._start = kernel.transpose(2, 3, 1, 0), bias
            self.kernel, self.bias = (
                self.add_weight(
                    name=name,
                    shape=value.shape,
                    initializer=keras.initializers.Constant(value),
                    dtype=self._full.target.dtype,
                    autocast=False,
                )
                for name, value in zip(("kernel", "bias"), self._start, strict=True)
            )

    def __call__(self, inputs: Tensor, *more: Tensor, **options: Any) -> Tensor:
        """Return the result for one batch: a tensor of the backend, a NumPy array or a symbolic tensor."""
        _check_tensor(inputs, more)
        return super().__call__(inputs, **options)

    def call(self, inputs: Tensor) -> Tensor:
        """Return the result for one batch, a tensor of the backend."""
        self._check(inputs.shape)
        x, dtype = self._widened(inputs)
        full = _execution(self._full, dtype)
        y = elementwise.run(full, x, self._axis, ops)
        if self._learns:
            unit = elementwise.run(_execution(self._unit, dtype), x, self._axis, ops)
            y = elementwise.zero_nodata(
                full, x, y + self._learned(unit), self._axis, ops
            )
        return ops.cast(y, self.plan.target.dtype)

    def _learned(self, unit: Tensor) -> Tensor:
        """Return what training has added to the plan: a zero at the start, also where hardware rounds convolutions."""
        kernel, bias = (
            held - begun
            for held, begun in zip((self.kernel, self.bias), self._start, strict=True)
        )
        x = ops.moveaxis(unit, self._axis, -1)
        lead = ops.shape(x)
        x = ops.reshape(x, (-1, *lead[-3:]))
        y = ops.conv(x, kernel, padding="same", data_format="channels_last") + bias
        return ops.moveaxis(
            ops.reshape(y, (*lead[:-1], len(self.plan.target.bands))), -1, self._axis
        )

    def _widened(self, x: Tensor) -> tuple[Tensor, str]:
        """Return ``x`` and its dtype, half precision as float32; RangeError where the range has not survived that."""
        dtype = keras.backend.standardize_dtype(x.dtype)
        if dtype not in MAX_EXACT_INTEGER:
            return x, dtype
        greatest = largest_level(self.plan)
        if greatest > MAX_EXACT_INTEGER[dtype]:
            raise RangeError(
                f"{dtype} does not hold every number up to {greatest:g}, which the source declares, and "
                f"the images arrived as {dtype}: a model under mixed precision cast them, and levels are lost. Begin "
                f"the model with keras.Input, which keeps float32, or subclass it with super().__init__(autocast=False)"
            )
        return ops.cast(x, "float32"), "float32"

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Return the shape of the result; LayoutError or ChannelError as at the call."""
        shape = list(self._check(input_shape))
        shape[self._axis] = len(self.plan.target.bands)
        return tuple(shape)

    def compute_output_spec(self, inputs: Tensor) -> Tensor:
        """Return shape and dtype of the result as a symbolic tensor."""
        return keras.KerasTensor(
            self.compute_output_shape(inputs.shape), self.plan.target.dtype
        )

    def _check(self, given: Sequence[int | None]) -> Shape:
        """Return the shape ``given``; LayoutError or ChannelError where that is no batch of the source's bands."""
        shape, bands = tuple(given), self.plan.source.bands
        expected = f"(N, ..., {', '.join(self.plan.source.layout)}), as data_format={self.data_format!r} says"
        if len(shape) < 4:
            raise LayoutError(
                f"expected a batch {expected}, 4 axes or more, got {len(shape)} axes of shape {shape}: write x[None] "
                f"for one image, ops.expand_dims(x, {self._axis}) for gray images without a channel axis; {IN_A_MAP}"
            )
        if shape[self._axis] != len(bands):
            other, (_, axis) = next(
                item for item in AXES.items() if item[0] != self.data_format
            )
            moved = f"; where the bands are on axis {axis}, pass data_format={other!r}"
            raise ChannelError(
                f"expected the bands {show(bands)} ({len(bands)}) on axis {self._axis} of {expected}, got "
                f"{shape[self._axis]} in shape {shape}: declare the bands that are there, or pick them first"
                f"{moved if shape[axis] == len(bands) else ''}"
            )
        return shape

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes: the plan as its JSON text, and plain values."""
        return {
            "name": self.name,
            "plan": self.plan.to_json(),
            "trainable": self._learns,
            "kernel_size": self.kernel_size,
            "data_format": self.data_format,
            "frozen": self._learns and not self.trainable,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the layer that `get_config` described."""
        given = dict(config)
        frozen = given.pop("frozen", False)
        layer = cls(Plan.from_json(given.pop("plan")), **given)
        if frozen:  # its weights are there, only kept as they are
            layer.trainable = False
        return layer

    def __repr__(self) -> str:
        learns = (
            f", trainable=True, kernel_size={self.kernel_size}" if self._learns else ""
        )
        return f"<ChannelLayer name={self.name}, {self.plan.source} -> {self.plan.target}{learns}>"


def _check_plan(plan: Plan, trainable: bool, kernel_size: int) -> None:
    check_layer(
        plan,
        trainable,
        kernel_size,
        why="Keras casts uint8 to float32 before a layer sees it",
        instead=IN_A_MAP,
    )
    if plan.source.dtype is not None:
        raise DTypeError(
            f"the source declares dtype {plan.source.dtype}, which cannot be checked in a layer, because Keras casts "
            f"before that: leave dtype= away, or write dataclasses.replace(plan.source, dtype=None)"
        )


def _check_tensor(x: Tensor, more: tuple[Tensor, ...]) -> None:
    tensorflow = sys.modules.get("tensorflow")
    backend = keras.backend.backend()
    if (
        backend != "tensorflow"
        and tensorflow is not None
        and tensorflow.is_symbolic_tensor(x)
    ):
        raise DTypeError(
            f"a layer under the {backend} backend cannot take a tensor of a TensorFlow graph: {IN_A_MAP}"
        )
    if more or not hasattr(x, "shape"):
        kinds = ", ".join(type(part).__name__ for part in (x, *more))
        raise DTypeError(
            f"expected one tensor of images, got {kinds}: call the layer on the images; {IN_A_MAP}"
        )
    if getattr(x.shape, "rank", 0) is None:
        raise LayoutError(
            f"expected a batch of images, got a tensor of unknown rank: tf.ensure_shape; {IN_A_MAP}"
        )


def _execution(plan: Plan, dtype: str) -> Execution:
    execution = plan._execution(element_type(dtype))
    if execution.compute_dtype == np.float64 and not _has_float64():
        raise DTypeError(
            f"from {dtype} this plan computes in float64, which JAX has after jax.config.update('jax_enable_x64', "
            f"True) alone: set that, or let the images be floats (or integers of up to 16 bits) and the source's "
            f"range and nodata numbers that float32 holds"
        )
    return execution


def _has_float64() -> bool:
    if keras.backend.backend() != "jax":
        return True
    import jax

    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]  # JAX makes its options as it loads
