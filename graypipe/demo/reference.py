"""Reference implementations of the conversions of the demo in plain NumPy.

The demo compares the results and the speed of plans with these functions. Each takes an
image and the dtype of the computation. This module imports nothing from the package.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Reference = Callable[[Array, DTypeLike], Array]

# The statistics of ImageNet used by torchvision: RGB order, for values from 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The means of ImageNet used by Caffe and by Keras models such as VGG16: BGR order, for
# values from 0 to 255.
CAFFE_MEAN = (103.939, 116.779, 123.68)


def gray8_to_imagenet(image: Array, dtype: DTypeLike) -> Array:
    """Convert uint8 (H, W) to (3, H, W).

    Repeat, scale to [0, 1], normalise, transpose.
    """
    rgb = np.repeat(image[..., None], 3, axis=-1).astype(dtype) / 255
    return _normalise(rgb, IMAGENET_MEAN, IMAGENET_STD).transpose(2, 0, 1)


def gray16_to_caffe(image: Array, dtype: DTypeLike) -> Array:
    """Convert uint16 (H, W) to BGR (H, W, 3).

    Stack, scale to [0, 255], subtract the means.
    """
    rgb = np.dstack([image, image, image]).astype(dtype) / 65535 * 255
    return _normalise(rgb[..., ::-1], CAFFE_MEAN, (1, 1, 1))


def gray8_to_rgb8(image: Array, dtype: DTypeLike) -> Array:
    """Convert uint8 (H, W) to (H, W, 3): repeat."""
    return np.repeat(image[..., None], 3, axis=-1).astype(dtype, copy=False)


def rgby12_to_imagenet(image: Array, dtype: DTypeLike) -> Array:
    """Convert 12-bit RGBY (H, W, 4) to (3, H, W).

    Scale to [0, 1], average red and yellow as well as green and yellow, normalise,
    transpose.
    """
    red, green, blue, yellow = np.moveaxis(image.astype(dtype) / 4095, -1, 0)
    rgb = np.dstack([0.5 * red + 0.5 * yellow, 0.5 * green + 0.5 * yellow, blue])
    return _normalise(rgb, IMAGENET_MEAN, IMAGENET_STD).transpose(2, 0, 1)


def _normalise(rgb: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """Subtract ``mean`` and divide by ``std`` in the dtype of ``rgb``."""
    normalised: Array = (rgb - np.asarray(mean, rgb.dtype)) / np.asarray(std, rgb.dtype)
    return normalised
