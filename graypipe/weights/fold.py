"""Folding: y = W · (M·x + b) + c is W' · x + c', so the layer that reads the image can read what the map reads.

With i the bands that the kernel W reads, j those of the map, k the taps of the kernel:

    W'[o, j, k] = sum over i of W[o, i, k] M[i, j]        c'[o] = c[o] + sum over i, k of W[o, i, k] b[i]
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..bands import show
from ..channel_map import ChannelMap
from ..errors import ChannelError, DTypeError, LayoutError
from .arrays import as_array, in_dtype, is_floating

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
    """Return (kernel', bias') of the layer that reads the map's inputs, where the given one reads its outputs.

    ``kernel`` is (O, I, ...) or (..., I, O) as ``layout`` says: "OIHW" (torch), "HWIO" (Keras), and the same with W or
    DHW in place of HW. Its bands are ``channel_map.outputs``, in that order; those of kernel' are the map's inputs.
    ``bias`` is (O,), or None for a layer without one; bias' is None then too, unless the map has an offset. Strides,
    dilations and paddings stay as they are. Exact wherever the window lies inside the image; where it reaches into
    zero padding, the result differs by the share of the offset that the padding would have carried: `fold_exact`.

    ``groups`` are those of the layer the kernel comes from (I is bands / groups); the folded layer has one group, its
    kernel zero where a group did not look. A depthwise kernel of Keras, (H, W, bands, m), is taken as
    ``kernel.reshape(H, W, 1, -1)`` with ``groups=bands``.

    Added up in float64, returned as fresh arrays, each in its own dtype (a new bias in that of the kernel). A zero of
    the map is not read, so NaN stays in its band. LayoutError, ChannelError or DTypeError where kernel, bias, map and
    layout do not fit each other; RangeError where a result overflows the dtype.
    """
    weights, constants = _check(kernel, bias, channel_map, layout, groups)
    folded, constant = _folded(weights, channel_map, layout, groups)
    if any(channel_map.offset):
        shift = constant.sum(axis=tuple(range(1, constant.ndim)))
        stored = weights.dtype if constants is None else constants.dtype
        constants = in_dtype(
            shift if constants is None else constants + shift, stored, "the folded bias"
        )
    elif constants is not None:
        constants = constants.copy()
    return _stored(folded, layout, weights.dtype), constants


def fold_exact(
    kernel: ArrayLike,
    bias: ArrayLike | None,
    channel_map: ChannelMap,
    *,
    layout: str,
    groups: int = 1,
) -> tuple[Array, Array | None]:
    """Return (kernel', bias) of the layer that reads the map's inputs and, after them, a band that is one everywhere.

    As `fold`, but the last band of kernel' carries the map's offset, which the bias leaves alone: a zero-padded border
    has zeros in that band too, so the result is exact there as well. The plan that feeds it is an ordinary one, the
    constant band an affine row of weights 0 and offset 1::

        via = gp.ChannelMap([[1], [0]], [0, 1], inputs="gray", outputs=("gray", "one"))
        feed = gp.plan("gray", gp.Target(("gray", "one")), via)

    There, a pixel of nodata is zero in the constant band too, hence what it was before: zero in every band.
    """
    weights, constants = _check(kernel, bias, channel_map, layout, groups)
    folded, constant = _folded(weights, channel_map, layout, groups)
    folded = np.concatenate([folded, constant[:, None]], axis=1)
    return _stored(
        folded, layout, weights.dtype
    ), None if constants is None else constants.copy()


def _check(
    kernel: ArrayLike,
    bias: ArrayLike | None,
    channel_map: ChannelMap,
    layout: str,
    groups: int,
) -> tuple[Array, Array | None]:
    """Return kernel and bias as arrays of floats that fit map and layout."""
    if not isinstance(channel_map, ChannelMap):
        raise DTypeError(
            f"expected a gp.ChannelMap, of a plan plan.unit_map, got {type(channel_map).__name__}"
        )
    if layout not in LAYOUTS:
        raise LayoutError(
            f"the layout of a kernel is one of {', '.join(LAYOUTS)}, got {layout!r}"
        )
    weights = _floats(kernel, "the kernel")
    if weights.ndim != len(layout):
        raise LayoutError(
            f"a kernel of layout {layout!r} has {len(layout)} axes, got shape {weights.shape}"
        )
    count, share = weights.shape[layout.index("O")], weights.shape[layout.index("I")]
    if (
        isinstance(groups, bool)
        or not isinstance(groups, int)
        or groups < 1
        or count % groups
    ):
        raise ChannelError(
            f"groups is a positive integer that divides the {count} outputs, got {groups!r}"
        )
    bands = channel_map.outputs
    if share * groups != len(bands):
        raise ChannelError(
            f"the map makes {len(bands)} bands, {show(bands)}, but a kernel of shape {weights.shape}, layout "
            f"{layout!r} and groups={groups} reads {share * groups}: give the map that makes what the layer reads, or "
            f"the groups= of the layer"
        )
    constants = None if bias is None else _floats(bias, "the bias")
    if constants is not None and constants.shape != (count,):
        raise LayoutError(
            f"the bias of a kernel with {count} outputs has shape ({count},), got {constants.shape}"
        )
    return weights, constants


def _floats(value: ArrayLike, what: str) -> Array:
    array = as_array(value, what)
    if not is_floating(array.dtype):
        raise DTypeError(
            f"{what} holds floats of at most 64 bits, got {array.dtype}: fold before quantising"
        )
    return array


def _folded(
    weights: Array, channel_map: ChannelMap, layout: str, groups: int
) -> tuple[Array, Array]:
    """Return (O, inputs, ...), what each tap reads of each input, and (O, ...), what it adds of the offset."""
    kernel = np.moveaxis(
        weights, (layout.index("O"), layout.index("I")), (0, 1)
    ).astype(np.float64)
    count, share, *taps = kernel.shape
    folded, constant = (
        np.zeros((count, len(channel_map.inputs), *taps)),
        np.zeros((count, *taps)),
    )
    with np.errstate(invalid="ignore"):  # an infinite weight is the caller's
        for band, (row, offset) in enumerate(
            zip(channel_map.matrix, channel_map.offset, strict=True)
        ):
            group, i = divmod(band, share)
            rows = slice(group * count // groups, (group + 1) * count // groups)
            for j, factor in enumerate(row):
                if factor:
                    folded[rows, j] += factor * kernel[rows, i]
            if offset:
                constant[rows] += offset * kernel[rows, i]
    return folded, constant


def _stored(folded: Array, layout: str, dtype: np.dtype[Any]) -> Array:
    return in_dtype(
        np.moveaxis(folded, (0, 1), (layout.index("O"), layout.index("I"))),
        dtype,
        "the folded kernel",
    )
