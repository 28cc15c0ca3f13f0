"""Fold plans into Keras models, and measure how exact a fold is."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ChannelError, LayoutError
from ...extras import require_extra
from ...plan import Plan
from .._shared import folding
from .._shared.folding import Comparison, Difference
from .copy import copy_with_stem, wrap_input
from .graph import SEPARABLE, Layer, Model, Stem, find_stem, has_depthwise_kernel

with require_extra("tensorflow", "keras", "tensorflow"):
    import keras
    from keras import layers

Array = NDArray[Any]

PLAIN_CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
"""By the number of spatial axes: the class of a folded layer."""

KERNEL_LAYOUTS = {1: "WIO", 2: "HWIO", 3: "DHWIO"}
"""By the number of spatial axes: the layout of kernels in Keras."""

OPEN_SIDE = 96
"""The size along an axis that a model leaves open, for images made to compare with.

Enough for every border of a kernel, and divisible by 32, so that it suits models that
halve the image five times.
"""

# The keys of a configuration that a plain convolution does not have. Those of a
# depthwise or separable kernel are gone with that; LoRA is merged into the kernel.
DROPPED_CONFIG_PREFIXES = ("depth", "pointwise", "lora")


def fold_into(
    model: Model, plan: Plan, *, layer: str | None = None, exact: bool = False
) -> tuple[Model, Plan]:
    """Fold a plan into the first convolution of a Keras model.

    The folded model reads images of the source's bands, such as one band in place of
    three: ``folded(feed.batch(x))`` equals ``model(plan.batch(x))``.

    Parameters
    ----------
    model : keras.Model
        A functional or sequential model, nested or not, under any backend. It is not
        changed. A Conv1D, Conv2D, Conv3D, DepthwiseConv or SeparableConv reads the
        image, grouped or not, directly or after zero padding.
    plan : Plan
        The plan that ``model`` is fed by now. Its source declares its range, and its
        bands are those that the model reads, in the model's order.
    layer : str, optional
        The name of the convolution that reads the image, which is found in any case:
        an error is raised if it has another name.
    exact : bool, default False
        Be exact at zero-padded borders too. ``feed`` then appends a band "one" of
        constant 1, and may have nodata.

    Returns
    -------
    folded : keras.Model
        A copy of ``model`` with names, dtype policies, strides, paddings,
        activations, shared layers and ``trainable`` of layers and single weights, and
        compiled if ``model`` is, with a new optimizer. Its first layer is a plain
        convolution, with a bias if the plan has an offset. Regularizers of depthwise
        and pointwise kernels are dropped.
    feed : Plan
        The plan that feeds ``folded``: unit intensities of the source's bands, less a
        centre for each band, in the layout that the model reads. It clips if the
        source does.

    Raises
    ------
    ChannelError
        If more than one layer reads the image, or one that is no convolution, such as
        a normalization inside the model; if a copy would lose weights that layers
        share; or if the bands of the plan are not those that the model reads.
    LayoutError
        If the model reads volumes and the plan images.
    RangeError
        If the source does not declare its range, or has nodata without ``exact``.
    DTypeError
        If ``model`` is not a Keras model, or the target's dtype is not floating.

    See Also
    --------
    compare : Measure how far the two models differ.

    Notes
    -----
    Both sides are equal up to rounding wherever the window of the convolution is
    inside the image. At zero-padded borders they differ unless ``exact`` is True,
    because zero means another intensity to each of the two models. The centre that
    ``feed`` subtracts makes the difference small.

    What Keras cannot copy by its configuration, such as a Lambda layer, raises Keras'
    own error.

    Examples
    --------
    >>> import graypipe as gp
    >>> import keras
    >>> import numpy as np
    >>> from graypipe.adapters.keras import fold_into
    >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3)])
    >>> plan = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
    >>> folded, feed = fold_into(model, plan)
    >>> folded.input_shape
    (None, 32, 32, 1)
    >>> images = np.full((2, 32, 32), 100, np.uint8)
    >>> three_bands = plan.with_layouts(target="HWC").batch(images)
    >>> expected = model.predict(three_bands, verbose=0)
    >>> result = folded.predict(feed.batch(images), verbose=0)
    >>> bool(np.allclose(result, expected, atol=1e-5))
    True
    """
    folding.check_foldable(plan, exact=exact)
    stem = find_stem(model, layer)
    rank = len(stem.layer.kernel_size)
    plan = _with_target_layout(plan, rank, stem.layer.data_format)
    kernel, bias, groups = _plain_weights(stem.layer)
    taps_inside = _find_taps_inside(stem, _image_size(model, stem))
    kernel, bias, feed = folding.fold(
        plan,
        kernel,
        bias,
        taps_inside,
        layout=KERNEL_LAYOUTS[rank],
        groups=groups,
        exact=exact,
    )
    new_layer = _plain_convolution(
        stem.layer, filters=kernel.shape[-1], use_bias=bias is not None
    )
    new_weights = [kernel]
    if bias is not None:
        new_weights.append(bias)
    bands = len(feed.target.bands)
    return copy_with_stem(model, stem, new_layer, new_weights, bands), feed


def compare(model: Model, plan: Plan, folded: Model, folded_plan: Plan) -> Comparison:
    """Measure how far a folded Keras model differs from the original one.

    Both models see the same two random images of the source, each through its plan.

    Parameters
    ----------
    model : keras.Model
        The original model.
    plan : Plan
        The plan that feeds ``model``.
    folded : keras.Model
        The folded model, as `fold_into` returns it.
    folded_plan : Plan
        The plan that feeds ``folded``; it has the source of ``plan``.

    Returns
    -------
    Comparison
        The differences of the folded layer before its activation, for the interior
        and the zero-padded border, and of all that the models return in inference.
        Printed, it is a table.

    Raises
    ------
    ChannelError
        If the plans have different sources; if a model does not have exactly one
        layer that reads the image; or if the models differ in the size of their
        images or the shape of their outputs.

    See Also
    --------
    fold_into : Fold a plan into a model.

    Notes
    -----
    The images have the size that the model reads, and 96 pixels along an axis that it
    leaves open.

    Examples
    --------
    >>> import graypipe as gp
    >>> import keras
    >>> from graypipe.adapters.keras import compare, fold_into
    >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3)])
    >>> plan = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
    >>> folded, feed = fold_into(model, plan)
    >>> compare(model, plan, folded, feed).model.relative < 1e-5
    True
    """
    stem = find_stem(model)
    folded_stem = find_stem(folded)
    size = _image_size(model, stem)
    folded_size = _image_size(folded, folded_stem)
    if folded_size != size:
        raise ChannelError(
            f"expected models that read images of one size, got {size} and "
            f"{folded_size}: {folding.COMPARE_HINT}"
        )
    rank = len(size)
    plans = [
        _with_target_layout(plan, rank, "channels_last"),
        _with_target_layout(folded_plan, rank, "channels_last"),
    ]
    # A model of spectra reads the rows of images one pixel high.
    sample_size = (1,) * (2 - rank) + size
    samples = folding.sample_inputs(plans, sample_size)
    images, folded_images = (
        sample.reshape(-1, *size, sample.shape[-1]) for sample in samples
    )
    interior, border = folding.compare_layer_outputs(
        _convolve(folded_stem, folded_images),
        _convolve(stem, images),
        _find_taps_inside(stem, size),
    )
    outputs = _predict(model, stem, images)
    folded_outputs = _predict(folded, folded_stem, folded_images)
    return Comparison(
        "/".join(stem.path),
        interior,
        border,
        Difference.between(folded_outputs, outputs),
    )


def _with_target_layout(plan: Plan, rank: int, data_format: str) -> Plan:
    """Return ``plan`` with the target layout that a convolution of ``rank`` reads."""
    spatial = plan.source.layout.replace("C", "").replace("N", "")
    if len(spatial) < rank:
        raise LayoutError(
            f"the model reads volumes, and the layout of the source is "
            f"{plan.source.layout!r}: declare the layout of the volumes, such as "
            f"layout='DHW' or 'THW'"
        )
    # A Conv1D reads the rows of an image, so two axes are left for it as well.
    spatial = spatial[-max(rank, 2) :]
    band_axis = len(spatial)
    if data_format == "channels_first":
        band_axis -= rank
    return plan.with_layouts(target=f"{spatial[:band_axis]}C{spatial[band_axis:]}")


def _plain_weights(layer: Layer) -> tuple[Array, Array | None, int]:
    """Return the weights of the plain convolution that computes what ``layer`` does.

    Returns
    -------
    kernel : ndarray of shape (..., bands in / groups, bands out)
    bias : ndarray of shape (bands out,) or None
    groups : int
    """
    bias = None
    if layer.use_bias:
        bias = keras.ops.convert_to_numpy(layer.bias)
    if isinstance(layer, SEPARABLE):
        return _merge_separable(layer), bias, 1
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    if has_depthwise_kernel(layer):
        # (..., bands, multiplier): one group for each band.
        groups = kernel.shape[-2]
        return kernel.reshape(*kernel.shape[:-2], 1, -1), bias, groups
    return kernel, bias, layer.groups


def _merge_separable(layer: Layer) -> Array:
    """Return the kernel (..., I, O) of a separable convolution as a plain one."""
    depthwise = keras.ops.convert_to_numpy(layer.depthwise_kernel)
    pointwise = keras.ops.convert_to_numpy(layer.pointwise_kernel)
    # (..., I, M) and (I * M, O), with M the depth multiplier.
    pointwise = pointwise.reshape(*depthwise.shape[-2:], -1)
    # Summed in float64, so that merging costs one rounding.
    product: Array = np.einsum(
        "...im,imo->...io", depthwise.astype(np.float64), pointwise.astype(np.float64)
    )
    return product.astype(depthwise.dtype)


def _plain_convolution(layer: Layer, **changes: Any) -> Layer:
    """Return a plain convolution without weights, configured as ``layer``.

    Strides, padding, dilation, activation, name and dtype policy stay; ``changes``
    replace entries of the configuration.
    """
    config = {
        key: value
        for key, value in layer.get_config().items()
        if not key.startswith(DROPPED_CONFIG_PREFIXES)
    }
    config["groups"] = 1
    config.update(changes)
    return PLAIN_CONVOLUTIONS[len(layer.kernel_size)].from_config(config)


def _image_size(model: Model, stem: Stem) -> tuple[int, ...]:
    """Return the spatial shape of the images that ``model`` reads."""
    shape = model.inputs[0].shape
    spatial = shape[1:-1]
    if stem.layer.data_format == "channels_first":
        spatial = shape[2:]
    return tuple(OPEN_SIDE if side is None else side for side in spatial)


def _find_taps_inside(stem: Stem, size: tuple[int, ...]) -> Array:
    """Return which taps of the kernel are inside an image of ``size``.

    Returns
    -------
    ndarray of bool, shape (taps, outputs)
        False where the tap reads zero padding. Both axes are in C order.
    """
    # A convolution with one output band for each tap, of an image of ones, computes
    # it by the padding rules of Keras itself.
    layer = stem.layer
    taps = math.prod(layer.kernel_size)
    probe = PLAIN_CONVOLUTIONS[len(layer.kernel_size)](
        taps,
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format="channels_last",
        dtype="float32",
        use_bias=False,
    )
    image = _apply_paddings(stem, np.ones((1, *size, 1), np.float32))
    probe.build(image.shape)
    kernel = np.eye(taps, dtype=np.float32)
    probe.set_weights([kernel.reshape(*layer.kernel_size, 1, taps)])
    outputs = keras.ops.convert_to_numpy(probe(image)).reshape(-1, taps)
    taps_inside: Array = outputs.T > 0.5
    return taps_inside


def _convolve(stem: Stem, images: Array) -> Array:
    """Return what the stem makes of ``images`` (N, ..., C) before its activation."""
    # In channels-last, which every backend supports on a CPU.
    layer = _channels_last(stem.layer, activation=None)
    padded = _apply_paddings(stem, images)
    layer.build(padded.shape)
    layer.set_weights(stem.layer.get_weights())
    outputs: Array = keras.ops.convert_to_numpy(layer(padded))
    return outputs


def _apply_paddings(stem: Stem, images: Array) -> Any:
    """Return ``images`` (N, ..., C), padded as before the stem."""
    for padding in stem.paddings:
        images = _channels_last(padding)(images)
    return images


def _channels_last(layer: Layer, **changes: Any) -> Layer:
    """Return a new layer, configured as ``layer``, for channels-last images."""
    config = {**layer.get_config(), "data_format": "channels_last", **changes}
    return type(layer).from_config(config)


def _predict(model: Model, stem: Stem, images: Array) -> list[Array]:
    """Return all outputs of ``model`` for ``images`` (N, ..., C), in inference."""
    if stem.layer.data_format == "channels_first":
        images = np.moveaxis(images, -1, 1)
    outputs = model(wrap_input(model, images), training=False)
    return [
        keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)
    ]
