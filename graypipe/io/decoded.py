"""`DecodedImage`, what the module of each format returns, and checks that they share.

`graypipe.io.read` applies the alpha and orientation policies to a `DecodedImage` and
builds its `Source`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError

# Pillow's limit counts pixels, this check bytes. 8-bit RGBA has 4 bytes per pixel.
BYTES_PER_PIXEL = 4

# Decoded size divided by file size. Photographs and scans stay below 20, while deflate
# can reach 1032, so 64 separates real images from decompression bombs.
MAX_COMPRESSION_RATIO = 64


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One image of a file, with every level as it is stored.

    Parameters
    ----------
    image : ndarray
        Shape (H, W), (H, W, C) or (C, H, W), as `layout` says, in native byte order.
        If `layout` is None: an array of any shape, in the byte order of the file.
    layout : {"HW", "HWC", "CHW"} or None
        None if the format does not say which axis is which.
    bands : str, tuple of str, or None
        Band names as `Source` takes them; None if the file does not name its bands.
    alpha : ndarray or None
        Shape (H, W), dtype of `image`; None if the file has no alpha.
    premultiplied : bool
        Whether the colours are stored multiplied by alpha.
    alpha_sample : int or None
        Index of alpha among the samples of a pixel. Set only where the sample may be
        an ordinary band that a writer marked as alpha by default.
    orientation : int or None
        EXIF orientation, 1 to 8; None if the metadata that states it is damaged.
    source_keywords : mapping
        Keywords of `Source` that the file itself states: bits, range or nodata.
    """

    image: NDArray[Any]
    layout: str | None
    bands: str | tuple[str, ...] | None
    alpha: NDArray[Any] | None = None
    premultiplied: bool = False
    alpha_sample: int | None = None
    orientation: int | None = 1
    source_keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def black_and_white(self) -> tuple[float, float]:
        """Stored levels of black and white: as the file states them, else by dtype."""
        if "range" in self.source_keywords:
            black, white = self.source_keywords["range"]
            return black, white
        if "bits" in self.source_keywords:
            return 0, 2 ** self.source_keywords["bits"] - 1
        if self.image.dtype.kind in "iu":
            return 0, np.iinfo(self.image.dtype).max
        return 0, 1

    @property
    def opaque_level(self) -> float:
        """Value of `alpha` where a pixel is fully opaque."""
        # The maximum, because TIFF files in which 0 is white have a reversed range.
        return max(self.black_and_white)


def split_alpha(samples: NDArray[Any]) -> DecodedImage:
    """Return gray or RGB with its alpha, from samples of which the last is alpha.

    Parameters
    ----------
    samples : ndarray
        Shape (H, W, 2), gray and alpha, or (H, W, 4), RGB and alpha.
    """
    colour, alpha = samples[..., :-1], samples[..., -1]
    if colour.shape[2] == 1:
        gray = np.ascontiguousarray(colour[..., 0])
        return DecodedImage(gray, "HW", "gray", alpha)
    return DecodedImage(np.ascontiguousarray(colour), "HWC", "RGB", alpha)


def apply_palette(
    indices: NDArray[Any],
    palette: NDArray[Any],
    palette_alpha: NDArray[Any] | None = None,
) -> DecodedImage:
    """Return the colours of a palette image, in the dtype of the palette.

    Parameters
    ----------
    indices : ndarray of int
        Shape (H, W).
    palette : ndarray
        RGB colours, shape (n, 3). The image is gray if every colour of the palette is.
    palette_alpha : ndarray or None
        Alpha of each index, with at least as many entries as `palette`; None if all
        are opaque.

    Raises
    ------
    ReadError
        If an index is beyond the end of the palette, which means damage.
    """
    largest_index = int(indices.max(initial=0))
    if largest_index >= len(palette):
        raise ReadError(
            f"a pixel has colour {largest_index} of a palette of {len(palette)}: the "
            f"file is damaged"
        )
    alpha = None
    if palette_alpha is not None:
        alpha = palette_alpha[indices]
    if is_gray_palette(palette):
        gray_levels = np.ascontiguousarray(palette[:, 0])
        return DecodedImage(gray_levels[indices], "HW", "gray", alpha)
    return DecodedImage(palette[indices], "HWC", "RGB", alpha)


def is_gray_palette(palette: NDArray[Any]) -> bool:
    """Whether every RGB colour of `palette`, shape (n, 3), is gray."""
    return bool((palette == palette[:, :1]).all())


def choose_frame(frame: object, count: int) -> int:
    """Return the index of the requested frame.

    Parameters
    ----------
    frame : object
        The keyword of `graypipe.read`. None is allowed if there is only one frame.
    count : int
        Number of frames in the file.

    Raises
    ------
    ReadError
        If `frame` is None and there are several frames, or it is no valid index.
    """
    if frame is None:
        if count == 1:
            return 0
        raise ReadError(
            f"expected one image, got {count} frames or pages: choose one with frame=, "
            f"0 to {count - 1}"
        )
    try:
        chosen = index(frame)  # type: ignore[arg-type]
    except TypeError:
        chosen = -1
    # A bool is an int in Python, but frame=True is a mistake rather than frame 1.
    if isinstance(frame, bool) or not 0 <= chosen < count:
        raise ReadError(
            f"frame= must be an integer from 0 to {count - 1} for this file, got "
            f"{frame!r}"
        )
    return int(chosen)


def check_size(decoded_bytes: int, stored_bytes: int) -> None:
    """Raise ReadError if a small file claims a huge image.

    Called before memory is allocated, with the size that the header claims.

    Parameters
    ----------
    decoded_bytes : int
        Size of the decoded image.
    stored_bytes : int
        Size of the file, or of the compressed part of it.
    """
    # Imported for its limit only, which the user may have changed for the process.
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    if limit is None:
        return
    is_large = decoded_bytes > BYTES_PER_PIXEL * limit
    if is_large and decoded_bytes > MAX_COMPRESSION_RATIO * stored_bytes:
        raise ReadError(
            f"{stored_bytes} bytes of the file claim an image of {decoded_bytes} "
            f"bytes: the file is damaged or a decompression bomb. If you trust it, "
            f"raise PIL.Image.MAX_IMAGE_PIXELS (now {limit}) or set it to None"
        )
