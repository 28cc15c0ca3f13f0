"""Gray to ImageNet-normalised float32: common chains, and the fastest NumPy and torch code."""

from functools import partial
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from .case import Run
from .tensorflow import tf

Array = NDArray[Any]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = [1 / (255 * s) for s in STD]
SHIFT = [-m / s for m, s in zip(MEAN, STD, strict=True)]
CHAINS = (
    "torchvision v2 chain",
    "torchvision v1 Compose",
    "albumentations chain",
    "tf.image chain",
)
FLOOR = "fill the output"
CHW_ONLY = {
    "torchvision v2 chain": "writes CHW only",
    "torchvision v1 Compose": "writes CHW only",
}
HWC_ONLY = {"tf.image chain": "writes HWC only"}


def oracle(image: Array) -> Array:
    """Return the expected result, (H, W, 3), in float64."""
    return (image[..., None] / 255.0 - np.array(MEAN)) / np.array(STD)


def chains(image: Array, layout: str) -> dict[str, Run]:
    """Return chains of public transforms for a gray uint8 ``image``, each in its own container."""
    return _chains_chw(image) if layout == "CHW" else _chains_hwc(image)


def _chains_chw(image: Array) -> dict[str, Run]:
    tensor, picture = torch.from_numpy(image)[None], Image.fromarray(image)
    modern = v2.Compose(
        [v2.RGB(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    classic = v1.Compose([v1.Grayscale(3), v1.ToTensor(), v1.Normalize(MEAN, STD)])
    album = A.Compose([A.ToRGB(p=1), A.Normalize(MEAN, STD), ToTensorV2()])
    return {
        "torchvision v2 chain": lambda: modern(tensor),
        "torchvision v1 Compose": lambda: classic(picture),
        "albumentations chain": lambda: album(image=image)["image"],
    }


def _chains_hwc(image: Array) -> dict[str, Run]:
    album = A.Compose([A.ToRGB(p=1), A.Normalize(MEAN, STD)])
    tensor = tf.constant(image[..., None])

    @tf.function
    def chain(gray: tf.Tensor) -> tf.Tensor:
        rgb = tf.image.convert_image_dtype(tf.image.grayscale_to_rgb(gray), tf.float32)
        return (rgb - MEAN) / STD

    return {
        "albumentations chain": lambda: album(image=image)["image"],
        "tf.image chain": lambda: chain(tensor),
    }


def written_by_hand(image: Array, layout: str) -> dict[str, Run]:
    """Return NumPy and torch code with precomputed factors, into fresh memory."""
    tensor, (scale, shift) = torch.from_numpy(image), _torch_factors(layout)
    axis = -1 if layout == "HWC" else 0
    seed = np.expand_dims(image, axis)
    mean, std = (np.float32(stat).reshape(_broadcast(layout)) for stat in (MEAN, STD))
    return {
        "NumPy, a plane at a time": lambda: _planes(
            image, layout, empty(image, layout)
        ),
        "NumPy, table of 256 pixels": lambda: _table(
            image, layout, empty(image, layout)
        ),
        "NumPy, np.repeat then /255, mean, std": lambda: (
            (np.repeat(seed, 3, axis) / np.float32(255) - mean) / std
        ),
        "torch, one multiply and add": lambda: (
            tensor.float().unsqueeze(axis) * scale
        ).add_(shift),
    }


def written_by_hand_into(out: Array, image: Array, layout: str) -> dict[str, Run]:
    """Return the same code, writing into ``out``."""
    tensor, target = torch.from_numpy(image), torch.from_numpy(out)
    (scale, shift), axis = _torch_factors(layout), -1 if layout == "HWC" else 0
    return {
        "NumPy, a plane at a time": lambda: _planes(image, layout, out),
        "NumPy, table of 256 pixels": lambda: _table(image, layout, out),
        "torch, one multiply and add": lambda: torch.mul(
            tensor.unsqueeze(axis), scale, out=target
        ).add_(shift),
    }


def floor(out: Array) -> dict[str, Run]:
    """Return a function that only writes ``out``."""

    def fill() -> Array:
        out.fill(0.5)
        return out

    return {FLOOR: fill}


def floor_fresh(like: Array) -> dict[str, Run]:
    """Return a function that only allocates and writes an array like ``like``."""
    return {FLOOR: partial(np.full, like.shape, 0.5, np.float32)}


def _planes(image: Array, layout: str, out: Array) -> Array:
    planes = np.moveaxis(out, -1, 0) if layout == "HWC" else out
    for plane, scale, shift in zip(planes, SCALE, SHIFT, strict=True):
        np.multiply(image, np.float32(scale), out=plane)
        np.add(plane, np.float32(shift), out=plane)
    return out


TABLE = oracle(np.arange(256)).astype(np.float32)


def _table(image: Array, layout: str, out: Array) -> Array:
    if layout == "HWC":
        return np.take(TABLE, image, axis=0, out=out, mode="clip")
    for plane, column in zip(out, TABLE.T, strict=True):
        np.take(column, image, out=plane, mode="clip")
    return out


def empty(image: Array, layout: str) -> Array:
    """Return memory for the result."""
    return np.empty(
        (*image.shape, 3) if layout == "HWC" else (3, *image.shape), np.float32
    )


def _broadcast(layout: str) -> tuple[int, ...]:
    return (1, 1, 3) if layout == "HWC" else (3, 1, 1)


def _torch_factors(layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    scale, shift = (
        torch.tensor(numbers, dtype=torch.float32) for numbers in (SCALE, SHIFT)
    )
    return scale.reshape(_broadcast(layout)), shift.reshape(_broadcast(layout))
