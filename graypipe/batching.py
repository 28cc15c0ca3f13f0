"""Batching: a list of images becomes one array, each written straight into its place."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import engine
from .errors import LayoutError

if TYPE_CHECKING:
    from .planning import Plan

Array = NDArray[Any]


def stacked(plan: "Plan", images: Sequence[Array], out: Array | None, threads: int) -> Array:
    """Return what ``plan`` makes of ``images``, N in front, or ``out``; LayoutError where there is no one size."""
    arrays = [engine.check_image(image) for image in images]
    if not arrays:
        raise LayoutError("an empty list has no image size: pass at least one image, or an array of shape (0, ...)")
    shapes = sorted({image.shape for image in arrays})
    if len(shapes) > 1:
        raise LayoutError(f"images of one batch have one size, got {shapes}: crop or resize them first")
    runs = [plan.execution(image.dtype) for image in arrays]
    shape = (len(arrays), *runs[0].shape(shapes[0]))
    if out is None:
        out = np.empty(shape, plan.target.dtype)
    else:
        for image in arrays:
            engine.check_out(out, shape, np.dtype(plan.target.dtype), image)
    jobs = list(zip(runs, arrays, out, strict=True))
    if len(arrays) < threads:
        for run, image, part in jobs:
            run.into(image, part, threads)
    else:
        engine.in_threads(lambda job: job[0].into(*job[1:]), jobs, threads)
    return out
