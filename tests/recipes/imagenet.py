"""What the result of a recipe is compared with: float64 NumPy, with the statistics of ImageNet."""

import numpy as np
import oracle
from imagenet import MEAN, STD

STATISTICS = {"mean": MEAN, "std": STD}


def colour(image, via, black, white, **guards):
    """Return (y, scale) for ``image``, (C, H, W): ``via`` is (3, C), on unit intensities."""
    ranges = [(black, white)] * len(image)
    return oracle.plan(
        image,
        layout="CHW",
        out_layout="CHW",
        ranges=ranges,
        via=via,
        **STATISTICS,
        **guards,
    )


def gray(image, black, white, **guards):
    """Return (y, scale) for ``image``, (H, W) or (N, H, W), repeated into three bands."""
    batch = "N" * (np.ndim(image) - 2)
    layouts = {"layout": f"{batch}HW", "out_layout": f"{batch}CHW"}
    return oracle.plan(
        image,
        **layouts,
        ranges=[(black, white)],
        via=[[1.0]] * 3,
        **STATISTICS,
        **guards,
    )


def assert_ready(x, y, scale):
    """Assert that ``x`` is ``y``, as float32 in memory of its own kind."""
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    oracle.assert_matches(x, y, scale)
