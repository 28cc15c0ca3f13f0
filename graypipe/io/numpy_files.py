"""Read .npy and .npz files, without unpickling anything.

NumPy parses the headers, whose format NEP 1 specifies. The elements are read here:
`numpy.load` allocates what a damaged header claims, and ignores what follows the array.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from math import prod
from typing import IO, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ..engine import supported_dtype
from ..errors import DTypeError, ReadError
from .decoded import ALL_FRAMES, DecodedImage, Request, check_size

MAGIC = b"\x93NUMPY"
VERSIONS = (b"\1\0", b"\2\0", b"\3\0")

# NumPy accepts headers of up to 10,000 bytes. Those of plain arrays take about 128.
MAX_HEADER_LENGTH = 10_000

# The text of a header that describes numbers: a dict of strings, booleans and integers.
# Other text is refused, because NumPy evaluates it with Python's parser, which warns
# about backslashes and about numbers directly followed by letters. Suppressing warnings
# is not thread-safe.
HEADER_TEXT = re.compile(rb"(?:[\w\s{}():,'\"<>|=?](?<!\d[A-Za-z_]))*", re.ASCII)

# Maximum length of the keys of an archive in a message.
MAX_LISTED_KEYS = 300

# Python 2 wrote long integers as "2L", which NumPy reads too, but with a warning.
PYTHON_2_LONG = re.compile(rb"(?<=\d)\s*L\b")


@dataclass(frozen=True)
class ArrayHeader:
    """The header of a .npy file.

    Parameters
    ----------
    dtype : dtype
        Element type, in the byte order of the file.
    shape : tuple of int
        Shape of the array; no dimension is 0.
    order : {"C", "F"}
        Order of the elements in the file.
    offset : int
        Offset of the first element in bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int

    @property
    def nbytes(self) -> int:
        """Size of all elements in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Offset after the last element."""
        return self.offset + self.nbytes


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a NumPy file from its headers; see `graypipe.io.facts`.

    For a .npz file, dtype and shape of the first array are returned.
    """
    if _is_npy(file):
        file_format, array_count = "NPY", 1
        header = _parse_header(file)
    else:
        with _open_archive(file) as archive:
            members = _array_members(archive)
            file_format, array_count = "NPZ", len(members)
            with archive.open(members[0]) as member_file:
                header = _parse_header(member_file)
    # Height and width are unambiguous only for arrays with two axes.
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
        "shape": header.shape,
        "alpha": False,
        "orientation": 1,
    }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Return the array of a .npy file, or one array of a .npz file.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        Its frame is the key or index of an array in a .npz file.

    Returns
    -------
    DecodedImage
        The array, with unknown layout and bands.

    Raises
    ------
    ReadError
        If the file is damaged, the dtype is object, structured or complex, or the frame
        is not valid.
    """
    if _is_npy(file):
        image = _load_npy(file, request.frame)
    else:
        image = _load_from_archive(file, request.frame)
    # Bytes other than 0 and 1 in a boolean array are undefined behaviour in NumPy.
    if image.dtype == bool and bool((image.view(np.uint8) > 1).any()):
        raise ReadError(
            "a boolean array contains bytes other than 0 and 1: the file is damaged"
        )
    return DecodedImage(image, layout=None, bands=None)


def _is_npy(file: BinaryIO) -> bool:
    """Return whether ``file`` is a .npy file; the position is reset to 0."""
    start = file.read(len(MAGIC))
    file.seek(0)
    return start == MAGIC


def _parse_header(file: IO[bytes]) -> ArrayHeader:
    """Parse the header of a .npy file, or of a member of an archive, from its start.

    Raises
    ------
    ReadError
        If the header is damaged, or the array is empty or does not contain real
        numbers.
    """
    start = file.read(len(MAGIC) + 2)
    magic, version = start[: len(MAGIC)], start[len(MAGIC) :]
    if magic != MAGIC or version not in VERSIONS:
        raise ReadError(
            "expected an array written by numpy.save, got an invalid .npy header"
        )
    # Version 1 stores the length of the header in two bytes, later ones in four.
    length_format = "<H" if version == b"\1\0" else "<I"
    length_size = struct.calcsize(length_format)
    length_bytes = file.read(length_size).ljust(length_size, b"\0")
    (length,) = struct.unpack(length_format, length_bytes)
    text = file.read(min(length, MAX_HEADER_LENGTH))
    shape, is_fortran, dtype = _parse_header_text(text)
    header = ArrayHeader(
        dtype=_number_type(dtype),
        shape=shape,
        order="F" if is_fortran else "C",
        offset=len(start) + length_size + length,
    )
    if header.nbytes == 0:
        raise ReadError(f"the array of shape {header.shape} is empty")
    return header


# Python's parser takes 0.1 ms, as long as reading 512 x 512 pixels does. The files of a
# data set have few different headers.
@lru_cache(maxsize=64)
def _parse_header_text(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, Fortran order and dtype that the text of a header describes."""
    damaged = ReadError(
        "the header is damaged, or describes an object or structured dtype instead of "
        "numbers"
    )
    text = PYTHON_2_LONG.sub(b" ", text)
    if HEADER_TEXT.fullmatch(text) is None:
        raise damaged
    # Version 2 differs from version 1 in the size of the length field, and from version
    # 3 in the encoding of field names, which no array of numbers has.
    header = BytesIO(struct.pack("<I", len(text)) + text)
    try:
        return np.lib.format.read_array_header_2_0(header)
    except Exception:  # Python's parser raises errors of many types
        raise damaged from None


def _number_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return ``dtype``, or raise ReadError if its elements are not real numbers."""
    if dtype.kind == "c":
        raise ReadError(
            f"the file holds {dtype.name}: save the real part or the magnitude instead"
        )
    try:
        return supported_dtype(dtype)
    except DTypeError:
        raise ReadError(
            f"the file holds elements of dtype {str(dtype)[:40]}: save an array of "
            "booleans, integers of 8-64 bits or floats of 16-64 bits instead"
        ) from None


def _load_npy(file: BinaryIO, frame: object) -> NDArray[Any]:
    """Return the array of a .npy file."""
    header = _parse_header(file)
    if frame not in (None, 0):
        raise ReadError(
            f"a .npy file holds one array, got frame={frame!r}: omit frame=, and name "
            "its axes with layout=, such as layout='NHW'"
        )
    file_size = file.seek(0, 2)
    if file_size != header.end:
        raise ReadError(
            f"the header implies a file of {header.end} bytes, got {file_size}: the "
            "file is damaged"
        )
    file.seek(header.offset)
    return _read_elements(file, header)


def _read_elements(file: IO[bytes], header: ArrayHeader) -> NDArray[Any]:
    """Return the elements that follow in ``file``: a new array in native byte order."""
    elements = np.empty(prod(header.shape), header.dtype)
    buffer = elements.view(np.uint8).data
    filled = 0
    while filled < len(buffer):
        # A raw file may return less than requested, and any file may shrink meanwhile.
        received = _read_into(file, buffer[filled:])
        if not received:
            raise ReadError(
                f"the header implies {len(buffer)} bytes of elements, got {filled}: "
                "the file is damaged, or was truncated while it was read"
            )
        filled += received
    if not header.dtype.isnative:
        elements = elements.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    return elements.reshape(header.shape, order=header.order)


def _read_into(file: IO[bytes], buffer: memoryview) -> int:
    """Read into ``buffer``, and return the number of bytes that were read."""
    if hasattr(file, "readinto"):
        return int(file.readinto(buffer))
    # A file object of a caller may have no more than read and seek.
    content = file.read(len(buffer))
    buffer[: len(content)] = content
    return len(content)


def _load_from_archive(file: BinaryIO, frame: object) -> NDArray[Any]:
    """Return one array of a .npz file, whose checksum zipfile verifies."""
    with _open_archive(file) as archive:
        member = _choose_member(_array_members(archive), frame)
        # Opening a member verifies its local header against the central directory.
        with archive.open(member) as member_file:
            header = _parse_header(member_file)
            if header.end != member.file_size:
                raise ReadError(
                    f"the header of {member.filename!r} does not match its size: the "
                    "file is damaged"
                )
            check_size(member.file_size, member.compress_size)
            member_file.seek(header.offset)
            array = _read_elements(member_file, header)
            member_file.read(1)  # zipfile compares the checksum at the end
            return array


@contextmanager
def _open_archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP archive, and turn all errors of its content into a ReadError."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except OSError:  # of the file itself, or a ReadError
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise ReadError(
            "the archive is truncated or damaged: a checksum, a size or an offset does "
            "not match"
        ) from None
    except Exception as error:
        raise ReadError(
            "the archive is damaged, encrypted or compressed by a method that Python "
            "does not support: unpack it, or write it again with numpy.savez"
        ) from error


def _array_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members of an archive that are arrays, at least one."""
    members = [
        member for member in archive.infolist() if member.filename.endswith(".npy")
    ]
    if not members:
        raise ReadError(
            "expected arrays written by numpy.savez, got a ZIP archive without arrays: "
            "to read an image in it, pass its URL, 'zip://MEMBER::PATH'"
        )
    return members


def _choose_member(members: list[zipfile.ZipInfo], frame: object) -> zipfile.ZipInfo:
    """Return the array with a key or at an index; the only one if ``frame`` is None."""
    keys = [member.filename.removesuffix(".npy") for member in members]
    if frame is None and len(keys) == 1:
        return members[0]
    if isinstance(frame, str) and frame in keys:
        return members[keys.index(frame)]
    # Not isinstance, which would treat frame=True as 1.
    if type(frame) is int and 0 <= frame < len(keys):
        return members[frame]
    got = f"got {frame!r}"
    if frame == ALL_FRAMES:
        # Named arrays are an image and its mask rather than frames, even if their
        # shapes agree.
        got = "and frame='all' stacks frames only"
    raise ReadError(
        f"the file holds the arrays {_list_keys(keys)}: frame= must be one of these "
        f"keys, {got}"
    )


def _list_keys(keys: list[str]) -> str:
    """Return the keys for a message, shortened if there are many."""
    listed = str(keys)
    if len(listed) > MAX_LISTED_KEYS:
        return f"{listed[:MAX_LISTED_KEYS]}..."
    return listed
