"""An epoch of a DataLoader with two worker processes: over gray uint8 images in memory, and over a folder of files.

The workers start and run an epoch before anything is timed; between epochs they are idle. Beside the folder, tf.data
runs with two threads, which decode and convert file after file.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..tensorflow import tf

# isort: split
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torchvision import ToBackbone

from .. import engines, images, normalisation
from ..case import Build, Case, Run, same_as
from ..engines import OURS
from ..normalisation import MEAN, STD
from ..photographs import crops, temporary_folder
from ..scale import Scale

Step = Callable[[Any], Any]

BATCHES, FILE_BATCHES, WORKERS = 8, 6, 2
JPEG_QUALITY = 90
V2_IN_WORKERS, V2_AFTER = "v2 chain in the workers", "v2 chain after the loader"
REUSED, IN_WORKERS = "graypipe, reused out=", "graypipe, in the workers"
UINT8 = "uint8 batches, nothing computed"
IMAGE_FOLDER, TF_DATA = "ImageFolder and v2 chain", "tf.data, two threads"


def cases(scale: Scale) -> Iterator[Build]:
    """Yield memory and files: everything that is compared shares its rounds."""
    yield partial(_from_memory, scale)
    yield partial(_from_files, scale)


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


def _from_memory(scale: Scale) -> Case:
    shape = (BATCHES * scale.batch, 1, *scale.shape("224"))
    stored = torch.from_numpy(images.random(shape))

    def epoch(transform: Step | None = None, after: Step | None = None) -> Run:
        return _epoch(ImagesInMemory(stored, transform), scale.batch, after)

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
        check=_check(np.moveaxis(normalisation.oracle(last), -1, 1)),
    )


def _from_files(scale: Scale) -> Case:
    folder = _written(crops(scale.shape("256"), FILE_BATCHES * scale.batch))
    paths = sorted(folder.glob("*/*"))
    to_backbone = _to_backbone()
    chain = v2.Compose(
        [
            v2.Grayscale(3),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return Case(
        f"files, {len(paths)} gray JPEG and PNG, 256, batches of {scale.batch}, {WORKERS} workers",
        {"task": "files", "size": "256"},
        ours={
            OURS: _epoch(
                ImageFolder(folder, loader=_read),
                scale.batch,
                lambda batch: to_backbone(batch[0]),
            ),
            IN_WORKERS: _epoch(
                ImageFolder(folder, to_backbone, loader=_read), scale.batch, _images
            ),
        },
        peer={
            IMAGE_FOLDER: _epoch(ImageFolder(folder, chain), scale.batch, _images),
            TF_DATA: _tf_epoch(paths, scale.batch),
        },
        check=_check_files(paths[-scale.batch :]),
    )


def _written(stored: Iterator[normalisation.Array]) -> Path:
    """Return a folder of JPEG and PNG files in turn, as `ImageFolder` expects it."""
    folder = temporary_folder("loader")
    (folder / "photographs").mkdir()
    for at, image in enumerate(stored):
        suffix = "png" if at % 2 else "jpeg"
        path = folder / f"photographs/{at:05}.{suffix}"
        Image.fromarray(image).save(path, quality=JPEG_QUALITY)
    return folder


def _read(path: str) -> Tensor:
    """Return the gray image in a file, (1, H, W)."""
    image, _ = gp.read(path)
    return torch.from_numpy(image)[None]


def _images(batch: list[Tensor]) -> Tensor:
    """Return the images of a batch of `ImageFolder`, without the labels."""
    return batch[0]


def _tf_epoch(paths: list[Path], size: int) -> Run:
    def normalised(path: tf.Tensor) -> tf.Tensor:
        # Decodes PNG too. The default transform is a coarser one than everyone else's.
        image = tf.io.decode_jpeg(
            tf.io.read_file(path), channels=1, dct_method="INTEGER_ACCURATE"
        )
        rgb = tf.image.grayscale_to_rgb(tf.image.convert_image_dtype(image, tf.float32))
        return (rgb - MEAN) / STD

    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    batches = files.map(normalised, num_parallel_calls=WORKERS).batch(size).prefetch(1)
    options = tf.data.Options()
    # By default the threads would be those between operations: one in all benchmarks.
    options.threading.private_threadpool_size = WORKERS
    batches = batches.with_options(options)

    def run() -> Any:
        for batch in batches:
            last = batch
        return last

    return run


def _epoch(dataset: Dataset[Any], size: int, after: Step | None = None) -> Run:
    """Return a function that runs one epoch and returns the last batch."""
    loader = DataLoader(
        dataset,
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


def _check_files(last: list[Path]) -> Callable[[str, Any], None]:
    """Return the check of the last batch: the files as Pillow decodes them, normalised."""
    decoded = []
    for path in last:
        with Image.open(path) as picture:
            decoded.append(np.asarray(picture))
    normalised = same_as(normalisation.oracle(np.stack(decoded)), 1e-5)

    def check(name: str, result: Any) -> None:
        found = np.asarray(result)
        normalised(name, found if name == TF_DATA else np.moveaxis(found, 1, -1))

    return check
