"""NumPy's own files: .npy mapped into memory, .npz taken from its archive. Nothing is ever unpickled.

The header is read here: NumPy evaluates it as Python, which warns over damaged text. Its form is that of NEP 1.
"""

import re
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine import element_type
from ..errors import ReadError
from .decoded import Stored, check_size

MAGIC = b"\x93NUMPY"

HEADER = re.compile(
    rb"\{'descr': '([<>|][biuf]\d+)', 'fortran_order': (True|False), 'shape': \(((?:\d+,? ?)*)\), \} *\n"
)

COMPLEX = re.compile(rb"\{'descr': '[<>]c(\d+)'")


class Array(NamedTuple):
    """Where an array lies in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: str
    start: int

    @property
    def size(self) -> int:
        """Bytes, without the header."""
        return prod(self.shape) * self.dtype.itemsize


def facts(path: Path) -> dict[str, Any]:
    """Return what the file is, from its headers. Which axes are height and width, the file does not say."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            kind, frames, held = "NPY", 1, _header(file, 0)
        else:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive)
                kind, frames = "NPZ", len(members)
                with archive.open(members[0]) as member:
                    held = _header(member, 0)
    plane = held.shape if len(held.shape) == 2 else (None, None)
    return {
        "format": kind,
        "mode": f"{held.dtype.name} {held.shape}",
        "width": plane[1],
        "height": plane[0],
        "frames": frames,
        "bands": 1 if len(held.shape) == 2 else None,
        "dtype": held.dtype.name,
        "alpha": False,
        "orientation": 1,
    }


def decode(path: Path, frame: object) -> Stored:
    """Return the array of a .npy file, or the one of a .npz that ``frame`` names, by its key or its place.

    What is not compressed is a read-only map of the file; it keeps the file's byte order, and follows the file if
    that changes. What is compressed is a fresh array.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return _unnamed(_from_archive(path, file, frame))
        held = _header(file, 0)
        size = file.seek(0, 2)
    if frame not in (None, 0):
        raise ReadError(f"a .npy file holds one array, got frame={frame!r}")
    if size != held.start + held.size:
        raise ReadError(
            f"its header promises {held.start + held.size} bytes, got {size}: the file is damaged"
        )
    return _unnamed(_map(path, held))


def _unnamed(image: NDArray[Any]) -> Stored:
    if image.dtype == bool and bool((image.view(np.uint8) > 1).any()):
        raise ReadError("its truth values are neither 0 nor 1: the file is damaged")
    return Stored(image, None, None)


def _header(file: Any, offset: int) -> Array:
    """Return where the array lies that a file holds from ``offset`` on."""
    file.seek(offset)
    start = file.read(8)
    if start[:6] != MAGIC or start[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ReadError("expected an array as numpy.save writes it, got something else")
    width, form = (2, "<H") if start[6] == 1 else (4, "<I")
    (length,) = struct.unpack(form, file.read(width))
    header = file.read(min(length, 65536))
    match = HEADER.fullmatch(header)
    if match is None:
        if parts := COMPLEX.match(header):
            raise ReadError(
                f"it holds complex{8 * int(parts[1])}: save the real part, or the magnitude, by itself"
            )
        raise ReadError(
            "its header is damaged, or describes objects or records rather than numbers"
        )
    shape = tuple(int(size) for size in re.findall(rb"\d+", match[3]))
    held = Array(
        element_type(match[1].decode()),
        shape,
        "F" if match[2] == b"True" else "C",
        offset + 8 + width + length,
    )
    if not held.size:
        raise ReadError(f"its array of shape {shape} holds no pixels")
    return held


def _map(path: Path, held: Array) -> NDArray[Any]:
    return np.asarray(
        np.memmap(path, held.dtype, "r", held.start, held.shape, held.order)
    )  # type: ignore[call-overload]


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = [
        member for member in archive.infolist() if member.filename.endswith(".npy")
    ]
    if not members:
        raise ReadError(
            "expected arrays as numpy.savez writes them, got an archive without any"
        )
    return members


def _from_archive(path: Path, file: BinaryIO, frame: object) -> NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        member = _chosen(_members(archive), frame)
        with archive.open(
            member
        ) as opened:  # which compares the two headers that an archive keeps of it
            held = _header(opened, 0)
            if held.start + held.size != member.file_size:
                raise ReadError(
                    f"the header of {member.filename!r} and its size disagree: the file is damaged"
                )
            if member.compress_type != zipfile.ZIP_STORED:
                check_size(member.file_size, member.compress_size)
                opened.seek(held.start)
                pixels = np.frombuffer(bytearray(opened.read()), held.dtype)
                return pixels.reshape(held.shape, order=held.order)  # type: ignore[call-overload, no-any-return]
        file.seek(member.header_offset + 26)
        start = member.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
    whole = np.memmap(path, np.uint8, "r", start, (member.file_size,))
    if zlib.crc32(whole.data) != member.CRC:
        raise ReadError(f"{member.filename!r} is damaged: the checksum differs")
    return _map(path, held._replace(start=start + held.start))


def _chosen(members: list[zipfile.ZipInfo], frame: object) -> zipfile.ZipInfo:
    keys = [member.filename.removesuffix(".npy") for member in members]
    if frame is None and len(keys) == 1:
        return members[0]
    if frame in keys:
        return members[keys.index(str(frame))]
    if type(frame) is int and 0 <= frame < len(keys):
        return members[frame]
    raise ReadError(
        f"it holds the arrays {keys}: frame= takes one of these keys, got {frame!r}"
    )
