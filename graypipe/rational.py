"""Affine maps in exact rational arithmetic: composed and inverted without rounding, each entry rounded once at the end.

In float64, (1/d)·d differs from 1 for 9,841 of the divisors d below 65,536; a map that only picks bands would turn into
a computation. Rational arithmetic keeps it a pick.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from .errors import ChannelError

Row = dict[int, Fraction]


class Affine(NamedTuple):
    """y = rows · x + offset. A row holds its non-zero factors by input index; ``width`` counts the inputs."""

    rows: tuple[Row, ...]
    offset: tuple[Fraction, ...]
    width: int


def diagonal(factors: Sequence[Fraction], offset: Sequence[Fraction]) -> Affine:
    """Return the map that scales and shifts each band by itself."""
    return Affine(
        tuple({i: factor} for i, factor in enumerate(factors)),
        tuple(offset),
        len(factors),
    )


def then(first: Affine, second: Affine) -> Affine:
    """Return the map that applies ``first``, then ``second``."""
    rows, offset = [], []
    for row, last in zip(second.rows, second.offset, strict=True):
        combined: Row = {}
        constant = last
        for k, factor in row.items():
            constant += factor * first.offset[k]
            for j, inner in first.rows[k].items():
                combined[j] = combined.get(j, Fraction(0)) + factor * inner
        rows.append({j: factor for j, factor in combined.items() if factor})
        offset.append(constant)
    return Affine(tuple(rows), tuple(offset), first.width)


def left_inverse(affine: Affine) -> Affine:
    """Return the least-squares inverse (MᵀM)⁻¹Mᵀ (y - b); ChannelError where bands cannot be told apart again."""
    if _rank(affine) < affine.width:
        raise ChannelError(
            f"this map of {affine.width} bands onto {len(affine.rows)} loses bands (its columns are linearly "
            f"dependent), so it has no inverse: invert a map that keeps every band"
        )
    columns = [
        [row.get(j, Fraction(0)) for row in affine.rows] for j in range(affine.width)
    ]
    gram = [
        [
            sum((a * b for a, b in zip(left, right, strict=True)), Fraction(0))
            for right in columns
        ]
        for left in columns
    ]
    solved = _solve(gram, columns)
    rows = tuple({j: value for j, value in enumerate(row) if value} for row in solved)
    offset = tuple(
        -sum((v * affine.offset[j] for j, v in row.items()), Fraction(0))
        for row in rows
    )
    return Affine(rows, offset, len(affine.rows))


def rounded(affine: Affine) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Return (matrix, offset) as tuples of Python floats, each entry rounded once."""
    try:
        matrix = tuple(
            tuple(float(row.get(j, 0)) for j in range(affine.width))
            for row in affine.rows
        )
        return matrix, tuple(float(b) for b in affine.offset)
    except OverflowError:
        raise ChannelError(
            "a coefficient of the composed map is too large for float64: check range=, mean= and std="
        ) from None


def _rank(affine: Affine) -> int:
    matrix = np.array(rounded(affine)[0])
    length = np.linalg.norm(matrix, axis=0)
    return int(np.linalg.matrix_rank(matrix / np.where(length > 0, length, 1)))


def _solve(
    square: list[list[Fraction]], right: list[list[Fraction]]
) -> list[list[Fraction]]:
    """Solve square · X = right by Gauss-Jordan elimination."""
    rows = [[*a, *b] for a, b in zip(square, right, strict=True)]
    for k in range(len(rows)):
        pivot = next((i for i in range(k, len(rows)) if rows[i][k]), None)
        if pivot is None:
            raise ChannelError("this map loses bands, so it has no inverse")
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(len(rows)):
            if i != k and rows[i][k]:
                rows[i] = [
                    value - rows[i][k] * base
                    for value, base in zip(rows[i], rows[k], strict=True)
                ]
    return [row[len(rows) :] for row in rows]


def to_unit(pairs: Sequence[tuple[float, float]]) -> Affine:
    """Return the map from stored values to unit intensities, ``pairs`` being (black, white) per band."""
    spans = [1 / (Fraction(white) - Fraction(black)) for black, white in pairs]
    return diagonal(
        spans,
        [
            -Fraction(black) * span
            for (black, _), span in zip(pairs, spans, strict=True)
        ],
    )
