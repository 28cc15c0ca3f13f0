"""Peak memory of a call beyond its output; the target allows 64 KiB for native dtypes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import graypipe as gp

from .. import engines, images
from ..case import Build, Case, Run, same_as
from ..normalisation import MEAN, STD
from ..scale import Scale
from .mix import WEIGHTS, YELLOW


def cases(scale: Scale) -> Iterator[Build]:
    """Yield tasks, dtypes, layouts and memory at 1024²."""
    for bands in ("gray", "RGBY"):
        for dtype in ("uint8", "uint16", "float32"):
            for layout in ("CHW", "HWC"):
                for memory in ("fresh", "reused"):
                    yield partial(
                        _case, bands, scale.shape("1024"), dtype, layout, memory
                    )


def _case(
    bands: str, size: tuple[int, ...], dtype: str, layout: str, memory: str
) -> Case:
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    if bands == "gray":
        shape, source_layout, via = size, None, None
    elif layout == "HWC":
        shape, source_layout, via = (*size, 4), layout, YELLOW
    else:
        shape, source_layout, via = (4, *size), layout, YELLOW
    image = images.random(shape, dtype)
    source = gp.Source(bands, source_layout, range=(0, white))
    plan = partial(gp.plan, source, gp.preset("imagenet", layout=layout), via=via)
    return Case(
        f"{bands} to RGB, {dtype}, {layout}, {memory}",
        {"bands": bands, "dtype": dtype, "layout": layout, "memory": memory},
        ours=engines.ours(partial(_ours, plan, image, reuse=memory == "reused")),
        check=same_as(_oracle(image, bands, layout, white), 1e-5),
        gauge="extra",
    )


def _oracle(image: NDArray[Any], bands: str, layout: str, white: float) -> NDArray[Any]:
    weights = WEIGHTS
    planes = image
    if bands == "gray":
        weights = np.ones((3, 1))
        planes = image[None]
    elif layout == "HWC":
        planes = np.moveaxis(image, -1, 0)
    units = np.tensordot(weights, planes / white, 1)
    answer = (units - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    return answer if layout == "CHW" else np.moveaxis(answer, 0, -1)


def _ours(make: Callable[[], gp.Plan], image: NDArray[Any], *, reuse: bool) -> Run:
    plan = make()
    if reuse:
        return partial(plan, image, out=np.empty_like(plan(image)))
    return partial(plan, image)
