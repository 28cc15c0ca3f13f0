"""Expansion without a copy: its time and memory at each size."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import graypipe as gp

from .. import images
from ..case import Build, Case, Check, Run, expanded
from ..scale import Scale


def cases(scale: Scale) -> Iterator[Build]:
    """Yield sizes, each timed and weighed."""
    for size in scale.sizes("32", "224", "1024", "4096"):
        yield partial(_case, size, scale.shape(size), "time")
        yield partial(_case, size, scale.shape(size), "held")


def _case(size: str, shape: tuple[int, ...], gauge: str) -> Case:
    image = images.random(shape)
    return Case(
        f"{size}, {gauge}",
        {"size": size},
        ours=_ours(image),
        hand={"np.broadcast_to": partial(_broadcast, image)},
        check=_check(image),
        gauge=gauge,
    )


def _ours(image: NDArray[Any]) -> dict[str, Run]:
    plan, replicate = gp.plan("gray", "rgb8"), gp.replicate()
    return {
        "graypipe plan.view": partial(plan.view, image),
        "graypipe replicate, copy=False": partial(
            replicate, image, layout="HW", copy=False
        ),
    }


def _broadcast(image: NDArray[Any]) -> NDArray[Any]:
    return np.broadcast_to(image[..., None], (*image.shape, 3))


def _check(image: NDArray[Any]) -> Check:
    wanted = expanded(image, 2)

    def check(name: str, result: Any) -> None:
        assert np.array_equal(result, wanted), f"{name} has other pixels"
        assert np.shares_memory(result, image), (
            f"{name} does not share the image's memory"
        )

    return check
