"""Fitting: the statistics of a data set, in one pass, per band, mergeable.

Integers of up to 16 bits are counted (`counts.Counts`): exact, so the order in which parts are merged changes nothing.
Wider and floating values are summed up in float64 (`partials.Partials`), with a sketch of bounded size for percentiles.
"""

from .band_stats import BandStats

__all__ = ["BandStats"]
