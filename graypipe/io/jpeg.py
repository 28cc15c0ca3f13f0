"""Decode JPEG files with Pillow; the images of a file with several are its frames.

Only the segments needed for decoding are passed to the decoder. A file with several
images lists them in the Multi-Picture Format (MPF), CIPA DC-007.
"""

import re
import struct
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from .decoded import DecodedImage, Request, check_size, decode_frames
from .exif import parse_orientation, tag_value
from .jpeg_stream import START_OF_IMAGE, JpegStream, parse_stream

# MPF tags: the number of images, and the offset of the list of images. An entry of the
# list has 16 bytes: 4 for attributes, 4 for the size, 4 for the offset, and 4 for two
# references to other images.
MPF_IMAGE_COUNT = 0xB001
MPF_ENTRIES = 0xB002
MPF_ENTRY_SIZE = 16
MPF_ENTRY_FORMAT = "4xII4x"

# Matches the end of an entropy-coded interval: before a restart marker, and at the end
# of a scan.
INTERVAL_END = re.compile(rb"(?=\xff[\xd0-\xd7])|\Z")

# Bytes appended to an interval; any bytes without a marker (0xFF) would do.
PADDING = b"\x55" * 64


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a JPEG file from its segments; see `graypipe.io.facts`."""
    stream = parse_stream(file.read())
    sample_count = len(stream.frame.components)
    modes = {1: "L", 3: "RGB", 4: "CMYK"}
    return {
        "format": "JPEG",
        "mode": modes.get(sample_count, f"{sample_count} samples"),
        "width": stream.frame.width,
        "height": stream.frame.height,
        "frames": len(_image_list(stream)),
        "bands": sample_count,
        "dtype": "uint8",
        "alpha": False,
        "orientation": _orientation(stream),
    }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode one image of a JPEG file: gray (H, W) or RGB (H, W, 3), uint8.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        Frame 0 is read even if the list of images is damaged.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, is not 8-bit gray or RGB, or
        the frame is not valid.
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
    sample_count = len(stream.frame.components)
    if sample_count not in (1, 3):
        raise ReadError(
            f"expected gray or RGB, got {sample_count} samples per pixel (for example "
            "CMYK), whose colours depend on an ICC profile: convert the file to RGB "
            "first"
        )
    check_size(stream.frame.width * stream.frame.height * sample_count, stored_bytes)
    image = _decode_pixels(stream)
    _check_complete(image, stream)
    orientation = _orientation(stream)
    if image.ndim == 2:
        return DecodedImage(image, "HW", "gray", orientation=orientation)
    return DecodedImage(image, "HWC", "RGB", orientation=orientation)


def _decode_pixels(stream: JpegStream) -> NDArray[Any]:
    """Return the pixels as Pillow decodes them."""
    from PIL.JpegImagePlugin import JpegImageFile

    with JpegImageFile(BytesIO(stream.to_bytes())) as image:
        return np.array(image)


def _check_complete(image: NDArray[Any], stream: JpegStream) -> None:
    """Raise ReadError if the entropy-coded data of the stream end early.

    The decoder fills missing data with gray and does not report it. The image is
    therefore decoded once more with padding after each interval: if data are missing,
    the padding is decoded and changes the image; otherwise it is ignored.
    """
    padded_scans = [INTERVAL_END.sub(PADDING, scan) for scan in stream.scans]
    padded = stream._replace(scans=padded_scans)
    if not np.array_equal(image, _decode_pixels(padded)):
        raise ReadError(
            "the pixels end before the image does: the file is damaged or truncated"
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
        order = "<" if block.startswith(b"II") else ">"
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
