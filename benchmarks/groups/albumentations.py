"""Gray to a normalised tensor in an albumentations pipeline: images and batches of 8 and 16 bits.

AlbumentationsX has the same import name; its group measures the same cases in another environment.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray

import graypipe as gp
from graypipe.adapters.albumentations import ToBackbone

from .. import engines, images, machine
from ..case import Build, Case, Run, same_as
from ..normalisation import MEAN, STD
from ..scale import Scale

TOLERANCE = 1e-5


def cases(scale: Scale) -> Iterator[Build]:
    """Yield sizes and dtypes, under albumentations."""
    return under("albumentations", scale)


def under(library: str, scale: Scale) -> Iterator[Build]:
    """Yield sizes and dtypes; raise RuntimeError if the other library is imported."""
    imported = machine.album()
    if imported != library:
        raise RuntimeError(
            f"the group {library!r} needs an environment that imports {library}, not {imported}"
        )
    for size in scale.sizes("224", "512", "64x224"):
        for dtype in ("uint8", "uint16"):
            yield partial(_case, library, size, scale.shape(size), dtype)


def _case(library: str, size: str, shape: tuple[int, ...], dtype: str) -> Case:
    pixels = images.random(shape, dtype)
    white, name = float(np.iinfo(dtype).max), "image" if len(shape) == 2 else "images"
    chain = A.Compose(
        [A.ToRGB(p=1), A.Normalize(MEAN, STD, max_pixel_value=white), ToTensorV2()]
    )
    answer = (pixels[..., None] / white - np.array(MEAN)) / np.array(STD)
    return Case(
        f"{library}, {size}, {dtype}, {name}=",
        {
            "task": "to tensor",
            "size": size,
            "dtype": dtype,
            "library": f"{library} {A.__version__}",
        },
        ours=engines.ours(partial(_ours, pixels, name)),
        peer={"ToRGB + Normalize + ToTensorV2": lambda: chain(**{name: pixels})[name]},
        check=same_as(np.moveaxis(answer, -1, -3), TOLERANCE),
    )


def _ours(pixels: NDArray[Any], name: str) -> Run:
    chain = A.Compose([ToBackbone(gp.plan("gray", "imagenet")), ToTensorV2()])
    return lambda: chain(**{name: pixels})[name]
