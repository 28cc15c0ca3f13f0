"""NumPy's own files: .npy and uncompressed .npz are memory-mapped, never unpickled.

The header is parsed here rather than by NumPy, which evaluates it as Python and warns
about damaged text. The format is that of NEP 1.
"""

import re
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ..engine import element_type
from ..errors import ReadError
from .decoded import DecodedImage, check_size

MAGIC = b"\x93NUMPY"
VERSIONS = (b"\1\0", b"\2\0", b"\3\0")

# The headers that numpy.save writes for arrays of booleans, integers and floats. Those
# of objects and records do not match, so that nothing needs to be unpickled.
HEADER = re.compile(
    rb"\{'descr': '([<>|][biuf]\d+)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d+,? ?)*)\), \} *\n"
)
COMPLEX_HEADER = re.compile(rb"\{'descr': '[<>]c(\d+)'")

# Headers of plain arrays take 128 bytes. The limit keeps a damaged length from reading
# the whole file as a header.
MAX_HEADER_LENGTH = 65536

# A ZIP file stores, before each member, 30 bytes that end with the lengths of its name
# and of an extra field, two bytes each; name and extra field follow.
ZIP_HEADER_SIZE = 30
ZIP_LENGTHS_OFFSET = 26


@dataclass(frozen=True)
class ArrayHeader:
    """What the header of a .npy file says.

    Parameters
    ----------
    dtype : dtype
        Element type, in the byte order of the file.
    shape : tuple of int
        Shape of the array, which is not empty.
    order : {"C", "F"}
        Order of its elements.
    offset : int
        Offset of the first element.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int

    @property
    def nbytes(self) -> int:
        """Size of the elements."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Offset after the last element."""
        return self.offset + self.nbytes


def facts(path: Path) -> dict[str, Any]:
    """Describe a NumPy file from its headers; see `graypipe.io.facts`.

    Of a .npz file, dtype and shape are those of its first array.
    """
    with path.open("rb") as file:
        if _is_npy(file):
            file_format, array_count = "NPY", 1
            header = _parse_header(file)
        else:
            with zipfile.ZipFile(file) as archive:
                members = _array_members(archive)
                file_format, array_count = "NPZ", len(members)
                with archive.open(members[0]) as member_file:
                    header = _parse_header(member_file)
    # Only an array of two axes leaves no doubt which are height and width.
    height = width = bands = None
    if len(header.shape) == 2:
        height, width = header.shape
        bands = 1
    return {
        "format": file_format,
        "mode": f"{header.dtype.name} {header.shape}",
        "width": width,
        "height": height,
        "frames": array_count,
        "bands": bands,
        "dtype": header.dtype.name,
        "alpha": False,
        "orientation": 1,
    }


def decode(path: Path, frame: object) -> DecodedImage:
    """Return the array of a .npy file, or one array of a .npz file.

    Parameters
    ----------
    path : Path
        The file.
    frame : object
        The keyword of `graypipe.read`: key or index of an array in a .npz file.

    Returns
    -------
    DecodedImage
        Without layout and bands. An uncompressed array is a read-only memory map, which
        keeps the byte order of the file and changes if the file does; a compressed one
        is a new array.

    Raises
    ------
    ReadError
        If the file is damaged, holds objects, records or complex numbers, or `frame` is
        not valid.
    """
    with path.open("rb") as file:
        if _is_npy(file):
            image = _map_npy(path, file, frame)
        else:
            image = _load_from_archive(path, file, frame)
    # Any other byte in an array of booleans would be undefined behaviour in NumPy.
    if image.dtype == bool and bool((image.view(np.uint8) > 1).any()):
        raise ReadError(
            "the boolean values are neither 0 nor 1 everywhere: the file is damaged"
        )
    return DecodedImage(image, layout=None, bands=None)


def _is_npy(file: BinaryIO) -> bool:
    """Whether a file at its start is a .npy file; rewind it."""
    start = file.read(len(MAGIC))
    file.seek(0)
    return start == MAGIC


def _parse_header(file: IO[bytes]) -> ArrayHeader:
    """Return the header of the .npy file or member of an archive, read from the start.

    Raises
    ------
    ReadError
        If it is damaged, or the array is empty or not one of real numbers.
    """
    start = file.read(len(MAGIC) + 2)
    magic, version = start[: len(MAGIC)], start[len(MAGIC) :]
    if magic != MAGIC or version not in VERSIONS:
        raise ReadError("expected an array as numpy.save writes it, got something else")
    # Version 1 stores the length of the header in two bytes, later ones in four.
    length_format = "<H" if version == b"\1\0" else "<I"
    length_size = struct.calcsize(length_format)
    (length,) = struct.unpack(length_format, file.read(length_size))
    text = file.read(min(length, MAX_HEADER_LENGTH))
    match = HEADER.fullmatch(text)
    if match is None:
        complex_match = COMPLEX_HEADER.match(text)
        if complex_match is not None:
            raise ReadError(
                f"the file holds complex{8 * int(complex_match[1])}: save the real "
                f"part, or the magnitude, by itself"
            )
        raise ReadError(
            "the header is damaged, or describes objects or records instead of numbers"
        )
    descr, fortran_order, sizes = match.groups()
    header = ArrayHeader(
        dtype=element_type(descr.decode()),
        shape=tuple(int(size) for size in re.findall(rb"\d+", sizes)),
        order="F" if fortran_order == b"True" else "C",
        offset=len(start) + length_size + length,
    )
    if header.nbytes == 0:
        raise ReadError(f"the array of shape {header.shape} holds no pixels")
    return header


def _map_npy(path: Path, file: BinaryIO, frame: object) -> NDArray[Any]:
    """Return the array of a .npy file as a memory map."""
    header = _parse_header(file)
    file_size = file.seek(0, 2)
    if frame not in (None, 0):
        raise ReadError(f"a .npy file holds one array, got frame={frame!r}")
    if file_size != header.end:
        raise ReadError(
            f"the header implies a file of {header.end} bytes, got {file_size}: the "
            f"file is damaged"
        )
    return _memory_map(path, header)


def _memory_map(path: Path, header: ArrayHeader) -> NDArray[Any]:
    """Return the elements as a read-only map, which holds the file open."""
    mapped = np.memmap(
        path,
        header.dtype,
        "r",
        header.offset,
        header.shape,
        header.order,
    )
    return np.asarray(mapped)


def _load_from_archive(path: Path, file: BinaryIO, frame: object) -> NDArray[Any]:
    """Return one array of a .npz file, mapped if it is not compressed."""
    with zipfile.ZipFile(file) as archive:
        member = _choose_member(_array_members(archive), frame)
        # Opening compares the two headers that an archive stores for a member.
        with archive.open(member) as member_file:
            header = _parse_header(member_file)
            if header.end != member.file_size:
                raise ReadError(
                    f"the header of {member.filename!r} and its size disagree: the "
                    f"file is damaged"
                )
            if member.compress_type != zipfile.ZIP_STORED:
                check_size(member.file_size, member.compress_size)
                member_file.seek(header.offset)
                # A bytearray, so that the array is writable.
                elements = np.frombuffer(bytearray(member_file.read()), header.dtype)
                return elements.reshape(header.shape, order=header.order)
    file.seek(member.header_offset + ZIP_LENGTHS_OFFSET)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    start = member.header_offset + ZIP_HEADER_SIZE + name_length + extra_length
    # zipfile compares the checksum only of what is read through it.
    stored = np.memmap(path, np.uint8, "r", start, (member.file_size,))
    if zlib.crc32(stored.data) != member.CRC:
        raise ReadError(f"{member.filename!r} is damaged: the checksum differs")
    return _memory_map(path, replace(header, offset=start + header.offset))


def _array_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members of an archive that are arrays, at least one."""
    members = [
        member for member in archive.infolist() if member.filename.endswith(".npy")
    ]
    if not members:
        raise ReadError(
            "expected arrays as numpy.savez writes them, got an archive without arrays"
        )
    return members


def _choose_member(members: list[zipfile.ZipInfo], frame: object) -> zipfile.ZipInfo:
    """Return the array with a key or at an index; the only one if `frame` is None."""
    keys = [member.filename.removesuffix(".npy") for member in members]
    if frame is None and len(keys) == 1:
        return members[0]
    if isinstance(frame, str) and frame in keys:
        return members[keys.index(frame)]
    # Not isinstance, which would take frame=True for 1.
    if type(frame) is int and 0 <= frame < len(keys):
        return members[frame]
    raise ReadError(
        f"the file holds the arrays {keys}: frame= must be one of these keys, got "
        f"{frame!r}"
    )
