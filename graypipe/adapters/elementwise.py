"""A pass in the elementwise operations of a tensor library: on devices, with gradients and in graphs.

There the engine cannot run. Never a matmul or a convolution, which hardware may round to fewer bits.
"""

from typing import Any

import numpy as np

from ..engine import Execution, limits
from ..engine.numpy_engine import stored_nodata
from ..engine.passes import TO_TIES
from ..errors import DTypeError

Tensor = Any

Ops = Any
"""A namespace with the functions of `keras.ops` that are called below; arguments stand in the same order."""


def run(execution: Execution, x: Tensor, axis: int, ops: Ops) -> Tensor:
    """Return the result of ``execution`` for ``x``, a tensor of its source dtype with bands on ``axis`` (negative).

    Everything but the test of an implied range, which would have to wait for the device. DTypeError for integer
    targets of 64 bits, whose ends no float holds.
    """
    job = execution.job
    if job.picks is not None and job.moves(execution.source, execution.target):
        return _bands(job.picks, x, len(job.centre), axis, ops)
    values = ops.cast(x, execution.compute_dtype.name)
    y = _affine(execution, values, axis, ops)
    empty = _empty(execution, x, values, axis, ops)
    if empty is not None:
        y = ops.where(empty, ops.zeros_like(y), y)
    return _stored(y, execution.target, ops)


def _bands(picks: tuple[int, ...], x: Tensor, count: int, axis: int, ops: Ops) -> Tensor:
    return x if picks == tuple(range(count)) else ops.take(x, picks, axis)


def _affine(execution: Execution, x: Tensor, axis: int, ops: Ops) -> Tensor:
    """Return matrix · (clip(x) - centre) + offset, the sums in the order of the engine."""
    job, dtype, count = execution.job, execution.compute_dtype.name, len(execution.job.centre)

    def along_bands(values: Any) -> Tensor:
        return ops.convert_to_tensor(np.reshape(np.array(values, dtype), (-1, *[1] * (-1 - axis))), dtype)

    single = all(len(row) == 1 for row in job.terms)
    bands = tuple(row[0][0] for row in job.terms) if single and count > 1 else tuple(range(count))
    x = _bands(bands, x, count, axis, ops)  # one band is not repeated here: the product below broadcasts it
    if job.clip:
        lows, highs = zip(*(job.clip[band] for band in bands), strict=True)
        x = ops.clip(x, along_bands(lows), along_bands(highs))
    if any(job.centre[band] for band in bands):
        x = x - along_bands([job.centre[band] for band in bands])
    if single:
        y = x * along_bands([row[0][1] for row in job.terms])
        return y + along_bands(job.offset) if any(job.offset) else y
    planes = {band: ops.take(x, band, axis) for band in job.reads or (0,)}
    return ops.stack([_row(planes, *row, ops) for row in zip(job.terms, job.offset, strict=True)], axis)


def _row(planes: dict[int, Tensor], terms: tuple[tuple[int, float], ...], offset: float, ops: Ops) -> Tensor:
    if not terms:
        return ops.zeros_like(next(iter(planes.values()))) + offset
    (first, factor), *rest = terms
    y = planes[first] * factor
    for band, factor in rest:
        y = y + planes[band] * factor
    return y + offset if offset else y


def _empty(execution: Execution, x: Tensor, values: Tensor, axis: int, ops: Ops) -> Tensor | None:
    """Return where any band of ``x`` holds nodata, with one band on ``axis``, or None where none can.

    ``values`` is ``x`` in the precision of the pass, which holds all but integers of 64 bits: few libraries compare
    every type.
    """
    job = execution.job
    nodata = None if job.nodata is None else stored_nodata(job.nodata, execution.source)
    if nodata is None:
        return None
    if np.isnan(nodata):
        same = ops.isnan(values)
    elif execution.source.kind in "iu" and execution.source.itemsize == 8:
        same = x == int(nodata)
    else:
        same = values == float(nodata)
    return ops.any(same, axis, True)


def _stored(y: Tensor, target: np.dtype[Any], ops: Ops) -> Tensor:
    """Return ``y`` as ``target``: integers round half to even, saturate, and take 0 for NaN."""
    if target.kind == "f":
        return ops.cast(y, target.name)
    if target.itemsize > 4:
        raise DTypeError(f"no float holds the ends of {target}: let the target be of 32 bits or fewer, or a float")
    low, high = limits(target)
    y = ops.where(ops.isnan(y), ops.zeros_like(y), ops.round((y + TO_TIES) - TO_TIES))
    return ops.cast(ops.clip(y, float(low), float(high)), target.name)
