"""The same pixels as a crop, a flip and in Fortran order, compared with the contiguous image."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import graypipe as gp

from .. import images, normalisation
from ..case import Build, Case, expanded, same_as
from ..engines import CONTIGUOUS, OURS
from ..scale import Scale

Array = NDArray[Any]


def cases(scale: Scale) -> Iterator[Build]:
    """Yield normalisation and expansion at two sizes in both layouts."""
    for size in scale.sizes("224", "1024"):
        for layout in ("CHW", "HWC"):
            yield partial(_normalise, size, scale.shape(size), layout)
            yield partial(_expand, size, scale.shape(size), layout)


def _normalise(size: str, shape: tuple[int, ...], layout: str) -> Case:
    image = images.random(shape)
    plan = gp.plan("gray", gp.preset("imagenet", layout=layout))
    answer = normalisation.oracle(image)
    return Case(
        f"normalise, {size}, {layout}",
        {"task": "normalise", "size": size, "layout": layout},
        ours={name: partial(plan, array) for name, array in _strided(image).items()},
        check=same_as(answer.transpose(2, 0, 1) if layout == "CHW" else answer, 1e-5),
    )


def _expand(size: str, shape: tuple[int, ...], layout: str) -> Case:
    image = images.random(shape)
    expand = partial(gp.replicate(), layout="HW", out_layout=layout)
    return Case(
        f"expand, {size}, {layout}",
        {"task": "expand", "size": size, "layout": layout},
        ours={name: partial(expand, array) for name, array in _strided(image).items()},
        check=same_as(expanded(image, 2 if layout == "HWC" else 0)),
    )


def _strided(image: Array) -> dict[str, Array]:
    """Return the same pixels in arrays with other strides."""
    height, width = image.shape
    frame = np.zeros((height + 60, width + 80), image.dtype)
    crop = frame[20 : 20 + height, 30 : 30 + width]
    crop[...] = image
    return {
        CONTIGUOUS: image,
        f"{OURS}, crop": crop,
        f"{OURS}, flip left-right": np.ascontiguousarray(image[:, ::-1])[:, ::-1],
        f"{OURS}, flip up-down": np.ascontiguousarray(image[::-1])[::-1],
        f"{OURS}, Fortran order": np.asfortranarray(image),
    }
