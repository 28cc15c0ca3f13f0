"""Decode JPEG 2000 files, JP2 or bare codestreams, with imagecodecs (OpenJPEG).

OpenJPEG is given the codestream alone, so it neither converts colours nor applies
palettes and profiles. The boxes of a JP2 file, which describe them, are parsed here.
Sections are those of ISO/IEC 15444-1 (ITU-T T.800).
"""

import struct
from dataclasses import replace
from math import ceil
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import ReadError
from ..extras import require_extra
from .decoded import (
    DecodedImage,
    Request,
    bits_keyword,
    check_size,
    decode_frames,
)
from .exif import parse_orientation
from .isobmff import iterate_boxes

# Markers of a codestream, table A.2.
START_AND_SIZE = b"\xff\x4f\xff\x51"
CODING_STYLE = b"\xff\x52"
START_OF_TILE_PART = b"\xff\x90"
START_OF_DATA = b"\xff\x93"
END_OF_CODESTREAM = b"\xff\xd9"

# Fields of the SIZ marker, A.5.1, after its length and capabilities: the size of the
# reference grid, the offset of the image in it, the same of the tiles, and the number
# of components.
SIZE_FIELDS = struct.Struct(">8IH")
SIZE_OFFSET = 8

# A component takes 3 bytes of the SIZ marker; a message lists at most 4 components.
MAX_LISTED_BYTES = 12

# Fields of the SOT marker, A.4.2: marker, length, tile, length of the tile-part, its
# number, and the number of tile-parts of the tile.
TILE_PART_FIELDS = struct.Struct(">HHHIBB")

# Enumerated colour spaces, table I.10.
COLOUR_SPACES = {
    0: "",  # OpenJPEG, and hence GDAL, writes 0 if the colour space is not specified.
    12: "CMYK",
    14: "CIELab",
    16: "RGB",
    17: "gray",
    18: "sYCC",
}

# Colour spaces that are supported, and their numbers of bands.
BAND_COUNTS = {"gray": 1, "RGB": 3}

# Types of channels, table I.16.
COLOUR, OPACITY, PREMULTIPLIED_OPACITY = 0, 1, 2

# The colour of a channel is its number, from 1, or one of these, table I.17.
WHOLE_IMAGE = 0
UNASSOCIATED = 65535

# Identifiers of the uuid boxes that hold EXIF and XMP.
EXIF_UUID = b"JpgTiffExif->JP2"
XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")


class CodestreamHeader(NamedTuple):
    """The fields of the main header of a codestream that hold for all components."""

    width: int
    height: int
    component_count: int
    bits: int
    signed: bool
    tile_count: int
    has_colour_transform: bool
    tiles_offset: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the decoded image; bool for 1 bit."""
        if self.bits == 1 and not self.signed:
            return np.dtype(bool)
        kind = "i" if self.signed else "u"
        for size in (1, 2, 4):
            if self.bits <= 8 * size:
                return np.dtype(f"{kind}{size}")
        raise ReadError(f"expected at most 32 bits per sample, got {self.bits}")


class Channels(NamedTuple):
    """The meaning of the components: bands, and the indices of colours and alpha."""

    bands: str | None
    colours: list[int]
    alpha: int | None = None
    premultiplied: bool = False


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a JPEG 2000 file from its headers; see `graypipe.io.facts`."""
    boxes, codestream = _parse_boxes(file.read())
    header = _parse_codestream_header(codestream)
    channels = _parse_channels(boxes, header)
    return {
        "format": "JPEG 2000",
        "mode": f"{header.dtype} x {header.component_count}",
        "width": header.width,
        "height": header.height,
        "frames": 1,
        "bands": len(channels.colours),
        "dtype": header.dtype.name,
        "alpha": channels.alpha is not None,
        "orientation": _orientation(boxes),
    }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode a JPEG 2000 file.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        What to read.

    Returns
    -------
    DecodedImage
        With the number of bits in its source keywords if it is not that of the dtype.

    Raises
    ------
    ReadError
        If the file is truncated or too large, or if its components differ in size or
        kind or have a meaning that is not supported.
    MissingExtraError
        If imagecodecs is not installed.
    """
    data = file.read()
    boxes, codestream = _parse_boxes(data)
    header = _parse_codestream_header(codestream)
    channels = _parse_channels(boxes, header)
    sample_count = header.width * header.height * header.component_count
    check_size(sample_count * header.dtype.itemsize, len(data))
    _check_tile_parts(codestream, header)
    decoded = decode_frames(
        request.frame, 1, lambda _: _decode_samples(codestream, header, channels)
    )
    return replace(decoded, orientation=_orientation(boxes))


def _decode_samples(
    codestream: bytes, header: CodestreamHeader, channels: Channels
) -> DecodedImage:
    """Return the image with its alpha."""
    with require_extra("io", "imagecodecs"):
        import imagecodecs
    try:
        samples = imagecodecs.jpeg2k_decode(codestream)
    except imagecodecs.Jpeg2kError:
        raise ReadError(
            "OpenJPEG cannot decode the codestream: the file is damaged"
        ) from None
    samples = samples.reshape(header.height, header.width, header.component_count)
    samples = samples.astype(header.dtype, copy=False)
    image, layout = samples, "HWC"
    if channels.colours != list(range(header.component_count)):
        image = samples[..., channels.colours]
    if len(channels.colours) == 1:
        image, layout = image[..., 0], "HW"
    alpha = None
    if channels.alpha is not None:
        alpha = np.ascontiguousarray(samples[..., channels.alpha])
    return DecodedImage(
        np.ascontiguousarray(image),
        layout,
        channels.bands,
        alpha,
        channels.premultiplied,
        alpha_sample=channels.alpha,
        source_keywords=bits_keyword(header.bits, header.dtype),
    )


def _parse_boxes(data: bytes) -> tuple[dict[bytes, list[bytes]], bytes]:
    """Return the boxes of a file, by type, and its codestream.

    Boxes within the header box are included. A bare codestream has no boxes.
    """
    boxes: dict[bytes, list[bytes]] = {}
    if data.startswith(START_AND_SIZE):
        return boxes, data
    for box_type, content in iterate_boxes(data):
        boxes.setdefault(box_type, []).append(content)
    for content in boxes.get(b"jp2h", []):
        for box_type, inner in iterate_boxes(content):
            boxes.setdefault(box_type, []).append(inner)
    if len(boxes.get(b"jp2c", [])) != 1 or len(boxes.get(b"ihdr", [])) != 1:
        raise ReadError(
            "expected a JP2 file with one header and one codestream, got "
            f"{len(boxes.get(b'jp2c', []))} codestreams: it is damaged, or a format "
            "with several images, such as JPX"
        )
    return boxes, boxes[b"jp2c"][0]


def _parse_codestream_header(codestream: bytes) -> CodestreamHeader:
    """Return the fields of the SIZ and COD markers, or raise ReadError."""
    component_offset = SIZE_OFFSET + SIZE_FIELDS.size
    if not codestream.startswith(START_AND_SIZE) or len(codestream) < component_offset:
        raise ReadError("the SIZ marker (image size) is missing: the file is damaged")
    fields = SIZE_FIELDS.unpack_from(codestream, SIZE_OFFSET)
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, count = (
        fields
    )
    components = codestream[component_offset : component_offset + 3 * count]
    if (
        len(components) != 3 * count
        or count == 0
        or left >= right
        or top >= bottom
        or 0 in (tile_width, tile_height)
        or tile_left > left
        or tile_top > top
    ):
        raise ReadError("the SIZ marker (image size) is invalid: the file is damaged")
    if components != components[:3] * count or components[1:3] != b"\1\1":
        raise ReadError(
            "expected components of one size and depth, got depths and subsampling of "
            f"{list(struct.iter_unpack('BBB', components[:MAX_LISTED_BYTES]))}: "
            "convert the file to full resolution and one depth first"
        )
    tile_columns = ceil((right - tile_left) / tile_width)
    tile_rows = ceil((bottom - tile_top) / tile_height)
    coding_style, tiles_offset = _parse_main_header(codestream)
    return CodestreamHeader(
        width=right - left,
        height=bottom - top,
        component_count=count,
        # The sign is the highest bit, table A.11.
        bits=(components[0] & 0x7F) + 1,
        signed=components[0] >> 7 == 1,
        tile_count=tile_columns * tile_rows,
        # The length, style, progression and layers precede it, table A.12.
        has_colour_transform=coding_style[6:7] == b"\1",
        tiles_offset=tiles_offset,
    )


def _parse_main_header(codestream: bytes) -> tuple[bytes, int]:
    """Return the content of the COD marker, and the offset of the first tile-part."""
    coding_style = b""
    # START_AND_SIZE ends with the marker of the first segment.
    offset = len(START_AND_SIZE) - 2
    while offset + 4 <= len(codestream):
        marker = codestream[offset : offset + 2]
        if marker == START_OF_TILE_PART:
            return coding_style, offset
        # The length, which follows the marker, includes itself.
        (length,) = struct.unpack_from(">H", codestream, offset + 2)
        if marker == CODING_STYLE:
            coding_style = codestream[offset + 2 : offset + 2 + length]
        offset += 2 + length
    raise ReadError("the codestream has no tiles: the file is truncated or damaged")


def _check_tile_parts(codestream: bytes, header: CodestreamHeader) -> None:
    """Raise ReadError if tile-parts, or the end of the codestream, are missing.

    OpenJPEG leaves the pixels of missing tiles at zero.
    """
    tile_parts, declared_parts = _count_tile_parts(codestream, header.tiles_offset)
    if len(tile_parts) != header.tile_count or max(tile_parts) != header.tile_count - 1:
        raise ReadError(
            f"expected {header.tile_count} tiles, got {len(tile_parts)}: the file is "
            "damaged"
        )
    for tile, count in tile_parts.items():
        declared_count = declared_parts.get(tile, count)
        if declared_count != count:
            raise ReadError(
                f"expected {declared_count} parts of tile {tile}, got {count}: the "
                "file is damaged"
            )


def _count_tile_parts(
    codestream: bytes, offset: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Return the numbers of tile-parts by tile, as counted and as declared.

    ``offset`` is that of the first tile-part. Raise ReadError if the tile-parts are out
    of order, or if the codestream does not end after the last one.
    """
    tile_parts: dict[int, int] = {}
    declared_parts: dict[int, int] = {}
    while codestream[offset : offset + 2] == START_OF_TILE_PART:
        if offset + TILE_PART_FIELDS.size > len(codestream):
            break
        _, _, tile, length, part, part_count = TILE_PART_FIELDS.unpack_from(
            codestream, offset
        )
        if part != tile_parts.get(tile, 0):
            raise ReadError(
                f"part {part} of tile {tile} is out of order: the file is damaged"
            )
        tile_parts[tile] = part + 1
        # 0 means that another tile-part declares the number.
        if part_count > 0:
            declared_parts[tile] = part_count
        if length == 0:
            # The last tile-part may extend to the end.
            offset = len(codestream) - len(END_OF_CODESTREAM)
        elif length < TILE_PART_FIELDS.size + len(START_OF_DATA):
            break
        else:
            offset += length
    if codestream[offset : offset + 2] != END_OF_CODESTREAM:
        raise ReadError(
            "the codestream does not end after its last tile: the file is truncated or "
            "damaged"
        )
    return tile_parts, declared_parts


def _parse_channels(
    boxes: dict[bytes, list[bytes]], header: CodestreamHeader
) -> Channels:
    """Return the meaning of the components, from the boxes of a JP2 file."""
    count = header.component_count
    if not boxes:
        bands = "gray" if count == 1 else None
        if count == 3 and header.has_colour_transform:
            bands = "RGB"
        return Channels(bands, list(range(count)))
    _check_image_header(boxes[b"ihdr"][0], header)
    if b"pclr" in boxes:
        raise ReadError(
            "JPEG 2000 palettes are not supported: convert the file to RGB first"
        )
    colours, alpha, premultiplied = _parse_definitions(boxes.get(b"cdef"), count)
    bands = _parse_colour_space(boxes.get(b"colr"), len(colours))
    return Channels(bands, colours, alpha, premultiplied)


def _check_image_header(content: bytes, header: CodestreamHeader) -> None:
    """Raise ReadError if the ihdr box contradicts the codestream, section I.5.3.1."""
    size = struct.pack(">IIH", header.height, header.width, header.component_count)
    depth = header.bits - 1 + (header.signed << 7)
    # 255: another box has the depths, which differ.
    if content[:10] != size or content[10:11] not in (bytes([depth]), b"\xff"):
        raise ReadError("the ihdr box contradicts the codestream: the file is damaged")


def _parse_definitions(
    contents: list[bytes] | None, count: int
) -> tuple[list[int], int | None, bool]:
    """Return the colour channels in order, the alpha channel, and if it premultiplies.

    The cdef box defines them, section I.5.3.6. Without it, all channels are colours.
    """
    if contents is None:
        return list(range(count)), None, False
    entries = list(struct.iter_unpack(">HHH", contents[0][2:]))
    colours: dict[int, int] = {}
    alpha = None
    premultiplied = False
    for channel, kind, association in entries:
        if kind in (OPACITY, PREMULTIPLIED_OPACITY) and association == WHOLE_IMAGE:
            if alpha is not None:
                raise ReadError(
                    "expected one alpha channel, got several: convert the file first"
                )
            alpha = channel
            premultiplied = kind == PREMULTIPLIED_OPACITY
        elif kind == COLOUR and association not in (WHOLE_IMAGE, UNASSOCIATED):
            colours[association] = channel
        elif kind in (OPACITY, PREMULTIPLIED_OPACITY):
            raise ReadError(
                "alpha of a single colour is not supported: convert the file first"
            )
        else:
            # A band that is not a colour keeps its position.
            colours[channel + 1] = channel
    order = [colours[association] for association in sorted(colours)]
    described = order if alpha is None else [*order, alpha]
    if sorted(described) != list(range(count)):
        raise ReadError("the cdef box does not describe each channel: it is damaged")
    return order, alpha, premultiplied


def _parse_colour_space(contents: list[bytes] | None, count: int) -> str | None:
    """Return the bands of ``count`` colour channels, from the colr box, I.5.3.3."""
    name = ""
    if contents:
        # Readers may use the first of several colour spaces: all describe one image.
        method = contents[0][0]
        space = contents[0][3:]
        if method == 1:
            number = int.from_bytes(space[:4])
            name = COLOUR_SPACES.get(number, f"colour space {number}")
        else:
            # The colour space of an ICC profile, ICC.1:2022, section 7.2.6.
            name = space[16:20].decode("latin-1").strip().replace("GRAY", "gray")
    if name == "":
        return "gray" if count == 1 else None
    if name not in BAND_COUNTS:
        raise ReadError(
            f"expected gray or RGB, got {name[:20]}: convert the file with its colour "
            "profile first"
        )
    # Some writers declare gray or RGB for scenes of more bands.
    return name if count == BAND_COUNTS[name] else None


def _orientation(boxes: dict[bytes, list[bytes]]) -> int | None:
    """Return the orientation recorded in EXIF or XMP."""
    metadata = {content[:16]: content[16:] for content in boxes.get(b"uuid", [])}
    return parse_orientation(metadata.get(EXIF_UUID), metadata.get(XMP_UUID))
