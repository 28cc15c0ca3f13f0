"""What one pass over an image computes, in plain numbers, and in which precision."""

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

MOST_FLOAT32_TERMS = 16
"""Rounding errors of a sum grow with its terms; beyond these the tolerance of 8 eps needs float64."""

FLOAT32_SPAN = (1e-30, 1e30)
"""Coefficients outside these magnitudes could overflow or lose bits as float32."""


TO_TIES = 1.5 * 2.0**22
"""Added to a float64 and taken off again, this leaves a multiple of 2^-30: what is a tie up to the rounding of M and b
becomes one again, and is rounded half to even. Beyond 2^31 it leaves a multiple of the ulp, so no integer changes."""


@dataclass(frozen=True)
class AffineSpec:
    """nodata test, then clip, then matrix · (x - centre) + offset, then round, saturate and cast: in this order.

    ``matrix`` is (bands out, bands in), ``offset`` (bands out,), ``centre`` (bands in,): the black levels, subtracted
    first so that a narrow range far from zero keeps its digits. ``clip`` holds one (low, high) per band in.
    ``nodata`` is compared with the stored values of every band. ``implied`` refuses floating values outside [-1, 2].
    """

    matrix: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]
    centre: tuple[float, ...]
    clip: tuple[tuple[float, float], ...] | None = None
    nodata: float | None = None
    implied: bool = False

    @cached_property
    def terms(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """Per output band the (input band, factor) pairs; a zero is structural, that band is not read there."""
        return tuple(
            tuple((j, m) for j, m in enumerate(row) if m) for row in self.matrix
        )

    @cached_property
    def reads(self) -> tuple[int, ...]:
        """The input bands that some output band reads."""
        return tuple(sorted({j for row in self.terms for j, _ in row}))

    @cached_property
    def picks(self) -> tuple[int, ...] | None:
        """The input band of each output band where the affine part only repeats or picks, else None."""
        if (
            any(self.offset)
            or any(self.centre)
            or any(len(row) != 1 or row[0][1] != 1 for row in self.terms)
        ):
            return None
        return tuple(row[0][0] for row in self.terms)

    def moves(self, source: np.dtype[Any], target: np.dtype[Any]) -> bool:
        """Whether elements of ``source`` only move to ``target`` arrays, unchanged (an implied range may be tested)."""
        same = source.newbyteorder("=") == target.newbyteorder("=")
        return (
            same
            and self.picks is not None
            and self.clip is None
            and self.nodata is None
        )

    def compute_dtype(
        self, source: np.dtype[Any], target: np.dtype[Any]
    ) -> np.dtype[Any]:
        """Return float32 where that is exact enough (inputs float32 holds, floating outputs), else float64."""
        narrow = source.itemsize <= 2 or source.name == "float32"
        levels = [*self.centre, *chain.from_iterable(self.clip or ())]
        factors = [*self.offset, *(m for row in self.terms for _, m in row)]
        low, high = FLOAT32_SPAN
        tame = all(
            number == 0 or low < abs(number) < high for number in [*factors, *levels]
        )
        held = tame and all(float(np.float32(level)) == level for level in levels)
        short = max(map(len, self.terms), default=0) <= MOST_FLOAT32_TERMS
        single = narrow and held and short and target.name in ("float16", "float32")
        return np.dtype("float32" if single else "float64")
