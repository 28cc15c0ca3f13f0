"""Gray uint8 to ImageNet-normalised float32, at sizes that fit into a cache and larger ones."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import graypipe as gp

from .. import engines, images, normalisation
from ..case import Build, Case, Check, Run, same_as, written_into
from ..scale import Scale

TOLERANCE = 1e-5
IN_PLACE = "cannot write into an existing array"


def cases(scale: Scale) -> Iterator[Build]:
    """Yield sizes, layouts and memory."""
    for size in scale.sizes("224", "512", "1024", "2048"):
        yield from at_size(size, scale)


def at_size(size: str, scale: Scale) -> Iterator[Build]:
    """Yield layouts and memory; the public chains have no reused memory."""
    for layout in ("CHW", "HWC"):
        yield partial(_fresh, size, scale.shape(size), layout)
        yield partial(_reused, size, scale.shape(size), layout)


def _fresh(size: str, shape: tuple[int, ...], layout: str) -> Case:
    image = images.random(shape)
    return Case(
        f"normalise, {size}, {layout}, fresh",
        {"task": "normalise", "size": size, "layout": layout, "memory": "fresh"},
        ours=engines.ours(partial(_ours, image, layout)),
        peer=normalisation.chains(image, layout),
        hand=normalisation.written_by_hand(image, layout),
        floor=normalisation.floor_fresh(normalisation.empty(image, layout)),
        check=_check(image, layout),
        left_out=normalisation.HWC_ONLY if layout == "CHW" else normalisation.CHW_ONLY,
    )


def _reused(size: str, shape: tuple[int, ...], layout: str) -> Case:
    image = images.random(shape)
    out = normalisation.empty(image, layout)
    return Case(
        f"normalise, {size}, {layout}, reused",
        {"task": "normalise", "size": size, "layout": layout, "memory": "reused"},
        ours=engines.ours(partial(_ours, image, layout, out)),
        hand=normalisation.written_by_hand_into(out, image, layout),
        floor=normalisation.floor(out),
        check=written_into(out, _check(image, layout)),
        left_out=dict.fromkeys(normalisation.CHAINS, IN_PLACE),
    )


def _ours(image: NDArray[Any], layout: str, out: NDArray[Any] | None = None) -> Run:
    return partial(
        gp.plan("gray", gp.preset("imagenet", layout=layout)), image, out=out
    )


def _check(image: NDArray[Any], layout: str) -> Check:
    answer = normalisation.oracle(image)
    answer = answer if layout == "HWC" else answer.transpose(2, 0, 1)
    values = same_as(answer, TOLERANCE)

    def check(name: str, result: Any) -> None:
        if name == normalisation.FLOOR:  # it writes as many values, but other ones
            assert (result.shape, result.dtype) == (answer.shape, np.float32), name
        else:
            values(name, result)

    return check
