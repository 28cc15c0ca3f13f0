"""`DecodedImage`, the return type of all decoders, and functions they share.

`graypipe.io.read` applies the alpha and orientation policies to a `DecodedImage` and
builds its `Source`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from ..messages import describe_value

# Pillow limits the number of pixels, `check_size` the number of bytes. 8-bit RGBA has 4
# bytes per pixel.
BYTES_PER_PIXEL = 4

# Decoded size divided by file size. Photographs and scans stay below 20, while deflate
# can reach 1032, so 64 separates real images from decompression bombs.
MAX_COMPRESSION_RATIO = 64

# The value of ``frame=`` for all frames.
ALL_FRAMES = "all"


@dataclass(frozen=True)
class Request:
    """The arguments of `graypipe.read` that a decoder needs.

    Parameters
    ----------
    frame : object
        Index or key of a frame, `ALL_FRAMES`, or None if the file must hold only one.
    select : tuple of str or None
        The bands to return, in this order. A decoder may ignore it and return all
        bands, from which `graypipe.read` selects.
    bands : object
        The declared names of all bands of the file, as `Source` accepts them, or None.
        Needed by decoders that read only the bands of ``select``.
    window : object
        The ``window`` argument of `Source.from_dicom`.
    has_range : bool
        Whether the caller declares the range, so that no window is needed.
    """

    frame: object = None
    select: tuple[str, ...] | None = None
    bands: Any = None
    window: Any = None
    has_range: bool = False


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One decoded image, or a stack of frames, with unmodified sample values.

    Parameters
    ----------
    image : ndarray
        With the axes of ``layout``, or of any shape if ``layout`` is None; writable and
        in native byte order.
    layout : str or None
        "HW", "HWC" or "CHW"; for a stack with leading axes, such as "NHW" or "TDCHW".
        None if the format does not define the meaning of the axes.
    bands : str, tuple of str, or None
        Band names as accepted by `Source`; None if the file does not name its bands.
    alpha : ndarray or None
        Shape of ``image`` without C, dtype of ``image``; None if the file has no alpha.
    premultiplied : bool
        Whether the colours are stored multiplied by alpha.
    alpha_sample : int or None
        Index of alpha among the samples of a pixel. Set only if the alpha sample may
        in fact be an ordinary band that a writer marked as alpha by default.
    orientation : int or None
        EXIF orientation, 1 to 8; None if its metadata are damaged.
    source_keywords : mapping
        Keywords of `Source` that are recorded in the file: bits, range or nodata.
    selected : bool
        Whether the image holds only the bands of `Request.select`, in this order. Then
        ``bands`` still names all bands of the file.
    descriptions : sequence of str or None
        What a TIFF file says about each band, also if some texts are empty or equal, so
        that they are not names.
    """

    image: NDArray[Any]
    layout: str | None
    bands: str | tuple[str, ...] | None
    alpha: NDArray[Any] | None = None
    premultiplied: bool = False
    alpha_sample: int | None = None
    orientation: int | None = 1
    source_keywords: Mapping[str, Any] = field(default_factory=dict)
    selected: bool = False
    descriptions: Sequence[str] | None = None

    @property
    def black_and_white(self) -> tuple[float, float]:
        """Stored values of black and white, from the file or implied by the dtype."""
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
        """Value of ``alpha`` where a pixel is fully opaque."""
        # The maximum, because TIFF files in which 0 is white have a reversed range.
        return max(self.black_and_white)


def gray_or_rgb(image: NDArray[Any], **fields: Any) -> DecodedImage:
    """Return an array of shape (H, W) as a gray image, or (H, W, 3) as an RGB image.

    ``fields`` are further fields of the `DecodedImage`.
    """
    if image.ndim == 2:
        return DecodedImage(image, "HW", "gray", **fields)
    return DecodedImage(image, "HWC", "RGB", **fields)


def bits_keyword(bits: int, dtype: np.dtype[Any]) -> dict[str, int]:
    """Return the keyword ``bits`` of `Source` for samples of an unsigned dtype.

    Empty if the samples use all bits of ``dtype``, or if it is not unsigned.
    """
    if dtype.kind == "u" and bits != 8 * dtype.itemsize:
        return {"bits": bits}
    return {}


def split_alpha(samples: NDArray[Any]) -> DecodedImage:
    """Return gray or RGB with its alpha, from an array whose last sample is alpha.

    Parameters
    ----------
    samples : ndarray
        Shape (H, W, 2), gray and alpha, or (H, W, 4), RGB and alpha.
    """
    colour, alpha = samples[..., :-1], samples[..., -1]
    if colour.shape[-1] == 1:
        colour = colour[..., 0]
    return gray_or_rgb(np.ascontiguousarray(colour), alpha=alpha)


def apply_palette(
    indices: NDArray[Any],
    palette: NDArray[Any],
    palette_alpha: NDArray[Any] | None = None,
) -> DecodedImage:
    """Convert the indices of a palette image to colours, in the dtype of the palette.

    Parameters
    ----------
    indices : ndarray of int
        Shape (H, W).
    palette : ndarray
        RGB colours, shape (n, 3). The image is gray if every colour of the palette is.
    palette_alpha : ndarray or None
        Alpha of each index, with at least as many entries as ``palette``; None if all
        are opaque.

    Raises
    ------
    ReadError
        If an index exceeds the palette, so that the file must be damaged.
    """
    largest_index = int(indices.max(initial=0))
    if largest_index >= len(palette):
        raise ReadError(
            f"palette index {largest_index} is out of range for a palette of "
            f"{len(palette)} colours: the file is damaged"
        )
    alpha = None
    if palette_alpha is not None:
        alpha = palette_alpha[indices]
    if is_gray_palette(palette):
        palette = np.ascontiguousarray(palette[:, 0])
    return gray_or_rgb(palette[indices], alpha=alpha)


def is_gray_palette(palette: NDArray[Any]) -> bool:
    """Return whether every RGB colour of ``palette``, shape (n, 3), is gray."""
    return bool((palette == palette[:, :1]).all())


def decode_frames(
    frame: object, count: int, decode_frame: Callable[[int], DecodedImage]
) -> DecodedImage:
    """Decode the requested frame, or all frames along a new first axis N.

    Parameters
    ----------
    frame : object
        The ``frame`` argument of `graypipe.read`.
    count : int
        Number of frames in the file.
    decode_frame : callable
        Returns the frame of an index.

    Raises
    ------
    ReadError
        If ``frame`` is not valid, or if all frames are requested and they differ in
        shape, dtype or description.
    """
    if frame != ALL_FRAMES:
        return decode_frame(choose_frame(frame, count))
    frames = [decode_frame(number) for number in range(count)]
    return stack_frames(frames)


def stack_frames(frames: Sequence[DecodedImage]) -> DecodedImage:
    """Return frames of equal shape, dtype and description as one stack, N first.

    If only some frames have alpha, the others become opaque.

    Raises
    ------
    ReadError
        If the frames differ.
    """
    first = frames[0]
    for number, frame in enumerate(frames):
        if _description(frame) != _description(first):
            raise ReadError(
                "frame='all' needs frames of one size and kind: frame 0 has "
                f"{_description_text(first)}, but frame {number} has "
                f"{_description_text(frame)}: read them one by one, with frame=0 to "
                f"frame={len(frames) - 1}"
            )
    alpha = None
    if any(frame.alpha is not None for frame in frames):
        alpha = np.stack([_alpha_or_opaque(frame) for frame in frames])
    image = np.stack([frame.image for frame in frames])
    return replace(first, image=image, layout=f"N{first.layout}", alpha=alpha)


def _description(frame: DecodedImage) -> tuple[Any, ...]:
    """Return all that the frames of a stack must have in common."""
    return (
        frame.image.shape,
        frame.image.dtype,
        frame.layout,
        frame.bands,
        frame.premultiplied,
        frame.orientation,
        frame.source_keywords,
    )


def _description_text(frame: DecodedImage) -> str:
    return f"shape {frame.image.shape}, {frame.image.dtype} and bands {frame.bands}"


def _alpha_or_opaque(frame: DecodedImage) -> NDArray[Any]:
    """Return the alpha of a frame, opaque if it has none."""
    if frame.alpha is not None:
        return frame.alpha
    shape = frame.image.shape
    if frame.layout == "HWC":
        shape = shape[:-1]
    elif frame.layout == "CHW":
        shape = shape[1:]
    return np.full(shape, frame.opaque_level, frame.image.dtype)


def choose_frame(frame: object, count: int) -> int:
    """Return the index of the requested frame.

    Parameters
    ----------
    frame : object
        The ``frame`` argument of `graypipe.read`. None is allowed if there is only one
        frame.
    count : int
        Number of frames in the file.

    Raises
    ------
    ReadError
        If ``frame`` is None and there are several frames, or it is not a valid index.
    """
    if frame is None:
        if count == 1:
            return 0
        raise ReadError(
            f"expected one image, got {count} frames or pages: choose one with frame=, "
            f"0 to {count - 1}, or read all of them with frame='all'"
        )
    try:
        chosen = index(frame)  # type: ignore[arg-type]
    except TypeError:
        chosen = -1
    # A bool is an int in Python, but frame=True is a mistake rather than frame 1.
    if isinstance(frame, bool) or not 0 <= chosen < count:
        valid = "0" if count == 1 else f"an integer from 0 to {count - 1}"
        raise ReadError(
            f"frame= must be {valid} for this file, got {describe_value(frame)}"
        )
    return int(chosen)


def check_size(decoded_bytes: int, stored_bytes: int) -> None:
    """Raise ReadError if a small file declares a huge image.

    Called before memory is allocated, with the size declared in the header.

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
            f"{stored_bytes} bytes of file data would decode to {decoded_bytes} bytes: "
            "the file is damaged or a decompression bomb. If you trust it, "
            f"{raise_limit(ceil(decoded_bytes / BYTES_PER_PIXEL))}"
        )


def raise_limit(pixels: int) -> str:
    """Return what to do to read an image that needs a limit of so many pixels."""
    from PIL import Image

    return (
        f"raise PIL.Image.MAX_IMAGE_PIXELS from {Image.MAX_IMAGE_PIXELS} to {pixels} "
        f"(on the command line: --max-pixels {pixels})"
    )
