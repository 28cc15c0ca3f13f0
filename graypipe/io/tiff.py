"""TIFF, always by way of tifffile: a page, or a series of pages where the file names their axes.

Tags and their values are those of TIFF 6.0, section 8.
"""

import logging
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from ..extras import needs
from . import exif, tiff_samples
from .decoded import Stored, check_size, choose

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

REDUCED, MASK = 1, 4
"""Bits of NewSubfileType: an overview; a mask of what is transparent."""

STK_PLANES = 33629
"""The tag UIC2, whose count is the number of planes."""

LAYOUTS = {"YX": "HW", "YXS": "HWC", "SYX": "CHW", "YXC": "HWC", "CYX": "CHW"}
"""tifffile's letters: S for the samples of a pixel, C for pages that are its channels."""


def facts(path: Path) -> dict[str, Any]:
    """Return what the file is, from its tags."""
    with _open(path) as (file, tif):
        pages, masks = _pages(file, tif)
        series = _series(tif)
        page = pages[0]
        axes = dict(zip(series.axes, series.shape, strict=True)) if series else {}
        frames = (
            prod(size for axis, size in axes.items() if axis not in "YXSC")
            if series
            else len(pages)
        )
        samples = page.samplesperpixel * axes.get("C", 1)
        alpha = tiff_samples.alpha(page)
        colours = tiff_samples.colours(page)
        clear = (
            colours is not None
            and tiff_samples.nodata(page, np.dtype(page.dtype)) is not None
        )
        return {
            "format": "BigTIFF" if tif.is_bigtiff else "TIFF",
            "mode": f"{page.dtype} x {samples}"
            if colours is None
            else f"palette of {len(colours)}",
            "width": page.imagewidth,
            "height": page.imagelength,
            "frames": frames,
            "bands": samples - (alpha is not None)
            if colours is None
            else tiff_samples.bands_of(colours),
            "dtype": str(page.dtype if colours is None else colours.dtype),
            "alpha": alpha is not None or bool(masks) or clear,
            "orientation": _orientation(page),
        }


def decode(path: Path, frame: object) -> Stored:
    """Return page ``frame`` of a TIFF file, or its ``frame`` along axes such as time and depth, where it names them.

    Channels that are pages come as CHW, as do samples stored plane by plane; else (H, W) or HWC.
    """
    with _open(path) as (file, tif):
        pages, masks = _pages(file, tif)
        series = _series(tif)
        if series is None:
            page = pages[choose(frame, len(pages))]
            tiff_samples.check(page)
            image, axes = _decode([page], file), page.axes
        else:
            page = series.keyframe
            tiff_samples.check(page)
            image, axes = _from_series(series, frame, file)
        if axes not in LAYOUTS:
            raise ReadError(
                f"expected height and width (YX), with bands first (C) or last (S or C), got the axes {axes} of shape "
                f"{image.shape}: read it with tifffile.imread, order the axes, and declare a gp.Source"
            )
        stored = tiff_samples.state(
            image, LAYOUTS[axes], page, tiff_samples.names(tif, page)
        )
        if masks and stored.alpha is None:
            if len(masks) > 1 or len(pages) > 1:
                raise ReadError(
                    f"{len(masks)} masks for {len(pages)} pages: save the page that is meant with its own"
                )
            stored = tiff_samples.masked(stored, _decode(masks, file))
        return stored._replace(orientation=_orientation(page))


@contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, "TiffFile"]]:
    with needs("io", "tifffile", "imagecodecs"):
        import imagecodecs  # noqa: F401  # which tifffile looks for at the first compressed page
        import tifffile
    with (
        _quiet(),
        path.open("rb") as file,
        tifffile.TiffFile(file, _multifile=False) as tif,
    ):
        yield file, tif


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what tifffile logs, in this thread, of a nodata value that no pixel can have."""
    thread, logger = threading.get_ident(), logging.getLogger("tifffile")

    def wanted(record: logging.LogRecord) -> bool:
        return record.thread != thread or "GDAL_NODATA" not in record.getMessage()

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


def _pages(
    file: BinaryIO, tif: "TiffFile"
) -> tuple[list["TiffPage"], list["TiffPage"]]:
    """Return the pages that are images, and those that are masks; overviews are neither.

    ReadError where tifffile would only log that the list of pages, or a tag, is damaged, and go on without.
    """
    pages: list[Any] = list(tif.pages)
    if not pages:
        raise ReadError("the file holds no page")
    form = "<" if tif.byteorder == "<" else ">"
    for number, page in enumerate(pages):
        file.seek(page.offset)
        width, entry, pointer = ("Q", 20, "Q") if tif.is_bigtiff else ("H", 12, "I")
        (count,) = struct.unpack(form + width, file.read(struct.calcsize(width)))
        file.seek(entry * count, 1)
        following = file.read(struct.calcsize(pointer))
        last = number == len(pages) - 1
        if len(following) < struct.calcsize(pointer) or (last and any(following)):
            raise ReadError("its list of pages is damaged or truncated")
        if len(page.tags.values()) != count:
            raise ReadError(
                f"tags of page {number} are damaged: {count} expected, {len(page.tags.values())} readable"
            )
    masks = [
        page
        for page in pages
        if page.subfiletype & MASK and not page.subfiletype & REDUCED
    ]
    images = [page for page in pages if not page.subfiletype & (REDUCED | MASK)]
    _check_whole(pages, images)
    return images or pages[:1], masks


def _check_whole(pages: list[Any], images: list[Any]) -> None:
    """Raise ReadError where images lie elsewhere than in the list of pages."""
    if not images and any(page.subifds for page in pages):
        raise ReadError(
            "its pages are previews, the full image lies in a SubIFD, as in camera raw files (DNG, NEF): develop it "
            "into a TIFF first"
        )
    planes = pages[0].tags.get(STK_PLANES)
    if pages[0].is_stk and planes is not None and planes.count > len(pages):
        raise ReadError(
            f"a MetaMorph stack of {planes.count} images in {len(pages)} page: save it as an ImageJ or OME-TIFF stack, "
            f"or read it with tifffile.imread and declare a gp.Source"
        )


def _series(tif: "TiffFile") -> "TiffPageSeries | None":
    """Return the one series of a file whose metadata name its axes, else None: then every page is a frame."""
    if not (tif.is_ome or tif.is_imagej or tif.is_shaped):
        return None
    if len(tif.series) == 1:
        return tif.series[0]
    if any(series.is_truncated for series in tif.series):
        raise ReadError(
            f"it holds {len(tif.series)} stacks of images in one page each: save the stack that is meant"
        )
    return None


def _from_series(
    series: "TiffPageSeries", frame: object, file: BinaryIO
) -> tuple[NDArray[Any], str]:
    """Return frame ``frame`` of a series, and its axes, those of length 1 left out."""
    axes, shape = series.axes, series.shape
    others = [axis for axis in axes if axis not in "YXSC"]
    frames = prod(shape[axes.index(axis)] for axis in others)
    chosen = choose(frame, frames)
    pages: list[Any] = list(series.pages)
    if any(page is None for page in pages):
        raise ReadError(
            "parts of it lie in other files: read those one by one, bands with gp.read_bands"
        )
    rest = "".join(axis for axis in axes if axis not in others)
    sizes = tuple(shape[axes.index(axis)] for axis in rest)
    if axes == "".join(others) + rest and not series.is_truncated:
        each = len(pages) // frames
        image = _decode(pages[chosen * each : (chosen + 1) * each], file).reshape(sizes)
    else:
        whole = (
            _decode(pages, file)
            if not series.is_truncated
            else _truncated(series, file)
        )
        moved = np.moveaxis(
            whole.reshape(shape),
            [axes.index(axis) for axis in others],
            range(len(others)),
        )
        image = np.ascontiguousarray(moved.reshape(frames, *sizes)[chosen])
    single = tuple(
        at for at, axis in enumerate(rest) if axis in "SC" and sizes[at] == 1
    )
    return image.squeeze(single), "".join(
        axis for at, axis in enumerate(rest) if at not in single
    )


def _truncated(series: "TiffPageSeries", file: BinaryIO) -> NDArray[Any]:
    """Return a stack that lies in one piece behind its first page."""
    if series.dataoffset is None or series.dataoffset + series.nbytes > file.seek(0, 2):
        raise ReadError("its stack of images ends early: the file is truncated")
    return series.asarray()


def _decode(pages: list["TiffPage"], file: BinaryIO) -> NDArray[Any]:
    """Return the pixels of one page as they are, of several stacked; ReadError before half an image is made."""
    size = file.seek(0, 2)
    for page in pages:
        _check(page, size)
    check_size(sum(page.nbytes for page in pages), size)
    if len(pages) == 1:
        return pages[0].asarray()
    first = pages[0].asarray()
    image = np.empty((len(pages), *first.shape), first.dtype)
    image[0] = first
    for number, page in enumerate(pages[1:], 1):
        image[number] = page.asarray()
    return image


def _check(page: Any, size: int) -> None:
    """Raise ReadError unless every strip or tile is there, and where tifffile would fill in what is not."""
    held = page.keyframe
    if held.dtype is None or held.dtype.kind not in "buif" or not page.nbytes:
        raise ReadError(
            f"samples of {held.bitspersample} bits, format {held.sampleformat}, cannot be taken"
        )
    offsets, counts = page.dataoffsets, page.databytecounts
    if (
        len(offsets) != prod(held.chunked)
        or len(counts) != len(offsets)
        or not all(counts)
    ):
        raise ReadError(
            f"{prod(held.chunked)} strips or tiles make its image, got {sum(map(bool, counts))}: the file is damaged, "
            f"or sparse and to be written again in full"
        )
    if any(
        offset + count > size for offset, count in zip(offsets, counts, strict=True)
    ):
        raise ReadError("its pixels end behind the end of the file: it is truncated")
    if held.is_contiguous and sum(counts) < page.nbytes:
        raise ReadError(
            f"{page.nbytes} bytes make its image, got {sum(counts)}: the file is damaged"
        )


def _orientation(page: "TiffPage") -> int | None:
    return exif.known(int(page.tags.valueof(exif.ORIENTATION, default=1)))
