"""The chains that people write by hand, in plain NumPy: what the demo measures plans against.

Each takes an image and the dtype to compute in. None of them knows anything of this package.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Chain = Callable[[Array, DTypeLike], Array]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red


def gray8_to_imagenet(image: Array, dtype: DTypeLike) -> Array:
    """Return (H, W) uint8 as (3, H, W): repeat, divide by 255, normalise, transpose."""
    rgb = np.repeat(image[..., None], 3, axis=-1).astype(dtype) / 255
    return _normalised(rgb, IMAGENET_MEAN, IMAGENET_STD).transpose(2, 0, 1)


def gray16_to_caffe(image: Array, dtype: DTypeLike) -> Array:
    """Return (H, W) uint16 as (H, W, 3) in BGR: stack, scale 65535 to 255, flip, subtract the means."""
    rgb = np.dstack([image, image, image]).astype(dtype) / 65535 * 255
    return _normalised(rgb[..., ::-1], CAFFE_MEAN, (1, 1, 1))


def gray8_to_rgb8(image: Array, dtype: DTypeLike) -> Array:
    """Return (H, W) uint8 as (H, W, 3): repeat."""
    return np.repeat(image[..., None], 3, axis=-1).astype(dtype, copy=False)


def rgby12_to_imagenet(image: Array, dtype: DTypeLike) -> Array:
    """Return (H, W, 4) with 12 bits as (3, H, W): divide by 4095, half of yellow into red and green, normalise."""
    red, green, blue, yellow = np.moveaxis(image.astype(dtype) / 4095, -1, 0)
    rgb = np.dstack([0.5 * red + 0.5 * yellow, 0.5 * green + 0.5 * yellow, blue])
    return _normalised(rgb, IMAGENET_MEAN, IMAGENET_STD).transpose(2, 0, 1)


def _normalised(rgb: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    result: Array = (rgb - np.asarray(mean, rgb.dtype)) / np.asarray(std, rgb.dtype)
    return result
