"""tf.data adapter: apply plans in `Dataset.map` with TensorFlow operations.

The engine works on NumPy arrays and cannot run in a TensorFlow graph, so this adapter
executes plans with TensorFlow operations. A mapped dataset can therefore be saved, and
can run in the workers of a tf.data service.
"""

from functools import reduce
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..bands import format_bands
from ..engine import Execution, check_image
from ..engine.arrays import SUPPORTED
from ..engine.value_tests import (
    MIN_FRACTIONS,
    MIN_PIXELS,
    above_limit_message,
    check_values,
    divided_message,
)
from ..errors import ChannelError, DTypeError, LayoutError
from ..extras import require_extra
from ..layouts import describe
from ..messages import describe_value
from ..plan import Plan
from ..plans import Plans
from ._shared import elementwise
from ._shared.data_format import image_layout
from ._shared.declared_range import check_range_declared

with require_extra("tensorflow", "tensorflow"):
    import tensorflow as tf

# TensorFlow ships no type annotations.
Tensor = Any
Element = Any

# The supported dtypes: TensorFlow dtype -> NumPy dtype.
DTYPES = {tf.as_dtype(name): np.dtype(name) for name in sorted(SUPPORTED)}

# About so many rows of an image are examined before all of its pixels are.
SAMPLED_ROWS = 8

__all__ = ["ToBackbone"]


class ToBackbone:
    """Apply plans to the images of a dataset in `Dataset.map`.

    Pass it to ``dataset.map`` with ``num_parallel_calls=tf.data.AUTOTUNE``. To apply a
    plan inside a model, on its device, use `graypipe.adapters.keras.ChannelLayer`.

    Parameters
    ----------
    *plans : Plan
        Plans that share one target, as in `graypipe.Plans`: each image selects the plan
        that takes its static number of bands and its dtype. Each source must declare
        its range, because loaders may cast the pixels. The layouts of the plans are
        replaced according to ``data_format``.
    key : str or int, optional
        The key of the image in elements that are dicts, its field in named tuples, or
        its position in tuples. The default is the first component of a tuple.
    data_format : {"channels_last", "channels_first"}, default "channels_last"
        Whether images are (..., H, W, C) or (..., C, H, W).

    Raises
    ------
    RangeError
        If a source does not declare its range. In `Dataset.map`, if the dtype of the
        image cannot represent the declared range. In eager mode, if values contradict
        the source.
    ChannelError
        If no plan is given, or if two plans have different targets or take images of
        the same number of bands and the same dtype. In `Dataset.map`, if no plan
        accepts the number of bands of the image, or if that number is unknown and the
        plans take different ones.
    LayoutError
        If ``data_format`` is invalid. In `Dataset.map`, if the image has fewer than 3
        axes or an unknown number of axes.
    DTypeError
        If an argument is not a plan. In `Dataset.map`, if an element does not contain
        a dense tensor of a supported dtype.

    Notes
    -----
    Errors are raised when `Dataset.map` is called, except for those that depend on the
    elements. When the dataset runs, assertions raise
    `tf.errors.InvalidArgumentError` if a number of bands that was unknown is wrong, or
    if values contradict the source: integers above twice the white of ``bits``, and
    images that an earlier step has already divided. XLA leaves assertions out, so a
    function with ``jit_compile=True`` tests no values.

    If the static shape is fully known, XLA compiles the conversion once per dataset.
    Otherwise nothing is compiled, because every image size would need a compilation.

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
        self,
        *plans: Plan,
        key: str | int | None = None,
        data_format: str = "channels_last",
    ) -> None:
        self.layout, self.axis = image_layout(data_format)
        self.data_format = data_format
        self.key = key
        self.plans = Plans(*plans)._with_layouts(self.layout, self.layout)
        for plan in plans:
            check_range_declared(
                plan,
                "loaders such as image_dataset_from_directory, which yields float32 "
                "from 0 to 255, cast the pixels",
            )

    # AutoGraph has nothing to convert: no Python control flow depends on tensors.
    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def __call__(self, image: Element, *rest: Element) -> Element:
        """Return an element of a dataset with its image converted to the target.

        Parameters
        ----------
        image : tensor, ndarray, dict or named tuple
            An image or a batch of shape (..., H, W, C), or (..., C, H, W) for
            channels first; sizes may be unknown. With ``key``, a dict or a named tuple
            that contains the image, or the first component of a tuple.
        *rest
            The other components of the element, such as labels and masks.
            `Dataset.map` unpacks a tuple into separate arguments.

        Returns
        -------
        tensor, dict, named tuple or tuple
            The element with only the image replaced. The new image has the bands and
            dtype of the target; static sizes are preserved.

        Raises
        ------
        LayoutError, ChannelError, DTypeError, RangeError
            If no plan can convert the element; see `ToBackbone`.
        """
        components = [image, *rest]
        if self.key is None:
            components[0] = self._convert(image)
        elif isinstance(image, dict) and self.key in image:
            components[0] = {**image, self.key: self._convert(image[self.key])}
        elif isinstance(self.key, str) and self.key in getattr(image, "_fields", ()):
            converted = self._convert(getattr(image, self.key))
            components[0] = image._replace(**{self.key: converted})
        elif isinstance(self.key, int) and self.key in range(len(components)):
            components[self.key] = self._convert(components[self.key])
        else:
            raise _missing_key_error(components, self.key)
        if rest:
            return tuple(components)
        return components[0]

    def __repr__(self) -> str:
        plans = ", ".join(
            f"{plan.source} -> {plan.target}" for plan in self.plans.plans
        )
        return (
            f"ToBackbone({plans}, key={self.key!r}, data_format={self.data_format!r})"
        )

    def _convert(self, image: Any) -> Tensor:
        """Return ``image``, a tensor or an array, converted by its plan."""
        x = _as_tensor(image)
        plan = self._choose_plan(x.shape, DTYPES[x.dtype])
        execution = plan._execution(DTYPES[x.dtype])
        if x.shape[self.axis] is None:
            x = _check_bands_at_run_time(x, self.axis, plan)
        checks = _value_checks(execution, x, self.axis)
        with tf.control_dependencies(checks):
            result = tf.identity(_run(execution, x, self.axis))
        # Broadcasting and reshaping lose the static shape.
        result.set_shape(_with_band_count(x, self.axis, len(plan.target.bands)))
        return result

    def _choose_plan(self, shape: tf.TensorShape, dtype: np.dtype[Any]) -> Plan:
        """Return the plan for an image of static shape ``shape`` and of ``dtype``.

        Raises
        ------
        LayoutError
            If the rank is unknown or less than 3.
        ChannelError
            If no plan accepts the number of bands, or if that number is unknown and
            the plans take different ones.
        DTypeError
            If several plans accept the number of bands, but none of them the dtype.
        """
        expected = (
            f"expected images of shape (..., {', '.join(self.layout)}) for "
            f"data_format={self.data_format!r}"
        )
        if shape.rank is None:
            raise LayoutError(
                f"{expected}, got a tensor of unknown rank: decode to a known rank, "
                "for example with tf.io.decode_image(data, channels=1, "
                "expand_animations=False), or set the shape with "
                "tf.ensure_shape(x, [None, None, 1])"
            )
        if shape.rank < 3:
            advice = ""
            if shape.rank < 2:  # a label, or a batch of labels
                advice = (
                    ". If the image is another component of the element, pass its "
                    "position as key="
                )
            raise LayoutError(
                f"{expected}, got fewer than 3 axes: {_describe(shape, self.layout)}"
                f"{advice}"
            )
        count = shape[self.axis]
        counts = {len(plan.source.bands) for plan in self.plans.plans}
        if count is None and len(counts) > 1:
            raise ChannelError(
                f"{expected} with a static number of bands, which selects one of "
                f"{len(self.plans.plans)} plans, got shape {shape}: pass channels= to "
                "the decoder, or map each dataset with its own plan"
            )
        if count is None:
            (count,) = counts
        return self.plans._choose(count, dtype, _describe(shape, self.layout))


def _missing_key_error(components: list[Any], key: object) -> DTypeError:
    """Return the error for an element that has no image at ``key``."""
    keys = _keys(components[0])
    if keys:
        advice = f"pass one of {describe_value(keys)} as key="
    elif len(components) > 1:
        advice = (
            "omit key= if the image is the first component, or pass its position, such "
            "as key=1"
        )
    else:
        advice = "omit key= if the element is the image"
    return DTypeError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"expected an element with the image under the key {key!r}, got "
        f"{_describe_element(components)}: {advice}"
    )


def _keys(element: Any) -> list[Any]:
    """Return the keys of a dict or the fields of a named tuple, otherwise nothing."""
    if isinstance(element, dict):
        return list(element)
    return list(getattr(element, "_fields", ()))


def _describe_element(components: list[Any]) -> str:
    """Return the kinds of the components of an element, for errors."""
    kinds = ", ".join(type(component).__name__ for component in components[:4])
    if len(components) == 1:
        return kinds
    return f"a tuple of {len(components)} components ({kinds})"


def _as_tensor(image: Any) -> Tensor:
    """Return ``image`` as a dense tensor of a dtype that plans support.

    Raises
    ------
    DTypeError
        If ``image`` is not an array or a dense tensor, or its dtype is not supported.
    """
    if isinstance(image, dict | tuple):
        keys = _keys(image)
        if keys:
            advice = f"pass the key of the image as key=, one of {describe_value(keys)}"
        else:
            advice = (
                "the image itself must be a component of the element, the first one or "
                "the one whose position is key="
            )
        raise DTypeError(f"expected an image, got a {type(image).__name__}: {advice}")
    if not tf.is_tensor(image):
        image = check_image(image)
        # TensorFlow accepts only arrays in native byte order.
        image = image.astype(image.dtype.newbyteorder("="), copy=False)
    elif not isinstance(image, tf.Tensor | tf.Variable):
        # Ragged and sparse tensors are tensors, but not instances of tf.Tensor.
        raise DTypeError(
            f"expected a dense tensor, got {type(image).__name__}: map single images, "
            "before they are batched"
        )
    x = tf.convert_to_tensor(image)
    if x.dtype not in DTYPES:
        if x.dtype == tf.string:
            advice = (
                "decode it, for example with tf.io.decode_png(data, channels=1, "
                "dtype=tf.uint16)"
            )
        else:
            advice = (
                "load the pixels in one of these dtypes, or cast the tensor if no "
                "precision has been lost"
            )
        raise DTypeError(
            "expected a tensor of bool, 8- to 64-bit integers or 16- to 64-bit "
            f"floats, got {x.dtype.name}: {advice}"
        )
    return x


def _describe(shape: tf.TensorShape, layout: str) -> str:
    """Return a description of ``shape`` and its possible layouts, for errors."""
    readings = []
    if shape.rank == 3:
        readings.append(f"{layout} ({describe(layout, shape)})")
    gray_layout = {2: "HW", 3: "NHW"}.get(shape.rank)
    if gray_layout is not None:
        band_axis = layout.index("C") - 3
        readings.append(
            f"{gray_layout} ({describe(gray_layout, shape)}), gray without a band "
            f"axis (add it with tf.expand_dims(x, {band_axis}))"
        )
    if not readings:
        return f"shape {shape}"
    return f"shape {shape}, read as {' or as '.join(readings)}"


def _check_bands_at_run_time(x: Tensor, axis: int, plan: Plan) -> Tensor:
    """Return ``x`` with a run-time check of its number of bands."""
    bands = plan.source.bands
    # TensorFlow appends the number that it found.
    message = (
        f"expected the bands {format_bands(bands)} ({len(bands)}) on axis {axis}, got "
        "another number: pass channels= to the decoder."
    )
    check = tf.debugging.assert_equal(tf.shape(x)[axis], len(bands), message)
    with tf.control_dependencies([check]):
        return tf.ensure_shape(x, _with_band_count(x, axis, len(bands)))


def _with_band_count(x: Tensor, axis: int, count: int) -> list[int | None]:
    """Return the static shape of ``x`` with ``count`` bands on ``axis``."""
    shape: list[int | None] = x.shape.as_list()
    shape[axis] = count
    return shape


def _value_checks(execution: Execution, x: Tensor, axis: int) -> list[Any]:
    """Return assertions for a graph that the values of ``x`` fit the source.

    They have the limits and the messages of `graypipe.engine.value_tests`, which
    decides in eager mode. XLA leaves assertions out.

    Raises
    ------
    RangeError
        In eager mode, if values contradict the source.
    """
    spec = execution.spec
    details: list[Any] = []
    if spec.highest is not None:
        highest = tf.reduce_max(x)
        is_refused = _is_above_limit(execution, x, axis, highest)
        message = above_limit_message(min(spec.highest))
        details = ["The highest value:", highest]
    elif spec.undivided_bands:
        is_refused = _is_divided(execution, x, axis)
        message = divided_message(execution.source_dtype)
    else:
        return []
    if tf.inside_function():
        is_accepted = tf.logical_not(is_refused)
        return [tf.debugging.Assert(is_accepted, [f"{message}.", *details])]
    if is_refused:
        planes = np.moveaxis(x.numpy(), axis, 0)
        check_values(spec, execution.source_dtype, planes, x.shape.rank - 3)
    return []


def _is_above_limit(
    execution: Execution, x: Tensor, axis: int, highest: Tensor
) -> Tensor:
    """Return whether integers of ``x`` are above the limit of their band.

    Only if ``highest``, the maximum of ``x``, is above a limit, it has to be decided
    whether it belongs to a band that is read and is no nodata.
    """
    top = x.dtype.max
    limits = [min(int(limit), top) for limit in execution.spec.highest or ()]

    def is_above() -> Tensor:
        results = []
        for band, (plane, is_counted) in _tested_planes(
            execution, x, axis, execution.spec.bands_read
        ).items():
            results.append(tf.reduce_any(is_counted & (plane > limits[band])))
        return tf.reduce_any(results)

    return tf.cond(highest > min(limits), is_above, lambda: tf.constant(False))


def _is_divided(execution: Execution, x: Tensor, axis: int) -> Tensor:
    """Return whether an earlier step has apparently divided an image of ``x``.

    Most images hold a value outside of [0, 1] in a few of their rows. Of the others,
    all pixels are read.
    """
    pixel_axes = [a for a in (-3, -2, -1) if a != axis]
    height, width = (tf.shape(x)[a] for a in pixel_axes)
    bands = execution.spec.undivided_bands

    def is_inside(image: Tensor) -> Tensor:
        """Return, for each image, whether all values lie in [0, 1]."""
        results = []
        for plane, is_counted in _tested_planes(execution, image, axis, bands).values():
            is_outside = is_counted & ((plane < 0) | (plane > 1))
            results.append(tf.reduce_any(is_outside, [-2, -1]))
        return tf.logical_not(tf.reduce_any(results, 0))

    def is_any_divided() -> Tensor:
        is_suspect = is_inside(x)
        return tf.cond(
            tf.reduce_any(is_suspect),
            lambda: tf.reduce_any(is_suspect & are_fractions()),
            lambda: tf.constant(False),
        )

    def are_fractions() -> Tensor:
        """Return, for each image, whether enough values are fractions that differ."""
        counts, fraction_counts, varies = [], [], []
        for plane, is_counted in _tested_planes(execution, x, axis, bands).values():
            is_fraction = is_counted & (plane > 0) & (plane < 1)
            counts.append(_count(is_counted))
            fraction_counts.append(_count(is_fraction))
            lowest = tf.where(is_fraction, plane, tf.ones_like(plane))
            highest = tf.where(is_fraction, plane, tf.zeros_like(plane))
            varies.append(
                tf.reduce_min(lowest, [-2, -1]) < tf.reduce_max(highest, [-2, -1])
            )
        fractions = tf.add_n(fraction_counts)
        others = tf.add_n(counts) - fractions
        are_most = fractions >= tf.maximum(others, MIN_FRACTIONS)
        return tf.reduce_any(varies, 0) & are_most

    rows = tf.range(height // (2 * SAMPLED_ROWS), height, height // SAMPLED_ROWS + 1)
    sample = tf.gather(x, rows, axis=pixel_axes[0])
    has_pixels = height * width >= MIN_PIXELS
    is_suspect = has_pixels & tf.reduce_any(is_inside(sample))
    return tf.cond(is_suspect, is_any_divided, lambda: tf.constant(False))


def _count(mask: Tensor) -> Tensor:
    """Return the number of pixels that are set in each image of ``mask``."""
    return tf.math.count_nonzero(mask, [-2, -1])


def _tested_planes(
    execution: Execution, x: Tensor, axis: int, bands: tuple[int, ...]
) -> dict[int, tuple[Tensor, Tensor]]:
    """Return each of ``bands``, and the mask of its values that are finite and valid.

    In TensorFlow, reductions along all axes but a short last one are slow, so bands
    are taken apart.
    """
    spec = execution.spec
    is_missing = {}
    for band, nodata in spec.stored_nodata(execution.source_dtype).items():
        plane = tf.gather(x, band, axis=axis)
        if np.isnan(nodata):
            is_missing[band] = tf.math.is_nan(plane)
        else:
            is_missing[band] = tf.equal(plane, nodata)
    if is_missing and not isinstance(spec.nodata, tuple):
        is_missing = dict.fromkeys(bands, reduce(tf.logical_or, is_missing.values()))
    planes = {}
    for band in bands:
        plane = tf.gather(x, band, axis=axis)
        if x.dtype.is_floating:
            is_counted = tf.math.is_finite(plane)
        else:
            is_counted = tf.ones_like(plane, tf.bool)
        if band in is_missing:
            is_counted &= tf.logical_not(is_missing[band])
        planes[band] = plane, is_counted
    return planes


def _run(execution: Execution, x: Tensor, axis: int) -> Tensor:
    """Return ``x``, whose band count is known, converted by the fastest method."""

    def run_elementwise(x: Tensor) -> Tensor:
        return elementwise.run(execution, x, axis, OPS)

    # In eager mode, every call would trace and compile a new function.
    if not tf.inside_function():
        return run_elementwise(x)
    # XLA fuses all operations into one loop over the pixels. It compiles for a fixed
    # shape, so it is used only if the static shape is fully known.
    if x.shape.is_fully_defined():
        return tf.function(run_elementwise, autograph=False, jit_compile=True)(x)
    if axis == -1 and _can_multiply(execution):
        # On a GPU, TensorFlow may round the product to TF32.
        with tf.device("/CPU:0"):
            return _multiply(execution, x)
    return run_elementwise(x)


def _can_multiply(execution: Execution) -> bool:
    """Return whether a matrix product can compute the result of ``execution``.

    The target must be floating, because the product is cast to it without rounding.
    Floating pixels may be NaN, and 0 * NaN is NaN: a zero in the matrix would spread a
    NaN to a target band that does not use it. For floating pixels, every target band
    must therefore use every source band. Bands that are only moved need no product;
    moving them preserves every bit.
    """
    spec = execution.spec
    if execution.target_dtype.kind != "f" or spec.only_copies(
        execution.source_dtype, execution.target_dtype
    ):
        return False
    if execution.source_dtype.kind != "f":
        return True
    return all(len(row) == len(spec.black_levels) for row in spec.terms)


def _multiply(execution: Execution, x: Tensor) -> Tensor:
    """Return ``x`` (..., C) converted by a matrix product over the bands.

    In TensorFlow, elementwise operations that broadcast along a short last axis take
    several times as long. The product is computed as a 1 x 1 convolution over all
    pixels, arranged in one row.
    """
    spec = execution.spec
    dtype = execution.compute_dtype
    values = tf.cast(x, dtype)
    if spec.clip:
        low, high = np.array(spec.clip, dtype).T
        values = tf.clip_by_value(values, low, high)
    if any(spec.black_levels):
        values -= np.array(spec.black_levels, dtype)
    row = tf.reshape(values, [1, 1, -1, len(spec.black_levels)])
    # The axes of filters are (height, width, input bands, output bands).
    filters = np.transpose(spec.matrix)[None, None].astype(dtype)
    result = tf.nn.conv2d(row, filters, 1, "VALID")
    result = tf.nn.bias_add(result, np.array(spec.offset, dtype))
    shape = tf.concat([tf.shape(x)[:-1], [len(spec.matrix)]], 0)
    result = tf.reshape(result, shape)
    result = elementwise.zero_nodata(execution, x, result, -1, OPS)
    return tf.cast(result, execution.target_dtype)


def _take(x: Tensor, indices: int | tuple[int, ...], axis: int) -> Tensor:
    """Return the bands ``indices`` of ``x``; an integer index drops the axis."""
    if isinstance(indices, int) or x.shape[axis] > 1:
        return tf.gather(x, indices, axis=axis)
    # One band is repeated. Broadcasting is several times faster than gathering.
    shape = tf.unstack(tf.shape(x))
    shape[axis] = len(indices)
    return tf.broadcast_to(x, tf.stack(shape))


# TensorFlow equivalents of the `keras.ops` functions that `elementwise` calls.
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
