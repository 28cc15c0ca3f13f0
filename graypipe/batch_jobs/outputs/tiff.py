"""Write TIFF files with interleaved bands and their names."""

import errno
import io
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

from numpy.typing import NDArray

from ...errors import ChannelError, DTypeError
from ...extras import require_extra
from ...io.tiff_band_names import GDAL_METADATA
from ..stated_plans import JobPlans
from .output_format import RGB, DataSet, Sample
from .single_images import ImageFiles


class Tiff(ImageFiles):
    """One TIFF file per image."""

    suffix = ".tif"

    def check(self, plans: JobPlans) -> None:
        """Check the dtype and the names of the bands."""
        super().check(plans)
        target = plans.target
        if target.dtype in ("bool", "float16"):
            raise DTypeError(
                f"TIFF output does not support {target.dtype}: use --to npy, or a "
                "target with another dtype"
            )
        # XML cannot represent most non-printable characters.
        if not "".join(target.bands).isprintable():
            raise ChannelError(
                "TIFF files can store only printable band names, but the target has "
                f"{target.bands!r}: use --to npy"
            )

    def write(
        self, file: BinaryIO, samples: Iterable[Sample], data_set: DataSet
    ) -> None:
        """Write the only sample."""
        (sample,) = samples
        bands = data_set.plans.target.bands
        # tifffile writes the offsets of the data after the data.
        if file.seekable():
            write_tiff(file, sample.array, bands)
            return
        buffer = io.BytesIO()
        write_tiff(buffer, sample.array, bands)
        file.write(buffer.getbuffer())


def write_tiff(file: BinaryIO, array: NDArray[Any], bands: Sequence[str]) -> None:
    """Write an array of shape (H, W) or (H, W, C).

    Parameters
    ----------
    file : binary file object
        It must support ``seek``.
    array : numpy.ndarray
        A C-contiguous array.
    bands : sequence of str
        The names of the bands.
    """
    with require_extra("io", "tifffile"):
        import tifffile
    options: dict[str, Any] = {"photometric": "rgb"}
    if tuple(bands) != RGB:
        band_names = (GDAL_METADATA, "s", None, _gdal_metadata(bands), True)
        options = {"photometric": "minisblack", "extratags": [band_names]}
    if array.ndim == 3:
        options["planarconfig"] = "contig"
    try:
        # Without metadata=None, tifffile would store the shape as JSON in the
        # description.
        tifffile.imwrite(file, array, metadata=None, **options)
    except OSError as error:
        if error.errno is not None:
            raise
        # numpy.ndarray.tofile only says that it wrote less than it should.
        raise OSError(errno.ENOSPC, f"{error} bytes") from None


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
