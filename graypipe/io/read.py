"""`read`, and `facts`: a file is known by its first bytes, never by its name, and every error names it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..errors import GraypipeError, MissingExtraError, ReadError
from ..source import Source
from . import alpha as opacity
from . import exif
from .declaring import declare

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "tiff"),
    **dict.fromkeys(
        (b"GIF8", b"BM", b"RIFF", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"),
        "pillow",
    ),
    **dict.fromkeys((b"\x93NUMPY", b"PK\3\4", b"PK\5\6"), "numpy_files"),
}
"""The module that reads a file, by its first bytes. It is imported when there is such a file."""


def read(
    path: str | os.PathLike[str],
    *,
    alpha: str = "error",
    orientation: str = "error",
    frame: int | str | None = None,
    **source: Any,
) -> tuple[NDArray[Any], Source]:
    """Return (image, source) of a PNG, JPEG, TIFF, GIF, BMP, WebP, PPM, .npy or .npz file, every level kept.

    The array is (H, W), (H, W, C) or (C, H, W), as the layout of the source says, in native byte order, fresh and
    writable; of .npy files, and .npz files that are not compressed, a read-only map with the axes of the file.
    Palettes become gray or RGB. ``alpha`` that is not fully opaque: "error", "drop", or laid on "white" or "black".
    ``orientation`` other than upright: "error", "apply" or "ignore". ``frame``: which of several frames or pages, from
    0 on, or a key of a .npz.

    Other keywords go into the `Source` (``bits=12``, ``bands="B"``) and must fit the file, else ChannelError,
    DTypeError, LayoutError or RangeError. ReadError for a file that is missing, damaged, of another kind or not to be
    read without loss; MissingExtraError where the extra ``io`` is needed. Every error names the file.
    """
    _check_policies(alpha, orientation)
    with _reading(path) as held:
        stored = opacity.as_band(_module(held).decode(held, frame), source.get("bands"))
        image = opacity.settle(stored, alpha)
        if stored.layout is not None:
            image = exif.settle(image, stored.layout, stored.orientation, orientation)
    try:
        return image, declare(stored, image, source)
    except GraypipeError as error:
        raise type(error)(f"{path}: {error}") from None


def facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a file is, from its headers: never an error over alpha, orientation, frames or mode.

    Keys: format, mode (as Pillow has it; dtype and count elsewhere), width and height (None where an array does not
    say which axes they are), frames, bands (what `read` would give, None likewise), dtype, alpha (whether anything may
    be transparent), orientation (1 where nothing is said, None where what says it is damaged). ReadError for a file
    that is missing, damaged or no image.
    """
    with _reading(path) as held:
        return _module(held).facts(held)  # type: ignore[no-any-return]


def _check_policies(alpha: str, orientation: str) -> None:
    for name, policy, known in (
        ("alpha", alpha, opacity.POLICIES),
        ("orientation", orientation, exif.POLICIES),
    ):
        if policy not in known:
            raise ReadError(f"{name} is one of {known}, got {policy!r}")


def _module(path: "Path") -> ModuleType:
    with path.open("rb") as file:
        start = file.read(8)
    for magic, name in FORMATS.items():
        if start.startswith(magic):
            return import_module(f".{name}", __package__)
    raise ReadError(
        "expected a PNG, JPEG, TIFF, GIF, BMP, WebP, PPM, .npy or .npz file, got "
        + (f"something else, which begins with {start!r}" if start else "an empty file")
    )


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator["Path"]:
    """Let every error name the file: decoders raise many types over damaged files, all of which become ReadError."""
    from pathlib import Path  # milliseconds that `import graypipe` need not pay

    if not isinstance(path, str | os.PathLike):
        raise ReadError(
            f"expected the path of a file, got a {type(path).__name__}: write it to a file first"
        )
    try:
        yield Path(path)
    except MissingExtraError as error:
        raise MissingExtraError(f"{path}: {error}") from None
    except ImportError:  # of a package that is there and broken
        raise
    except GraypipeError as error:
        raise ReadError(f"{path}: {error}") from None
    except IsADirectoryError as error:
        raise ReadError(
            f"{path}: is a directory: pass its files one by one, or say what they are with graypipe inspect"
        ) from error
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}") from error
    except Exception as error:
        raise ReadError(
            f"{path}: cannot be read ({type(error).__name__}: {error})"
        ) from error
