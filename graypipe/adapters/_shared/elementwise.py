"""Run an affine spec with the elementwise operations of a tensor library.

The engine works on host memory. It cannot read tensors on a device, tensors that
require gradients, or symbolic tensors in a graph. For these, the adapters run the same
steps (nodata, clip, affine, round, saturate, cast) with the operations of the library.

The affine part never uses a matrix product or a convolution: hardware may compute
those with reduced precision (TF32 on NVIDIA GPUs, bfloat16 on TPUs), and the result
would differ from that of the engine. Elementwise multiplications and additions are not
affected.
"""

from collections.abc import Iterable
from math import isnan
from typing import Any, NamedTuple

from ...engine import Execution, limits
from ...errors import DTypeError

# A tensor of any library.
Tensor = Any

# A namespace that provides these functions with the signatures of `keras.ops`: any,
# cast, clip, convert_to_tensor, isnan, round, stack, take, where, zeros_like. All
# arguments are passed by position. The torch and tf.data adapters provide their own
# implementations.
Ops = Any

# Before rounding half to even, values are rounded to multiples of 2^-30, so that a
# value that differs from a tie only by rounding errors becomes exactly that tie. The
# engine does this by adding a large constant and subtracting it again. Here the value
# is multiplied, rounded and divided instead, because compilers such as XLA simplify
# "x + c - c" to "x".
TIE_RESOLUTION = 2.0**30


class ElementwiseSpec(NamedTuple):
    """An `Execution` reduced to plain numbers and strings.

    All decisions that depend only on dtypes are made before the first call.
    torch.compile can trace code that reads these fields, but not an `Execution`.

    Attributes
    ----------
    copies_only : bool
        Whether values are only copied: no arithmetic and no change of dtype.
    copied_bands : tuple of int or None
        Input band of each output band if the affine part only selects or repeats
        bands, otherwise None.
    read_bands : tuple of int
        Input bands that at least one output band depends on.
    terms : tuple
        For each output band, the pairs (input band, factor) with a nonzero factor.
    offset : tuple of float
        Number added to each output band.
    black_levels : tuple of float
        Number subtracted from each input band before the multiplication.
    clip : tuple of (float, float) or None
        Lower and upper bound of each input band.
    nodata : tuple of (int, float)
        The pairs (input band, nodata value in the dtype of the pixels) of the bands in
        which a pixel can equal a nodata value.
    nodata_is_per_band : bool
        Whether nodata of a band concerns only the output bands that read it.
    source_is_64_bit_integer : bool
        Whether the pixels are 64-bit integers, many of which float64 cannot represent
        exactly.
    compute_dtype, target_dtype : str
        Names of the dtypes of the affine part and of the result.
    target_limits : tuple of float or None
        Minimum and maximum of an integer target dtype; None for a floating-point one.
    """

    copies_only: bool
    copied_bands: tuple[int, ...] | None
    read_bands: tuple[int, ...]
    terms: tuple[tuple[tuple[int, float], ...], ...]
    offset: tuple[float, ...]
    black_levels: tuple[float, ...]
    clip: tuple[tuple[float, float], ...] | None
    nodata: tuple[tuple[int, float], ...]
    nodata_is_per_band: bool
    source_is_64_bit_integer: bool
    compute_dtype: str
    target_dtype: str
    target_limits: tuple[float, float] | None


def make_spec(execution: Execution) -> ElementwiseSpec:
    """Return the elementwise spec of ``execution``.

    Raises
    ------
    DTypeError
        If the result is computed (not copied) and the target is a 64-bit integer
        dtype: saturation needs the limits of the dtype as floats, and float64 cannot
        represent 2^63 - 1.
    """
    spec = execution.spec
    source = execution.source_dtype
    target = execution.target_dtype
    copies_only = spec.only_copies(source, target)
    if not copies_only and target.kind in "iu" and target.itemsize > 4:
        raise DTypeError(
            "expected a floating-point target or an integer target of at most 32 "
            f"bits, got {target}, whose limits cannot be represented in float64: use "
            "another dtype for the target, such as dtype='int32'"
        )
    if target.kind == "f":
        target_limits = None
    else:
        low, high = limits(target)
        target_limits = (float(low), float(high))
    nodata = tuple(
        (band, stored.item()) for band, stored in spec.stored_nodata(source).items()
    )
    return ElementwiseSpec(
        copies_only=copies_only,
        copied_bands=spec.selected_bands,
        read_bands=spec.bands_read,
        terms=spec.terms,
        offset=spec.offset,
        black_levels=spec.black_levels,
        clip=spec.clip,
        nodata=nodata,
        nodata_is_per_band=isinstance(spec.nodata, tuple),
        source_is_64_bit_integer=source.kind in "iu" and source.itemsize == 8,
        compute_dtype=execution.compute_dtype.name,
        target_dtype=target.name,
        target_limits=target_limits,
    )


def run(
    execution: Execution | ElementwiseSpec, x: Tensor, axis: int, ops: Ops
) -> Tensor:
    """Return the result of ``execution`` for ``x``.

    An implied range is not checked: the result of the check would be on the device,
    and reading it would force a synchronisation.

    Parameters
    ----------
    execution : Execution or ElementwiseSpec
        What to compute.
    x : tensor
        Stored values in the source dtype of ``execution``.
    axis : int
        Axis of the bands in both ``x`` and the result, as a negative number.
    ops : namespace
        Operations of the tensor library, see `Ops`.

    Raises
    ------
    DTypeError
        As for `make_spec`.
    """
    spec = _as_spec(execution)
    if spec.copies_only and spec.copied_bands is not None:
        return _select_bands(x, spec.copied_bands, len(spec.black_levels), axis, ops)
    y = _affine(spec, ops.cast(x, spec.compute_dtype), axis, ops)
    return _cast_to_target(zero_nodata(spec, x, y, axis, ops), spec, ops)


def zero_nodata(
    execution: Execution | ElementwiseSpec, x: Tensor, y: Tensor, axis: int, ops: Ops
) -> Tensor:
    """Return ``y`` with 0 where ``x`` has no data.

    With one nodata value, these are all bands of a pixel in which any band of ``x`` is
    nodata; with one value per band, the bands that read such a band. The other
    parameters are those of `run`; ``y`` is the result computed from ``x`` so far.
    """
    mask = _nodata_mask(_as_spec(execution), x, axis, ops)
    if mask is None:
        return y
    return ops.where(mask, ops.zeros_like(y), y)


def _as_spec(execution: Execution | ElementwiseSpec) -> ElementwiseSpec:
    """Return ``execution`` as an elementwise spec."""
    if isinstance(execution, ElementwiseSpec):
        return execution
    return make_spec(execution)


def _select_bands(
    x: Tensor, bands: tuple[int, ...], count: int, axis: int, ops: Ops
) -> Tensor:
    """Return the selected ``bands`` of ``x``, which has ``count`` bands."""
    if bands == tuple(range(count)):
        return x
    return ops.take(x, bands, axis)


def _affine(spec: ElementwiseSpec, x: Tensor, axis: int, ops: Ops) -> Tensor:
    """Return matrix · (clip(x) - black_levels) + offset."""
    count = len(spec.black_levels)
    bands = tuple(range(count))
    # The most common maps, which repeat or select bands, need no sums.
    one_term_each = all(len(row) == 1 for row in spec.terms)
    if one_term_each and count > 1:
        # Select first, so that nothing is computed for bands that no output reads. A
        # single band is not repeated here: the product with the factors broadcasts it.
        bands = tuple(row[0][0] for row in spec.terms)
        x = _select_bands(x, bands, count, axis, ops)
    if spec.clip:
        lows, highs = zip(*(spec.clip[band] for band in bands), strict=True)
        x = ops.clip(
            x,
            _along_bands(lows, spec, axis, ops),
            _along_bands(highs, spec, axis, ops),
        )
    black_levels = [spec.black_levels[band] for band in bands]
    if any(black_levels):
        x = x - _along_bands(black_levels, spec, axis, ops)
    if one_term_each:
        return _scale_and_shift(spec, x, axis, ops)
    return _mix(spec, x, axis, ops)


def _along_bands(
    values: Iterable[float], spec: ElementwiseSpec, axis: int, ops: Ops
) -> Tensor:
    """Return one value per band as a tensor that broadcasts along the bands."""
    # Nested lists rather than a NumPy array, because torch.compile would put the
    # creation of an array into the graph.
    nested: list[Any] = list(values)
    for _ in range(-1 - axis):
        nested = [[value] for value in nested]
    return ops.convert_to_tensor(nested, spec.compute_dtype)


def _scale_and_shift(spec: ElementwiseSpec, x: Tensor, axis: int, ops: Ops) -> Tensor:
    """Return x · factor + offset for maps with one term per output band."""
    factors = [row[0][1] for row in spec.terms]
    y = x * _along_bands(factors, spec, axis, ops)
    if not any(spec.offset):
        return y
    offset = _along_bands(spec.offset, spec, axis, ops)
    return y + _opaque_offset(spec, x, offset, ops)


def _opaque_offset(
    spec: ElementwiseSpec, x: Tensor, offset: Tensor, ops: Ops
) -> Tensor:
    """Return ``offset`` in a form that XLA cannot merge with the black levels.

    In (stored - black level) · 1 + offset, XLA drops the factor 1 and adds the
    constants first: stored + (offset - black level). This loses digits, because the
    black level is subtracted first to remove the large common part of the stored values
    before anything is rounded. Selecting the offset by a condition on ``x``, which is
    stored - black level, keeps XLA from treating it as a constant.
    """
    xla_would_merge = any(
        abs(factor) == 1 and spec.black_levels[band] for ((band, factor),) in spec.terms
    )
    if not xla_would_merge:
        return offset
    return ops.where(ops.isnan(x), ops.zeros_like(x), offset)


def _mix(spec: ElementwiseSpec, x: Tensor, axis: int, ops: Ops) -> Tensor:
    """Return the weighted sums of the bands of ``x``, plus the offset."""
    # If no output reads a band, band 0 still provides the shape of the constant
    # outputs.
    bands = spec.read_bands or (0,)
    planes = {band: ops.take(x, band, axis) for band in bands}
    rows = zip(spec.terms, spec.offset, strict=True)
    return ops.stack(
        [_weighted_sum(planes, terms, offset, ops) for terms, offset in rows], axis
    )


def _weighted_sum(
    planes: dict[int, Tensor],
    terms: tuple[tuple[int, float], ...],
    offset: float,
    ops: Ops,
) -> Tensor:
    """Return one output band, summed in the same order as in the engine."""
    if not terms:
        any_plane = next(iter(planes.values()))
        return ops.zeros_like(any_plane) + offset
    (first, factor), *rest = terms
    y = planes[first] * factor
    for band, factor in rest:
        y = y + planes[band] * factor
    if offset:
        y = y + offset
    return y


def _nodata_mask(
    spec: ElementwiseSpec, x: Tensor, axis: int, ops: Ops
) -> Tensor | None:
    """Return a mask of the result that is set where ``x`` has no data.

    Its length along ``axis`` is 1 if nodata of any band concerns all output bands. The
    result is None if no pixel can be nodata.
    """
    if not spec.nodata:
        return None
    values = x
    # Few libraries can compare arrays of every dtype; uint16 and float16 are often
    # missing. The compute dtype represents each stored value exactly, except for
    # 64-bit integers.
    if not spec.source_is_64_bit_integer:
        values = ops.cast(x, spec.compute_dtype)
    if spec.nodata_is_per_band:
        return _nodata_mask_per_output(spec, values, axis, ops)
    _, nodata = spec.nodata[0]  # all bands have the same value
    return ops.any(_equals(values, nodata, ops), axis, True)


def _nodata_mask_per_output(
    spec: ElementwiseSpec, values: Tensor, axis: int, ops: Ops
) -> Tensor:
    """Return the mask that is set where a band that an output reads is nodata."""
    masks = {
        band: _equals(ops.take(values, band, axis), nodata, ops)
        for band, nodata in spec.nodata
    }
    has_data = ops.zeros_like(next(iter(masks.values())))
    rows = []
    for terms in spec.terms:
        mask = has_data
        for band, _ in terms:
            if band in masks:
                mask = mask | masks[band]
        rows.append(mask)
    return ops.stack(rows, axis)


def _equals(values: Tensor, nodata: float, ops: Ops) -> Tensor:
    """Return the mask of the values that equal ``nodata``, which may be NaN."""
    if isnan(nodata):
        return ops.isnan(values)
    return values == nodata


def _cast_to_target(y: Tensor, spec: ElementwiseSpec, ops: Ops) -> Tensor:
    """Return ``y`` in the target dtype.

    For an integer target, NaN becomes 0, values round half to even and saturate.
    """
    if spec.target_limits is not None:
        rounded = ops.round(ops.round(y * TIE_RESOLUTION) / TIE_RESOLUTION)
        rounded = ops.where(ops.isnan(y), ops.zeros_like(y), rounded)
        y = ops.clip(rounded, *spec.target_limits)
    return ops.cast(y, spec.target_dtype)
