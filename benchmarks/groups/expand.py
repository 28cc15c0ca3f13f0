"""One gray band to three equal ones: the function of every library, into fresh and reused memory."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.color import gray2rgb
from torchvision.transforms import v2

import graypipe as gp

from .. import engines, images
from ..case import Build, Case, Run, expanded, same_as, written_into
from ..scale import Scale
from ..tensorflow import tf

Array = NDArray[Any]

DTYPES = ("uint8", "uint16", "float32")
ONE_IMAGE = "takes one image, not a batch"
HWC_ONLY = "writes HWC only"
CHW_ONLY = "writes CHW only"


def cases(scale: Scale) -> Iterator[Build]:
    """Yield sizes, dtypes, layouts and memory."""
    for size in scale.sizes("224", "1024", "64x224"):
        yield from at_size(size, scale)


def at_size(size: str, scale: Scale) -> Iterator[Build]:
    """Yield dtypes, layouts and memory."""
    for dtype in DTYPES:
        for layout in ("HWC", "CHW"):
            yield partial(_fresh, size, scale.shape(size), dtype, layout)
            yield partial(_reused, size, scale.shape(size), dtype, layout)


def _fresh(size: str, shape: tuple[int, ...], dtype: str, layout: str) -> Case:
    image = images.random(shape, dtype)
    peer, left_out = _peers_hwc(image) if layout == "HWC" else _peers_chw(image)
    return Case(
        f"expand, {size}, {dtype}, {layout}, fresh",
        {
            "task": "expand",
            "size": size,
            "dtype": dtype,
            "layout": layout,
            "memory": "fresh",
        },
        ours=engines.ours(partial(_ours, image, layout)),
        peer=peer,
        hand={"NumPy out[...] = image": partial(_assign_fresh, image, layout)},
        check=same_as(expanded(image, _axis(image, layout))),
        left_out=left_out,
    )


def _reused(size: str, shape: tuple[int, ...], dtype: str, layout: str) -> Case:
    image = images.random(shape, dtype)
    out = _empty(image, layout)
    return Case(
        f"expand, {size}, {dtype}, {layout}, reused",
        {
            "task": "expand",
            "size": size,
            "dtype": dtype,
            "layout": layout,
            "memory": "reused",
        },
        ours=engines.ours(partial(_ours, image, layout, out)),
        peer=_peers_reused(image, layout, out),
        hand={"NumPy out[...] = image": partial(_assign, image, layout, out)},
        check=written_into(out, same_as(expanded(image, _axis(image, layout)))),
    )


def _ours(image: Array, layout: str, out: Array | None = None) -> Run:
    batch = "N" if image.ndim == 3 else ""
    return partial(
        gp.replicate(), image, layout=batch + "HW", out_layout=batch + layout, out=out
    )


def _axis(image: Array, layout: str) -> int:
    return image.ndim if layout == "HWC" else image.ndim - 2


def _empty(image: Array, layout: str) -> Array:
    shape = list(image.shape)
    shape.insert(_axis(image, layout), 3)
    return np.empty(shape, image.dtype)


def _assign_fresh(image: Array, layout: str) -> Array:
    return _assign(image, layout, _empty(image, layout))


def _assign(image: Array, layout: str, out: Array) -> Array:
    if layout == "HWC":
        out[..., 0] = out[..., 1] = out[..., 2] = image
    else:
        for band in range(3):
            out[..., band, :, :] = image
    return out


def _everywhere(image: Array, axis: int) -> dict[str, Run]:
    tensor, shape = (
        torch.from_numpy(image),
        (*image.shape[:axis], 3, *image.shape[axis:]),
    )
    times = [3 if k == axis else 1 for k in range(image.ndim + 1)]
    return {
        "np.repeat": lambda: np.repeat(np.expand_dims(image, axis), 3, axis=axis),
        "np.stack": lambda: np.stack([image] * 3, axis=axis),
        "np.broadcast_to().copy()": lambda: np.broadcast_to(
            np.expand_dims(image, axis), shape
        ).copy(),
        "skimage gray2rgb": lambda: gray2rgb(image, channel_axis=axis),
        "torch expand().contiguous()": lambda: (
            tensor.unsqueeze(axis).expand(shape).contiguous()
        ),
        "torch repeat": lambda: tensor.unsqueeze(axis).repeat(times),
    }


def _peers_hwc(image: Array) -> tuple[dict[str, Run], dict[str, str]]:
    single = image.ndim == 2
    # cv2 takes no batches, but one image that is as tall as all of them.
    rows = image if single else image.reshape(-1, image.shape[-1])
    shape = (*image.shape, 3)
    to_rgb = A.ToRGB(p=1)
    tensor = tf.constant(image[..., None])
    peers = _everywhere(image, image.ndim) | {
        "cv2.cvtColor": lambda: cv2.cvtColor(rows, cv2.COLOR_GRAY2RGB).reshape(shape),
        "cv2.merge": lambda: cv2.merge([rows] * 3).reshape(shape),
        "tf.image.grayscale_to_rgb": lambda: tf.image.grayscale_to_rgb(tensor),
    }
    left_out = {"torchvision v2.RGB": CHW_ONLY}
    if single:
        peers["np.dstack"] = lambda: np.dstack([image] * 3)
        peers["albumentations ToRGB"] = lambda: to_rgb(image=image)["image"]
    else:
        bands = image[..., None]
        peers["albumentations ToRGB"] = lambda: to_rgb(images=bands)["images"]
        left_out["np.dstack"] = ONE_IMAGE
    if single and image.dtype == np.uint8:
        picture = Image.fromarray(image)
        peers["PIL convert"] = lambda: np.asarray(picture.convert("RGB"))
    else:
        left_out["PIL convert"] = (
            ONE_IMAGE if not single else f"has no RGB mode for {image.dtype}"
        )
    return peers, left_out


def _peers_chw(image: Array) -> tuple[dict[str, Run], dict[str, str]]:
    axis = image.ndim - 2
    tensor, to_rgb = torch.from_numpy(image).unsqueeze(axis), v2.RGB()
    peers = _everywhere(image, axis) | {"torchvision v2.RGB": lambda: to_rgb(tensor)}
    hwc = (
        "cv2.cvtColor",
        "cv2.merge",
        "tf.image.grayscale_to_rgb",
        "np.dstack",
        "albumentations ToRGB",
        "PIL convert",
    )
    return peers, dict.fromkeys(hwc, HWC_ONLY)


def _peers_reused(image: Array, layout: str, out: Array) -> dict[str, Run]:
    axis = _axis(image, layout)
    view, tensor, target = (
        np.expand_dims(image, axis),
        torch.from_numpy(image),
        torch.from_numpy(out),
    )

    def copy_to() -> Array:
        np.copyto(out, view)
        return out

    peers: dict[str, Run] = {
        "np.copyto": copy_to,
        "np.stack": partial(np.stack, [image] * 3, axis=axis, out=out),
        "torch copy_": lambda: target.copy_(
            tensor.unsqueeze(axis).expand(target.shape)
        ),
        "torch stack": lambda: torch.stack([tensor] * 3, dim=axis, out=target),
    }
    return peers | (_cv2_reused(image, out) if layout == "HWC" else {})


def _cv2_reused(image: Array, out: Array) -> dict[str, Run]:
    rows = image if image.ndim == 2 else image.reshape(-1, image.shape[-1])
    target = out.reshape(*rows.shape, 3)
    return {
        "cv2.cvtColor": lambda: cv2.cvtColor(
            rows, cv2.COLOR_GRAY2RGB, dst=target
        ).reshape(out.shape),
        "cv2.merge": lambda: cv2.merge([rows] * 3, dst=target).reshape(out.shape),
    }
