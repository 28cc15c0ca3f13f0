"""Tallies: which of the two kinds, exact counts or sums in float64, keeps the statistics of a dtype."""

from typing import Any

import numpy as np

from ..errors import ChannelError
from ..source import Source
from .exact import Counts
from .streaming import Partials

Tally = Counts | Partials


def nothing(source: Source, dtype: str) -> Tally:
    """Return the statistics of no pixels of ``dtype``."""
    pairs = source._pairs(dtype) if source.clip else ()
    bands, bounds = len(source.bands), [(min(pair), max(pair)) for pair in pairs]
    countable = np.dtype(dtype).kind in "iub" and np.dtype(dtype).itemsize <= 2
    return Counts(bands, bounds, dtype) if countable else Partials(bands, bounds)


def load(tally: Tally, record: Any) -> None:
    """Put into the empty ``tally`` what its ``to_record`` returned; ChannelError where ``record`` is something else."""
    try:
        tally.load(record)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ChannelError(
            f"expected statistics written by to_json of a gp.BandStats: {error!r}"
        ) from None
