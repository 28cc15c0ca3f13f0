"""Read pages of a TIFF file, and series of pages that form a stack.

tifffile does not raise for damaged files: it logs a message and skips pages or tags, or
fills in pixels. The checks here raise ReadError instead.
"""

import struct
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from .decoded import check_size, choose_frame

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

# Bits of the tag NewSubfileType.
REDUCED_RESOLUTION = 1
TRANSPARENCY_MASK = 4

# MetaMorph's tag UIC2. The number of its values is the number of planes.
UIC2 = 33629

# tifffile's letters for the axes of one image: height, width, samples of a pixel, and
# channels stored as separate pages. Other axes, such as Z and T, are axes of frames.
IMAGE_AXES = "YXSC"


class _DirectoryFormat(NamedTuple):
    """Formats for `struct` and entry size in bytes of the list of tags of a page."""

    tag_count: str
    entry_size: int
    next_offset: str


CLASSIC_DIRECTORY = _DirectoryFormat("H", 12, "I")
BIG_TIFF_DIRECTORY = _DirectoryFormat("Q", 20, "Q")


def list_pages(
    file: BinaryIO, tif: "TiffFile"
) -> tuple[list["TiffPage"], list["TiffPage"]]:
    """Return the pages that are images and those that are masks, without overviews.

    Parameters
    ----------
    file : file object
        The open file.
    tif : tifffile.TiffFile
        The TiffFile for it.

    Returns
    -------
    images : list of tifffile.TiffPage
        At least one page: the first overview if there is nothing else.
    masks : list of tifffile.TiffPage
        Full-resolution transparency masks.

    Raises
    ------
    ReadError
        If the list of pages or a tag is damaged, or the full-resolution images are
        stored elsewhere (SubIFDs, MetaMorph stacks).
    """
    pages: list[Any] = list(tif.pages)
    if not pages:
        raise ReadError("the file contains no pages")
    for number, page in enumerate(pages):
        is_last = number == len(pages) - 1
        _check_directory(file, tif, page, number, is_last)
    images, masks = [], []
    for page in pages:
        if page.subfiletype & REDUCED_RESOLUTION:
            continue
        if page.subfiletype & TRANSPARENCY_MASK:
            masks.append(page)
        else:
            images.append(page)
    _check_images_are_pages(pages, images)
    return images or pages[:1], masks


def _check_directory(
    file: BinaryIO, tif: "TiffFile", page: Any, number: int, is_last: bool
) -> None:
    """Raise ReadError if tifffile skipped tags of a page, or the pages after it."""
    directory = BIG_TIFF_DIRECTORY if tif.is_bigtiff else CLASSIC_DIRECTORY
    byte_order = "<" if tif.byteorder == "<" else ">"
    count_format = byte_order + directory.tag_count
    next_offset_size = struct.calcsize(directory.next_offset)
    file.seek(page.offset)
    (tag_count,) = struct.unpack(count_format, file.read(struct.calcsize(count_format)))
    file.seek(directory.entry_size * tag_count, 1)
    next_offset = file.read(next_offset_size)
    # An offset of 0 ends the list. tifffile also ends it at an invalid offset.
    last_page_has_successor = is_last and any(next_offset)
    if len(next_offset) < next_offset_size or last_page_has_successor:
        raise ReadError("the list of pages is damaged or truncated")
    readable_count = len(page.tags.values())
    if readable_count != tag_count:
        raise ReadError(
            f"page {number} declares {tag_count} tags, but only {readable_count} can "
            "be read: the file is damaged"
        )


def _check_images_are_pages(pages: list[Any], images: list[Any]) -> None:
    """Raise ReadError if the images of the file are not in its list of pages."""
    if not images and any(page.subifds for page in pages):
        raise ReadError(
            "the pages are previews, and the full image is in a SubIFD, as in camera "
            "raw files (DNG, NEF): develop it into a TIFF first"
        )
    planes = pages[0].tags.get(UIC2)
    if pages[0].is_stk and planes is not None and planes.count > len(pages):
        raise ReadError(
            f"a MetaMorph stack of {planes.count} images in {len(pages)} page(s) is "
            "not supported: save it as an ImageJ or OME-TIFF stack, or read it with "
            "tifffile.imread and declare a gp.Source"
        )


def decode_pages(pages: list["TiffPage"], file: BinaryIO) -> NDArray[Any]:
    """Return the pixels of one page, or of several stacked along a new first axis.

    Parameters
    ----------
    pages : list of tifffile.TiffPage
        At least one page; all have the same shape and dtype.
    file : file object
        The open file.

    Raises
    ------
    ReadError
        If pixels of a page are missing, or the pages are implausibly large for the
        size of the file.
    """
    file_size = file.seek(0, 2)
    for page in pages:
        _check_pixels_are_complete(page, file_size)
    check_size(sum(page.nbytes for page in pages), file_size)
    first: NDArray[Any] = pages[0].asarray()
    if len(pages) == 1:
        return first
    stack = np.empty((len(pages), *first.shape), first.dtype)
    stack[0] = first
    for number, page in enumerate(pages[1:], 1):
        stack[number] = page.asarray()
    return stack


def _check_pixels_are_complete(page: Any, file_size: int) -> None:
    """Raise ReadError if strips or tiles are missing, which tifffile would fill in."""
    # The pages of a series share the tags of its first page, the keyframe.
    keyframe = page.keyframe
    dtype = keyframe.dtype
    if dtype is None or dtype.kind not in "buif" or not page.nbytes:
        raise ReadError(
            f"expected integers or floats, got samples of {keyframe.bitspersample} "
            f"bits, format {keyframe.sampleformat}, shape {page.shape}"
        )
    expected_count = prod(keyframe.chunked)
    offsets, sizes = page.dataoffsets, page.databytecounts
    # GDAL can write sparse files, in which a tile without data has size 0.
    if len(offsets) != expected_count or len(sizes) != len(offsets) or 0 in sizes:
        stored_count = sum(size > 0 for size in sizes)
        raise ReadError(
            f"expected {expected_count} strips or tiles, got {stored_count}: the file "
            "is damaged or sparse; rewrite sparse files without SPARSE_OK"
        )
    for offset, size in zip(offsets, sizes, strict=True):
        if offset + size > file_size:
            raise ReadError(
                "the pixels extend beyond the end of the file: it is truncated"
            )
    # Without compression, the expected size is known.
    if keyframe.is_contiguous and sum(sizes) < page.nbytes:
        raise ReadError(
            f"expected {page.nbytes} bytes of pixels, got {sum(sizes)}: the file is "
            "damaged"
        )


def find_series(tif: "TiffFile") -> "TiffPageSeries | None":
    """Return the series of a file if there is exactly one and its axes have names.

    Otherwise return None: then every page is a frame.

    Raises
    ------
    ReadError
        If the file has several stacks, each stored in a single page.
    """
    # OME-TIFF, ImageJ and tifffile's own metadata name the axes. For other files,
    # tifffile infers series from pages of the same shape, which is not relied on.
    if not (tif.is_ome or tif.is_imagej or tif.is_shaped):
        return None
    if len(tif.series) == 1:
        return tif.series[0]
    if any(series.is_truncated for series in tif.series):
        raise ReadError(
            f"the file holds {len(tif.series)} image stacks, each in one page: save "
            "each stack as a separate file"
        )
    return None


def decode_series(
    series: "TiffPageSeries", frame: object, file: BinaryIO
) -> tuple[NDArray[Any], str]:
    """Decode one frame of a series.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
        The series, as returned by `find_series`.
    frame : object
        The ``frame`` argument of `graypipe.read`: index over all axes except
        `IMAGE_AXES`.
    file : file object
        The open file.

    Returns
    -------
    image : ndarray
        The frame.
    axes : str
        tifffile's letters for its axes, without S and C of length 1.

    Raises
    ------
    ReadError
        If ``frame`` is not valid, or pages are damaged, truncated or in other files.
    """
    axes, shape = series.axes, series.shape
    frame_axes = [axis for axis in axes if axis not in IMAGE_AXES]
    image_axes = [axis for axis in axes if axis in IMAGE_AXES]
    frame_count = prod(shape[axes.index(axis)] for axis in frame_axes)
    image_shape = tuple(shape[axes.index(axis)] for axis in image_axes)
    chosen = choose_frame(frame, frame_count)
    pages: list[Any] = list(series.pages)
    if any(page is None for page in pages):
        # OME-TIFF can spread a series over several files.
        raise ReadError(
            "the image is split over several files: read them one by one, or use "
            "gp.read_bands for separate bands"
        )
    frames_are_consecutive = list(axes) == frame_axes + image_axes
    if frames_are_consecutive and not series.is_truncated:
        # Decode the pages of this frame only.
        page_count = len(pages) // frame_count
        start = chosen * page_count
        image = decode_pages(pages[start : start + page_count], file)
        image = image.reshape(image_shape)
    else:
        if series.is_truncated:
            stack = _decode_contiguous_stack(series, file)
        else:
            stack = decode_pages(pages, file)
        positions = [axes.index(axis) for axis in frame_axes]
        frames_first = np.moveaxis(
            stack.reshape(shape), positions, range(len(positions))
        )
        frames = frames_first.reshape(frame_count, *image_shape)
        image = np.ascontiguousarray(frames[chosen])
    return _drop_single_bands(image, image_axes)


def _decode_contiguous_stack(series: "TiffPageSeries", file: BinaryIO) -> NDArray[Any]:
    """Return a stack stored contiguously after its only page.

    ImageJ writes files over 4 GB like this. tifffile calls such a series truncated.
    """
    offset = series.dataoffset
    if offset is None or offset + series.nbytes > file.seek(0, 2):
        raise ReadError("the stack of images ends early: the file is truncated")
    stack: NDArray[Any] = series.asarray()
    return stack


def _drop_single_bands(
    image: NDArray[Any], axes: list[str]
) -> tuple[NDArray[Any], str]:
    """Return the image and its axes without S and C of length 1."""
    single = []
    kept_axes = ""
    for position, axis in enumerate(axes):
        if axis in "SC" and image.shape[position] == 1:
            single.append(position)
        else:
            kept_axes += axis
    return image.squeeze(tuple(single)), kept_axes
