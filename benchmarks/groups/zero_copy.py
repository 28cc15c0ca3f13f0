"""The zero-copy study: a view, copies and the fused pass, alone and together with what they are made for."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import gray2rgb

import graypipe as gp

from .. import images
from ..case import Build, Case, Check, Run, expanded, same_as
from ..consumers import FUSED, HWC, Consumer, consumers
from ..scale import Scale

Array = NDArray[Any]

VIEW, COPY = "graypipe, view", "graypipe, copy"
SIZES = ("32", "224", "1024", "4096")
BATCH = "64x224"
COLLATED = 8
LEFT_OUT = {"np.dstack": "takes one image, not a batch"}
TOLERANCE = 1e-4
"""The convolution sums 27 products in float32."""


def cases(scale: Scale) -> Iterator[Build]:
    """Yield expansion alone, then with each consumer: timed at every size, weighed at 1024²."""
    for size in scale.sizes(*SIZES, BATCH):
        for gauge in ("time", "held"):
            yield partial(_alone, size, scale.shape(size), gauge)
    for name, consumer in consumers().items():
        for size in scale.sizes(
            *(size for size in (*SIZES, BATCH) if size not in consumer.never)
        ):
            yield partial(_consumed, name, consumer, size, scale.shape(size), "time")
        if consumer.weighed:
            yield partial(
                _consumed, name, consumer, "1024", scale.shape("1024"), "resident"
            )


def expansions(*, batch: bool) -> dict[str, Callable[[Array], Array]]:
    """Return the ways from (H, W) to (H, W, 3), or from (N, H, W) to (N, H, W, 3)."""
    replicate, layout = gp.replicate(), "NHW" if batch else "HW"
    ways = {
        VIEW: partial(replicate, layout=layout, copy=False),
        COPY: partial(replicate, layout=layout),
        "np.repeat": lambda gray: np.repeat(gray[..., None], 3, axis=-1),
        "np.stack": lambda gray: np.stack([gray] * 3, axis=-1),
        "skimage gray2rgb": gray2rgb,
        "cv2.cvtColor": _by_cv2,
    }
    return ways if batch else ways | {"np.dstack": lambda gray: np.dstack([gray] * 3)}


def _by_cv2(gray: Array) -> Array:
    rows = gray.reshape(-1, gray.shape[-1])
    return cv2.cvtColor(rows, cv2.COLOR_GRAY2RGB).reshape((*gray.shape, 3))


def _alone(size: str, shape: tuple[int, ...], gauge: str) -> Case:
    gray = images.random(shape)
    runs = {
        name: partial(expand, gray)
        for name, expand in expansions(batch=gray.ndim == 3).items()
    }
    fused = partial(HWC if gray.ndim == 2 else HWC.batch, gray)
    ours, peer = _sides(runs)
    return Case(
        f"alone, {size}, {gauge}",
        {"consumer": "alone", "size": size},
        ours=ours | {FUSED: fused},
        peer=peer,
        check=_alone_check(expanded(gray, gray.ndim), fused()),
        gauge=gauge,
        left_out=LEFT_OUT if size == BATCH else {},
    )


def _alone_check(wanted: Array, normalised: Array) -> Check:
    exact, close = same_as(wanted), same_as(normalised, TOLERANCE)
    return lambda name, result: (close if name == FUSED else exact)(name, result)


def _consumed(
    name: str, consumer: Consumer, size: str, shape: tuple[int, ...], gauge: str
) -> Case:
    gray = images.random((COLLATED, *shape) if consumer.each else shape)
    ways = expansions(batch=size == BATCH)
    runs = {how: _whole(consumer, expand, gray) for how, expand in ways.items()}
    ours, peer = _sides(runs)
    return Case(
        f"{name}, {size}, {gauge}",
        {"consumer": name, "size": size},
        ours=ours | {how: partial(use, gray) for how, use in consumer.instead.items()},
        peer=peer,
        check=same_as(runs["np.repeat"](), TOLERANCE),
        gauge=gauge,
        left_out=LEFT_OUT if size == BATCH else {},
    )


def _whole(consumer: Consumer, expand: Callable[[Array], Array], gray: Array) -> Run:
    if consumer.each:
        return lambda: consumer.use([expand(image) for image in gray])
    return lambda: consumer.use(expand(gray))


def _sides(runs: dict[str, Run]) -> tuple[dict[str, Run], dict[str, Run]]:
    """Return graypipe's runs and the peers'."""
    own = {name: run for name, run in runs.items() if name in (VIEW, COPY)}
    return own, {name: run for name, run in runs.items() if name not in own}
