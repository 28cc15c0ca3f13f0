"""tf.data: plans as a function for Dataset.map, made of TensorFlow's own operations."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from ..bands import show
from ..engine import Execution, check_image
from ..engine.arrays import SUPPORTED
from ..errors import ChannelError, DTypeError, LayoutError
from ..extras import needs
from ..layouts import describe
from ..plan import Plan
from ._shared import elementwise
from ._shared.plan_choice import check_range_declared, choose_plan, index_by_band_count

with needs("tensorflow", "tensorflow"):
    import tensorflow as tf

Tensor = Any
Element = Any

DTYPES = {tf.as_dtype(name): np.dtype(name) for name in sorted(SUPPORTED)}

AXES = {"channels_last": ("HWC", -1), "channels_first": ("CHW", -3)}


class ToBackbone:
    """Plans on the images of a dataset: ``dataset.map(ToBackbone(plan), num_parallel_calls=tf.data.AUTOTUNE)``.

    Images are dense tensors (..., H, W, C), or (..., C, H, W) with ``data_format="channels_first"``, one or batches of
    them, of sizes known or not; the plans' own layouts are replaced by these. The result has the target's bands and
    dtype, and a static shape as far as the image has one. An element is an image, or a tuple that begins with it; with
    ``key``, a dict that holds it stands in its place. Everything else in the element passes through untouched.

    Every source declares its range (RangeError else), because loaders cast. Several plans share one target, and the
    static band count picks one. What is no image of a plan is a LayoutError, ChannelError, DTypeError or RangeError
    while the dataset is built; a band count that is unknown until it runs is tested then.

    In a dataset, images of static shape are compiled by XLA, once. Others are never compiled, so a folder of many sizes
    costs no compilation for each. Where the model is, on a device, adapters.keras.ChannelLayer does the same.
    """

    def __init__(
        self, *plans: Plan, key: str | None = None, data_format: str = "channels_last"
    ) -> None:
        if data_format not in AXES:
            raise LayoutError(
                f"data_format is {' or '.join(map(repr, AXES))}, got {data_format!r}"
            )
        self.layout, self.axis = AXES[data_format]
        self.data_format = data_format
        self.key = key
        self.plans = {
            count: plan.with_layouts(self.layout, self.layout)
            for count, plan in index_by_band_count(plans).items()
        }
        for plan in plans:
            check_range_declared(
                plan,
                "image_dataset_from_directory yields float32 from 0 to 255, and other loaders cast too",
            )

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # there is nothing to convert
    def __call__(self, image: Element, *rest: Element) -> Element:
        """Return the element with its image as the target expects it; Dataset.map passes a tuple's components."""
        if self.key is None:
            made = self._made(image)
        else:
            made = {**_holding(image, self.key), self.key: self._made(image[self.key])}
        return (made, *rest) if rest else made

    def __repr__(self) -> str:
        plans = ", ".join(
            f"{plan.source} -> {plan.target}" for plan in self.plans.values()
        )
        return (
            f"ToBackbone({plans}, key={self.key!r}, data_format={self.data_format!r})"
        )

    def _made(self, image: Any) -> Tensor:
        x = _tensor(image)
        plan = self._plan(x.shape)
        execution = plan._execution(DTYPES[x.dtype])
        if x.shape[self.axis] is None:
            x = _checked(x, self.axis, plan)
        y = _run(execution, x, self.axis)
        y.set_shape(_with_bands(x.shape.as_list(), self.axis, len(plan.target.bands)))
        return y

    def _plan(self, shape: tf.TensorShape) -> Plan:
        """Return the plan for images of static ``shape``; LayoutError or ChannelError where there is none."""
        expected = f"expected images (..., {', '.join(self.layout)}) as data_format={self.data_format!r} says"
        if shape.rank is None:
            raise LayoutError(
                f"{expected}, got a tensor of unknown rank: let the decoder state it, such as tf.io.decode_image(data, "
                f"channels=1, expand_animations=False), or write tf.ensure_shape(x, [None, None, 1])"
            )
        if shape.rank < 3:
            raise LayoutError(
                f"{expected}, 3 axes or more, got {_described(shape, self.layout)}"
            )
        count = shape[self.axis]
        if count is not None:
            return choose_plan(self.plans, count, _described(shape, self.layout))
        if len(self.plans) > 1:
            raise ChannelError(
                f"{expected}, of a band count that is known while the dataset is built, since it picks one of "
                f"{len(self.plans)} plans, got shape {shape}: decode with channels=, or use a plan for each dataset"
            )
        return next(iter(self.plans.values()))


def _holding(element: Element, key: str) -> dict[str, Element]:
    """Return ``element``, a dict that has ``key``; DTypeError else."""
    if not isinstance(element, dict) or key not in element:
        found = (
            f"a dict of {sorted(element)}"
            if isinstance(element, dict)
            else type(element).__name__
        )
        raise DTypeError(
            f"expected a dict that holds the image under key={key!r}, got {found}: pass the key it has"
        )
    return element


def _tensor(image: Any) -> Tensor:
    """Return ``image`` as a dense tensor of a dtype that plans know; DTypeError else."""
    if isinstance(image, dict | tuple):
        raise DTypeError(
            f"expected an image, got a {type(image).__name__}: name the image of a dict by key=, and let it be a "
            f"component of its own in a tuple"
        )
    if not tf.is_tensor(image):
        image = check_image(image)
        image = image.astype(image.dtype.newbyteorder("="), copy=False)
    elif not isinstance(image, tf.Tensor | tf.Variable):
        raise DTypeError(
            f"expected a dense tensor, got {type(image).__name__}: map the single images before they are batched"
        )
    x = tf.convert_to_tensor(image)
    if x.dtype not in DTYPES:
        cure = "decode it, such as tf.io.decode_png(data, channels=1, dtype=tf.uint16)"
        raise DTypeError(
            f"expected a tensor of bool, integers of 8-64 bits or floats of 16-64 bits, got {x.dtype.name}: "
            f"{cure if x.dtype == tf.string else 'cast it, better still before the pixels were rounded to fewer bits'}"
        )
    return x


def _described(shape: tf.TensorShape, layout: str) -> str:
    """Return ``shape`` with the ways to read it, which a missing band axis makes two."""
    axis = layout.index("C") - 3
    readings = [f"{layout} ({describe(layout, shape)})"] if shape.rank == 3 else []
    gray = {2: "HW", 3: "NHW"}.get(shape.rank)
    if gray:
        cure = f"gray without a band axis, which tf.expand_dims(x, {axis}) adds"
        readings.append(f"{gray} ({describe(gray, shape)}), {cure}")
    return f"shape {shape}" + (
        f", read as {' or as '.join(readings)}" if readings else ""
    )


def _checked(x: Tensor, axis: int, plan: Plan) -> Tensor:
    """Return ``x``, of unknown band count, with the test that it has the bands of ``plan``."""
    bands = plan.source.bands
    message = f"expected the bands {show(bands)} ({len(bands)}) on axis {axis}: decode with channels=, got x ="
    with tf.control_dependencies(
        [tf.debugging.assert_equal(tf.shape(x)[axis], len(bands), message)]
    ):
        return tf.ensure_shape(x, _with_bands(x.shape.as_list(), axis, len(bands)))


def _with_bands(shape: list[int | None], axis: int, count: int) -> list[int | None]:
    shape[axis] = count
    return shape


def _run(execution: Execution, x: Tensor, axis: int) -> Tensor:
    """Return the result for ``x``, of known band count, by what is fastest there."""

    def elements(x: Tensor) -> Tensor:
        return elementwise.run(execution, x, axis, OPS)

    if tf.inside_function() and x.shape.is_fully_defined():
        return tf.function(elements, autograph=False, jit_compile=True)(x)
    if tf.inside_function() and axis == -1 and _can_convolve(execution):
        with tf.device("/CPU:0"):  # a GPU may round a convolution to TF32
            return _convolved(execution, x)
    return elements(x)


def _can_convolve(execution: Execution) -> bool:
    """Whether a convolution gives the result: floats, of which no NaN reaches a band that has a zero for it."""
    spec, source, target = execution.spec, execution.source, execution.target
    dense = all(len(row) == len(spec.centre) for row in spec.terms)
    return (
        target.kind == "f"
        and not spec.moves(source, target)
        and (source.kind != "f" or dense)
    )


def _convolved(execution: Execution, x: Tensor) -> Tensor:
    """Return the result for ``x`` (..., C) by a 1 x 1 convolution over its pixels in one row.

    TensorFlow takes several times as long to broadcast along a short last axis.
    """
    spec, dtype = execution.spec, execution.compute_dtype
    values = tf.cast(x, dtype)
    if spec.clip:
        values = tf.clip_by_value(values, *np.array(spec.clip, dtype).T)
    if any(spec.centre):
        values -= np.array(spec.centre, dtype)
    row = tf.reshape(values, [1, 1, -1, len(spec.centre)])
    y = tf.nn.conv2d(
        row, np.transpose(spec.matrix)[None, None].astype(dtype), 1, "VALID"
    )
    y = tf.nn.bias_add(y, np.array(spec.offset, dtype))
    y = tf.reshape(y, tf.concat([tf.shape(x)[:-1], [len(spec.matrix)]], 0))
    return tf.cast(elementwise.zero_nodata(execution, x, y, -1, OPS), execution.target)


def _take(x: Tensor, indices: int | tuple[int, ...], axis: int) -> Tensor:
    """Return the bands of ``x``; one index drops the axis."""
    if isinstance(indices, int) or x.shape[axis] > 1:
        return tf.gather(x, indices, axis=axis)
    shape = tf.unstack(tf.shape(x))
    shape[axis] = len(indices)
    return tf.broadcast_to(x, tf.stack(shape))  # of one band several times faster


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
"""The functions of `keras.ops` that `elementwise` calls."""
