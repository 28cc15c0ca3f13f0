"""Read the names of bands that GDAL, ImageJ and OME record in TIFF files."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

# Tag in which GDAL stores its metadata as XML; see its GeoTIFF driver.
GDAL_METADATA = 42112


def find_band_names(
    tif: "TiffFile", page: "TiffPage", channels: Mapping[int, list[str]]
) -> list[str] | None:
    """Return the names of the bands of a page, or None if the file has none.

    There is one name for each sample of a pixel, or for each channel of a stack. Names
    may be empty, and the caller must check that their number matches the bands.

    Parameters
    ----------
    tif : tifffile.TiffFile
    page : tifffile.TiffPage
    channels : mapping of int to list of str
        The channels of an OME file, as returned by `ome_channels`.
    """
    if GDAL_METADATA in page.tags:
        return gdal_descriptions(page)
    if tif.is_imagej:
        return _imagej_labels(tif, page)
    return channels.get(page.index)


def gdal_descriptions(page: "TiffPage") -> list[str]:
    """Return GDAL's description of each sample of a pixel, "" if there is none."""
    descriptions = [""] * page.samplesperpixel
    try:
        root = ET.fromstring(page.tags.valueof(GDAL_METADATA, default=""))
    except ET.ParseError:
        return descriptions
    text_by_sample = {}
    for item in root.iter("Item"):
        if item.get("role") == "description":
            text_by_sample[item.get("sample")] = item.text or ""
    for sample in range(page.samplesperpixel):
        descriptions[sample] = text_by_sample.get(str(sample), "")
    return descriptions


def _imagej_labels(tif: "TiffFile", page: "TiffPage") -> list[str] | None:
    """Return ImageJ's labels if they describe channels, or None.

    ImageJ labels every plane of a stack. Planes are bands only if the stack has neither
    depth nor time, and each pixel has a single sample.
    """
    metadata = tif.imagej_metadata or {}
    plane_count = metadata.get("slices", 1) * metadata.get("frames", 1)
    if page.samplesperpixel > 1 or plane_count > 1:
        return None
    return [str(label) for label in metadata.get("Labels", [])]


def ome_channels(tif: "TiffFile") -> dict[int, list[str]]:
    """Return the names of the channels of the OME image that each page belongs to.

    Empty for other files, and for OME metadata that do not describe the pages.
    """
    channels: dict[int, list[str]] = {}
    if not tif.is_ome:
        return channels
    try:
        root = ET.fromstring(tif.ome_metadata or "")
    except ET.ParseError:
        return channels
    # Tags carry the namespace of their OME version: "{http://...}Image".
    images = [element for element in root.iter() if element.tag.endswith("}Image")]
    if len(images) != len(tif.series):
        return channels
    for image, series in zip(images, tif.series, strict=True):
        names = [
            element.get("Name") or ""
            for element in image.iter()
            if element.tag.endswith("}Channel")
        ]
        for page in series.pages:
            # Pages of a multi-file series that are in other files are None.
            if page is not None:
                channels.setdefault(page.index, names)
    return channels
