"""Statistics of data sets, per band, computed in one pass and mergeable.

`BandStats` is the public class. It hands the pixels to one of two accumulators:
booleans and integers of up to 16 bits are counted exactly (`exact`), floating and wider
values are summed in float64, with a sketch of bounded size for percentiles
(`streaming`). Principal components become channel maps in `pca`.
"""

from .band_stats import BandStats

__all__ = ["BandStats"]
