"""ImageNet's channel statistics, the numbers behind the preset ``imagenet``.

They are spelled out here, and not read from the package, so that the tests notice a
change of the preset.
"""

import numpy as np

# Mean and standard deviation of R, G and B in 0..1, as torchvision publishes them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(unit):
    """Return (..., H, W, 3) intensities in 0..1 as (..., 3, H, W), in float64."""
    normalised = (np.asarray(unit, np.float64) - MEAN) / STD
    return np.moveaxis(normalised, -1, -3)


def normalise_gray(unit):
    """Return (..., H, W) intensities in 0..1, repeated, as (..., 3, H, W)."""
    return normalise(np.repeat(np.asarray(unit)[..., None], 3, -1))
