"""Read .npy and .npz files, without unpickling anything.

The header is parsed here rather than by NumPy, which evaluates it as Python and warns
about damaged text. NEP 1 specifies the format.
"""

import re
import struct
import zipfile
from dataclasses import dataclass
from math import prod
from typing import IO, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ..engine import element_type
from ..errors import ReadError
from .decoded import DecodedImage, Request, check_size

MAGIC = b"\x93NUMPY"
VERSIONS = (b"\1\0", b"\2\0", b"\3\0")

# The headers that numpy.save writes for arrays of booleans, integers and floats. Object
# and structured dtypes do not match, so nothing is ever unpickled.
HEADER = re.compile(
    rb"\{'descr': '([<>|][biuf]\d+)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d+,? ?)*)\), \} *\n"
)
COMPLEX_HEADER = re.compile(rb"\{'descr': '[<>]c(\d+)'")

# Headers of plain arrays take 128 bytes. The limit prevents a corrupt length field from
# reading the whole file as a header.
MAX_HEADER_LENGTH = 65536


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
        with zipfile.ZipFile(file) as archive:
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
        The array, with unknown layout and bands, in the byte order of the file.

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
    (length,) = struct.unpack(length_format, file.read(length_size))
    text = file.read(min(length, MAX_HEADER_LENGTH))
    match = HEADER.fullmatch(text)
    if match is None:
        complex_match = COMPLEX_HEADER.match(text)
        if complex_match is not None:
            raise ReadError(
                f"the file holds complex{8 * int(complex_match[1])}: save the real "
                "part or the magnitude instead"
            )
        raise ReadError(
            "the header is damaged, or describes an object or structured dtype instead "
            "of numbers"
        )
    descr, fortran_order, sizes = match.groups()
    header = ArrayHeader(
        dtype=element_type(descr.decode()),
        shape=tuple(int(size) for size in re.findall(rb"\d+", sizes)),
        order="F" if fortran_order == b"True" else "C",
        offset=len(start) + length_size + length,
    )
    if header.nbytes == 0:
        raise ReadError(f"the array of shape {header.shape} is empty")
    return header


def _load_npy(file: BinaryIO, frame: object) -> NDArray[Any]:
    """Return the array of a .npy file."""
    header = _parse_header(file)
    file_size = file.seek(0, 2)
    if frame not in (None, 0):
        raise ReadError(f"a .npy file holds one array, got frame={frame!r}")
    if file_size != header.end:
        raise ReadError(
            f"the header implies a file of {header.end} bytes, got {file_size}: the "
            "file is damaged"
        )
    file.seek(header.offset)
    return _elements(file, header)


def _elements(file: IO[bytes], header: ArrayHeader) -> NDArray[Any]:
    """Return the elements that follow in ``file`` as a writable array."""
    content = bytearray(file.read(header.nbytes))
    elements: NDArray[Any] = np.frombuffer(content, header.dtype)
    return elements.reshape(header.shape, order=header.order)


def _load_from_archive(file: BinaryIO, frame: object) -> NDArray[Any]:
    """Return one array of a .npz file, whose checksum zipfile verifies."""
    with zipfile.ZipFile(file) as archive:
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
            array = _elements(member_file, header)
            member_file.read(1)  # zipfile compares the checksum at the end
            return array


def _array_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members of an archive that are arrays, at least one."""
    members = [
        member for member in archive.infolist() if member.filename.endswith(".npy")
    ]
    if not members:
        raise ReadError(
            "expected arrays written by numpy.savez, got an archive without arrays"
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
    raise ReadError(
        f"the file holds the arrays {keys}: frame= must be one of these keys, got "
        f"{frame!r}"
    )
