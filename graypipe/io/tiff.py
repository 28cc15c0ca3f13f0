"""Decode TIFF files with tifffile: pages, or frames of series with named axes."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..bands import number_bands, parse_bands
from ..errors import ReadError
from ..extras import require_extra
from .decoded import (
    ALL_FRAMES,
    DecodedImage,
    Request,
    apply_palette,
    decode_frames,
    is_gray_palette,
)
from .source_check import find_bands
from .tiff_band_names import find_band_names, ome_channels
from .tiff_pages import PageList, SeriesFrames, decode_pages, find_series
from .tiff_tags import (
    ASSOCIATED_ALPHA,
    BLACK_IS_ZERO,
    PALETTE,
    SEPARATED,
    WHITE_IS_ZERO,
    check_tags,
    find_alpha_sample,
    is_colour,
    read_nodata,
    read_orientation,
    read_palette,
    source_keywords,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

# tifffile's letters for the axes of an image -> layout. S: samples of a pixel; C:
# channels stored as separate pages.
LAYOUTS = {"YX": "HW", "YXS": "HWC", "SYX": "CHW", "YXC": "HWC", "CYX": "CHW"}

# Maximum length of a quoted message of tifffile.
MAX_LOG_LENGTH = 150

# The messages that tifffile logged in this thread while a file is open.
_captured = threading.local()


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a TIFF file from its tags; see `graypipe.io.facts`."""
    with _open(file) as tif:
        pages = PageList(file, tif)
        page = pages.load(pages.images[0])
        frame_count, channel_count = _count_frames_and_channels(pages)
        sample_count = page.samplesperpixel * channel_count
        has_alpha_sample = find_alpha_sample(page) is not None
        palette = read_palette(page)
        if palette is None:
            mode = f"{page.dtype} x {sample_count}"
            band_count = sample_count - 1 if has_alpha_sample else sample_count
            dtype = page.dtype
            palette_has_nodata = False
        else:
            mode = f"palette of {len(palette)}"
            band_count = 1 if is_gray_palette(palette) else 3
            dtype = palette.dtype
            nodata = read_nodata(page, np.dtype(page.dtype))
            palette_has_nodata = nodata is not None
        return {
            "format": "BigTIFF" if tif.is_bigtiff else "TIFF",
            "mode": mode,
            "width": page.imagewidth,
            "height": page.imagelength,
            "frames": frame_count,
            "bands": band_count,
            "dtype": str(dtype),
            "alpha": has_alpha_sample or bool(pages.masks) or palette_has_nodata,
            "orientation": read_orientation(page),
        }


def _count_frames_and_channels(pages: PageList) -> tuple[int, int]:
    """Return the number of frames, and of channels of a frame in separate pages."""
    series = find_series(pages.tif)
    if series is None:
        return len(pages.images), 1
    frames = SeriesFrames(series, pages)
    sizes = zip(frames.image_axes, frames.image_shape, strict=True)
    return frames.count, prod(size for axis, size in sizes if axis == "C")


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode one image of a TIFF file, or all of them.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        Its frame is the index of a page, or, if the file names its axes, of a frame
        along axes such as time and depth.

    Returns
    -------
    DecodedImage
        CHW if the channels are separate pages or planes; otherwise HW or HWC. A stack
        of all frames has the leading axes T and D if the file names them, otherwise N.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, its axes or colours are not
        supported, or the frame is not valid.
    MissingExtraError
        If tifffile, imagecodecs or simplejpeg is not installed.
    """
    with _open(file) as tif:
        pages = PageList(file, tif)
        series = find_series(tif)
        if series is None:
            return _decode_pages(pages, request)
        return _decode_series(SeriesFrames(series, pages), request)


def _decode_pages(pages: PageList, request: Request) -> DecodedImage:
    """Decode one page or all of them."""
    channels = ome_channels(pages.tif)

    def decode_frame(number: int) -> DecodedImage:
        page = pages.load(pages.images[number])
        check_tags(page)
        names = find_band_names(pages.tif, page, channels)
        selection = _select_planes(page, page.axes, page.shape, names, request)
        image = decode_pages([page], pages.file, _planes(selection))
        decoded = _describe(image, page.axes, page, names, selection)
        return _with_masks(decoded, pages)

    return decode_frames(request.frame, len(pages.images), decode_frame)


def _decode_series(frames: SeriesFrames, request: Request) -> DecodedImage:
    """Decode one frame of a series, or all with the axes that the file names."""
    pages, page, axes = frames.pages, frames.keyframe, frames.image_axes
    check_tags(page)
    names = find_band_names(pages.tif, page, ome_channels(pages.tif))
    selection = None
    if frames.can_read_planes():
        selection = _select_planes(page, axes, frames.image_shape, names, request)

    def decode_frame(number: int) -> DecodedImage:
        image = frames.decode(number, _planes(selection))
        decoded = _describe(image, axes, page, names, selection)
        return _with_masks(decoded, pages)

    if request.frame != ALL_FRAMES:
        return decode_frames(request.frame, frames.count, decode_frame)
    stack_axes = frames.layout_of_all()
    stack = decode_frames(request.frame, frames.count, decode_frame)
    if stack_axes == "N":
        return stack
    alpha = stack.alpha
    if alpha is not None:
        alpha = alpha.reshape(*frames.frame_shape, *alpha.shape[1:])
    return replace(
        stack,
        image=stack.image.reshape(*frames.frame_shape, *stack.image.shape[1:]),
        layout=stack_axes + str(stack.layout).removeprefix("N"),
        alpha=alpha,
    )


@contextmanager
def _open(file: BinaryIO) -> Iterator["TiffFile"]:
    """Yield a TiffFile for an open file.

    Messages that tifffile logs meanwhile are added to a ReadError, and otherwise
    dropped: they concern unused tags, or damage that is also checked here.
    """
    with require_extra("io", "tifffile", "imagecodecs"):
        # tifffile itself imports imagecodecs only at the first compressed page.
        import imagecodecs  # noqa: F401
        import tifffile
    # One filter for all threads, added once: a logger iterates over its filters while
    # other threads use it.
    logging.getLogger("tifffile").addFilter(_keep_message)
    _captured.messages = []
    try:
        # Multi-file series are not supported, so other files are not opened.
        with tifffile.TiffFile(file, _multifile=False) as tif:
            yield tif
    except ReadError as error:
        if not _captured.messages:
            raise
        message = _captured.messages[0][:MAX_LOG_LENGTH]
        raise ReadError(f"{error} (tifffile: {message})") from None
    finally:
        del _captured.messages


def _keep_message(record: logging.LogRecord) -> bool:
    """Capture a message of tifffile if this thread is decoding a file.

    As a logging filter, return False for captured messages. Those of other threads,
    which use tifffile themselves, are logged.
    """
    messages = getattr(_captured, "messages", None)
    if messages is None:
        return True
    messages.append(record.getMessage())
    return False


class Selection(NamedTuple):
    """The bands of a page that are read without the others.

    Parameters
    ----------
    bands : tuple of str
        All bands of the page.
    planes : list of int
        The planes of those that are read, in the order in which they are returned.
    """

    bands: tuple[str, ...]
    planes: list[int]


def _planes(selection: Selection | None) -> list[int] | None:
    """Return the planes to read, or None for all."""
    return None if selection is None else selection.planes


def _select_planes(
    page: "TiffPage",
    axes: str,
    shape: tuple[int, ...],
    names: Sequence[str] | None,
    request: Request,
) -> Selection | None:
    """Return the bands of ``request.select`` if they are stored apart, or None.

    Raises
    ------
    ReadError
        If the file has no such band.
    """
    if request.select is None or LAYOUTS.get(axes) != "CHW":
        return None
    # Alpha and palettes concern all samples.
    if find_alpha_sample(page) is not None or page.photometric == PALETTE:
        return None
    count = shape[0]
    bands = _bands(page, count, names)
    if bands is not None and request.bands is not None:
        # `build_source` compares them, for which it needs all bands.
        return None
    if bands is None:
        bands = request.bands
    if bands is None:
        bands = number_bands(range(1, count + 1))
    band_names = parse_bands(bands)
    if len(band_names) != count:
        return None
    return Selection(band_names, find_bands(request.select, band_names))


def _describe(
    image: NDArray[Any],
    axes: str,
    page: "TiffPage",
    names: Sequence[str] | None,
    selection: Selection | None,
) -> DecodedImage:
    """Return the pixels of a frame with the metadata of its page.

    Parameters
    ----------
    image : ndarray
    axes : str
        tifffile's letters for the axes of ``image``.
    page : tifffile.TiffPage
    names : sequence of str or None
        Names of all samples, as returned by `find_band_names`.
    selection : Selection or None
        The bands of ``image`` if only some were read.
    """
    if axes not in LAYOUTS:
        raise ReadError(
            f"expected the axes to be one of {', '.join(LAYOUTS)}, got {axes} with "
            f"shape {image.shape}: read the file with tifffile.imread, reorder the "
            "axes, and declare a gp.Source"
        )
    if selection is None:
        decoded = _describe_samples(image, LAYOUTS[axes], page, names)
    else:
        decoded = DecodedImage(
            image,
            LAYOUTS[axes],
            selection.bands,
            source_keywords=source_keywords(page, image.dtype),
            selected=True,
        )
    return replace(decoded, orientation=read_orientation(page))


def _describe_samples(
    image: NDArray[Any], layout: str, page: "TiffPage", names: Sequence[str] | None
) -> DecodedImage:
    """Return the pixels of a page with their bands, alpha and `Source` keywords.

    ``names`` are the names of all samples, as returned by `find_band_names`.
    """
    alpha = None
    alpha_sample = None
    if "C" in layout:
        alpha_sample = find_alpha_sample(page)
    if alpha_sample is not None:
        band_axis = layout.index("C")
        alpha = np.ascontiguousarray(image.take(alpha_sample, band_axis))
        image = np.delete(image, alpha_sample, band_axis)
        if names is not None:
            names = [*names[:alpha_sample], *names[alpha_sample + 1 :]]
        if image.shape[band_axis] == 1:
            image, layout = image.squeeze(band_axis), "HW"
    palette = read_palette(page)
    if palette is not None:
        nodata = read_nodata(page, image.dtype)
        return _describe_palette_image(image, palette, alpha, nodata)
    band_count = 1
    if "C" in layout:
        band_count = image.shape[layout.index("C")]
    descriptions = None
    if names is not None and len(names) == band_count:
        descriptions = names
    return DecodedImage(
        image.astype(image.dtype.newbyteorder("="), copy=False),
        layout,
        _bands(page, band_count, names),
        alpha,
        premultiplied=(
            alpha_sample is not None and ASSOCIATED_ALPHA in page.extrasamples
        ),
        alpha_sample=alpha_sample,
        source_keywords=source_keywords(page, image.dtype),
        descriptions=descriptions,
    )


def _describe_palette_image(
    indices: NDArray[Any],
    palette: NDArray[Any],
    alpha: NDArray[Any] | None,
    nodata: float | None,
) -> DecodedImage:
    """Convert palette indices to colours.

    ``nodata`` is an index; pixels with this index become transparent.
    """
    if indices.dtype == bool:
        # NumPy would treat boolean indices as a mask.
        indices = indices.view(np.uint8)
    if nodata is not None:
        visible_alpha = np.iinfo(indices.dtype).max if alpha is None else alpha
        alpha = np.where(indices == nodata, 0, visible_alpha).astype(indices.dtype)
    decoded = apply_palette(indices, palette)
    if alpha is None:
        return decoded
    # Convert alpha from the dtype of the indices to the dtype of the colours.
    scale = np.iinfo(palette.dtype).max // np.iinfo(alpha.dtype).max
    scaled_alpha = alpha.astype(palette.dtype) * palette.dtype.type(scale)
    return replace(decoded, alpha=scaled_alpha)


def _bands(
    page: "TiffPage", count: int, names: Sequence[str] | None
) -> str | tuple[str, ...] | None:
    """Return the bands of a page, or None if the file does not name them.

    Raise ReadError for colours that are neither gray nor RGB.
    """
    photometric = page.photometric
    if not is_colour(page) and photometric not in (BLACK_IS_ZERO, WHITE_IS_ZERO):
        # tifffile returns an unknown value as a plain int, without a name.
        colour_space = getattr(photometric, "name", photometric)
        hint = ""
        if photometric == SEPARATED:
            hint = " (printing inks)"
        raise ReadError(
            "expected gray, RGB, a palette or bands, got the photometric "
            f"interpretation {colour_space}{hint}: convert the file first"
        )
    if names is not None and len(names) == count:
        are_distinct = len(set(names)) == count
        if are_distinct and all(names):
            return tuple(names)
    if count == 1:
        return "gray"
    if count == 3 and is_colour(page):
        return "RGB"
    return None


def _with_masks(decoded: DecodedImage, pages: PageList) -> DecodedImage:
    """Return the image with alpha from the transparency mask of the file, if any.

    Non-zero is opaque.
    """
    masks = pages.masks
    if not masks or decoded.alpha is not None:
        return decoded
    # A file does not record which mask belongs to which page.
    if len(masks) > 1 or len(pages.images) > 1:
        raise ReadError(
            f"expected one mask for one page, got {len(masks)} masks for "
            f"{len(pages.images)} pages: save the page with its mask as a separate "
            "file"
        )
    mask = decode_pages([pages.load(masks[0])], pages.file)
    if decoded.layout == "CHW":
        expected_shape = decoded.image.shape[1:]
    else:
        expected_shape = decoded.image.shape[:2]
    if mask.shape != expected_shape:
        raise ReadError(
            f"the mask has shape {mask.shape}, but the image has {expected_shape}: the "
            "file is damaged"
        )
    alpha = np.where(mask != 0, decoded.opaque_level, 0).astype(decoded.image.dtype)
    return replace(decoded, alpha=alpha)
