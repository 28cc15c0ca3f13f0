"""Run an affine spec in the elementwise operations of a tensor library.

The engine works on host memory. Tensors on a device, tensors with gradients and
symbolic tensors in a graph have none that it could read, so the adapters run the same
steps (nodata, clip, affine, round, saturate, cast) in the library's own operations.

The affine part never uses a matrix product or a convolution: hardware may compute
those with fewer bits (TF32 on NVIDIA GPUs, bfloat16 on TPUs), and the result would
differ from the engine's. A few multiplications and additions per band do not.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ...engine import Execution, limits
from ...engine.numpy_engine import stored_nodata
from ...errors import DTypeError

# A tensor of any library.
Tensor = Any

# A namespace with these functions of `keras.ops`, called with positional arguments
# in the order of `keras.ops`: any, cast, clip, convert_to_tensor, isnan, round, stack,
# take, where, zeros_like. The adapters of torch and tf.data bring their own.
Ops = Any

# Before rounding half to even, values are rounded to multiples of 2^-30, so that a
# value which is a tie up to rounding errors becomes exactly that tie. The engine does
# this by adding a large constant and subtracting it again; here it is a product and a
# quotient, because compilers such as XLA fold "x + c - c" into "x".
TIE_RESOLUTION = 2.0**30


class ElementwiseSpec(NamedTuple):
    """An `Execution` reduced to plain numbers and strings.

    Every decision that depends on dtypes alone is taken before the first call.
    torch.compile can trace code that reads these fields, but not an `Execution`.

    Attributes
    ----------
    moves : bool
        Whether pixels are only moved: no arithmetic and no change of dtype.
    picks, reads, terms, offset, centre, clip
        As in `AffineSpec`.
    nodata : float or None
        nodata as the dtype of the pixels stores it; None if no pixel can equal it.
    stores_64_bit_integers : bool
        Whether the pixels are 64-bit integers, which no float represents exactly.
    compute_dtype, target_dtype : str
        Names of the dtypes of the affine part and of the result.
    target_limits : tuple of float or None
        Least and greatest value of an integer target; None for a float target.
    """

    moves: bool
    picks: tuple[int, ...] | None
    reads: tuple[int, ...]
    terms: tuple[tuple[tuple[int, float], ...], ...]
    offset: tuple[float, ...]
    centre: tuple[float, ...]
    clip: tuple[tuple[float, float], ...] | None
    nodata: float | None
    stores_64_bit_integers: bool
    compute_dtype: str
    target_dtype: str
    target_limits: tuple[float, float] | None


def make_spec(execution: Execution) -> ElementwiseSpec:
    """Return the elementwise spec of ``execution``.

    Raises
    ------
    DTypeError
        If arithmetic leads to a 64-bit integer target: saturation needs its limits as
        floats, and no float represents 2^63 - 1.
    """
    spec = execution.spec
    source = execution.source
    target = execution.target
    moves = spec.moves(source, target)
    if not moves and target.kind in "iu" and target.itemsize > 4:
        raise DTypeError(
            f"expected a target of floats or of integers of at most 32 bits, got "
            f"{target}, and no float represents its limits exactly: give the target "
            f"another dtype, such as dtype='int32'"
        )
    if target.kind == "f":
        target_limits = None
    else:
        low, high = limits(target)
        target_limits = (float(low), float(high))
    nodata = None
    if spec.nodata is not None:
        stored = stored_nodata(spec.nodata, source)
        if stored is not None:
            nodata = stored.item()
    return ElementwiseSpec(
        moves=moves,
        picks=spec.picks,
        reads=spec.reads,
        terms=spec.terms,
        offset=spec.offset,
        centre=spec.centre,
        clip=spec.clip,
        nodata=nodata,
        stores_64_bit_integers=source.kind in "iu" and source.itemsize == 8,
        compute_dtype=execution.compute_dtype.name,
        target_dtype=target.name,
        target_limits=target_limits,
    )


def run(
    execution: Execution | ElementwiseSpec, x: Tensor, axis: int, ops: Ops
) -> Tensor:
    """Return the result of ``execution`` for ``x``.

    An implied range is not tested: its outcome would be a value on the device, and
    waiting for it would stall the queue of operations.

    Parameters
    ----------
    execution : Execution or ElementwiseSpec
        What to compute.
    x : tensor
        Stored values in the source dtype of ``execution``.
    axis : int
        Axis of the bands, negative, in ``x`` and in the result.
    ops : namespace
        Operations of the tensor library, see `Ops`.

    Raises
    ------
    DTypeError
        As for `make_spec`.
    """
    spec = _as_spec(execution)
    if spec.moves and spec.picks is not None:
        return _select_bands(x, spec.picks, len(spec.centre), axis, ops)
    y = _affine(spec, ops.cast(x, spec.compute_dtype), axis, ops)
    return _cast_to_target(zero_nodata(spec, x, y, axis, ops), spec, ops)


def zero_nodata(
    execution: Execution | ElementwiseSpec, x: Tensor, y: Tensor, axis: int, ops: Ops
) -> Tensor:
    """Return ``y`` with all bands 0 in pixels where a band of ``x`` is nodata.

    Parameters are those of `run`; ``y`` is the result so far for the pixels ``x``.
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
    """Return the ``bands`` of ``x``, which has ``count`` of them."""
    if bands == tuple(range(count)):
        return x
    return ops.take(x, bands, axis)


def _affine(spec: ElementwiseSpec, x: Tensor, axis: int, ops: Ops) -> Tensor:
    """Return matrix · (clip(x) - centre) + offset."""
    count = len(spec.centre)
    bands = tuple(range(count))
    # Repeating or selecting bands, the most frequent maps, need no sums.
    one_term_each = all(len(row) == 1 for row in spec.terms)
    if one_term_each and count > 1:
        # Select first, so that bands which no output reads are not computed. A single
        # band is not repeated here: the product with the factors broadcasts it.
        bands = tuple(row[0][0] for row in spec.terms)
        x = _select_bands(x, bands, count, axis, ops)
    if spec.clip:
        lows, highs = zip(*(spec.clip[band] for band in bands), strict=True)
        x = ops.clip(
            x,
            _along_bands(lows, spec, axis, ops),
            _along_bands(highs, spec, axis, ops),
        )
    centre = [spec.centre[band] for band in bands]
    if any(centre):
        x = x - _along_bands(centre, spec, axis, ops)
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
    """Return x · factor + offset for maps of one term per output band."""
    factors = [row[0][1] for row in spec.terms]
    y = x * _along_bands(factors, spec, axis, ops)
    if not any(spec.offset):
        return y
    offset = _along_bands(spec.offset, spec, axis, ops)
    return y + _opaque_offset(spec, x, offset, ops)


def _opaque_offset(
    spec: ElementwiseSpec, x: Tensor, offset: Tensor, ops: Ops
) -> Tensor:
    """Return ``offset`` such that XLA cannot merge it with the centre.

    In (stored - centre) · 1 + offset, XLA drops the factor 1 and adds the constants
    first: stored + (offset - centre). The centre exists to remove the large common
    part of the stored values before anything is rounded, so that would lose digits.
    Offset chosen by a test on ``x`` is no constant. ``x`` is stored - centre.
    """
    merges = any(
        abs(factor) == 1 and spec.centre[band] for ((band, factor),) in spec.terms
    )
    if not merges:
        return offset
    return ops.where(ops.isnan(x), ops.zeros_like(x), offset)


def _mix(spec: ElementwiseSpec, x: Tensor, axis: int, ops: Ops) -> Tensor:
    """Return the weighted sums of the bands of ``x``, plus the offset."""
    # With nothing to read, band 0 still gives the constant bands their shape.
    bands = spec.reads or (0,)
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
    """Return one output band, summed in the order of the engine."""
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
    """Return where any band of ``x`` is nodata, one band on ``axis``; None if never."""
    if spec.nodata is None:
        return None
    if spec.stores_64_bit_integers:
        return ops.any(x == spec.nodata, axis, True)
    # Few libraries compare every dtype, uint16 and float16 included. The compute
    # dtype represents each stored value exactly, except for 64-bit integers (above).
    values = ops.cast(x, spec.compute_dtype)
    if spec.nodata != spec.nodata:  # NaN
        return ops.any(ops.isnan(values), axis, True)
    return ops.any(values == spec.nodata, axis, True)


def _cast_to_target(y: Tensor, spec: ElementwiseSpec, ops: Ops) -> Tensor:
    """Return ``y`` in the target dtype.

    For an integer target, NaN becomes 0, values round half to even and saturate.
    """
    if spec.target_limits is not None:
        rounded = ops.round(ops.round(y * TIE_RESOLUTION) / TIE_RESOLUTION)
        rounded = ops.where(ops.isnan(y), ops.zeros_like(y), rounded)
        y = ops.clip(rounded, *spec.target_limits)
    return ops.cast(y, spec.target_dtype)
