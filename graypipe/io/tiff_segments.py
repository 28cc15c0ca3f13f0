"""Decode the strips and tiles (segments) of a TIFF page, and raise if one is damaged.

tifffile reads the segments, unpacks their bits, undoes predictors, and locates segments
in the page. It ignores errors of some decoders, and others report none, so segments are
decompressed or checked here:

- JPEG is decoded by simplejpeg, for which every warning of libjpeg is an error, and PNG
  as PNG files are.
- Deflate, LZMA and Zstandard verify the checksum of each segment.
- LZW is decoded by libtiff, which is as strict as imagecodecs, and faster.
- CCITT segments that end early are recognised; they have no checksums.
- JPEG XR is refused: damaged data crash its decoder.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from ..extras import require_extra
from . import png
from .decoded import Request
from .jpeg_stream import END_OF_IMAGE, START_OF_IMAGE
from .tiff_tags import JPEG, RGB, YCBCR

if TYPE_CHECKING:
    from tifffile import TiffPage

# Compression; the tags of TIFF 6.0 and those that tifffile knows.
UNCOMPRESSED = 1
CCITT_RLE, CCITT_FAX3, CCITT_FAX4 = 2, 3, 4
LZW = 5
DEFLATES = (8, 32946, 50013)
PACKBITS = 32773
LZMA = 34925
ZSTDS = (34926, 50000)
PNG = 34933
JPEG_XRS = (22610, 34934)

# Predictor.
NO_PREDICTOR = 1
HORIZONTAL_DIFFERENCES = 2

# FillOrder: the first pixel is in the lowest bit of a byte.
LOWEST_BIT_FIRST = 2

# A tag of TIFF 6.0.
ROWS_PER_STRIP = 278

# A complete CCITT segment decodes to the same pixels whatever follows it. These bits,
# repeated, continue an incomplete one with short runs of both colours. No single
# pattern does so in every state of the decoder. Of the truncations that change pixels,
# these three detect all in RLE and Group 4 strips, and 98 % in Group 3 strips.
CCITT_ENDINGS = ("1", "01", "0001")

# Bytes to read at once. Larger reads are not faster, and small ones reuse memory.
READ_SIZE = 1 << 16

# What `TiffPage.decode` returns: the pixels of a segment, their position in the page
# (plane, depth, row, column, sample) and their shape (depth, length, width, samples).
Segment: TypeAlias = tuple[NDArray[Any], tuple[int, ...], tuple[int, ...]]
Decoder: TypeAlias = Callable[[bytes, int], Segment]
Decompressor: TypeAlias = Callable[[bytes, NDArray[np.uint8]], NDArray[np.uint8]]
# Takes the data and the number of a segment, and writes its pixels into the page.
Placer: TypeAlias = Callable[[tuple[bytes, int]], None]


def decode_page(page: "TiffPage", planes: Sequence[int] | None = None) -> NDArray[Any]:
    """Return the pixels of a page.

    Parameters
    ----------
    page : tifffile.TiffPage
        A page with all of its segments.
    planes : sequence of int, optional
        Planes to read, in this order, of a page that stores samples apart. All if not
        given.

    Returns
    -------
    ndarray
        Shape ``page.shape``, or that of the planes; native byte order.

    Raises
    ------
    ReadError
        If a segment ends early.
    Exception
        Of many types, if a decoder notices other damage.
    """
    if page.is_contiguous and planes is None:
        # tifffile reads the file into the array, without a copy.
        pixels: NDArray[Any] = page.asarray()
        return pixels
    plane_count, *image_shape = page.shaped
    chosen = range(plane_count) if planes is None else planes
    image = np.empty((len(chosen), *image_shape), page.dtype)
    plane_images = dict(zip(chosen, image, strict=True))
    decompress = _decompressor(page.compression)
    if decompress is not None and _has_strips_of_whole_samples(page):
        place = _strip_placer(page, plane_images, decompress)
    else:
        place = _segment_placer(page, plane_images, decompress)
    _for_each_segment(page, chosen, plane_count, place)
    if planes is None:
        return image.reshape(page.shape)
    return image.reshape(len(chosen), *page.shape[1:])


def _for_each_segment(
    page: "TiffPage",
    planes: Iterable[int],
    plane_count: int,
    place: Placer,
) -> None:
    """Read the segments of some planes, and call ``place`` with (data, number)."""
    per_plane = len(page.dataoffsets) // plane_count
    numbers: list[int] = []
    for plane in planes:
        numbers.extend(range(plane * per_plane, (plane + 1) * per_plane))
    offsets = [page.dataoffsets[number] for number in numbers]
    sizes = [page.databytecounts[number] for number in numbers]
    read: Any = page.parent.filehandle.read_segments
    # As tifffile does: no threads for small segments, nor more than half the cores.
    if page.maxworkers < 2:
        for stored in read(offsets, sizes, numbers, buffersize=READ_SIZE):
            place(stored)
        return
    with ThreadPoolExecutor(page.maxworkers) as executor:
        for chunk in read(offsets, sizes, numbers, flat=False):
            # A list, so that errors are raised.
            list(executor.map(place, chunk))


def _has_strips_of_whole_samples(page: "TiffPage") -> bool:
    """Return whether the decompressed strips of a page are rows of its array."""
    dtype = np.dtype(page.dtype)
    if page.is_tiled or page.imagedepth > 1:
        return False
    if page.bitspersample != 8 * dtype.itemsize:
        return False
    if page.predictor == HORIZONTAL_DIFFERENCES:
        return dtype.kind in "iu"
    return page.predictor == NO_PREDICTOR


def _strip_placer(
    page: "TiffPage",
    plane_images: Mapping[int, NDArray[Any]],
    decompress: Decompressor,
) -> Placer:
    """Return a function that decompresses strips into the images of their planes."""
    import imagecodecs

    strip_count = ceil(page.imagelength / page.rowsperstrip)
    row_size = _row_size(page, page.imagewidth, page.shaped[-1])
    padded_size = _padded_row_count(page) * row_size
    is_native = np.dtype(page.parent.byteorder + "u2").isnative

    def place(stored: tuple[bytes, int]) -> None:
        data, number = stored
        if page.fillorder == LOWEST_BIT_FIRST:
            data = _reverse_bits(data)
        plane, strip = divmod(number, strip_count)
        start = strip * page.rowsperstrip
        rows = plane_images[plane][0, start : start + page.rowsperstrip]
        target = rows.reshape(-1).view(np.uint8)
        if page.compression == LZW or target.size == padded_size:
            decompressed = decompress(data, target)
        else:
            # The last strip may be padded to the height of the others.
            decompressed = decompress(data, np.empty(padded_size, np.uint8))
            decompressed = decompressed[: target.size]
            target[: decompressed.size] = decompressed
        if decompressed.size < target.size:
            raise ReadError(
                f"expected a strip of {target.size} bytes, got {decompressed.size}: "
                "the file is damaged"
            )
        if not is_native:
            rows.byteswap(inplace=True)
        if page.predictor == HORIZONTAL_DIFFERENCES:
            imagecodecs.delta_decode(rows, axis=-2, out=rows)

    return place


def _segment_placer(
    page: "TiffPage",
    plane_images: Mapping[int, NDArray[Any]],
    decompress: Decompressor | None,
) -> Placer:
    """Return a function that decodes segments and copies them to where they belong."""
    decode = _segment_decoder(page, decompress)

    def place(stored: tuple[bytes, int]) -> None:
        pixels, (plane, depth, row, column, _), _ = decode(*stored)
        area = plane_images[plane][depth:, row:, column:]
        # Tiles extend beyond the edges of the image.
        area = area[tuple(slice(size) for size in pixels.shape)]
        area[...] = pixels[tuple(slice(size) for size in area.shape)]

    return place


def _segment_decoder(page: "TiffPage", decompress: Decompressor | None) -> Decoder:
    """Return a function of the data and the number of a segment to its pixels."""
    compression = page.compression
    if compression == JPEG:
        return _jpeg_decoder(page)
    if compression in (CCITT_RLE, CCITT_FAX3, CCITT_FAX4):
        return _ccitt_decoder(page)
    if compression in JPEG_XRS:
        raise ReadError(
            "JPEG XR is not supported, because damaged data crash its decoder: if you "
            "trust the file, read it with tifffile.imread and declare a gp.Source"
        )
    if compression == PNG:
        return _png_decoder(page)
    if decompress is None:
        return _decode_as_tifffile(page)
    # tifffile treats segments that are decompressed here like those of an uncompressed
    # page: it unpacks their bits and undoes predictors.
    unpacked_page = copy(page)
    unpacked_page.compression = UNCOMPRESSED
    unpacked_page.fillorder = 1
    # tifffile caches these properties, which depend on the compression.
    for cached in ("hash", "decode"):
        unpacked_page.__dict__.pop(cached, None)
    decode_unpacked = _decode_as_tifffile(unpacked_page)
    locate = unpacked_page.decode

    def decode(data: bytes, number: int) -> Segment:
        if page.fillorder == LOWEST_BIT_FIRST:
            data = _reverse_bits(data)
        _, _, (depth, length, width, samples) = locate(None, number)
        row_count = depth * length
        if not page.is_tiled and compression != LZW:
            row_count = _padded_row_count(page)
        buffer = np.empty(row_count * _row_size(page, width, samples), np.uint8)
        decompressed: Any = decompress(data, buffer)
        return decode_unpacked(decompressed, number)

    return decode


def _reverse_bits(data: bytes) -> bytes:
    """Return bytes with their bits in reverse order."""
    import imagecodecs

    return bytes(imagecodecs.bitorder_decode(data))


def _decode_as_tifffile(page: "TiffPage") -> Decoder:
    """Return a decoder that leaves a segment to tifffile."""
    tables = {}
    if page.jpegtables is not None or page.jpegheader is not None:
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}

    # tifffile creates this function at the first access, which must not happen in
    # several threads at once.
    decode_segment: Any = page.decode

    def decode(data: bytes, number: int) -> Segment:
        return decode_segment(data, number, **tables)  # type: ignore[no-any-return]

    return decode


def _decompressor(compression: int) -> Decompressor | None:
    """Return a function that decompresses segments into an array of bytes.

    It returns the part that it has filled. Return None for codecs that decode images,
    and for others that tifffile can call.
    """
    import imagecodecs

    if compression == LZW:
        return _decode_lzw
    if compression == LZMA:
        return _decode_lzma
    codec: Any
    if compression in DEFLATES:
        codec = imagecodecs.deflate_decode
    elif compression in ZSTDS:
        codec = imagecodecs.zstd_decode
    elif compression == PACKBITS:
        codec = imagecodecs.packbits_decode
    else:
        return None
    return lambda data, out: codec(data, out=out)


def _row_size(page: "TiffPage", width: int, samples: int) -> int:
    """Return the bytes of a row of a segment; rows start at whole bytes."""
    bits = page.bitspersample
    pixel_bits = sum(bits) if isinstance(bits, tuple) else bits * samples
    return ceil(width * pixel_bits / 8)


def _padded_row_count(page: "TiffPage") -> int:
    """Return the value of RowsPerStrip, even if the page has fewer rows."""
    rows: int = page.tags.valueof(ROWS_PER_STRIP, default=page.rowsperstrip)
    # A huge value means that there is a single strip. Allocating so many rows would
    # exhaust the memory.
    if rows > 2 * page.imagelength:
        return page.rowsperstrip
    return rows


def _decode_lzma(data: bytes, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill an array from an LZMA segment, and verify the checksum of the segment."""
    import imagecodecs

    # When it decodes into an array, imagecodecs stops before the checksum.
    decompressed = np.frombuffer(imagecodecs.lzma_decode(data), np.uint8)[: out.size]
    out[: decompressed.size] = decompressed
    return out[: decompressed.size]


def _decode_lzw(data: bytes, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill an array from an LZW segment, as libtiff decodes it.

    libtiff decodes files rather than segments, so the segment becomes the only strip of
    a file whose image is one row of bytes.
    """
    import imagecodecs

    entry_count = 9
    header_size = 8 + 2 + 12 * entry_count + 4
    entries = [
        (256, 4, 1, out.size),  # ImageWidth
        (257, 4, 1, 1),  # ImageLength
        (258, 3, 1, 8),  # BitsPerSample
        (259, 3, 1, LZW),  # Compression
        (262, 3, 1, 1),  # PhotometricInterpretation: 0 is black
        (273, 4, 1, header_size),  # StripOffsets
        (277, 3, 1, 1),  # SamplesPerPixel
        (ROWS_PER_STRIP, 4, 1, 1),
        (279, 4, 1, len(data)),  # StripByteCounts
    ]
    header = struct.pack("<2sHIH", b"II", 42, 8, entry_count)
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    file = b"".join([header, directory, bytes(4), data])
    imagecodecs.tiff_decode(file, out=out.reshape(1, -1))
    return out


def _jpeg_decoder(page: "TiffPage") -> Decoder:
    """Return a decoder of JPEG segments."""
    samples = page.shaped[-1]
    is_gray = samples == 1
    is_colour = (
        samples == 3 and page.photometric in (RGB, YCBCR) and not page.extrasamples
    )
    # NDPI files store a header apart from the segments.
    is_regular = page.bitspersample == 8 and page.jpegheader is None
    if not is_regular or not (is_gray or is_colour):
        # simplejpeg decodes neither 12 bits nor extra samples.
        return _lenient_jpeg_decoder(page)
    with require_extra("io", "simplejpeg"):
        import simplejpeg
    # JPEGTables holds the tables that all segments share, between SOI and EOI.
    tables, _, _ = (page.jpegtables or b"").rpartition(END_OF_IMAGE)
    # Each segment has an SOI of its own, which that of the tables replaces.
    start = tables or START_OF_IMAGE
    # tifffile's rule: RGB without subsampling is stored as RGB, whatever the segments
    # say, and RGB with subsampling is in fact YCbCr.
    is_stored_as_rgb = is_colour and page.photometric == RGB and not page.is_jfif
    colour_space = "GRAY" if is_gray else "RGB"
    locate = page.decode

    def decode(data: bytes, number: int) -> Segment:
        if is_stored_as_rgb:
            data = _declare_rgb(data)
        jpeg = start + data[len(START_OF_IMAGE) :]
        pixels = simplejpeg.decode_jpeg(jpeg, colour_space, strict=True)
        _, position, shape = locate(None, number)
        return _crop(page, pixels, position, shape), position, shape

    return decode


def _lenient_jpeg_decoder(page: "TiffPage") -> Decoder:
    """Return a decoder of JPEG segments that detects no damage but an early end."""
    decode_unchecked = _decode_as_tifffile(page)

    def decode(data: bytes, number: int) -> Segment:
        # A segment that ends early lacks the marker. Padding may follow it.
        if END_OF_IMAGE not in data[-16:]:
            raise ReadError("a JPEG strip or tile ends early: the file is damaged")
        return decode_unchecked(data, number)

    return decode


def _crop(
    page: "TiffPage",
    pixels: NDArray[Any],
    position: tuple[int, ...],
    shape: tuple[int, ...],
) -> NDArray[Any]:
    """Return the pixels of a segment that are inside the page.

    Parameters
    ----------
    page : tifffile.TiffPage
    pixels : ndarray
        Shape (length, width, samples), as a decoder of images returns them.
    position, shape : tuple of int
        As `TiffPage.decode` returns them.

    Raises
    ------
    ReadError
        If the segment is too small, or its samples differ from those of the page.
    """
    # Tiles at the edges may hold only the part inside the page.
    length = min(shape[1], page.imagelength - position[2])
    width = min(shape[2], page.imagewidth - position[3])
    expected = (length, width, shape[3])
    cropped = pixels[:length, :width]
    if cropped.shape != expected or cropped.dtype != page.dtype:
        raise ReadError(
            f"expected a strip or tile of shape {expected} and {page.dtype}, got "
            f"{pixels.shape} and {pixels.dtype}: the file is damaged"
        )
    return cropped[np.newaxis]


def _png_decoder(page: "TiffPage") -> Decoder:
    """Return a decoder of PNG segments that compares all of their checksums."""
    locate = page.decode

    def decode(data: bytes, number: int) -> Segment:
        decoded = png.decode(BytesIO(data), Request())
        pixels = np.atleast_3d(decoded.image)
        if decoded.alpha is not None:
            pixels = np.dstack([pixels, decoded.alpha])
        _, position, shape = locate(None, number)
        return _crop(page, pixels, position, shape), position, shape

    return decode


def _declare_rgb(data: bytes) -> bytes:
    """Return JPEG data whose markers say that the components are RGB.

    libjpeg interprets three components as YCbCr, unless a marker of Adobe says
    otherwise. Other APP markers, which could contradict it, are removed.
    """
    adobe_rgb = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    kept_segments = []
    position = len(START_OF_IMAGE)
    while data[position : position + 1] == b"\xff":
        marker = data[position + 1]
        size = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        is_app = 0xE0 <= marker <= 0xEF
        # DHT, DQT, DRI and COM.
        is_table_or_comment = marker in (0xC4, 0xDB, 0xDD, 0xFE)
        if not is_app and not is_table_or_comment:
            break
        if not is_app:
            kept_segments.append(data[position : position + size])
        position += size
    return START_OF_IMAGE + adobe_rgb + b"".join(kept_segments) + data[position:]


def _ccitt_decoder(page: "TiffPage") -> Decoder:
    """Return a decoder of CCITT segments, which have neither lengths nor checksums."""
    decode_unchecked = _decode_as_tifffile(page)
    endings = []
    for bits in CCITT_ENDINGS:
        ending = np.packbits([int(bit) for bit in bits * 160]).tobytes()
        if page.fillorder == LOWEST_BIT_FIRST:
            ending = _reverse_bits(ending)
        endings.append(ending)

    def decode(data: bytes, number: int) -> Segment:
        segment = decode_unchecked(data, number)
        for ending in endings:
            continued, _, _ = decode_unchecked(data + ending, number)
            if not np.array_equal(continued, segment[0]):
                raise ReadError("a CCITT strip or tile ends early: the file is damaged")
        return segment

    return decode
