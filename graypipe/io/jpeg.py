"""JPEG, decoded by Pillow; several images in one file (MPF) are its frames.

The decoder receives only the segments that make up the pixels. The list of images is
that of the Multi-Picture Format, CIPA DC-007.
"""

import re
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from .decoded import DecodedImage, check_size, choose_frame
from .exif import parse_orientation, tag_value
from .jpeg_stream import START_OF_IMAGE, JpegStream, parse_stream

# Tags of MPF: the number of images, and the offset of the list of them. An entry of the
# list has 16 bytes: attributes, size, offset and two references, of 4, 4, 4 and 4.
MPF_IMAGE_COUNT = 0xB001
MPF_ENTRIES = 0xB002
MPF_ENTRY_SIZE = 16
MPF_ENTRY_FORMAT = "4xII4x"

# Where entropy-coded data end: before a restart marker, and at the end of a scan.
INTERVAL_END = re.compile(rb"(?=\xff[\xd0-\xd7])|\Z")

# Coded bits to append to an interval. Any will do that hold no marker (0xFF).
PADDING = b"\x55" * 64


def facts(path: Path) -> dict[str, Any]:
    """Describe a JPEG file from its segments; see `graypipe.io.facts`."""
    stream = parse_stream(path.read_bytes())
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


def decode(path: Path, frame: object) -> DecodedImage:
    """Decode one image of a JPEG file: gray (H, W) or RGB (H, W, 3), uint8.

    Parameters
    ----------
    path : Path
        The file.
    frame : object
        The keyword of `graypipe.read`. 0 reads the first image even if the list of
        images is damaged.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, has other than 8-bit gray or
        colour, or `frame` is not valid.
    """
    data = path.read_bytes()
    stream = parse_stream(data)
    if frame == 0 and not isinstance(frame, bool):
        return _decode_stream(stream, len(data))
    images = _image_list(stream)
    chosen = choose_frame(frame, len(images))
    if chosen == 0:
        return _decode_stream(stream, len(data))
    start, size = images[chosen]
    if data[start : start + 2] != START_OF_IMAGE:
        raise ReadError(
            f"expected a further JPEG stream at byte {start}: the list of images is "
            f"damaged"
        )
    image_data = data[start : start + size]
    return _decode_stream(parse_stream(image_data), len(image_data))


def _decode_stream(stream: JpegStream, stored_bytes: int) -> DecodedImage:
    """Return the image of one stream."""
    sample_count = len(stream.frame.components)
    if sample_count not in (1, 3):
        raise ReadError(
            f"expected gray or RGB, got {sample_count} samples a pixel, such as "
            f"printing inks (CMYK): their colours depend on a profile, so convert the "
            f"file first"
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

    The decoder fills missing data with gray and does not report it. If data were
    missing, it uses bits appended to them, and the image changes; if not, it ignores
    them. So the image is decoded twice.
    """
    padded_scans = [INTERVAL_END.sub(PADDING, scan) for scan in stream.scans]
    padded = stream._replace(scans=padded_scans)
    if not np.array_equal(image, _decode_pixels(padded)):
        raise ReadError(
            "the pixels end before the image does: the file is damaged or truncated"
        )


def _orientation(stream: JpegStream) -> int | None:
    """Return the orientation; the name of an XMP segment starts with "http"."""
    _, exif = stream.metadata.get(b"Exif", (0, b""))
    _, xmp = stream.metadata.get(b"http", (0, b""))
    return parse_orientation(exif, xmp)


def _image_list(stream: JpegStream) -> list[tuple[int, int]]:
    """Return (offset, size) of every image in the file; (0, 0) for the first."""
    segment_offset, segment = stream.metadata.get(b"MPF\0", (0, b""))
    if not segment:
        return [(0, 0)]
    # Offsets in MPF count from the byte after its name.
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
