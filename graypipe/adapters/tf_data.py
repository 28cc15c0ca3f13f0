"""tf.data adapter: plans as a function for `Dataset.map`, in TensorFlow operations.

The engine cannot run in a TensorFlow graph. There the plan is executed by TensorFlow's
own operations, so a mapped dataset can be saved, and runs in the workers of a tf.data
service.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np

from ..bands import format_bands
from ..engine import Execution, check_image
from ..engine.arrays import SUPPORTED
from ..errors import ChannelError, DTypeError, LayoutError
from ..extras import require_extra
from ..layouts import describe
from ..plan import Plan
from ._shared import elementwise
from ._shared.data_format import image_layout
from ._shared.plan_choice import check_range_declared, choose_plan, index_by_band_count

with require_extra("tensorflow", "tensorflow"):
    import tensorflow as tf

# TensorFlow has no types.
Tensor = Any
Element = Any

DTYPES = {tf.as_dtype(name): np.dtype(name) for name in sorted(SUPPORTED)}
"""The NumPy dtypes that plans support, by their TensorFlow dtype."""

__all__ = ["ToBackbone"]


class ToBackbone:
    """Apply plans to the images of a dataset, as a function for `Dataset.map`.

    Pass it to ``dataset.map`` with ``num_parallel_calls=tf.data.AUTOTUNE``. For the
    same in a model, on a device, use `graypipe.adapters.keras.ChannelLayer`.

    Parameters
    ----------
    *plans : Plan
        One or more plans with the same target and different numbers of source bands;
        the static number of bands of an image chooses the plan. Each source declares
        its range, because loaders cast. ``data_format`` replaces the layouts.
    key : str, optional
        The key of the image, if the elements are dicts.
    data_format : {"channels_last", "channels_first"}, default "channels_last"
        Whether images are (..., H, W, C) or (..., C, H, W).

    Raises
    ------
    RangeError
        If a source does not declare its range. When mapped, if the dtype of the image
        cannot hold the declared range.
    ChannelError
        If there is no plan, or two plans differ in target or share a number of bands.
        When mapped, if no plan has the bands of the image.
    LayoutError
        If ``data_format`` is invalid. When mapped, if the image has fewer than 3 axes
        or an unknown number of axes.
    DTypeError
        If an argument is not a plan. When mapped, if an element does not contain a
        dense tensor of a supported dtype.

    Notes
    -----
    All errors are raised while the dataset is built, with one exception: a band count
    that is only known when the dataset runs is checked then, by TensorFlow.

    Images of fully known static shape are compiled by XLA, once for each dataset. Other
    images never are, so that a folder of many sizes does not cost a compilation each.

    Examples
    --------
    >>> import graypipe as gp
    >>> import numpy as np
    >>> import tensorflow as tf
    >>> from graypipe.adapters.tf_data import ToBackbone
    >>> images = np.full((4, 32, 40, 1), 51, np.uint8)
    >>> dataset = tf.data.Dataset.from_tensor_slices((images, [0, 1, 0, 1])).batch(2)
    >>> plan = gp.plan(gp.Source("gray", range=(0, 255)), "unit")
    >>> mapped = dataset.map(ToBackbone(plan), num_parallel_calls=tf.data.AUTOTUNE)
    >>> mapped.element_spec[0].shape
    TensorShape([None, 32, 40, 3])
    >>> batch, labels = next(iter(mapped))
    >>> print(batch.numpy()[0, 0, 0].round(4), labels.numpy())
    [0.2 0.2 0.2] [0 1]
    """

    def __init__(
        self, *plans: Plan, key: str | None = None, data_format: str = "channels_last"
    ) -> None:
        self.layout, self.axis = image_layout(data_format)
        self.data_format = data_format
        self.key = key
        self.plans = {
            count: plan.with_layouts(self.layout, self.layout)
            for count, plan in index_by_band_count(plans).items()
        }
        for plan in plans:
            check_range_declared(
                plan,
                "image_dataset_from_directory yields float32 from 0 to 255, and other "
                "loaders cast too",
            )

    # Without Python control flow that depends on tensors there is nothing to convert.
    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def __call__(self, image: Element, *rest: Element) -> Element:
        """Return an element of a dataset with its image as the target describes it.

        Parameters
        ----------
        image : tensor, ndarray or dict
            Images (..., H, W, C), or (..., C, H, W), of known or unknown size. With
            ``key``, the dict that contains them.
        *rest
            The other components of the element, such as labels and masks:
            `Dataset.map` passes a tuple as several arguments.

        Returns
        -------
        tensor, dict or tuple
            The same structure, in which only the image is replaced. It has the bands
            and dtype of the target, and as much static shape as before.

        Raises
        ------
        LayoutError, ChannelError, DTypeError, RangeError
            If the element does not contain an image of a plan; see `ToBackbone`.
        """
        if self.key is None:
            result = self._convert(image)
        else:
            _check_key(image, self.key)
            result = {**image, self.key: self._convert(image[self.key])}
        if rest:
            return (result, *rest)
        return result

    def __repr__(self) -> str:
        plans = ", ".join(
            f"{plan.source} -> {plan.target}" for plan in self.plans.values()
        )
        return (
            f"ToBackbone({plans}, key={self.key!r}, data_format={self.data_format!r})"
        )

    def _convert(self, image: Any) -> Tensor:
        """Return the result for ``image``, a tensor or an array."""
        x = _as_tensor(image)
        plan = self._choose_plan(x.shape)
        execution = plan._execution(DTYPES[x.dtype])
        if x.shape[self.axis] is None:
            x = _check_bands_at_run_time(x, self.axis, plan)
        result = _run(execution, x, self.axis)
        # Broadcasting and reshaping lose what was known about the shape.
        result.set_shape(_with_band_count(x, self.axis, len(plan.target.bands)))
        return result

    def _choose_plan(self, shape: tf.TensorShape) -> Plan:
        """Return the plan for images of the static ``shape``.

        Raises
        ------
        LayoutError
            If the rank is unknown or less than 3.
        ChannelError
            If no plan has this number of bands, or if it is unknown and would choose
            between several plans.
        """
        expected = (
            f"expected images (..., {', '.join(self.layout)}) for "
            f"data_format={self.data_format!r}"
        )
        if shape.rank is None:
            raise LayoutError(
                f"{expected}, got a tensor of unknown rank: let the decoder state it, "
                f"such as tf.io.decode_image(data, channels=1, "
                f"expand_animations=False), or write "
                f"tf.ensure_shape(x, [None, None, 1])"
            )
        if shape.rank < 3:
            raise LayoutError(
                f"{expected}, 3 axes or more, got {_describe(shape, self.layout)}"
            )
        count = shape[self.axis]
        if count is not None:
            return choose_plan(self.plans, count, _describe(shape, self.layout))
        if len(self.plans) > 1:
            raise ChannelError(
                f"{expected}, with a band count that is known while the dataset is "
                f"built, because it chooses one of {len(self.plans)} plans, got shape "
                f"{shape}: decode with channels=, or use a plan for each dataset"
            )
        (plan,) = self.plans.values()
        return plan


def _check_key(element: Element, key: str) -> None:
    """Raise DTypeError unless ``element`` is a dict that has ``key``."""
    if not isinstance(element, dict):
        received = type(element).__name__
    elif key not in element:
        received = f"a dict of {sorted(element)}"
    else:
        return
    raise DTypeError(
        f"expected a dict with the image under key={key!r}, got {received}: pass the "
        f"key of the image"
    )


def _as_tensor(image: Any) -> Tensor:
    """Return ``image`` as a dense tensor of a dtype that plans support.

    Raises
    ------
    DTypeError
        If it is not an array or dense tensor of such a dtype.
    """
    if isinstance(image, dict | tuple):
        raise DTypeError(
            f"expected an image, got a {type(image).__name__}: pass key= for the image "
            f"of a dict; the image of a tuple is its first component"
        )
    if not tf.is_tensor(image):
        image = check_image(image)
        # TensorFlow takes arrays in native byte order only.
        image = image.astype(image.dtype.newbyteorder("="), copy=False)
    elif not isinstance(image, tf.Tensor | tf.Variable):
        # A ragged or sparse tensor.
        raise DTypeError(
            f"expected a dense tensor, got {type(image).__name__}: map the images "
            f"before batching"
        )
    x = tf.convert_to_tensor(image)
    if x.dtype not in DTYPES:
        if x.dtype == tf.string:
            cure = (
                "decode it, such as tf.io.decode_png(data, channels=1, dtype=tf.uint16)"
            )
        else:
            cure = "cast it, if possible before the pixels were rounded to fewer bits"
        raise DTypeError(
            f"expected a tensor of bool, integers of 8-64 bits or floats of 16-64 "
            f"bits, got {x.dtype.name}: {cure}"
        )
    return x


def _describe(shape: tf.TensorShape, layout: str) -> str:
    """Return ``shape`` with the layouts it could have, for an error message."""
    readings = []
    if shape.rank == 3:
        readings.append(f"{layout} ({describe(layout, shape)})")
    gray_layout = {2: "HW", 3: "NHW"}.get(shape.rank)
    if gray_layout is not None:
        band_axis = layout.index("C") - 3
        readings.append(
            f"{gray_layout} ({describe(gray_layout, shape)}), gray without a band "
            f"axis, which tf.expand_dims(x, {band_axis}) adds"
        )
    if not readings:
        return f"shape {shape}"
    return f"shape {shape}, read as {' or as '.join(readings)}"


def _check_bands_at_run_time(x: Tensor, axis: int, plan: Plan) -> Tensor:
    """Return ``x``, of unknown band count, with a check that runs in the graph."""
    bands = plan.source.bands
    message = (
        f"expected the bands {format_bands(bands)} ({len(bands)}) on axis {axis}: "
        f"decode with channels=, got x ="
    )
    check = tf.debugging.assert_equal(tf.shape(x)[axis], len(bands), message)
    with tf.control_dependencies([check]):
        return tf.ensure_shape(x, _with_band_count(x, axis, len(bands)))


def _with_band_count(x: Tensor, axis: int, count: int) -> list[int | None]:
    """Return the static shape of ``x`` with ``count`` bands on ``axis``."""
    shape: list[int | None] = x.shape.as_list()
    shape[axis] = count
    return shape


def _run(execution: Execution, x: Tensor, axis: int) -> Tensor:
    """Return the result for ``x``, of known band count, by the fastest method."""

    def run_elementwise(x: Tensor) -> Tensor:
        return elementwise.run(execution, x, axis, OPS)

    # In eager mode every call would trace and compile a new function.
    if not tf.inside_function():
        return run_elementwise(x)
    # XLA merges all operations into one loop over the pixels. It compiles for one
    # shape, so only where the dataset has one.
    if x.shape.is_fully_defined():
        return tf.function(run_elementwise, autograph=False, jit_compile=True)(x)
    if axis == -1 and _can_multiply(execution):
        # On a GPU, TensorFlow may round the product to TF32.
        with tf.device("/CPU:0"):
            return _multiply(execution, x)
    return run_elementwise(x)


def _can_multiply(execution: Execution) -> bool:
    """Return whether a matrix product gives the result of ``execution``.

    The target has to be floating, because the product is cast to it without rounding.
    A product reads every band for every band, and 0 * NaN is NaN: with floating pixels
    a NaN would spread to bands that do not read it. So the matrix must not have zeros
    then. Bands that are only moved need no product, and keep every bit without it.
    """
    spec = execution.spec
    if execution.target.kind != "f" or spec.moves(execution.source, execution.target):
        return False
    if execution.source.kind != "f":
        return True
    return all(len(row) == len(spec.centre) for row in spec.terms)


def _multiply(execution: Execution, x: Tensor) -> Tensor:
    """Return the result for ``x`` (..., C) by a matrix product over the bands.

    TensorFlow takes several times as long for elementwise operations that broadcast
    along a short last axis. The product is a 1 x 1 convolution of all pixels in one
    row.
    """
    spec = execution.spec
    dtype = execution.compute_dtype
    values = tf.cast(x, dtype)
    if spec.clip:
        low, high = np.array(spec.clip, dtype).T
        values = tf.clip_by_value(values, low, high)
    if any(spec.centre):
        values -= np.array(spec.centre, dtype)
    row = tf.reshape(values, [1, 1, -1, len(spec.centre)])
    # Filters are (height, width, bands in, bands out).
    filters = np.transpose(spec.matrix)[None, None].astype(dtype)
    result = tf.nn.conv2d(row, filters, 1, "VALID")
    result = tf.nn.bias_add(result, np.array(spec.offset, dtype))
    shape = tf.concat([tf.shape(x)[:-1], [len(spec.matrix)]], 0)
    result = tf.reshape(result, shape)
    result = elementwise.zero_nodata(execution, x, result, -1, OPS)
    return tf.cast(result, execution.target)


def _take(x: Tensor, indices: int | tuple[int, ...], axis: int) -> Tensor:
    """Return the bands ``indices`` of ``x``; a single index drops the axis."""
    if isinstance(indices, int) or x.shape[axis] > 1:
        return tf.gather(x, indices, axis=axis)
    # One band is repeated. Broadcasting is several times faster than gathering.
    shape = tf.unstack(tf.shape(x))
    shape[axis] = len(indices)
    return tf.broadcast_to(x, tf.stack(shape))


OPS = SimpleNamespace(
    convert_to_tensor=tf.convert_to_tensor,
    cast=tf.cast,
    take=_take,
    stack=tf.stack,
    any=tf.reduce_any,
    zeros_like=tf.zeros_like,
    where=tf.where,
    isnan=tf.math.is_nan,
    clip=tf.clip_by_value,
    round=tf.round,
)
"""The functions of `keras.ops` that `elementwise` calls, without importing Keras."""
