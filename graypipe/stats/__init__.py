"""Per-band statistics of data sets, computed in one pass and mergeable.

`BandStats` is the public class. It passes the pixels to one of two accumulators:
booleans and integers of up to 16 bits are counted exactly (`exact`); floating-point
values and wider integers are summed in float64, with a quantile sketch of bounded size
for percentiles (`streaming`). `accumulators` chooses between them and passes the valid
pixels in blocks. `pca` converts principal components to channel maps.
"""

from .band_stats import BandStats

__all__ = ["BandStats"]
