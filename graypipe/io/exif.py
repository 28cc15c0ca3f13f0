"""Read the orientation of an image from EXIF and XMP metadata.

It is parsed here rather than by Pillow, which only warns about a damaged EXIF block.
"""

import re
import struct

# The tag in EXIF 2.32, table 4, and in TIFF 6.0, section 8.
ORIENTATION = 0x0112

# XMP writes the orientation as an attribute or as an element.
XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*(\d+)")

# First four bytes of a TIFF structure -> byte order for `struct`.
BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}

# TIFF field type -> format for `struct`: BYTE, SHORT, LONG and UNDEFINED. UNDEFINED is
# read as a 4-byte offset, because MPF refers in this way to its list of images.
FIELD_FORMATS = {1: "B", 3: "H", 4: "I", 7: "I"}

# A directory entry: tag, type, count and value, 2 + 2 + 4 + 4 bytes.
ENTRY_SIZE = 12


def parse_orientation(exif: bytes | None, xmp: bytes | None = None) -> int | None:
    """Return the orientation from EXIF, or from XMP if EXIF has none.

    Parameters
    ----------
    exif : bytes or None
        An EXIF block, with or without its "Exif" prefix.
    xmp : bytes or None
        An XMP packet, used if the EXIF block has no orientation.

    Returns
    -------
    int or None
        1 to 8; 1 if neither has an orientation; None if the EXIF block is damaged or
        the value is invalid.
    """
    value = None
    if exif:
        try:
            value = tag_value(exif.removeprefix(b"Exif\0\0"), ORIENTATION)
        except (LookupError, struct.error):
            return None
    if value is None and xmp:
        match = XMP_ORIENTATION.search(xmp)
        if match is not None:
            value = int(match[1])
    if value is None:
        return 1
    return validate_orientation(value)


def validate_orientation(value: int) -> int | None:
    """Return an orientation from 1 to 8, or None if it is invalid.

    Some writers use 0 for unknown; it is treated as 1 (upright).
    """
    if value == 0:
        return 1
    if 1 <= value <= 8:
        return value
    return None


def tag_value(block: bytes, tag: int) -> int | None:
    """Return the first value of a tag in the first directory of a TIFF structure.

    Parameters
    ----------
    block : bytes
        A TIFF structure, as EXIF and MPF contain it.
    tag : int
        Number of the tag.

    Returns
    -------
    int or None
        None if the directory has no such tag.

    Raises
    ------
    LookupError, struct.error
        If the structure is damaged.
    """
    order = BYTE_ORDERS[block[:4]]
    (directory,) = struct.unpack_from(order + "I", block, 4)
    (entry_count,) = struct.unpack_from(order + "H", block, directory)
    for number in range(entry_count):
        entry = directory + 2 + number * ENTRY_SIZE
        entry_tag, field_type = struct.unpack_from(order + "HH", block, entry)
        if entry_tag == tag:
            value_format = order + FIELD_FORMATS[field_type]
            (value,) = struct.unpack_from(value_format, block, entry + 8)
            return int(value)
    return None
