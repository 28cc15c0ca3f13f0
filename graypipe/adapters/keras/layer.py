"""Keras layer that applies a plan, for the TensorFlow, JAX and torch backends."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ...bands import format_bands
from ...engine import Execution, supported_dtype
from ...errors import ChannelError, DTypeError, LayoutError, RangeError
from ...extras import require_extra
from ...plan import Plan
from .._shared import elementwise
from .._shared.data_format import DATA_FORMATS, image_layout
from .._shared.layer import (
    MAX_EXACT_INTEGER,
    check_layer,
    initial_weights,
    largest_magnitude,
    layer_dtype,
    unit_plan,
)

with require_extra("tensorflow", "keras", "tensorflow"):
    import keras
    from keras import ops

Tensor = Any
Shape = tuple[int | None, ...]

# The first entry of a saved layer. Keras does not import the module of a layer when it
# loads a model, and its error ends with the saved entries.
LOADING_HINT = "import graypipe.adapters.keras before loading the model"

# Advice in errors for inputs that only the tf.data adapter accepts.
USE_TF_DATA = "in Dataset.map, use graypipe.adapters.tf_data.ToBackbone"


# The registered name "graypipe>ChannelLayer" is stored in every saved model.
@keras.saving.register_keras_serializable(package="graypipe")
class ChannelLayer(keras.Layer):  # type: ignore[misc]  # Keras is untyped
    """Apply a plan as a layer of a Keras model.

    The layer receives batches of stored pixel values and returns the input of the
    backbone. Only the bands of the source are copied to the device, such as one gray
    band instead of three. The layer supports the TensorFlow, JAX and torch backends,
    and is saved with its model.

    Parameters
    ----------
    plan : Plan
        The plan to apply. Its source must declare a range but no dtype, because Keras
        casts uint8 to float32 before a layer receives the pixels. Its target must have
        a floating dtype. Its layouts are replaced according to ``data_format``.
    trainable : bool, default False
        Make the affine part of the plan a trainable convolution on unit intensities,
        with "same" padding. Its weights are ``kernel``, of shape (k, k, source bands,
        target bands), and ``bias``, of shape (target bands,). They are initialised
        from the plan, so an untrained layer returns the result of the plan. Nodata
        pixels stay 0 in the result, and the convolution reads them as black. With
        False, the layer has no weights, even if its attribute ``trainable`` is set to
        True later.
    kernel_size : int, default 1
        The height and width k of the kernel, an odd number. Values above 1 require
        ``trainable=True``.
    data_format : {"channels_last", "channels_first"}, optional
        Whether images are (N, ..., H, W, C) or (N, ..., C, H, W). The default is the
        value of `keras.config.image_data_format` when the layer is created.
    name : str, optional
        The name of the layer in its model.
    dtype : str or keras.DTypePolicy, optional
        The dtype policy, by default the global one. It is saved with the layer, but
        does not change the result, see the notes.

    Raises
    ------
    RangeError
        If the source does not declare its range. When called, if the images are in
        half precision, which cannot represent the declared levels.
    DTypeError
        If the source declares a dtype, or the target's dtype is not floating. When
        called, if the input is not one tensor, or if the plan needs float64 and it is
        not enabled in JAX.
    LayoutError
        If ``kernel_size`` or ``data_format`` is invalid. When called, if the input is
        not a batch of images.
    ChannelError
        When called, if the input does not have the bands of the source.

    Notes
    -----
    The result has the dtype of the plan's target under every dtype policy. The layer
    computes in float32, or in float64 if the plan does, even under mixed precision;
    the next layer casts its own input. Masks are passed on.

    Unlike `Plan.batch`, the layer does not test whether values contradict the source,
    because they are on a device or in a compiled graph.

    To load a saved model, import this module first: Keras does not import it.

    Examples
    --------
    >>> import graypipe as gp
    >>> import numpy as np
    >>> from graypipe.adapters.keras import ChannelLayer
    >>> plan = gp.plan(gp.Source("gray", range=(0, 255)), "unit")
    >>> layer = ChannelLayer(plan)
    >>> images = np.full((2, 32, 40, 1), 51, np.uint8)
    >>> result = np.asarray(layer(images))
    >>> result.shape
    (2, 32, 40, 3)
    >>> print(result[0, 0, 0].round(4))
    [0.2 0.2 0.2]

    A trainable layer initially returns the result of the plan:

    >>> layer = ChannelLayer(plan, trainable=True, kernel_size=3)
    >>> print(np.asarray(layer(images))[0, 0, 0].round(4))
    [0.2 0.2 0.2]
    >>> [tuple(weight.shape) for weight in layer.weights]
    [(3, 3, 1, 3), (3,)]
    """

    # Keras stores the module of a class in saved models. It must be the public import
    # path, which does not change, not the module of this file, which may.
    __module__ = "graypipe.adapters.keras"

    def __init__(
        self,
        plan: Plan,
        trainable: bool = False,
        kernel_size: int = 1,
        data_format: str | None = None,
        name: str | None = None,
        *,
        dtype: Any = None,
    ) -> None:
        _check_plan(plan, trainable, kernel_size)
        # With `autocast=False`, Keras does not cast the input.
        super().__init__(name=name, trainable=trainable, dtype=dtype, autocast=False)
        self.supports_masking = True
        if data_format is None:
            data_format = keras.config.image_data_format()
        layout, self._axis = image_layout(data_format)
        self.data_format = data_format
        self.plan = plan.with_layouts(layout, layout)
        self.kernel_size = kernel_size
        # Users may change `trainable` later to freeze the weights, so it does not tell
        # whether the layer has weights.
        self._has_weights = trainable
        # For a float16 target, compute in float32 and cast the result.
        self._compute_plan = replace(
            self.plan, target=replace(self.plan.target, dtype=layer_dtype(plan))
        )
        if trainable:
            self._unit_plan = unit_plan(self.plan)

    @property
    def compute_dtype(self) -> str:
        """The dtype to which a Sequential model without a keras.Input casts its input.

        Such a model first casts its input to the dtype of the global policy. If that
        is half precision, so is this dtype, even for a layer with another policy:
        casting back to float32 would hide from `call` that levels were lost.
        """
        dtype = keras.config.dtype_policy().compute_dtype
        if dtype not in MAX_EXACT_INTEGER:
            dtype = super().compute_dtype
        return str(dtype)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Check the shape of the input, and create the weights of a trainable layer.

        Parameters
        ----------
        input_shape : sequence of int or None
            The shape of a batch; None for an axis of unknown size.

        Raises
        ------
        LayoutError, ChannelError
            If the input is not a batch of images with the bands of the source.
        """
        self._check_shape(input_shape)
        if not self._has_weights:
            return
        kernel, bias = initial_weights(self.plan, self.kernel_size)
        # From (O, I, H, W) to (H, W, I, O), the layout of kernels in Keras.
        self._initial_kernel = kernel.transpose(2, 3, 1, 0)
        self._initial_bias = bias
        self.kernel = self._add_weight("kernel", self._initial_kernel)
        self.bias = self._add_weight("bias", self._initial_bias)

    def _add_weight(self, name: str, value: Any) -> Any:
        """Add a weight with the initial value ``value``, an array, and return it."""
        # With autocast, mixed precision would round the weights to half precision.
        return self.add_weight(
            name=name,
            shape=value.shape,
            initializer=keras.initializers.Constant(value),
            dtype=self._compute_plan.target.dtype,
            autocast=False,
        )

    def __call__(self, inputs: Tensor, *more: Tensor, **options: Any) -> Tensor:
        """Return a batch, converted by the plan.

        Parameters
        ----------
        inputs : tensor
            A batch of images: a tensor of the backend, a NumPy array or a symbolic
            tensor of Keras.
        *more : tensor
            Not supported. `Dataset.map` may call a layer with an image and its label,
            which raises an error that names the alternative.
        **options
            Passed to ``keras.Layer.__call__``.

        Returns
        -------
        tensor
            A batch with the bands and the dtype of the target.

        Raises
        ------
        DTypeError, LayoutError, ChannelError, RangeError
            If the plan cannot convert ``inputs``; see `ChannelLayer`.
        """
        # Check here, not in `call`, because Keras converts the inputs before `call`.
        _check_inputs(inputs, more)
        return super().__call__(inputs, **options)

    def call(self, inputs: Tensor) -> Tensor:
        """Return ``inputs``, a tensor of the backend, converted by the plan."""
        self._check_shape(inputs.shape)
        pixels, dtype = self._upcast_half(inputs)
        execution = _execution(self._compute_plan, dtype)
        result = elementwise.run(execution, pixels, self._axis, ops)
        if self._has_weights:
            unit = elementwise.run(
                _execution(self._unit_plan, dtype), pixels, self._axis, ops
            )
            result = result + self._learned_change(unit)
            # The convolution writes to nodata pixels too.
            result = elementwise.zero_nodata(execution, pixels, result, self._axis, ops)
        return ops.cast(result, self.plan.target.dtype)

    def _learned_change(self, unit: Tensor) -> Tensor:
        """Return the difference that training has made to the result of the plan."""
        # Convolve with the change of the weights, not with the weights: hardware may
        # compute convolutions with fewer bits (TF32), and an untrained layer would then
        # differ from the plan. The change of untrained weights is exactly zero.
        kernel = self.kernel - self._initial_kernel
        bias = self.bias - self._initial_bias
        # TensorFlow does not support channels-first convolutions on a CPU, and a
        # convolution accepts only one leading axis.
        images = ops.moveaxis(unit, self._axis, -1)
        shape = ops.shape(images)
        images = ops.reshape(images, (-1, *shape[-3:]))
        change = ops.conv(images, kernel, padding="same", data_format="channels_last")
        change = change + bias
        change = ops.reshape(change, (*shape[:-1], len(self.plan.target.bands)))
        return ops.moveaxis(change, -1, self._axis)

    def _upcast_half(self, inputs: Tensor) -> tuple[Tensor, str]:
        """Return ``inputs`` and their dtype, with half precision cast to float32.

        Raises
        ------
        RangeError
            If half precision cannot represent the levels that the source declares.
        """
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if dtype not in MAX_EXACT_INTEGER:
            return inputs, dtype
        largest = largest_magnitude(self.plan)
        if largest > MAX_EXACT_INTEGER[dtype]:
            raise RangeError(
                f"the source declares levels up to {largest:g}, got images in {dtype}, "
                f"which cannot represent them all; mixed precision may have cast the "
                f"images: start the model with keras.Input, which keeps float32, or "
                f"call super().__init__(autocast=False) in a subclassed model"
            )
        return ops.cast(inputs, "float32"), "float32"

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Return the shape of the result.

        Parameters
        ----------
        input_shape : sequence of int or None
            The shape of a batch; None for an axis of unknown size.

        Returns
        -------
        tuple of int or None
            The input shape with the number of bands of the target.

        Raises
        ------
        LayoutError, ChannelError
            If the input is not a batch of images with the bands of the source.
        """
        shape = list(self._check_shape(input_shape))
        shape[self._axis] = len(self.plan.target.bands)
        return tuple(shape)

    def compute_output_spec(self, inputs: Tensor) -> Tensor:
        """Return the shape and dtype of the result as a symbolic tensor."""
        # The inherited method would use the dtype of the layer's policy.
        return keras.KerasTensor(
            self.compute_output_shape(inputs.shape), self.plan.target.dtype
        )

    def _check_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Return ``input_shape`` as a tuple; raise if it is not a batch of images."""
        shape = tuple(input_shape)
        bands = self.plan.source.bands
        expected = (
            f"expected a batch of shape (N, ..., {', '.join(self.plan.source.layout)}) "
            f"for data_format={self.data_format!r}"
        )
        if len(shape) < 4:
            raise LayoutError(
                f"{expected}, got fewer than 4 axes: shape {shape}. Pass x[None] for "
                f"one image, or ops.expand_dims(x, {self._axis}) for gray images "
                f"without a band axis; {USE_TF_DATA}"
            )
        if shape[self._axis] != len(bands):
            raise ChannelError(
                f"{expected} with the bands {format_bands(bands)} ({len(bands)}) on "
                f"axis {self._axis}, got {shape[self._axis]} in shape {shape}: declare "
                "the bands that the images have, or select bands first"
                f"{_data_format_hint(shape, len(bands))}"
            )
        return shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments as plain values, with the plan as JSON.

        Saved models contain these keys and values, so they must not change.
        """
        return {
            "hint": LOADING_HINT,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "plan": self.plan.to_json(),
            "trainable": self._has_weights,
            "kernel_size": self.kernel_size,
            "data_format": self.data_format,
            "frozen": self._has_weights and not self.trainable,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the layer described by ``config``, a result of `get_config`."""
        arguments = dict(config)
        arguments.pop("hint", None)
        frozen = arguments.pop("frozen", False)
        layer = cls(Plan.from_json(arguments.pop("plan")), **arguments)
        if frozen:
            # Unlike trainable=False in the constructor, this does not drop the weights.
            layer.trainable = False
        return layer

    def __repr__(self) -> str:
        description = f"{self.plan.source} -> {self.plan.target}"
        if self._has_weights:
            description += f", trainable=True, kernel_size={self.kernel_size}"
        return f"<ChannelLayer name={self.name}, {description}>"


def _data_format_hint(shape: Shape, count: int) -> str:
    """Return advice if ``shape`` has ``count`` bands in another data format."""
    for data_format, (_, axis) in DATA_FORMATS.items():
        if shape[axis] == count:
            return (
                f"; if the bands are on axis {axis}, pass data_format={data_format!r}"
            )
    return ""


def _check_plan(plan: Plan, trainable: bool, kernel_size: int) -> None:
    """Raise RangeError, DTypeError or LayoutError if a layer cannot apply ``plan``."""
    check_layer(
        plan,
        trainable,
        kernel_size,
        reason="Keras casts uint8 to float32 before a layer receives the pixels",
        alternative=USE_TF_DATA,
    )
    if plan.source.dtype is not None:
        raise DTypeError(
            f"the source declares dtype {plan.source.dtype}, which a layer cannot "
            f"check, because Keras casts the pixels first: omit dtype=, or use "
            f"dataclasses.replace(plan.source, dtype=None)"
        )


def _check_inputs(inputs: Tensor, more: tuple[Tensor, ...]) -> None:
    """Raise DTypeError or LayoutError if the input is not one tensor of known rank."""
    backend = keras.backend.backend()
    if backend != "tensorflow" and _is_tensorflow_graph_tensor(inputs):
        # Dataset.map calls a layer in a TensorFlow graph, whatever the Keras backend.
        raise DTypeError(
            f"a layer under the {backend} backend does not accept a tensor of a "
            f"TensorFlow graph: {USE_TF_DATA}"
        )
    if more or not hasattr(inputs, "shape"):
        kinds = ", ".join(type(argument).__name__ for argument in (inputs, *more))
        raise DTypeError(
            f"expected one tensor of images, got {kinds}: pass only the images to the "
            f"layer; {USE_TF_DATA}"
        )
    # Only TensorFlow shapes have the attribute `rank`, None if the rank is unknown.
    if getattr(inputs.shape, "rank", 0) is None:
        raise LayoutError(
            f"expected a batch of images, got a tensor of unknown rank: set its shape "
            f"with tf.ensure_shape; {USE_TF_DATA}"
        )


def _is_tensorflow_graph_tensor(inputs: Any) -> bool:
    """Return whether ``inputs`` is in a TensorFlow graph; do not import TensorFlow."""
    # If TensorFlow has not been imported, it cannot have created ``inputs``.
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and bool(tensorflow.is_symbolic_tensor(inputs))


def _execution(plan: Plan, dtype: str) -> Execution:
    """Return the execution of ``plan`` on pixels of ``dtype``.

    Raises
    ------
    DTypeError
        If the plan computes in float64, which is not enabled in JAX.
    """
    execution = plan._execution(supported_dtype(dtype))
    if execution.compute_dtype == np.float64 and not _has_float64():
        raise DTypeError(
            f"for {dtype} images this plan computes in float64, which is not enabled "
            f"in JAX: call jax.config.update('jax_enable_x64', True), or pass float32 "
            f"images or integers of up to 16 bits, with a range and nodata value that "
            f"float32 represents exactly"
        )
    return execution


def _has_float64() -> bool:
    """Return whether the backend supports float64.

    Unless float64 is enabled, JAX silently computes in float32 instead.
    """
    if keras.backend.backend() != "jax":
        return True
    import jax

    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]  # JAX defines its options at run time
