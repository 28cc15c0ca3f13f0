"""Decode TIFF files with tifffile: pages, or frames of series with named axes."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from ..extras import require_extra
from .decoded import (
    DecodedImage,
    Request,
    apply_palette,
    choose_frame,
    is_gray_palette,
)
from .tiff_band_names import find_band_names
from .tiff_pages import (
    IMAGE_AXES,
    decode_pages,
    decode_series,
    find_series,
    list_pages,
)
from .tiff_tags import (
    ASSOCIATED_ALPHA,
    BLACK_IS_ZERO,
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


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a TIFF file from its tags; see `graypipe.io.facts`."""
    with _open(file) as tif:
        pages, masks = list_pages(file, tif)
        page = pages[0]
        frame_count, channel_count = _count_frames_and_channels(tif, len(pages))
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
            "alpha": has_alpha_sample or bool(masks) or palette_has_nodata,
            "orientation": read_orientation(page),
        }


def _count_frames_and_channels(tif: "TiffFile", page_count: int) -> tuple[int, int]:
    """Return the number of frames and the number of channel pages per frame."""
    series = find_series(tif)
    if series is None:
        return page_count, 1
    sizes = dict(zip(series.axes, series.shape, strict=True))
    frame_count = prod(size for axis, size in sizes.items() if axis not in IMAGE_AXES)
    return frame_count, sizes.get("C", 1)


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode one image of a TIFF file.

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
        CHW if the channels are separate pages or planes; otherwise HW or HWC.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, its axes or colours are not
        supported, or the frame is not valid.
    MissingExtraError
        If tifffile or imagecodecs is not installed.
    """
    with _open(file) as tif:
        pages, masks = list_pages(file, tif)
        series = find_series(tif)
        if series is None:
            page = pages[choose_frame(request.frame, len(pages))]
            check_tags(page)
            image, axes = decode_pages([page], file), page.axes
        else:
            page = series.keyframe
            check_tags(page)
            image, axes = decode_series(series, request.frame, file)
        if axes not in LAYOUTS:
            raise ReadError(
                f"expected the axes to be one of {', '.join(LAYOUTS)}, got {axes} with "
                f"shape {image.shape}: read the file with tifffile.imread, reorder the "
                "axes, and declare a gp.Source"
            )
        names = find_band_names(tif, page)
        decoded = _describe_samples(image, LAYOUTS[axes], page, names)
        if masks and decoded.alpha is None:
            # A file does not record which mask belongs to which page.
            if len(masks) > 1 or len(pages) > 1:
                raise ReadError(
                    f"expected one mask for one page, got {len(masks)} masks for "
                    f"{len(pages)} pages: save the page with its mask as a separate "
                    "file"
                )
            decoded = _with_mask(decoded, decode_pages(masks, file))
        return replace(decoded, orientation=read_orientation(page))


@contextmanager
def _open(file: BinaryIO) -> Iterator["TiffFile"]:
    """Yield a TiffFile for an open file."""
    with require_extra("io", "tifffile", "imagecodecs"):
        # tifffile itself imports imagecodecs only at the first compressed page.
        import imagecodecs  # noqa: F401
        import tifffile
    with (
        _without_nodata_messages(),
        # Multi-file series are not supported, so other files are not opened.
        tifffile.TiffFile(file, _multifile=False) as tif,
    ):
        yield tif


@contextmanager
def _without_nodata_messages() -> Iterator[None]:
    """Suppress tifffile's messages about GDAL_NODATA values outside the dtype.

    Such values are common, and `read_nodata` handles them. Other messages of tifffile,
    and its messages in other threads, are still logged.
    """
    thread = threading.get_ident()
    logger = logging.getLogger("tifffile")

    def keep_message(record: logging.LogRecord) -> bool:
        return record.thread != thread or "GDAL_NODATA" not in record.getMessage()

    logger.addFilter(keep_message)
    try:
        yield
    finally:
        logger.removeFilter(keep_message)


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


def _with_mask(decoded: DecodedImage, mask: NDArray[Any]) -> DecodedImage:
    """Return the image with alpha from a transparency mask; non-zero is opaque."""
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
