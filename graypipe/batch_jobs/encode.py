"""What arrays become as files: PNG, TIFF and NumPy's own, every value kept, the same bytes every time.

A picture file states its own layout, (H, W) or (H, W, C); a .npy file holds that of the target.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from ..errors import ChannelError, DTypeError, LayoutError
from ..extras import needs
from ..plan import Plan
from ..target import Target

RGB = ("R", "G", "B")
SUFFIXES = {"png": ".png", "tiff": ".tif", "npy": ".npy"}

GDAL_METADATA = 42112
"""The TIFF tag in which GDAL, and `gp.read`, find the names of bands."""


def fitting(target: Target, to: str) -> Target:
    """Return ``target`` with the layout that files of the kind ``to`` have."""
    if to == "npy":
        return target
    return replace(target, layout="HW" if len(target.bands) == 1 else "HWC")


def check(plan: Plan, to: str) -> None:
    """Raise an error where files of the kind ``to`` cannot hold what ``plan`` gives, or not without another meaning."""
    if to == "npy":
        return
    bands, dtype = plan.target.bands, plan.target.dtype
    others = plan.source.layout.strip("HWC")
    if others:
        raise LayoutError(
            f"a {to} file holds one image, the source has {others!r} as well: write npy"
        )
    if to == "tiff" and dtype in ("bool", "float16"):
        raise DTypeError(
            f"{dtype} is not for TIFF files: write npy, or choose a target of another dtype"
        )
    if to == "png" and dtype not in ("uint8", "uint16"):
        raise DTypeError(
            f"PNG files hold uint8 or uint16, the target is {dtype}: write npy or tiff"
        )
    if to == "png" and len(bands) > 1 and bands != RGB:
        raise ChannelError(
            f"PNG files hold one band or RGB, the target has {''.join(bands)}: write npy or tiff"
        )
    if (
        to == "tiff" and not "".join(bands).isprintable()
    ):  # of the rest, XML cannot hold most
        raise ChannelError(
            f"TIFF files hold names of printable characters, the target has {bands!r}: write npy"
        )


def encode(
    array: NDArray[Any], bands: Sequence[str], to: str
) -> list[bytes | memoryview]:
    """Return the bytes of a file of the kind ``to``, in parts; ``array`` is C-contiguous, as a plan gives it."""
    if to == "npy":
        return _npy(array)
    return _tiff(array, bands) if to == "tiff" else _png(array)


def _npy(array: NDArray[Any]) -> list[bytes | memoryview]:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, np.lib.format.header_data_from_array_1_0(array)
    )
    return [header.getvalue(), array.data.cast("B")]


def _tiff(array: NDArray[Any], bands: Sequence[str]) -> list[bytes | memoryview]:
    with needs("io", "tifffile"):
        import tifffile
    colours = tuple(bands) == RGB
    made = io.BytesIO()
    tifffile.imwrite(
        made,
        array,
        photometric="rgb" if colours else "minisblack",
        planarconfig="contig" if array.ndim == 3 else None,
        metadata=None,
        extratags=[] if colours else [(GDAL_METADATA, "s", None, _names(bands), True)],
    )
    return [made.getbuffer()]


def _names(bands: Sequence[str]) -> bytes:
    """Return the XML of the tag, in the 7 bits that texts of TIFF have (TIFF 6.0, section 2)."""
    items = "".join(
        f'<Item name="DESCRIPTION" sample="{at}" role="description">{escape(band)}</Item>'
        for at, band in enumerate(bands)
    )
    return f"<GDALMetadata>{items}</GDALMetadata>".encode("ascii", "xmlcharrefreplace")


def _png(array: NDArray[Any]) -> list[bytes | memoryview]:
    if array.dtype == np.uint16 and array.ndim == 3:  # which Pillow would cut to 8 bits
        with needs("io", "imagecodecs"):
            import imagecodecs
        return [bytes(imagecodecs.png_encode(array))]
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(array).save(made, "PNG")
    return [made.getbuffer()]
