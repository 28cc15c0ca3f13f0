"""Encode arrays as PNG, TIFF and .npy files without loss.

The same array always gives the same bytes. PNG and TIFF files have the layout (H, W) or
(H, W, C); a .npy file has the layout of the target.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ChannelError, DTypeError, LayoutError
from ..extras import require_extra
from ..io.tiff_band_names import GDAL_METADATA
from ..plan import Plan
from ..target import Target

RGB = ("R", "G", "B")

# The suffix of each file format.
SUFFIXES = {"png": ".png", "tiff": ".tif", "npy": ".npy"}


def file_layout(target: Target, file_format: str) -> str | None:
    """Return the layout of files in ``file_format``, or None if they may have any."""
    if file_format == "npy":
        return None
    if len(target.bands) == 1:
        return "HW"
    return "HWC"


def check_encodable(plan: Plan, file_format: str) -> None:
    """Check that files of ``file_format`` can store the output of ``plan``.

    Raises
    ------
    LayoutError
        If the output has more axes than an image file.
    DTypeError
        If the format does not support the dtype.
    ChannelError
        If the format cannot store the bands or their names.
    """
    # .npy files store any array.
    if file_format == "npy":
        return
    extra_axes = "".join(axis for axis in plan.source.layout if axis not in "HWC")
    if extra_axes:
        raise LayoutError(
            f"a {file_format} file stores a single image, but the source also has the "
            f"axes {extra_axes!r}: use --to npy"
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
            "with another dtype"
        )
    # XML cannot represent most non-printable characters.
    if not "".join(target.bands).isprintable():
        raise ChannelError(
            "TIFF files can store only printable band names, but the target has "
            f"{target.bands!r}: use --to npy"
        )


def _check_png(target: Target) -> None:
    """Raise an error if a PNG file cannot store arrays of ``target``."""
    if target.dtype not in ("uint8", "uint16"):
        raise DTypeError(
            "PNG files can store only uint8 or uint16, but the target has dtype "
            f"{target.dtype}: use --to npy or --to tiff"
        )
    if len(target.bands) > 1 and target.bands != RGB:
        raise ChannelError(
            "PNG files can store only one band or RGB, but the target has the bands "
            f"{', '.join(target.bands)}: use --to npy or --to tiff"
        )


def encode(
    array: NDArray[Any], bands: Sequence[str], file_format: str
) -> list[bytes | memoryview]:
    """Encode an array in a file format.

    Parameters
    ----------
    array : numpy.ndarray
        A C-contiguous array, such as the output of a plan: (H, W) or (H, W, C) for
        "png" and "tiff", any shape for "npy".
    bands : sequence of str
        The names of the bands, which are stored in TIFF files.
    file_format : {"png", "tiff", "npy"}
        The format of the file.

    Returns
    -------
    list of bytes or memoryview
        The consecutive parts of the file; some may be views of ``array``.

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
        band_names = (GDAL_METADATA, "s", None, _gdal_metadata(bands), True)
        options = {"photometric": "minisblack", "extratags": [band_names]}
    if array.ndim == 3:
        options["planarconfig"] = "contig"
    file = io.BytesIO()
    # Without metadata=None, tifffile would store the shape as JSON in the description.
    tifffile.imwrite(file, array, metadata=None, **options)
    return [file.getbuffer()]


def _gdal_metadata(bands: Sequence[str]) -> bytes:
    """Return the names of ``bands`` as XML in the format of GDAL."""
    # Imported here, because it imports the HTTP client of the standard library.
    from xml.sax.saxutils import escape

    items = "".join(
        f'<Item name="DESCRIPTION" sample="{index}" role="description">'
        f"{escape(band)}</Item>"
        for index, band in enumerate(bands)
    )
    # Text in TIFF files is 7-bit ASCII (TIFF 6.0, section 2).
    return f"<GDALMetadata>{items}</GDALMetadata>".encode("ascii", "xmlcharrefreplace")


def _encode_png(array: NDArray[Any]) -> list[bytes | memoryview]:
    """Return a PNG file with 8 or 16 bits per sample."""
    # Pillow cannot write 16-bit RGB.
    if array.dtype == np.uint16 and array.ndim == 3:
        with require_extra("io", "imagecodecs"):
            import imagecodecs
        return [bytes(imagecodecs.png_encode(array))]
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return [file.getbuffer()]
