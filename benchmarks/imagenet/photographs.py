"""A folder of photographs whose file names begin with the index of their class."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SIZE = 224
MARGIN = 16 / 256
"""What the centre square loses on each side: of 256 pixels, 224 remain."""


class Photographs(NamedTuple):
    """Images (N, 224, 224, 3) in uint8, their classes, and the SHA-256 of the files with their names."""

    images: NDArray[np.uint8]
    labels: list[int]
    digest: str


def read(folder: Path, limit: int | None = None) -> Photographs:
    """Read the JPEG files of ``folder`` in the order of their names, at most ``limit``, cropped to their centres.

    Raises FileNotFoundError if there are none, and ValueError if a name does not begin with a number.
    """
    paths = sorted(folder.glob("*.jp*g"))[:limit]
    if not paths:
        raise FileNotFoundError(f"expected JPEG files in the folder {folder}, got none")
    hashed = hashlib.sha256()
    images, labels = [], []
    for path in paths:
        number = re.match(r"\d+", path.name)
        if number is None:
            raise ValueError(
                "expected file names that begin with the index of the class, such as "
                f"0017_jay.jpg, got {path.name}"
            )
        labels.append(int(number[0]))
        hashed.update(path.name.encode() + b"\0" + path.read_bytes())
        images.append(_centre(path))
    return Photographs(np.stack(images), labels, hashed.hexdigest())


def _centre(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(
            ImageOps.fit(
                image.convert("RGB"),
                (SIZE, SIZE),
                Image.Resampling.BICUBIC,
                bleed=MARGIN,
            )
        )
