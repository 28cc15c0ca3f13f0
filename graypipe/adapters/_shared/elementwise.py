"""A pass in the elementwise operations of a tensor library: on devices, with gradients and in graphs.

There the engine cannot run. Never a matmul or a convolution, which hardware may round to fewer bits.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ...engine import Execution, limits
from ...engine.numpy_engine import stored_nodata
from ...errors import DTypeError

Tensor = Any

Ops = Any
"""A namespace with the functions of `keras.ops` that are called below; arguments stand in the same order."""

TIES = 2.0**30
"""What is a tie up to 1 / TIES becomes one again, and is rounded half to even. By a factor, not by `TO_TIES` that the
engine adds and takes off again: compilers fold the constants of a sum."""


class ElementwiseSpec(NamedTuple):
    """An `Execution` in plain numbers and names, every decision taken: what torch.compile can read."""

    moves: bool
    picks: tuple[int, ...] | None
    reads: tuple[int, ...]
    terms: tuple[tuple[tuple[int, float], ...], ...]
    offset: tuple[float, ...]
    centre: tuple[float, ...]
    clip: tuple[tuple[float, float], ...] | None
    nodata: float | None
    """As the pixels store it; None where none of them can equal it."""
    wide: bool
    """Whether the pixels are integers of 64 bits, which no float holds."""
    compute: str
    target: str
    limits: tuple[float, float] | None
    """The ends of an integer target."""


def make_spec(execution: Execution) -> ElementwiseSpec:
    """Return the steps of ``execution``; DTypeError for integer targets of 64 bits, whose ends no float holds."""
    spec, source, target = execution.spec, execution.source, execution.target
    moves = spec.moves(source, target)
    if not moves and target.kind in "iu" and target.itemsize > 4:
        raise DTypeError(
            f"no float holds the ends of {target}: let the target be of 32 bits or fewer, or a float"
        )
    low, high = (0, 0) if target.kind == "f" else limits(target)
    nodata = None if spec.nodata is None else stored_nodata(spec.nodata, source)
    return ElementwiseSpec(
        moves=moves,
        picks=spec.picks,
        reads=spec.reads,
        terms=spec.terms,
        offset=spec.offset,
        centre=spec.centre,
        clip=spec.clip,
        nodata=None if nodata is None else nodata.item(),
        wide=source.kind in "iu" and source.itemsize == 8,
        compute=execution.compute_dtype.name,
        target=target.name,
        limits=None if target.kind == "f" else (float(low), float(high)),
    )


def run(
    execution: Execution | ElementwiseSpec, x: Tensor, axis: int, ops: Ops
) -> Tensor:
    """Return the result of ``execution`` for ``x``, a tensor of its source dtype with bands on ``axis`` (negative).

    Everything but the test of an implied range, which would have to wait for the device. DTypeError for integer
    targets of 64 bits, whose ends no float holds.
    """
    todo = execution if isinstance(execution, ElementwiseSpec) else make_spec(execution)
    if todo.moves and todo.picks is not None:
        return _bands(todo.picks, x, len(todo.centre), axis, ops)
    y = _affine(todo, ops.cast(x, todo.compute), axis, ops)
    return _stored(zero_nodata(todo, x, y, axis, ops), todo, ops)


def zero_nodata(
    execution: Execution | ElementwiseSpec, x: Tensor, y: Tensor, axis: int, ops: Ops
) -> Tensor:
    """Return ``y``, made from ``x``, with 0 in every band of the pixels where a band of ``x`` holds nodata."""
    todo = execution if isinstance(execution, ElementwiseSpec) else make_spec(execution)
    empty = _empty(todo, x, axis, ops)
    return y if empty is None else ops.where(empty, ops.zeros_like(y), y)


def _bands(
    picks: tuple[int, ...], x: Tensor, count: int, axis: int, ops: Ops
) -> Tensor:
    return x if picks == tuple(range(count)) else ops.take(x, picks, axis)


def _affine(todo: ElementwiseSpec, x: Tensor, axis: int, ops: Ops) -> Tensor:
    """Return matrix · (clip(x) - centre) + offset, the sums in the order of the engine."""
    count = len(todo.centre)

    def along_bands(values: Iterable[float]) -> Tensor:
        nested: list[Any] = list(values)
        for _ in range(
            -1 - axis
        ):  # lists rather than an array, which torch.compile would put into the graph
            nested = [[value] for value in nested]
        return ops.convert_to_tensor(nested, todo.compute)

    single = all(len(row) == 1 for row in todo.terms)
    bands = (
        tuple(row[0][0] for row in todo.terms)
        if single and count > 1
        else tuple(range(count))
    )
    x = _bands(
        bands, x, count, axis, ops
    )  # one band is not repeated here: the product below broadcasts it
    if todo.clip:
        lows, highs = zip(*(todo.clip[band] for band in bands), strict=True)
        x = ops.clip(x, along_bands(lows), along_bands(highs))
    if any(todo.centre[band] for band in bands):
        x = x - along_bands([todo.centre[band] for band in bands])
    if single:
        y = x * along_bands([row[0][1] for row in todo.terms])
        return (
            y + _apart(todo, x, along_bands(todo.offset), ops)
            if any(todo.offset)
            else y
        )
    planes = {band: ops.take(x, band, axis) for band in todo.reads or (0,)}
    return ops.stack(
        [_row(planes, *row, ops) for row in zip(todo.terms, todo.offset, strict=True)],
        axis,
    )


def _apart(todo: ElementwiseSpec, x: Tensor, offset: Tensor, ops: Ops) -> Tensor:
    """Return ``offset`` such that XLA adds it to ``x``, which is stored - centre, after that has been computed.

    Where the factor between them is 1, it would make one constant of both and lose the digits that the centre keeps.
    """
    folds = any(
        abs(factor) == 1 and todo.centre[band]
        for row in todo.terms
        for band, factor in row
    )
    return ops.where(ops.isnan(x), ops.zeros_like(x), offset) if folds else offset


def _row(
    planes: dict[int, Tensor],
    terms: tuple[tuple[int, float], ...],
    offset: float,
    ops: Ops,
) -> Tensor:
    if not terms:
        return ops.zeros_like(next(iter(planes.values()))) + offset
    (first, factor), *rest = terms
    y = planes[first] * factor
    for band, factor in rest:
        y = y + planes[band] * factor
    return y + offset if offset else y


def _empty(todo: ElementwiseSpec, x: Tensor, axis: int, ops: Ops) -> Tensor | None:
    """Return where any band of ``x`` holds nodata, with one band on ``axis``, or None where none can.

    Compared in the precision of the pass, which holds all but integers of 64 bits: few libraries compare every type.
    """
    if todo.nodata is None:
        return None
    if todo.wide:
        return ops.any(x == todo.nodata, axis, True)
    values = ops.cast(x, todo.compute)
    return ops.any(
        values == todo.nodata if todo.nodata == todo.nodata else ops.isnan(values),
        axis,
        True,
    )


def _stored(y: Tensor, todo: ElementwiseSpec, ops: Ops) -> Tensor:
    """Return ``y`` as the target: integers round half to even, saturate, and take 0 for NaN."""
    if todo.limits is not None:
        whole = ops.where(
            ops.isnan(y), ops.zeros_like(y), ops.round(ops.round(y * TIES) / TIES)
        )
        y = ops.clip(whole, *todo.limits)
    return ops.cast(y, todo.target)
