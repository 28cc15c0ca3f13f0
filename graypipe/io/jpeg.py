"""Decode JPEG and JPEG-LS files; the images of a file with several are its frames.

Only the segments needed for decoding are passed to the decoder: simplejpeg for 8-bit
JPEG, and imagecodecs for 12-bit JPEG, lossless JPEG and JPEG-LS. A file with several
images lists them in the Multi-Picture Format (MPF), CIPA DC-007.
"""

import re
import struct
from math import ceil
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from ..extras import require_extra
from .decoded import (
    DecodedImage,
    Request,
    bits_keyword,
    check_size,
    decode_frames,
    gray_or_rgb,
)
from .exif import BYTE_ORDERS, parse_orientation, tag_value
from .jpeg_stream import (
    JPEG_LS,
    LOSSLESS,
    PROGRESSIVE_DCT,
    SEQUENTIAL_DCT,
    START_OF_IMAGE,
    FrameHeader,
    JpegStream,
    Scan,
    parse_stream,
)

# Number of samples per pixel -> Pillow's mode.
EIGHT_BIT_MODES = {1: "L", 3: "RGB", 4: "CMYK"}

SUPPORTED_FRAMES = {*SEQUENTIAL_DCT, PROGRESSIVE_DCT, LOSSLESS, JPEG_LS}

# MPF tags: the number of images, and the offset of the list of images. An entry of the
# list has 16 bytes: 4 for attributes, 4 for the size, 4 for the offset, and 4 for two
# references to other images.
MPF_IMAGE_COUNT = 0xB001
MPF_ENTRIES = 0xB002
MPF_ENTRY_SIZE = 16
MPF_ENTRY_FORMAT = "4xII4x"

RESTART = re.compile(rb"\xff([\xd0-\xd7])")

# Matches the end of an entropy-coded interval: before a restart marker, and at the end
# of a scan.
INTERVAL_END = re.compile(rb"(?=\xff[\xd0-\xd7])|\Z")

# Bytes appended to an interval; any bytes without a marker (0xFF) would do.
PADDING = b"\x55" * 64

# Position of the colour space in a SPIFF header, and its values for unspecified, gray
# and RGB: ITU-T T.84, annex F.
SPIFF_COLOUR_SPACE = 18
SPIFF_GRAY_OR_RGB = (2, 8, 10)


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a JPEG file from its segments; see `graypipe.io.facts`."""
    stream = parse_stream(file.read())
    frame = stream.frame
    sample_count = len(frame.components)
    dtype = "uint8" if frame.bits <= 8 else "uint16"
    mode = f"{dtype} x {sample_count}"
    if frame.bits == 8:
        mode = EIGHT_BIT_MODES.get(sample_count, mode)
    return {
        "format": "JPEG-LS" if frame.marker == JPEG_LS else "JPEG",
        "mode": mode,
        "width": frame.width,
        "height": frame.height,
        "frames": len(_image_list(stream)),
        "bands": sample_count,
        "dtype": dtype,
        "alpha": False,
        "orientation": _orientation(stream),
    }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode the images of a JPEG file: gray (H, W) or RGB (H, W, 3).

    The dtype is uint8 for up to 8 bits per sample, else uint16. The source states the
    bits if they are neither 8 nor 16.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        ``frame=0`` is read even if the list of images is damaged.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, is not gray or RGB, uses an
        unsupported coding process, or the frame is not valid.
    MissingExtraError
        If simplejpeg or imagecodecs, of the extra ``io``, is not installed.
    """
    data = file.read()
    stream = parse_stream(data)
    frame = request.frame
    if frame == 0 and not isinstance(frame, bool):
        return _decode_stream(stream, len(data))
    images = _image_list(stream)

    def decode_frame(number: int) -> DecodedImage:
        if number == 0:
            return _decode_stream(stream, len(data))
        return _decode_later_image(data, *images[number])

    return decode_frames(frame, len(images), decode_frame)


def _decode_later_image(data: bytes, start: int, size: int) -> DecodedImage:
    """Return an image after the first, which is a stream of its own."""
    if data[start : start + 2] != START_OF_IMAGE:
        raise ReadError(
            f"expected another JPEG stream at byte {start}: the list of images is "
            "damaged"
        )
    image_data = data[start : start + size]
    return _decode_stream(parse_stream(image_data), len(image_data))


def _decode_stream(stream: JpegStream, stored_bytes: int) -> DecodedImage:
    """Return the image of one stream."""
    frame = stream.frame
    _check_supported(frame)
    sample_count = len(frame.components)
    sample_size = 1 if frame.bits <= 8 else 2
    decoded_bytes = frame.width * frame.height * sample_count * sample_size
    check_size(decoded_bytes, stored_bytes)
    if frame.is_8_bit_dct:
        image = _decode_8_bit(stream)
    elif frame.marker == JPEG_LS:
        image = _decode_jpeg_ls(stream)
    else:
        image = _decode_12_bit_or_lossless(stream)
    keywords = bits_keyword(frame.bits, image.dtype)
    if keywords:
        _check_levels(image, frame.bits)
    return gray_or_rgb(
        image, orientation=_orientation(stream), source_keywords=keywords
    )


def _check_supported(frame: FrameHeader) -> None:
    """Raise ReadError if the coding process or the colour space is not supported."""
    if frame.marker not in SUPPORTED_FRAMES:
        raise ReadError(
            f"the coding process SOF{frame.marker - 0xC0} (arithmetic or hierarchical) "
            "is not supported, because its decoders do not notice missing data: "
            "convert the file to Huffman coding, for example with jpegtran -copy all"
        )
    sample_count = len(frame.components)
    if sample_count not in (1, 3):
        raise ReadError(
            f"expected gray or RGB, got {sample_count} samples per pixel (for example "
            "CMYK), whose colours depend on an ICC profile: convert the file to RGB "
            "first"
        )


def _decode_8_bit(stream: JpegStream) -> NDArray[np.uint8]:
    """Return the pixels of an 8-bit DCT stream.

    In strict mode, simplejpeg raises for everything that libjpeg warns about: data that
    end before the image does, invalid codes, restart markers out of order, and bytes
    between the image and the next marker.
    """
    with require_extra("io", "simplejpeg"):
        import simplejpeg
    frame = stream.frame
    is_gray = len(frame.components) == 1
    colour_space = "GRAY" if is_gray else "RGB"
    try:
        image = simplejpeg.decode_jpeg(stream.to_bytes(), colour_space, strict=True)
    except ValueError as error:
        if "subsampling" in str(error):
            # Its API has names for the usual chroma samplings, and decodes no others.
            raise ReadError(
                "simplejpeg does not support the chroma sampling "
                f"{list(frame.components.values())}: decode the file with "
                "imagecodecs.jpeg8_decode(data), which does not report damage, and "
                'declare gp.Source("RGB")'
            ) from None
        raise ReadError(f"the pixels are damaged or truncated ({error})") from None
    if is_gray:
        image = image[..., 0]
    return image  # type: ignore[no-any-return]


def _decode_12_bit_or_lossless(stream: JpegStream) -> NDArray[Any]:
    """Return the pixels of a 12-bit DCT stream, or of a lossless one.

    imagecodecs ignores the warnings of libjpeg. The checks below notice data that are
    missing. Data that are changed, or are left over after the image, remain unnoticed
    unless the decoder then runs out of data, or a level exceeds the bit depth.
    """
    for scan in stream.scans:
        _check_restarts(scan, stream.frame)
    with require_extra("io", "imagecodecs"):
        import imagecodecs
    try:
        image = imagecodecs.jpeg8_decode(stream.to_bytes())
        padded = imagecodecs.jpeg8_decode(_pad_intervals(stream).to_bytes())
    except imagecodecs.Jpeg8Error as error:
        raise ReadError(f"the pixels cannot be decoded ({error})") from None
    # The decoder fills missing data with zeros. If data are missing, padding after
    # each interval is decoded and changes the image; otherwise it is ignored.
    if not np.array_equal(image, padded):
        raise ReadError(
            "the pixels end before the image does: the file is damaged or truncated"
        )
    return image


def _check_restarts(scan: Scan, frame: FrameHeader) -> None:
    """Raise ReadError unless a scan has all its restart markers, in order."""
    if scan.restart_interval == 0:
        return
    interval_count = ceil(frame.unit_count(scan.components) / scan.restart_interval)
    # A marker separates two intervals. The numbers of the markers cycle through 0 to 7.
    expected = [0xD0 + number % 8 for number in range(interval_count - 1)]
    markers = [match[0] for match in RESTART.findall(scan.entropy_coded)]
    if markers != expected:
        raise ReadError(
            "some restart intervals are missing: the file is damaged or truncated"
        )


def _pad_intervals(stream: JpegStream) -> JpegStream:
    """Return a stream with padding after each entropy-coded interval."""
    padded_scans = []
    for scan in stream.scans:
        padded = INTERVAL_END.sub(PADDING, bytes(scan.entropy_coded))
        padded_scans.append(scan._replace(entropy_coded=memoryview(padded)))
    return stream._replace(scans=padded_scans)


def _decode_jpeg_ls(stream: JpegStream) -> NDArray[Any]:
    """Return the pixels of a JPEG-LS stream.

    The decoder raises for invalid codes, and if a scan is longer or shorter than its
    image. Other changes of the data remain unnoticed.
    """
    _, spiff = stream.metadata.get(b"SPIF", (0, b""))
    # A damaged header may be shorter. In this case, the decoder raises.
    if len(spiff) > SPIFF_COLOUR_SPACE:
        colour_space = spiff[SPIFF_COLOUR_SPACE]
        if colour_space not in SPIFF_GRAY_OR_RGB:
            raise ReadError(
                f"expected gray or RGB, got SPIFF colour space {colour_space}: decode "
                "the file with imagecodecs.jpegls_decode(data), and convert its colours"
            )
    for scan in stream.scans:
        # The scan header lists an identifier and a mapping table for each component.
        tables = scan.header[2 : 2 + 2 * len(scan.components) : 2]
        if any(tables):
            raise ReadError(
                "expected gray or RGB, got a JPEG-LS stream with a palette (mapping "
                "table): convert the file to RGB first"
            )
    with require_extra("io", "imagecodecs"):
        import imagecodecs
    try:
        image = imagecodecs.jpegls_decode(stream.to_bytes())
    except imagecodecs.JpeglsError as error:
        raise ReadError(f"the pixels are damaged or truncated ({error})") from None
    return image


def _check_levels(image: NDArray[Any], bits: int) -> None:
    """Raise ReadError if the image has levels above its bit depth."""
    largest = int(image.max())
    if largest >= 2**bits:
        raise ReadError(
            f"the image has a level of {largest}, but {bits} bits per sample: the file "
            "is damaged"
        )


def _orientation(stream: JpegStream) -> int | None:
    """Return the orientation, or None if its metadata are damaged."""
    _, exif = stream.metadata.get(b"Exif", (0, b""))
    # The identifier of an XMP segment is a URL.
    _, xmp = stream.metadata.get(b"http", (0, b""))
    return parse_orientation(exif, xmp)


def _image_list(stream: JpegStream) -> list[tuple[int, int]]:
    """Return (offset, size) for every image in the file; (0, 0) for the first."""
    segment_offset, segment = stream.metadata.get(b"MPF\0", (0, b""))
    if not segment:
        return [(0, 0)]
    # MPF offsets are relative to the byte after the identifier.
    block = segment[4:]
    block_offset = segment_offset + 4
    images: list[tuple[int, int]] = []
    count = 0
    try:
        count = tag_value(block, MPF_IMAGE_COUNT) or 0
        start = tag_value(block, MPF_ENTRIES) or 0
        order = BYTE_ORDERS[block[:4]]
        entries = block[start : start + MPF_ENTRY_SIZE * count]
        for size, offset in struct.iter_unpack(order + MPF_ENTRY_FORMAT, entries):
            images.append((block_offset + offset, size))
    except (LookupError, struct.error):
        images = []
    if not images or len(images) != count:
        raise ReadError("the list of images is damaged: frame=0 reads the first")
    # The first entry is the stream that contains the list, whose offset is stored as 0.
    images[0] = (0, 0)
    return images
