"""Fold plans into Keras models, and compare folded models with the original ones."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...channel_map import Bands
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

# The class of a folded layer, by its number of spatial axes.
PLAIN_CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}

# The layout of kernels in Keras, by their number of spatial axes.
KERNEL_LAYOUTS = {1: "WIO", 2: "HWIO", 3: "DHWIO"}

# The size of random images along an axis whose size the model does not specify. It is
# larger than the borders that usual kernels pad, and divisible by 32, because many
# models halve the image five times.
DEFAULT_IMAGE_SIZE = 96

# Prefixes of configuration keys that a plain convolution does not accept. Depthwise and
# separable kernels become plain kernels, and LoRA weights are merged into the kernel.
DROPPED_CONFIG_PREFIXES = ("depth", "pointwise", "lora")


def fold_into(
    model: Model,
    plan: Plan,
    *,
    layer: str | None = None,
    exact: bool = False,
    new: str | None = None,
    of: Bands = "RGB",
) -> tuple[Model, Plan]:
    """Fold a plan into the first convolution of a Keras model.

    The folded model reads the bands of the source instead of those of the target, such
    as one gray band instead of three. ``folded(feed.batch(x))`` equals
    ``model(plan.batch(x))`` up to rounding, except at zero-padded borders; see Notes.

    Parameters
    ----------
    model : keras.Model
        A functional or sequential model, which may contain nested models. It is not
        changed. The layer that reads the image, directly or after zero padding, must
        be a Conv1D, Conv2D, Conv3D, DepthwiseConv1D, DepthwiseConv2D, SeparableConv1D
        or SeparableConv2D; it may have groups. All Keras backends are supported.
    plan : Plan
        The plan that converts images to the input of ``model``. Its source must
        declare its range, and its target must have the bands that the model reads, in
        the same order.
    layer : str, optional
        The expected name of the convolution that reads the image. An error is raised
        if the convolution has a different name.
    exact : bool, default False
        Make the fold exact at zero-padded borders too. ``feed`` then appends a
        constant band "one" of value 1. Required if the source declares nodata.
    new : {"zero", "nearest", "mean"}, optional
        Extend the model first, to the bands of the target of ``plan``: those that it
        does not know get the kernel that `graypipe.weights.extend` describes. By
        default, the target has the bands that the model reads.
    of : str or sequence of str, default "RGB"
        With ``new``, the bands that the model reads, in the order of its pretrained
        weights: "BGR" for the models of the preset "keras-caffe", which are ResNet50,
        ResNet101, ResNet152, VGG16 and VGG19. If the source of the plan was made from a
        sensor, the target may have any of their names.

    Returns
    -------
    folded : keras.Model
        A copy of ``model`` in which a plain convolution replaces the one that reads
        the image; a bias is added if the plan has an offset. The copy keeps names,
        dtype policies, strides, paddings, activations, shared layers and the
        ``trainable`` flags of layers and weights. It is compiled if ``model`` is, with
        a new optimizer. Regularizers of depthwise and pointwise kernels are dropped.
    feed : Plan
        The plan that converts images to the input of ``folded``: the unit intensities
        of the source bands minus a constant per band, in the layout that the model
        reads. It clips if the source does. It depends on ``plan``, ``exact`` and that
        layout alone, so it also fits weights that were folded earlier and are loaded.

    Raises
    ------
    ChannelError
        If more than one layer reads the image; if the layer that reads it is not a
        convolution, such as a normalisation layer; if layers share weights and the
        copy would not share them; or if the plan does not produce the number of bands
        that the model reads.
    LayoutError
        If the model reads volumes, but the source describes images.
    RangeError
        If the source does not declare its range, or if it declares nodata and
        ``exact`` is False.
    DTypeError
        If ``model`` is not a Keras model, or the target's dtype is not floating.

    See Also
    --------
    compare : Measure the differences between the two models.

    Notes
    -----
    The outputs are equal up to rounding wherever the window of the convolution is
    inside the image. At zero-padded borders they differ unless ``exact`` is True,
    because zero stands for different intensities in the inputs of the two models. The
    constant that ``feed`` subtracts from each band keeps this difference small.

    If Keras cannot recreate a layer from its configuration, such as a Lambda layer, the
    exception of Keras is raised.

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
    if new is not None:
        extension = folding.extension_plan(plan, new=new, of=of)
        model, _ = fold_into(model, extension, layer=layer)
    stem = find_stem(model, layer)
    rank = len(stem.layer.kernel_size)
    plan = _with_target_layout(plan, rank, stem.layer.data_format)
    kernel, bias, groups = _plain_weights(stem.layer)
    kernel, bias, feed = folding.fold(
        plan,
        kernel,
        bias,
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
    """Measure the differences between a folded Keras model and the original one.

    Both models run on the same two random images, each converted by the model's plan.

    Parameters
    ----------
    model : keras.Model
        The original model.
    plan : Plan
        The plan that converts images to the input of ``model``.
    folded : keras.Model
        The folded model, as returned by `fold_into`.
    folded_plan : Plan
        The plan that converts images to the input of ``folded``. It must have the same
        source as ``plan``.

    Returns
    -------
    Comparison
        The differences between the outputs of the folded layer and of the original
        one, before the activation, in the interior and at the zero-padded border; and
        between the outputs of the models in inference mode. ``print`` shows a table.

    Raises
    ------
    ChannelError
        If the plans have different sources; if a model does not have exactly one
        layer that reads the image; if ``plan`` does not produce the bands that
        ``model`` reads, as after `fold_into` with ``new``; or if the models have
        different image sizes or output shapes.

    See Also
    --------
    fold_into : Fold a plan into a model.

    Notes
    -----
    The random images have the input size of the model. Along an axis whose size the
    model does not specify, they have 96 pixels.

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
    _check_comparable(model, stem, plan)
    size = _image_size(model, stem)
    folded_size = _image_size(folded, folded_stem)
    if folded_size != size:
        raise ChannelError(
            f"expected models that read images of the same size, got {size} and "
            f"{folded_size}: {folding.COMPARE_HINT}"
        )
    rank = len(size)
    plans = [
        _with_target_layout(plan, rank, "channels_last"),
        _with_target_layout(folded_plan, rank, "channels_last"),
    ]
    # A Conv1D reads the rows of an image, so its samples are one pixel high.
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
    """Return ``plan`` with the target layout for a ``rank``-dimensional convolution."""
    spatial = plan.source.layout.replace("C", "").replace("N", "")
    if len(spatial) < rank:
        raise LayoutError(
            f"the model reads volumes, but the layout of the source is "
            f"{plan.source.layout!r}: declare a layout of volumes in the source, such "
            f"as layout='DHW' or layout='THW'"
        )
    # A Conv1D reads the rows of an image, so keep both spatial axes for it too.
    spatial = spatial[-max(rank, 2) :]
    band_axis = len(spatial)
    if data_format == "channels_first":
        band_axis -= rank
    return plan.with_layouts(target=f"{spatial[:band_axis]}C{spatial[band_axis:]}")


def _plain_weights(layer: Layer) -> tuple[Array, Array | None, int]:
    """Return the weights of the plain convolution that is equivalent to ``layer``.

    Returns
    -------
    kernel : ndarray of shape (..., input bands / groups, output bands)
    bias : ndarray of shape (output bands,) or None
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
    """Return the plain kernel (..., I, O) equivalent to a separable convolution."""
    depthwise = keras.ops.convert_to_numpy(layer.depthwise_kernel)
    pointwise = keras.ops.convert_to_numpy(layer.pointwise_kernel)
    # The shapes are (..., I, M) and (..., I * M, O), where M is the depth multiplier.
    pointwise = pointwise.reshape(*depthwise.shape[-2:], -1)
    # Sum in float64, so that the merged kernel is rounded only once.
    product: Array = np.einsum(
        "...im,imo->...io", depthwise.astype(np.float64), pointwise.astype(np.float64)
    )
    return product.astype(depthwise.dtype)


def _plain_convolution(layer: Layer, **changes: Any) -> Layer:
    """Return an unbuilt plain convolution with the configuration of ``layer``.

    The strides, padding, dilation, activation, name and dtype policy are kept.
    ``changes`` override entries of the configuration.
    """
    config = {
        key: value
        for key, value in layer.get_config().items()
        if not key.startswith(DROPPED_CONFIG_PREFIXES)
    }
    config["groups"] = 1
    config.update(changes)
    return PLAIN_CONVOLUTIONS[len(layer.kernel_size)].from_config(config)


def _check_comparable(model: Model, stem: Stem, plan: Plan) -> None:
    """Raise ChannelError unless ``plan`` produces as many bands as ``model`` reads."""
    band_axis = 1 if stem.layer.data_format == "channels_first" else -1
    count = model.inputs[0].shape[band_axis]
    if len(plan.target.bands) != count:
        raise ChannelError(
            f"expected a plan that produces the {count} bands that the model reads, "
            f"got {len(plan.target.bands)}: a model that fold_into extended to new "
            "bands cannot be compared with the original one"
        )


def _image_size(model: Model, stem: Stem) -> tuple[int, ...]:
    """Return the spatial shape of the images that ``model`` reads."""
    shape = model.inputs[0].shape
    spatial = shape[1:-1]
    if stem.layer.data_format == "channels_first":
        spatial = shape[2:]
    return tuple(DEFAULT_IMAGE_SIZE if side is None else side for side in spatial)


def _find_taps_inside(stem: Stem, size: tuple[int, ...]) -> Array:
    """Return which kernel taps are inside an image of ``size``, for every output.

    Returns
    -------
    ndarray of bool, shape (taps, outputs)
        False where the tap reads zero padding. Taps and outputs are in C order.
    """
    # Convolve an image of ones with a kernel that returns every tap as a separate band.
    # Keras' own padding rules then determine which taps read 1 and which read 0.
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
    """Return the output of the stem for ``images`` (N, ..., C), without activation."""
    # Every backend supports channels-last convolutions on a CPU.
    layer = _channels_last(stem.layer, activation=None)
    padded = _apply_paddings(stem, images)
    layer.build(padded.shape)
    layer.set_weights(stem.layer.get_weights())
    outputs: Array = keras.ops.convert_to_numpy(layer(padded))
    return outputs


def _apply_paddings(stem: Stem, images: Array) -> Any:
    """Return ``images`` (N, ..., C) after the padding layers in front of the stem."""
    for padding in stem.paddings:
        images = _channels_last(padding)(images)
    return images


def _channels_last(layer: Layer, **changes: Any) -> Layer:
    """Return an unbuilt copy of ``layer`` that reads channels-last images."""
    config = {**layer.get_config(), "data_format": "channels_last", **changes}
    return type(layer).from_config(config)


def _predict(model: Model, stem: Stem, images: Array) -> list[Array]:
    """Return all outputs of ``model`` for ``images`` (N, ..., C), in inference mode."""
    if stem.layer.data_format == "channels_first":
        images = np.moveaxis(images, -1, 1)
    outputs = model(wrap_input(model, images), training=False)
    return [
        keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)
    ]
