"""Encode arrays as PNG, TIFF and .npy files without loss.

The same array always gives the same bytes. PNG and TIFF files have the layout (H, W) or
(H, W, C); a .npy file has the layout of the target.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from ..errors import ChannelError, DTypeError, LayoutError
from ..extras import require_extra
from ..plan import Plan
from ..target import Target

RGB = ("R", "G", "B")

# The file formats and the suffixes of their files.
SUFFIXES = {"png": ".png", "tiff": ".tif", "npy": ".npy"}

# The TIFF tag in which GDAL stores band names, and from which `gp.read` reads them.
GDAL_METADATA_TAG = 42112


def with_file_layout(target: Target, file_format: str) -> Target:
    """Return ``target`` with the layout that files of ``file_format`` have."""
    if file_format == "npy":
        return target
    if len(target.bands) == 1:
        return replace(target, layout="HW")
    return replace(target, layout="HWC")


def check_encodable(plan: Plan, file_format: str) -> None:
    """Check that files of ``file_format`` can store the output of ``plan``.

    Raises
    ------
    LayoutError
        If the output has more axes than an image file.
    DTypeError
        If the format has no such dtype.
    ChannelError
        If the format cannot store the bands or their names.
    """
    # .npy files store any array.
    if file_format == "npy":
        return
    extra_axes = plan.source.layout.strip("HWC")
    if extra_axes:
        raise LayoutError(
            f"a {file_format} file stores one image, but the source also has the axes "
            f"{extra_axes!r}: use --to npy"
        )
    if file_format == "tiff":
        _check_tiff(plan.target)
    else:
        _check_png(plan.target)


def _check_tiff(target: Target) -> None:
    """Raise an error if a TIFF file cannot store arrays of ``target``."""
    if target.dtype in ("bool", "float16"):
        raise DTypeError(
            f"TIFF output does not support {target.dtype}: use --to npy, or a target "
            f"of another dtype"
        )
    # XML has no notation for most of the characters that are not printable.
    if not "".join(target.bands).isprintable():
        raise ChannelError(
            f"band names in TIFF files consist of printable characters, the target has "
            f"{target.bands!r}: use --to npy"
        )


def _check_png(target: Target) -> None:
    """Raise an error if a PNG file cannot store arrays of ``target``."""
    if target.dtype not in ("uint8", "uint16"):
        raise DTypeError(
            f"PNG files store uint8 or uint16, the target is {target.dtype}: "
            f"use --to npy or --to tiff"
        )
    if len(target.bands) > 1 and target.bands != RGB:
        raise ChannelError(
            f"PNG files store one band or RGB, the target has "
            f"{', '.join(target.bands)}: use --to npy or --to tiff"
        )


def encode(
    array: NDArray[Any], bands: Sequence[str], file_format: str
) -> list[bytes | memoryview]:
    """Encode an array as the content of a file.

    Parameters
    ----------
    array : numpy.ndarray
        A C-contiguous array, as a plan returns it: (H, W) or (H, W, C) for "png" and
        "tiff", any shape for "npy".
    bands : sequence of str
        The names of the bands. TIFF files store them.
    file_format : {"png", "tiff", "npy"}
        The format of the file.

    Returns
    -------
    list of bytes or memoryview
        The content of the file, in parts; some may be views of ``array``.

    Raises
    ------
    MissingExtraError
        If the format needs a package that is not installed.
    """
    if file_format == "npy":
        return _encode_npy(array)
    if file_format == "tiff":
        return _encode_tiff(array, bands)
    return _encode_png(array)


def _encode_npy(array: NDArray[Any]) -> list[bytes | memoryview]:
    """Return the bytes that `numpy.save` writes, without copying the data."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, np.lib.format.header_data_from_array_1_0(array)
    )
    return [header.getvalue(), array.data.cast("B")]


def _encode_tiff(array: NDArray[Any], bands: Sequence[str]) -> list[bytes | memoryview]:
    """Return a TIFF file with interleaved bands and their names."""
    with require_extra("io", "tifffile"):
        import tifffile
    options: dict[str, Any] = {"photometric": "rgb"}
    if tuple(bands) != RGB:
        band_names = (GDAL_METADATA_TAG, "s", None, _gdal_metadata(bands), True)
        options = {"photometric": "minisblack", "extratags": [band_names]}
    if array.ndim == 3:
        options["planarconfig"] = "contig"
    file = io.BytesIO()
    # metadata=None: tifffile would store the shape as JSON in the image description.
    tifffile.imwrite(file, array, metadata=None, **options)
    return [file.getbuffer()]


def _gdal_metadata(bands: Sequence[str]) -> bytes:
    """Return the XML in which GDAL stores the names of ``bands``."""
    items = "".join(
        f'<Item name="DESCRIPTION" sample="{index}" role="description">'
        f"{escape(band)}</Item>"
        for index, band in enumerate(bands)
    )
    # Text in TIFF files is 7-bit ASCII (TIFF 6.0, section 2).
    return f"<GDALMetadata>{items}</GDALMetadata>".encode("ascii", "xmlcharrefreplace")


def _encode_png(array: NDArray[Any]) -> list[bytes | memoryview]:
    """Return a PNG file of 8 or 16 bits."""
    # Pillow reduces RGB of 16 bits to 8 bits.
    if array.dtype == np.uint16 and array.ndim == 3:
        with require_extra("io", "imagecodecs"):
            import imagecodecs
        return [bytes(imagecodecs.png_encode(array))]
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return [file.getbuffer()]
