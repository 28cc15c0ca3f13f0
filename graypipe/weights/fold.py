"""Fold a channel map into the weights of the layer that reads its outputs.

A convolution with kernel W and bias c that reads the outputs of a map ``y = M·x + b``
computes ``W·(M·x + b) + c``. The same result comes from a convolution that reads x
directly, with the folded weights W' and c'::

    W'[o, j, k] = sum over i of (W[o, i, k] · M[i, j])
    c'[o]       = sum over i, k of (W[o, i, k] · b[i]) + c[o]

where o indexes the outputs of the layer, i the outputs of the map, j the inputs of the
map, and k the taps (spatial positions) of the kernel.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..bands import format_bands
from ..channel_map import ChannelMap
from ..errors import ChannelError, DTypeError, LayoutError
from ..messages import describe_value
from .casting import as_array, cast, fits_float64

# The axis orders of torch and of Keras, for two-, one- and three-dimensional
# convolutions. O: output channels; I: input channels.
LAYOUTS = ("OIHW", "HWIO", "OIW", "WIO", "OIDHW", "DHWIO")

Array = NDArray[Any]


def fold(
    kernel: ArrayLike,
    bias: ArrayLike | None,
    channel_map: ChannelMap,
    *,
    layout: str,
    groups: int = 1,
) -> tuple[Array, Array | None]:
    """Fold a channel map into the kernel and bias of a convolution.

    The folded layer reads the inputs of the map where the original layer reads its
    outputs. Strides, dilations and paddings stay as they are. Both layers agree
    wherever the kernel window lies inside the image. Where the window reaches into
    zero padding, they differ by the contribution of the map's offset, because the
    original layer pads the outputs of the map, and the folded layer its inputs; see
    `fold_exact`.

    Parameters
    ----------
    kernel : array_like of shape (O, I / groups, ...) or (..., I / groups, O)
        The kernel, with the order of axes declared by ``layout``. Its input channels
        are ``channel_map.outputs``, in that order. Any floating dtype of up to 64 bits.
    bias : array_like of shape (O,) or None
        The bias, or None for a layer without one.
    channel_map : ChannelMap
        The map whose outputs are the inputs of the layer, such as ``plan.unit_map``.
    layout : str
        "OIHW" (torch) or "HWIO" (Keras), or either of them with "W" or "DHW" instead
        of "HW" for one- and three-dimensional convolutions.
    groups : int, default 1
        The number of groups of the original layer. A depthwise kernel of Keras, of
        shape (H, W, bands, multiplier), is passed as ``kernel.reshape(H, W, 1, -1)``
        with ``groups=bands``.

    Returns
    -------
    kernel : ndarray
        The folded kernel, a new array in the layout and dtype of ``kernel``. Its input
        channels are ``channel_map.inputs``. It belongs to a layer with one group, and
        is zero where a group of the original layer does not read a channel.
    bias : ndarray of shape (O,) or None
        The folded bias, a new array in the dtype of ``bias``. A layer without a bias
        gets one, in the dtype of the kernel, only if the map has an offset.

    Raises
    ------
    ChannelError
        If the numbers of channels of the kernel, its groups and the map do not match.
    DTypeError
        If kernel or bias is not floating, or ``channel_map`` is not a ChannelMap.
    LayoutError
        If kernel or bias does not have the shape that ``layout`` requires.
    RangeError
        If a folded weight overflows its dtype.

    Notes
    -----
    Sums are computed in float64. Zero entries of the map are skipped, so a NaN in the
    kernel affects only the inputs that contribute to its channel.

    Examples
    --------
    A layer that reads RGB becomes one that reads gray:

    >>> import numpy as np
    >>> import graypipe as gp
    >>> kernel = np.ones((8, 3, 5, 5), np.float32)
    >>> channel_map = gp.plan("gray", "imagenet").unit_map
    >>> folded, bias = gp.weights.fold(kernel, None, channel_map, layout="OIHW")
    >>> folded.shape, bias.shape
    ((8, 1, 5, 5), (8,))

    Folding a replication sums the kernel over its input channels:

    >>> folded, bias = gp.weights.fold(kernel, None, gp.replicate(), layout="OIHW")
    >>> bool((folded == kernel.sum(axis=1, keepdims=True)).all()), bias
    (True, None)
    """
    weights, biases = _check_arguments(kernel, bias, channel_map, layout, groups)
    folded, constant = _fold_taps(weights, channel_map, layout, groups)
    if any(channel_map.offset):
        # Inside the image, the offset contributes at every tap, so that the sum over
        # all taps is a constant.
        taps = tuple(range(1, constant.ndim))
        shift = constant.sum(axis=taps)
        if biases is None:
            folded_bias = cast(shift, weights.dtype, "the folded bias")
        else:
            folded_bias = cast(biases + shift, biases.dtype, "the folded bias")
    elif biases is None:
        folded_bias = None
    else:
        folded_bias = biases.copy()
    return _restore_layout(folded, layout, weights.dtype), folded_bias


def fold_exact(
    kernel: ArrayLike,
    bias: ArrayLike | None,
    channel_map: ChannelMap,
    *,
    layout: str,
    groups: int = 1,
) -> tuple[Array, Array | None]:
    """Fold a channel map into a convolution, exactly even at zero-padded borders.

    The folded layer reads the inputs of the map and, after them, one more band that is
    1 at every pixel. The kernel of that band carries the offset of the map, and the
    bias stays as it is. Zero padding sets the constant band to 0 as well, so the offset
    vanishes there exactly as it does when the original layer pads the map's outputs.
    The same holds for nodata pixels, which a plan sets to 0 in every band.

    Parameters
    ----------
    kernel : array_like of shape (O, I / groups, ...) or (..., I / groups, O)
        The kernel, as for `fold`.
    bias : array_like of shape (O,) or None
        The bias, or None for a layer without one.
    channel_map : ChannelMap
        The map whose outputs are the inputs of the layer, such as ``plan.unit_map``.
    layout : str
        The order of the axes of the kernel, as for `fold`.
    groups : int, default 1
        The number of groups of the original layer, as for `fold`.

    Returns
    -------
    kernel : ndarray
        The folded kernel, a new array in the layout and dtype of ``kernel``. Its input
        channels are ``channel_map.inputs`` and the constant band, which is the last.
    bias : ndarray of shape (O,) or None
        A copy of ``bias``, or None if it is None.

    Raises
    ------
    ChannelError, DTypeError, LayoutError, RangeError
        As `fold`.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> kernel = np.ones((8, 3, 5, 5), np.float32)
    >>> channel_map = gp.plan("gray", "imagenet").unit_map
    >>> folded, bias = gp.weights.fold_exact(kernel, None, channel_map, layout="OIHW")
    >>> folded.shape, bias
    ((8, 2, 5, 5), None)

    In the plan that feeds the folded layer, the constant band is a row of the map with
    weights 0 and offset 1:

    >>> via = gp.ChannelMap(
    ...     [[1], [0]], [0, 1], inputs="gray", outputs=("gray", "one")
    ... )
    >>> feed = gp.plan("gray", gp.Target(("gray", "one"), "CHW"), via)
    >>> feed(np.full((1, 2), 255, np.uint8))
    array([[[1., 1.]],
    <BLANKLINE>
           [[1., 1.]]], dtype=float32)
    """
    weights, biases = _check_arguments(kernel, bias, channel_map, layout, groups)
    folded, constant = _fold_taps(weights, channel_map, layout, groups)
    # The taps of the constant band carry the offset, one by one.
    folded = np.concatenate([folded, constant[:, None]], axis=1)
    folded_kernel = _restore_layout(folded, layout, weights.dtype)
    if biases is None:
        return folded_kernel, None
    return folded_kernel, biases.copy()


def _check_arguments(
    kernel: ArrayLike,
    bias: ArrayLike | None,
    channel_map: ChannelMap,
    layout: str,
    groups: int,
) -> tuple[Array, Array | None]:
    """Return kernel and bias as floating arrays that fit the map and the layout."""
    if not isinstance(channel_map, ChannelMap):
        raise DTypeError(
            f"channel_map must be a gp.ChannelMap, got {type(channel_map).__name__}: "
            "pass plan.unit_map to fold a plan"
        )
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise LayoutError(
            f"expected the layout of the kernel to be one of {', '.join(LAYOUTS)}, got "
            f"{describe_value(layout)}"
        )
    weights = _as_floating(kernel, "the kernel")
    if weights.ndim != len(layout):
        raise LayoutError(
            f"expected a kernel with {len(layout)} axes for layout {layout!r}, got "
            f"shape {weights.shape}"
        )
    outputs = weights.shape[layout.index("O")]
    _check_channels(weights, channel_map, layout, groups)
    if bias is None:
        return weights, None
    biases = _as_floating(bias, "the bias")
    if biases.shape != (outputs,):
        raise LayoutError(
            f"expected a bias of shape ({outputs},) for a kernel with {outputs} "
            f"outputs, got {biases.shape}"
        )
    return weights, biases


def _check_channels(
    kernel: Array, channel_map: ChannelMap, layout: str, groups: int
) -> None:
    """Raise ChannelError unless the map has one output per input of the layer."""
    outputs = kernel.shape[layout.index("O")]
    # bool is a subclass of int, but groups=True is a mistake.
    is_integer = isinstance(groups, int) and not isinstance(groups, bool)
    if not is_integer or groups < 1 or outputs % groups:
        raise ChannelError(
            f"groups must be a positive integer that divides the {outputs} outputs, "
            f"got {groups!r}"
        )
    bands = channel_map.outputs
    channels = kernel.shape[layout.index("I")] * groups
    if channels != len(bands):
        raise ChannelError(
            f"expected a map with {channels} outputs for a kernel of shape "
            f"{kernel.shape}, layout {layout!r} and groups={groups}, got {len(bands)}, "
            f"{format_bands(bands)}: pass a matching map, or the groups= of the layer"
        )


def _as_floating(value: ArrayLike, name: str) -> Array:
    """Return ``value`` as an array, or raise DTypeError if it is not floating."""
    array = as_array(value, name)
    if not fits_float64(array.dtype):
        raise DTypeError(
            f"{name} must have a floating dtype of at most 64 bits, got {array.dtype}: "
            "fold before quantising"
        )
    return array


def _fold_taps(
    kernel: Array, channel_map: ChannelMap, layout: str, groups: int
) -> tuple[Array, Array]:
    """Return the folded kernel and the offset's contribution at each tap, in float64.

    The folded kernel has shape (O, inputs, *taps), the contribution (O, *taps).
    """
    axes = (layout.index("O"), layout.index("I"))
    weights = np.moveaxis(kernel, axes, (0, 1)).astype(np.float64)
    outputs, group_channels, *taps = weights.shape
    folded = np.zeros((outputs, len(channel_map.inputs), *taps))
    constant = np.zeros((outputs, *taps))
    group_outputs = outputs // groups
    # Infinite weights may produce NaN; do not warn.
    with np.errstate(invalid="ignore"):
        for output_index, factors in enumerate(channel_map.matrix):
            # A grouped kernel stores only the input channels of each group: find the
            # group that reads this output of the map, and the outputs of the group.
            group, channel = divmod(output_index, group_channels)
            rows = slice(group * group_outputs, (group + 1) * group_outputs)
            for input_index, factor in enumerate(factors):
                # Skipping zeros keeps a NaN in the kernel out of unrelated inputs.
                if factor:
                    folded[rows, input_index] += factor * weights[rows, channel]
            offset = channel_map.offset[output_index]
            if offset:
                constant[rows] += offset * weights[rows, channel]
    return folded, constant


def _restore_layout(folded: Array, layout: str, dtype: np.dtype[Any]) -> Array:
    """Return weights of shape (O, I, *taps) in the layout and dtype of the kernel."""
    axes = (layout.index("O"), layout.index("I"))
    return cast(np.moveaxis(folded, (0, 1), axes), dtype, "the folded kernel")
