"""Code that consumes an expanded image, and alternatives with the same result."""

import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import albumentations as A  # noqa: N812
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import default_collate

import graypipe as gp

from .normalisation import MEAN, STD
from .tensorflow import tf

Array = NDArray[Any]
Use = Callable[[Any], Any]

CHW = gp.plan(gp.Source("gray", dtype="uint8"), "imagenet")
HWC = CHW.with_layouts(target="HWC")
KERNEL = (
    np.random.default_rng(3).normal(scale=0.2, size=(16, 3, 3, 3)).astype(np.float32)
)

FUSED = "graypipe, fused"
FOLDED = "graypipe, folded into the kernel"
LATE = "graypipe, expanded late"
EARLY = "graypipe, fused before the queue"

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    # torch warns once per process: let it do so here, where nothing is measured.
    torch.from_numpy(np.broadcast_to(np.uint8(0), 3))


class Consumer(NamedTuple):
    """A consumer of expanded images and its alternatives; all of them return the same.

    Attributes
    ----------
    use : callable
        Takes the expanded uint8 image, (..., H, W, 3).
    instead : dict of callables
        Alternatives by name; each takes the gray image, (..., H, W).
    each : bool
        Whether images are expanded one by one and passed as a list.
    never : tuple of str
        Sizes at which the consumer is not run.
    weighed : bool
        Whether the growth of the process shows how much memory a call needs.
    """

    use: Use
    instead: dict[str, Use]
    each: bool = False
    never: tuple[str, ...] = ()
    weighed: bool = True


def normalise(rgb: Array) -> Array:
    """Return ``rgb`` normalised as most code does it."""
    x = rgb.astype(np.float32)
    x /= 255
    x -= np.float32(MEAN)
    x /= np.float32(STD)
    return x


def _on_channels(x: torch.Tensor) -> torch.Tensor:
    """Normalise (N, 3, H, W)."""
    mean, std = (torch.tensor(stat)[:, None, None] for stat in (MEAN, STD))
    return x.float().div_(255).sub_(mean).div_(std)


def _as_batch(x: torch.Tensor) -> torch.Tensor:
    return x if x.ndim == 4 else x[None]


def _plan(plan: gp.Plan, gray: Array) -> Array:
    return plan(gray) if gray.ndim == 2 else plan.batch(gray)


def _convolution() -> Consumer:
    kernel = torch.from_numpy(KERNEL)
    folded, bias = map(
        torch.from_numpy, gp.weights.fold(KERNEL, None, CHW.map, layout="OIHW")
    )
    first = partial(functional.conv2d, stride=2)

    def use(rgb: Array) -> torch.Tensor:
        x = _as_batch(torch.from_numpy(rgb)).permute(0, 3, 1, 2)
        return first(_on_channels(x), kernel)

    def fused(gray: Array) -> torch.Tensor:
        return first(_as_batch(torch.from_numpy(_plan(CHW, gray))), kernel)

    def fold(gray: Array) -> torch.Tensor:
        x = torch.from_numpy(gray).unsqueeze(-3)
        return first(_as_batch(x).float(), folded, bias)

    return Consumer(use, {FUSED: fused, FOLDED: fold})


def _tensorflow() -> Consumer:
    def use(rgb: Array) -> tf.Tensor:
        return (tf.cast(tf.convert_to_tensor(rgb), tf.float32) / 255 - MEAN) / STD

    return Consumer(
        use, {FUSED: lambda gray: tf.convert_to_tensor(_plan(HWC, gray))}, weighed=False
    )


def _albumentations() -> Consumer:
    chain = A.Compose([A.HorizontalFlip(p=1), A.Normalize(MEAN, STD), ToTensorV2()])
    gray_chain = A.Compose([A.HorizontalFlip(p=1)])
    return Consumer(
        lambda rgb: chain(image=rgb)["image"],
        {LATE: lambda gray: torch.from_numpy(CHW(gray_chain(image=gray)["image"]))},
        never=("64x224",),  # it takes one image
    )


def _collate() -> Consumer:
    def use(samples: list[Array]) -> torch.Tensor:
        return _on_channels(default_collate(samples).permute(0, 3, 1, 2))

    def late(gray: Array) -> torch.Tensor:
        return torch.from_numpy(CHW.batch(default_collate(list(gray)).numpy()))

    return Consumer(use, {LATE: late}, each=True, never=("4096", "64x224"))


def _queue() -> Consumer:
    def through(x: Array) -> Array:
        received: Array = pickle.loads(pickle.dumps(x, 5))
        return received

    return Consumer(
        lambda rgb: normalise(through(rgb)),
        {
            LATE: lambda gray: _plan(HWC, through(gray)),
            EARLY: lambda gray: through(_plan(HWC, gray)),
        },
    )


def consumers() -> dict[str, Consumer]:
    """Return the consumers by name."""
    return {
        "NumPy normalisation": Consumer(normalise, {FUSED: partial(_plan, HWC)}),
        "torch, first convolution": _convolution(),
        "TensorFlow normalisation": _tensorflow(),
        "albumentations Compose": _albumentations(),
        "default_collate": _collate(),
        "worker queue (pickle)": _queue(),
    }
