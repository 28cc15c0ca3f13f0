"""An epoch of a DataLoader over gray uint8 images in memory, with two worker processes.

The workers start and run an epoch before anything is timed; between epochs they are idle.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torchvision import ToBackbone

from .. import engines, imagenet, images
from ..case import Build, Case, Run, same_as
from ..imagenet import MEAN, STD
from ..scale import Scale

Step = Callable[[Tensor], Any]

BATCHES, WORKERS = 8, 2
V2_IN_WORKERS, V2_AFTER = "v2 chain in the workers", "v2 chain after the loader"
REUSED, IN_WORKERS = "graypipe, reused out=", "graypipe, in the workers"
UINT8 = "uint8 batches, nothing computed"


def cases(scale: Scale) -> Iterator[Build]:
    """Yield one case: everything that is compared shares its rounds."""
    yield partial(_case, scale)


class ImagesInMemory(Dataset[Tensor]):
    """Images in memory, (N, 1, H, W), transformed one by one if there is a transform."""

    def __init__(self, stored: Tensor, transform: Step | None = None) -> None:
        self.stored = stored
        self.transform = transform

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: int) -> Any:
        image = self.stored[index]
        return image if self.transform is None else self.transform(image)


def _case(scale: Scale) -> Case:
    shape = (BATCHES * scale.batch, 1, *scale.shape("224"))
    stored = torch.from_numpy(images.random(shape))
    epoch = partial(_epoch, stored, scale.batch)
    last = stored[-scale.batch :, 0].numpy()
    return Case(
        f"DataLoader, {len(stored)} images, 224, batches of {scale.batch}, {WORKERS} workers",
        {"task": "loader", "size": "224"},
        ours={
            **engines.ours(lambda: epoch(after=_to_backbone())),
            REUSED: epoch(after=_into_one_buffer(scale)),
            IN_WORKERS: epoch(transform=v2.Compose([_to_backbone()])),
        },
        peer={
            V2_IN_WORKERS: epoch(transform=_chain()),
            V2_AFTER: epoch(after=_chain()),
        },
        floor={UINT8: epoch()},
        check=_check(np.moveaxis(imagenet.oracle(last), -1, 1)),
    )


def _epoch(
    stored: Tensor, size: int, transform: Step | None = None, after: Step | None = None
) -> Run:
    """Return a function that runs one epoch and returns the last batch."""
    loader = DataLoader(
        ImagesInMemory(stored, transform),
        size,
        num_workers=WORKERS,
        persistent_workers=True,
        multiprocessing_context="fork",
    )

    def run() -> Any:
        for batch in loader:
            made = batch if after is None else after(batch)
        return made

    with warnings.catch_warnings():
        # The workers do not use the threads of the process that is forked.
        warnings.filterwarnings(
            "ignore", "This process .* is multi-threaded", DeprecationWarning
        )
        run()
    return run


def _to_backbone() -> ToBackbone:
    return ToBackbone(gp.plan("gray", "imagenet"))


def _into_one_buffer(scale: Scale) -> Step:
    plan = gp.plan(gp.Source("gray", "CHW"), "imagenet")
    buffer = np.empty((scale.batch, 3, *scale.shape("224")), np.float32)
    return lambda batch: plan.batch(batch.numpy(), out=buffer)


def _chain() -> v2.Compose:
    return v2.Compose(
        [v2.RGB(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )


def _check(answer: Any) -> Callable[[str, Any], None]:
    normalised = same_as(answer, 1e-5)

    def check(name: str, result: Any) -> None:
        if name == UINT8:
            assert (result.shape[0], result.dtype) == (len(answer), torch.uint8), name
        else:
            normalised(name, result)

    return check
