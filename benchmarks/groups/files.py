"""Reading a file into an array, and into a normalised array. The file is in the cache of the operating system."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import imagecodecs
import numpy as np
import simplejpeg
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import decode_image

import graypipe as gp

from .. import engines, normalisation, obvious_conversion
from ..case import Build, Case, Check, same_as
from ..engines import OURS
from ..photographs import photograph, temporary_folder
from ..scale import Scale

Array = NDArray[Any]
Decode = Callable[[Path], Any]

CHAIN = "Pillow, convert, NumPy"
QUALITY = 90
JPEG_LEVELS = 3
"""The largest difference between decoders, which round the cosine transform and the chroma differently."""


class Kind(NamedTuple):
    """A kind of file: its format, the dtype and bands of the image, and the compression of a TIFF file."""

    format: str
    dtype: str
    bands: str
    compression: str | None = None

    @property
    def name(self) -> str:
        """The kind in words."""
        bits = np.iinfo(self.dtype).bits
        compression = ""
        if self.format == "TIFF":
            compression = f", {self.compression or 'uncompressed'}"
        return f"{self.format} {self.bands}, {bits} bits{compression}"


KINDS = (
    Kind("JPEG", "uint8", "gray"),
    Kind("JPEG", "uint8", "RGB"),
    Kind("PNG", "uint8", "gray"),
    Kind("PNG", "uint16", "gray"),
    Kind("PNG", "uint8", "RGB"),
    Kind("TIFF", "uint16", "gray"),
    Kind("TIFF", "uint16", "gray", "deflate"),
    Kind("TIFF", "uint16", "gray", "LZW"),
)


def cases(scale: Scale) -> Iterator[Build]:
    """Yield all kinds and sizes to the array, and gray files of 256 x 256 pixels to the normalised array."""
    for size in scale.sizes("256", "512", "2048"):
        for kind in KINDS:
            yield partial(_to_array, kind, size, scale.shape(size))
    for kind in KINDS:
        if kind.bands == "gray" and kind.format != "TIFF":
            yield partial(_to_normalised, kind, scale.shape("256"))


def _to_array(kind: Kind, size: str, shape: tuple[int, ...]) -> Case:
    image = photograph(shape, kind.dtype, kind.bands)
    path = _write_file(kind, image)
    return Case(
        f"{kind.name}, {size}, to the array",
        {"task": "array", "size": size, "format": kind.format},
        ours={OURS: lambda: gp.read(path)[0]},
        peer={name: partial(decode, path) for name, decode in _decoders(kind).items()},
        check=_equals(image) if kind.format != "JPEG" else _is_near(path),
    )


def _to_normalised(kind: Kind, shape: tuple[int, ...]) -> Case:
    path = _write_file(kind, photograph(shape, kind.dtype, kind.bands))
    with Image.open(path) as picture:
        levels = np.asarray(picture)
    unit = normalisation.oracle(levels * (255 / np.iinfo(kind.dtype).max))
    normalised = same_as(np.moveaxis(unit, -1, 0), 1e-5)

    def check(name: str, result: Any) -> None:
        if name == CHAIN and kind.dtype == "uint16":
            # Pillow's conversion to RGB saturates 16 bits at 255, so the values are wrong.
            assert result.shape == (3, *shape), name
        else:
            normalised(name, result)

    return Case(
        f"{kind.name}, 256, to the normalised array",
        {"task": "normalised", "size": "256", "format": kind.format},
        ours=engines.ours(lambda: partial(_normalised, _plan(), path)),
        peer={CHAIN: partial(obvious_conversion.normalised, path)},
        check=check,
    )


def _plan() -> gp.Plan:
    return gp.plan("gray", "imagenet")


def _normalised(plan: gp.Plan, path: Path) -> Array:
    image, _ = gp.read(path)
    return plan(image)


def _write_file(kind: Kind, image: Array) -> Path:
    """Write a file of ``kind``, and return its path."""
    path = temporary_folder("files") / f"image.{kind.format.lower()}"
    if kind.format == "TIFF":
        tifffile.imwrite(path, image, compression=kind.compression)
    else:
        Image.fromarray(image).save(path, quality=QUALITY)
    return path


def _decoders(kind: Kind) -> dict[str, Decode]:
    """Return the decoders of other libraries for files of ``kind``."""
    flag = cv2.IMREAD_COLOR_RGB if kind.bands == "RGB" else cv2.IMREAD_UNCHANGED
    decoders: dict[str, Decode] = {
        "Pillow": lambda path: np.asarray(Image.open(path)),
        "OpenCV": lambda path: cv2.imread(str(path), flag),
    }
    if kind.format == "TIFF":
        decoders["tifffile"] = lambda path: tifffile.imread(path, maxworkers=1)
        return decoders
    decoders["torchvision.io"] = lambda path: decode_image(str(path))
    if kind.format == "PNG":
        decoders["imagecodecs"] = lambda path: imagecodecs.png_decode(path.read_bytes())
        return decoders
    colour_space = "RGB" if kind.bands == "RGB" else "GRAY"
    decoders["imagecodecs"] = lambda path: imagecodecs.jpeg8_decode(path.read_bytes())
    decoders["simplejpeg, strict"] = lambda path: simplejpeg.decode_jpeg(
        path.read_bytes(), colour_space, strict=True
    )
    return decoders


def _equals(image: Array) -> Check:
    """Return the check of results for a lossless file of ``image``."""
    equals = same_as(image)
    return lambda name, result: equals(name, _bands_last(result))


def _is_near(path: Path) -> Check:
    """Return the check of results for a JPEG file: within `JPEG_LEVELS` of Pillow's pixels."""
    with Image.open(path) as picture:
        expected = np.asarray(picture)

    def check(name: str, result: Any) -> None:
        image = _bands_last(result)
        assert (image.shape, image.dtype) == (expected.shape, expected.dtype), name
        difference = int(np.abs(image.astype(int) - expected).max())
        assert difference <= JPEG_LEVELS, f"{name} differs by {difference} levels"

    return check


def _bands_last(result: Any) -> Array:
    """Return a decoded image as (H, W), or as (H, W, 3) for RGB."""
    if isinstance(result, torch.Tensor):
        result = result.permute(1, 2, 0).numpy()
    if result.ndim == 3 and result.shape[-1] == 1:
        return result[..., 0]
    return result
