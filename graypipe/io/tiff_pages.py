"""Find the pages of a TIFF file, and decode frames of one page or of several.

tifffile does not raise for damaged files: it logs a message and skips pages or tags, or
fills in pixels. The checks here raise ReadError instead. Only the pages that are read
are loaded: a file may have thousands.
"""

import struct
from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from .decoded import check_size
from .tiff_segments import decode_page

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

# tifffile refuses pages with more tags.
MAX_TAG_COUNT = 4096

DAMAGED_LIST = "the list of pages is damaged or truncated"

# The tag that says whether a page is an overview or a mask, the older tag for the same,
# and bits of the newer one.
NEW_SUBFILE_TYPE = 254
SUBFILE_TYPE = 255
REDUCED_RESOLUTION = 1
TRANSPARENCY_MASK = 4

# MetaMorph's tag UIC2. The number of its values is the number of planes.
UIC2 = 33629

# tifffile's letters for the axes of one image: height, width, samples of a pixel, and
# channels stored as separate pages. Other axes, such as Z and T, are axes of frames.
IMAGE_AXES = "YXSC"

# tifffile's letters for the axes of frames that a layout can name.
FRAME_LAYOUTS = {"T": "T", "Z": "D"}


class PageList:
    """The pages of a file, each loaded when it is asked for.

    Parameters
    ----------
    file : file object
        The open file.
    tif : tifffile.TiffFile
        The TiffFile for it.

    Attributes
    ----------
    file, tif
        The parameters.
    images : list of int
        Numbers of the pages that are images, without overviews. At least one page: the
        first overview if there is nothing else.
    masks : list of int
        Numbers of the full-resolution transparency masks.

    Raises
    ------
    ReadError
        If the list of pages or a tag is damaged, or the full-resolution images are
        stored elsewhere (SubIFDs, MetaMorph stacks).
    """

    def __init__(self, file: BinaryIO, tif: "TiffFile") -> None:
        if not tif.pages:
            raise ReadError("the file contains no pages")
        self.file = file
        self.tif = tif
        self._tag_counts: dict[int, int] = {}
        self.images: list[int] = []
        self.masks: list[int] = []
        typed_pages = self._list_directories()
        for number in range(len(self._tag_counts)):
            subfile_type = 0
            if number in typed_pages:
                subfile_type = self.load(number).subfiletype
            if subfile_type & REDUCED_RESOLUTION:
                continue
            if subfile_type & TRANSPARENCY_MASK:
                self.masks.append(number)
            else:
                self.images.append(number)
        self._check_images_are_pages()
        if not self.images:
            self.images = [0]

    def _list_directories(self) -> set[int]:
        """Follow the list of pages, and count the tags of each by its offset.

        Return the numbers of the pages whose type is not 0.
        """
        typed_pages = set()
        offset = self.tif.pages.first.offset
        while offset:
            if offset in self._tag_counts:
                raise ReadError("the list of pages has no end: the file is damaged")
            entries, next_offset = self._read_directory(offset)
            if self._has_type(entries):
                typed_pages.add(len(self._tag_counts))
            self._tag_counts[offset] = len(entries)
            offset = next_offset
        return typed_pages

    def _read_directory(self, offset: int) -> tuple[list[bytes], int]:
        """Return the entries of a page, one per tag, and the offset of the next page.

        The offset is 0 after the last page.
        """
        file, tiff = self.file, self.tif.tiff
        count_format = struct.Struct(tiff.tagnoformat)
        offset_format = struct.Struct(tiff.offsetformat)
        file.seek(offset)
        count_bytes = file.read(count_format.size)
        if len(count_bytes) < count_format.size:
            raise ReadError(DAMAGED_LIST)
        (tag_count,) = count_format.unpack(count_bytes)
        if tag_count > MAX_TAG_COUNT:
            raise ReadError(DAMAGED_LIST)
        size = tiff.tagsize
        entries = file.read(tag_count * size)
        offset_bytes = file.read(offset_format.size)
        if len(offset_bytes) < offset_format.size:
            raise ReadError(DAMAGED_LIST)
        (next_offset,) = offset_format.unpack(offset_bytes)
        starts = range(0, len(entries), size)
        return [entries[start : start + size] for start in starts], next_offset

    def _has_type(self, entries: list[bytes]) -> bool:
        """Return whether the entries of a page state a type other than 0."""
        tiff = self.tif.tiff
        value_size = struct.calcsize(tiff.offsetformat)
        for entry in entries:
            (code,) = struct.unpack_from(tiff.byteorder + "H", entry)
            # A short value is stored at the end of an entry.
            if code in (NEW_SUBFILE_TYPE, SUBFILE_TYPE) and any(entry[-value_size:]):
                return True
        return False

    def load(self, number: int) -> "TiffPage":
        """Return a page. Raise ReadError if tifffile skipped one of its tags."""
        page: Any = self.tif.pages.get(number)
        return self._checked(page)

    def load_frame(self, series: "TiffPageSeries", number: int) -> "TiffPage":
        """Return a page of a series, with its own tags."""
        frame: Any = series.pages[number]
        if frame is None:
            # OME-TIFF can spread a series over several files.
            raise ReadError(
                "the image is split over several files: read them one by one, or use "
                "gp.read_bands for separate bands"
            )
        return self._checked(frame.aspage())

    def _checked(self, page: Any) -> "TiffPage":
        """Return a page. Raise ReadError if tifffile skipped one of its tags."""
        readable_count = len(page.tags.values())
        # Pages in SubIFDs are not in the list.
        tag_count = self._tag_counts.get(page.offset, readable_count)
        if readable_count != tag_count:
            raise ReadError(
                f"page {page.index} declares {tag_count} tags, but only "
                f"{readable_count} can be read: the file is damaged"
            )
        return page  # type: ignore[no-any-return]

    def _check_images_are_pages(self) -> None:
        """Raise ReadError if the images of the file are not in its list of pages."""
        page_count = len(self._tag_counts)
        if not self.images:
            pages = [self.load(number) for number in range(page_count)]
            if any(page.subifds for page in pages):
                raise ReadError(
                    "the pages are previews, and the full image is in a SubIFD, as in "
                    "camera raw files (DNG, NEF): develop it into a TIFF first"
                )
        first = self.load(0)
        planes = first.tags.get(UIC2)
        if first.is_stk and planes is not None and planes.count > page_count:
            raise ReadError(
                f"a MetaMorph stack of {planes.count} images in {page_count} page(s) "
                "is not supported: save it as an ImageJ or OME-TIFF stack, or read it "
                "with tifffile.imread and declare a gp.Source"
            )


def decode_pages(
    pages: Sequence["TiffPage"], file: BinaryIO, planes: Sequence[int] | None = None
) -> NDArray[Any]:
    """Return the pixels of one page, or of several stacked along a new first axis.

    Parameters
    ----------
    pages : sequence of tifffile.TiffPage
        At least one page.
    file : file object
        The open file.
    planes : sequence of int, optional
        Planes to read of pages that store samples apart.

    Raises
    ------
    ReadError
        If pixels of a page are missing, the pages differ in shape or dtype, or they are
        implausibly large for the size of the file.
    """
    file_size = file.seek(0, 2)
    first = pages[0]
    for page in pages:
        _check_pixels_are_complete(page, file_size)
        if (page.shape, page.dtype) != (first.shape, first.dtype):
            raise ReadError(
                f"expected pages of one shape and dtype, got {first.shape}, "
                f"{first.dtype} and {page.shape}, {page.dtype}: the file is damaged"
            )
    check_size(sum(page.nbytes for page in pages), file_size)
    if len(pages) == 1:
        return decode_page(first, planes)
    stack = np.empty((len(pages), *first.shape), first.dtype)
    for number, page in enumerate(pages):
        stack[number] = decode_page(page)
    return stack


def _check_pixels_are_complete(page: "TiffPage", file_size: int) -> None:
    """Raise ReadError if strips or tiles are missing, which tifffile would fill in."""
    dtype = page.dtype
    if dtype is None or dtype.kind not in "buif" or not page.nbytes:
        raise ReadError(
            f"expected integers or floats, got samples of {page.bitspersample} "
            f"bits, format {page.sampleformat}, shape {page.shape}"
        )
    expected_count = prod(page.chunked)
    offsets, sizes = page.dataoffsets, page.databytecounts
    # GDAL can write sparse files, in which a tile without data has offset and size 0.
    are_missing = 0 in sizes or 0 in offsets
    if len(offsets) != expected_count or len(sizes) != len(offsets) or are_missing:
        segments = zip(offsets, sizes, strict=False)
        stored_count = sum(offset > 0 and size > 0 for offset, size in segments)
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
    if page.is_contiguous and sum(sizes) < page.nbytes:
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


class SeriesFrames:
    """The frames of a series, counted over all axes except `IMAGE_AXES`.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
        The series, as returned by `find_series`.
    pages : PageList
        The pages of the file.

    Attributes
    ----------
    keyframe : tifffile.TiffPage
        The page whose tags describe all frames.
    frame_axes, image_axes : str
        tifffile's letters for the axes that count frames, and for those of a frame
        without S and C of length 1.
    frame_shape, image_shape : tuple of int
        Their lengths.
    count : int
        Number of frames.
    """

    def __init__(self, series: "TiffPageSeries", pages: PageList) -> None:
        self._series = series
        self.pages = pages
        self.keyframe = series.keyframe
        self.frame_axes = self.image_axes = ""
        self.frame_shape: tuple[int, ...] = ()
        self.image_shape: tuple[int, ...] = ()
        # By position: a letter can occur twice, such as Q, which means unknown.
        self._frame_positions = []
        for position, axis in enumerate(series.axes):
            size = series.shape[position]
            if axis not in IMAGE_AXES:
                self._frame_positions.append(position)
                self.frame_axes += axis
                self.frame_shape += (size,)
            elif size > 1 or axis in "YX":
                self.image_axes += axis
                self.image_shape += (size,)
        self.count = prod(self.frame_shape)

    @property
    def _are_consecutive(self) -> bool:
        """Whether each frame has its own pages, in the order of the frames."""
        leading = list(range(len(self._frame_positions)))
        return self._frame_positions == leading and not self._series.is_truncated

    def can_read_planes(self) -> bool:
        """Whether `decode` can read single bands of a frame."""
        if not self._are_consecutive or self.image_axes not in ("CYX", "SYX"):
            return False
        page_count = len(self._series.pages) // self.count
        are_pages = page_count == self.image_shape[0]
        keyframe = self._series.keyframe
        are_planes = page_count == 1 and keyframe.shape == self.image_shape
        return are_pages or are_planes

    def decode(self, number: int, planes: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a frame, with the axes ``image_axes``.

        Parameters
        ----------
        number : int
            Index of the frame.
        planes : sequence of int, optional
            Bands to read, if `can_read_planes`.

        Raises
        ------
        ReadError
            If pages are damaged, truncated or in other files.
        """
        if not self._are_consecutive:
            return np.ascontiguousarray(self._stack[number])
        page_count = len(self._series.pages) // self.count
        numbers = range(number * page_count, (number + 1) * page_count)
        if planes is None:
            pixels = decode_pages(self._load(numbers), self.pages.file)
            return pixels.reshape(self.image_shape)
        if page_count == 1:
            pixels = decode_pages(self._load(numbers), self.pages.file, planes)
        else:
            chosen = [numbers[plane] for plane in planes]
            pixels = decode_pages(self._load(chosen), self.pages.file)
        return pixels.reshape(len(planes), *self.image_shape[1:])

    def _load(self, numbers: Sequence[int]) -> list["TiffPage"]:
        """Return pages of the series."""
        return [self.pages.load_frame(self._series, number) for number in numbers]

    @cached_property
    def _stack(self) -> NDArray[Any]:
        """All frames, for series that do not store them one after another."""
        if self._series.is_truncated:
            stack = _decode_contiguous_stack(self._series, self.pages.file)
        else:
            pages = self._load(range(len(self._series.pages)))
            stack = decode_pages(pages, self.pages.file)
        frames_first = np.moveaxis(
            stack.reshape(self._series.shape),
            self._frame_positions,
            range(len(self._frame_positions)),
        )
        return frames_first.reshape(self.count, *self.image_shape)

    def layout_of_all(self) -> str:
        """Return the letters of a layout for ``frame_axes``.

        Raises
        ------
        ReadError
            If the axes are neither time and depth nor a single other one.
        """
        letters = [FRAME_LAYOUTS.get(axis) for axis in self.frame_axes]
        if letters and None not in letters:
            return "".join(FRAME_LAYOUTS[axis] for axis in self.frame_axes)
        if len(letters) < 2:
            return "N"
        raise ReadError(
            "frame='all' needs frames along T (time), Z (depth) or one other axis, got "
            f"axes {self.frame_axes} of lengths {self.frame_shape}: read them one by "
            f"one, with frame=0 to frame={self.count - 1}, or read the file with "
            "tifffile.imread and declare a gp.Source"
        )


def _decode_contiguous_stack(series: "TiffPageSeries", file: BinaryIO) -> NDArray[Any]:
    """Return a stack stored contiguously after its only page.

    ImageJ writes files over 4 GB like this. tifffile calls such a series truncated.
    """
    offset = series.dataoffset
    if offset is None or offset + series.nbytes > file.seek(0, 2):
        raise ReadError("the stack of images ends early: the file is truncated")
    stack: NDArray[Any] = series.asarray()
    return stack
