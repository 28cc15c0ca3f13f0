"""Gray to a normalised tensor in a torchvision pipeline: tensors under v2, PIL images under v1."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torchvision import ToBackbone

from .. import engines, images
from ..case import Build, Case, Run, same_as
from ..normalisation import MEAN, STD
from ..scale import Scale

TOLERANCE = 1e-5
V1_CHAIN, V2_CHAIN = (
    "v1: Grayscale(3), ToTensor, Normalize",
    "v2: RGB, ToDtype, Normalize",
)
V2_FROM_PIL = "v2: ToImage, RGB, ToDtype, Normalize"
BROADCAST = "v2: ToDtype, Normalize, which broadcasts one channel"
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)


def cases(scale: Scale) -> Iterator[Build]:
    """Yield sizes: tensors of 8 and 16 bits, and PIL images."""
    for size in scale.sizes("224", "512"):
        for dtype in ("uint8", "uint16"):
            yield partial(_tensor, size, scale.shape(size), dtype)
        yield partial(_picture, size, scale.shape(size))


def _tensor(size: str, shape: tuple[int, ...], dtype: str) -> Case:
    image = images.random(shape, dtype)
    x = torch.from_numpy(image)[None]
    return Case(
        f"torchvision, {size}, {dtype} tensor",
        {"task": "tensor", "size": size, "dtype": dtype},
        ours=engines.ours(lambda: partial(v2.Compose([_to_backbone()]), x)),
        peer={
            V2_CHAIN: partial(
                v2.Compose([v2.RGB(), TO_FLOAT, v2.Normalize(MEAN, STD)]), x
            ),
            "v2: Grayscale(3), ToDtype, Normalize": partial(
                v2.Compose([v2.Grayscale(3), TO_FLOAT, v2.Normalize(MEAN, STD)]), x
            ),
        },
        hand={
            BROADCAST: partial(v2.Compose([TO_FLOAT, v2.Normalize(MEAN, STD)]), x),
            **_by_hand(x),
        },
        check=same_as(_answer(image), TOLERANCE),
    )


def _picture(size: str, shape: tuple[int, ...]) -> Case:
    image = images.random(shape)
    picture = Image.fromarray(image)
    return Case(
        f"torchvision, {size}, PIL image",
        {"task": "PIL", "size": size, "dtype": "uint8"},
        ours=engines.ours(lambda: partial(v1.Compose([_to_backbone()]), picture)),
        peer={
            V1_CHAIN: partial(
                v1.Compose([v1.Grayscale(3), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
                picture,
            ),
            V2_FROM_PIL: partial(
                v2.Compose([v2.ToImage(), v2.RGB(), TO_FLOAT, v2.Normalize(MEAN, STD)]),
                picture,
            ),
        },
        check=same_as(_answer(image), TOLERANCE),
    )


def _to_backbone() -> ToBackbone:
    return ToBackbone(gp.plan("gray", "imagenet"))


def _by_hand(x: torch.Tensor) -> dict[str, Run]:
    white = torch.iinfo(x.dtype).max
    scale = torch.tensor([1 / (white * s) for s in STD], dtype=torch.float32)[
        :, None, None
    ]
    shift = torch.tensor(
        [-m / s for m, s in zip(MEAN, STD, strict=True)], dtype=torch.float32
    )[:, None, None]
    return {"torch, one multiply and add": lambda: (x.float() * scale).add_(shift)}


def _answer(image: NDArray[Any]) -> NDArray[Any]:
    unit = image / np.iinfo(image.dtype).max
    return ((unit[..., None] - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
