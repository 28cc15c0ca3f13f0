"""Folding into Keras: a copy of a model whose first convolution does what a plan did, and how far the two differ."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ChannelError, LayoutError
from ...extras import needs
from ...plan import Plan
from .._shared import folding
from .._shared.folding import Comparison, Difference
from .copy import copy_with, given
from .graph import Layer, Model, Reader, find_reader

with needs("tensorflow", "keras", "tensorflow"):
    import keras
    from keras import layers

Array = NDArray[Any]

PLAIN = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
LAYOUTS = {1: "WIO", 2: "HWIO", 3: "DHWIO"}
"""By the number of spatial axes: the convolution that a folded layer is, and the layout of its kernel."""

DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)

SIDE = 96
"""Pixels along an axis that the model leaves open: enough for every border, and for models that halve it five times."""


def fold_into(
    model: Model, plan: Plan, *, layer: str | None = None, exact: bool = False
) -> tuple[Model, Plan]:
    """Return (folded, feed): a copy of ``model`` that reads what ``plan`` reads, and the plan that feeds it.

    ``folded(feed.batch(x)) = model(plan.batch(x))``, up to rounding wherever the window of the first convolution lies
    inside the image; at borders padded with zeros the two differ, least for the centre of each band that ``feed``
    takes off, and not at all with ``exact=True``, where ``feed`` appends a band that is one. `compare` measures it.

    ``model``: functional or sequential, nested or not, under any backend. What reads the image is found in its graph:
    a Conv1D, Conv2D or Conv3D, grouped or not, a DepthwiseConv or SeparableConv (either becomes a plain convolution,
    without the regularizers of its own kernels), after zero padding or directly. ``layer`` names it where you want to
    be sure. The copy keeps names, dtype policies, strides, paddings, activations, ``trainable``, also of single
    weights, what layers nested models share, and a compilation (its optimizer starts anew); the folded layer gets a
    bias where the plan has an offset. ``model`` is not touched.
    ``plan``: its source declares a range; its bands are those of the model, in the model's order. ``feed`` has the
    layout that the model reads, unit intensities of the source's bands (less the centres), and its guards: clip, and,
    with ``exact=True`` alone, nodata.

    ChannelError where no one layer reads the image, or others do too, as where a model normalises inside, and where
    weights are shared in a way that a copy would lose; ChannelError, RangeError or DTypeError for a plan that does not
    fit or cannot be folded. What Keras cannot copy by its configuration, such as a Lambda layer, is Keras' own error.
    """
    folding.check_foldable(plan, exact=exact)
    reader = find_reader(model, layer)
    plan = _laid_out(plan, len(reader.layer.kernel_size), reader.layer.data_format)
    kernel, bias, groups = _weights(reader.layer)
    layout, seen = LAYOUTS[kernel.ndim - 2], _seen(reader, _sides(model, reader))
    kernel, bias, feed = folding.fold(
        plan, kernel, bias, seen, layout=layout, groups=groups, exact=exact
    )
    conv = _convolution(
        reader.layer, filters=kernel.shape[-1], use_bias=bias is not None
    )
    made = [kernel] if bias is None else [kernel, bias]
    return copy_with(model, reader, conv, made, len(feed.target.bands)), feed


def compare(model: Model, plan: Plan, folded: Model, folded_plan: Plan) -> Comparison:
    """Return how far ``folded``, fed by ``folded_plan``, is from ``model``, fed by ``plan``, on the same random images.

    The folded layer is compared before its activation, interior and border apart; the models in all they return, at
    inference. Two images, of the size of the model's input, 96 pixels along an axis that it leaves open. Printed, it
    is a table. ChannelError where the plans have not one source, a model has no one layer that reads the image, or
    the two differ in the size of their images, or in the shapes of the layers or of what they return.
    """
    readers = [find_reader(model), find_reader(folded)]
    sides, others = map(_sides, (model, folded), readers)
    if others != sides:
        raise ChannelError(
            f"expected models that read images of one size, got {sides} and {others}: {folding.COMPARE_HINT}"
        )
    plans = [_laid_out(fed, len(sides), "channels_last") for fed in (plan, folded_plan)]
    samples = folding.sample_inputs(plans, (1,) * (2 - len(sides)) + sides)
    images = [sample.reshape(-1, *sides, sample.shape[-1]) for sample in samples]
    expected, found = map(_response, readers, images)
    interior, border = folding.compare_layer_outputs(
        found, expected, _seen(readers[0], sides)
    )
    wanted, made = map(_outputs, (model, folded), readers, images)
    return Comparison(
        "/".join(readers[0].path), interior, border, Difference.between(made, wanted)
    )


def _laid_out(plan: Plan, rank: int, data_format: str) -> Plan:
    """Return ``plan`` with a target in the layout that convolutions along ``rank`` axes read."""
    letters = plan.source.layout.replace("C", "").replace("N", "")
    if len(letters) < rank:
        raise LayoutError(
            f"the model reads volumes, and the layout of the source is {plan.source.layout!r}: declare that of its "
            f"volumes, such as layout='DHW' or 'THW'"
        )
    letters = letters[-max(rank, 2) :]  # a Conv1D reads the rows of an image
    at = len(letters) - (rank if data_format == "channels_first" else 0)
    return plan.with_layouts(target=f"{letters[:at]}C{letters[at:]}")


def _weights(layer: Layer) -> tuple[Array, Array | None, int]:
    """Return kernel (..., I, O), bias and groups of the plain convolution that does what ``layer`` does."""
    bias = keras.ops.convert_to_numpy(layer.bias) if layer.use_bias else None
    if isinstance(layer, SEPARABLE):
        depthwise, pointwise = map(
            keras.ops.convert_to_numpy, (layer.depthwise_kernel, layer.pointwise_kernel)
        )
        mixing = pointwise.reshape(*depthwise.shape[-2:], -1)
        product = np.einsum(
            "...im,imo->...io", depthwise.astype(np.float64), mixing.astype(np.float64)
        )
        return product.astype(depthwise.dtype), bias, 1
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    if isinstance(layer, DEPTHWISE):
        return kernel.reshape(*kernel.shape[:-2], 1, -1), bias, kernel.shape[-2]
    return kernel, bias, layer.groups


def _convolution(layer: Layer, **changes: Any) -> Layer:
    """Return a plain convolution, without weights yet, that strides, pads and activates as ``layer`` does."""
    foreign = (
        "depth",
        "pointwise",
        "lora",
    )  # of kernels that a plain convolution has not, or that are in the kernel
    config = {
        key: value
        for key, value in layer.get_config().items()
        if not key.startswith(foreign)
    }
    return PLAIN[len(layer.kernel_size)].from_config({**config, "groups": 1, **changes})


def _sides(model: Model, reader: Reader) -> tuple[int, ...]:
    """Return the size of the images that ``model`` reads, channels left out."""
    shape = model.inputs[0].shape
    sides = shape[2:] if reader.layer.data_format == "channels_first" else shape[1:-1]
    return tuple(SIDE if side is None else side for side in sides)


def _seen(reader: Reader, sides: tuple[int, ...]) -> Array:
    """Return (taps, outputs): which taps of the kernel see the image, by a convolution that tells them apart."""
    layer = reader.layer
    size, taps = layer.kernel_size, math.prod(layer.kernel_size)
    geometry = {
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
    }
    probe = PLAIN[len(size)](
        taps,
        size,
        **geometry,
        data_format="channels_last",
        dtype="float32",
        use_bias=False,
    )
    image = _padded(reader, np.ones((1, *sides, 1), np.float32))
    probe.build(image.shape)
    probe.set_weights([np.eye(taps, dtype=np.float32).reshape(*size, 1, taps)])
    seen: Array = keras.ops.convert_to_numpy(probe(image)).reshape(-1, taps).T > 0.5
    return seen


def _response(reader: Reader, images: Array) -> Array:
    """Return what the layer makes of ``images`` (N, ..., C) before its activation, channels last."""
    layer = _channels_last(reader.layer, activation=None)
    image = _padded(reader, images)
    layer.build(image.shape)
    layer.set_weights(reader.layer.get_weights())
    made: Array = keras.ops.convert_to_numpy(layer(image))
    return made


def _padded(reader: Reader, images: Array) -> Any:
    for padding in reader.paddings:
        images = _channels_last(padding)(images)
    return images


def _channels_last(layer: Layer, **changes: Any) -> Layer:
    return type(layer).from_config(
        {**layer.get_config(), "data_format": "channels_last", **changes}
    )


def _outputs(model: Model, reader: Reader, images: Array) -> list[Array]:
    """Return all that ``model`` returns for ``images`` (N, ..., C)."""
    if reader.layer.data_format == "channels_first":
        images = np.moveaxis(images, -1, 1)
    made = model(given(model, images), training=False)
    return [keras.ops.convert_to_numpy(part) for part in keras.tree.flatten(made)]
