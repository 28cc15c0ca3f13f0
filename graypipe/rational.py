"""Affine maps in exact rational arithmetic.

Maps are composed and inverted without rounding; each coefficient is rounded once, at
the end. In float64, (1/d)·d differs from 1 for 9,841 of the divisors d below 65,536,
so a map that only selects bands would no longer be recognised as one.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from .errors import ChannelError

Row = dict[int, Fraction]


class Affine(NamedTuple):
    """The map y = M · x + b with rational coefficients.

    Attributes
    ----------
    rows : tuple of dict
        One row of M per output: its non-zero coefficients by input index.
    offset : tuple of Fraction
        The vector b, with one entry per output.
    input_count : int
        Number of inputs.
    """

    rows: tuple[Row, ...]
    offset: tuple[Fraction, ...]
    input_count: int


def diagonal(factors: Sequence[Fraction], offset: Sequence[Fraction]) -> Affine:
    """Return the map that scales and shifts each band independently."""
    rows = tuple({index: factor} for index, factor in enumerate(factors))
    return Affine(rows, tuple(offset), len(factors))


def compose(first: Affine, second: Affine) -> Affine:
    """Return the map that applies ``first``, then ``second``."""
    rows = []
    offset = []
    for second_row, second_offset in zip(second.rows, second.offset, strict=True):
        combined: Row = {}
        constant = second_offset
        for k, outer in second_row.items():
            constant += outer * first.offset[k]
            for j, inner in first.rows[k].items():
                combined[j] = combined.get(j, Fraction(0)) + outer * inner
        # Drop coefficients that cancel: an input without a coefficient is not read.
        rows.append({j: factor for j, factor in combined.items() if factor})
        offset.append(constant)
    return Affine(tuple(rows), tuple(offset), first.input_count)


def left_inverse(affine: Affine) -> Affine:
    """Return the least-squares inverse, x = (MᵀM)⁻¹ Mᵀ (y - b).

    Raises
    ------
    ChannelError
        If M does not have full column rank.
    """
    if _rank(affine) < affine.input_count:
        raise ChannelError(
            f"the map from {affine.input_count} to {len(affine.rows)} bands is not "
            "invertible, because different inputs give the same output (the columns "
            "of its matrix are linearly dependent): keep the input"
        )
    columns = [
        [row.get(j, Fraction(0)) for row in affine.rows]
        for j in range(affine.input_count)
    ]
    gram = [[_dot(left, right) for right in columns] for left in columns]
    solution = _solve(gram, columns)
    rows = []
    offset = []
    for values in solution:
        rows.append({i: value for i, value in enumerate(values) if value})
        offset.append(-_dot(values, affine.offset))
    return Affine(tuple(rows), tuple(offset), len(affine.rows))


def rounded(affine: Affine) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Round every coefficient once, to the nearest float64.

    Returns
    -------
    matrix : tuple of tuple of float
        One row per output.
    offset : tuple of float

    Raises
    ------
    ChannelError
        If a coefficient exceeds the range of float64.
    """
    try:
        matrix = tuple(_rounded_row(row, affine.input_count) for row in affine.rows)
        offset = tuple(float(constant) for constant in affine.offset)
    except OverflowError:
        raise ChannelError(
            "a coefficient of the composed map is too large for float64: "
            "check range=, mean= and std="
        ) from None
    return matrix, offset


def _rounded_row(row: Mapping[int, Fraction], length: int) -> tuple[float, ...]:
    """Return a sparse row as floats."""
    coefficients = [0.0] * length
    for j, coefficient in row.items():
        coefficients[j] = float(coefficient)
    return tuple(coefficients)


def to_unit(pairs: Sequence[tuple[float, float]]) -> Affine:
    """Return the map from stored values to unit intensities.

    Parameters
    ----------
    pairs : sequence of (black, white)
        One pair of stored values per band; black maps to 0 and white to 1.
    """
    factors = []
    offset = []
    for black, white in pairs:
        factor = 1 / (Fraction(white) - Fraction(black))
        factors.append(factor)
        offset.append(-Fraction(black) * factor)
    return diagonal(factors, offset)


def _dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    """Return the dot product."""
    products = (a * b for a, b in zip(left, right, strict=True))
    return sum(products, Fraction(0))


def _rank(affine: Affine) -> int:
    """Return the numerical rank of M, with columns scaled to unit length.

    Without the scaling, bands with very different ranges would make the matrix look
    rank-deficient.
    """
    matrix = np.array(rounded(affine)[0])
    lengths = np.linalg.norm(matrix, axis=0)
    return int(np.linalg.matrix_rank(matrix / np.where(lengths > 0, lengths, 1)))


def _solve(
    square: list[list[Fraction]], right: list[list[Fraction]]
) -> list[list[Fraction]]:
    """Solve ``square · X = right`` by Gauss-Jordan elimination."""
    rows = [[*a, *b] for a, b in zip(square, right, strict=True)]
    size = len(rows)
    for k in range(size):
        pivot = next((i for i in range(k, size) if rows[i][k]), None)
        if pivot is None:
            raise ChannelError("the map is not invertible: its matrix is singular")
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(size):
            factor = rows[i][k]
            if i != k and factor:
                rows[i] = [
                    value - factor * base
                    for value, base in zip(rows[i], rows[k], strict=True)
                ]
    return [row[size:] for row in rows]
