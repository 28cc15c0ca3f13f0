"""The pictures of ``graypipe inspect --html``: thumbnails, and histograms of the bands.

The workers collect them, and the command merges them in the order of the files. Memory
use does not grow with the number of files.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .. import BandStats, Source, layouts
from ..batch_jobs.remote import AnyPath
from ..drawing import BAND_COLOURS
from ..errors import GraypipeError
from ..sensor import sensor
from ..stats.accumulators import missing_pixels

# Most thumbnails of a report, and their longer side in pixels.
MAX_THUMBNAILS = 48
THUMBNAIL_SIZE = 160

# The percentiles that become black and white in thumbnails that are not of 8 bits.
STRETCH = (2, 98)

# Most kinds of images with histograms, and most bands of each. Counting 16-bit values
# takes half a megabyte per band.
MAX_GROUPS = 12
MAX_BANDS = 16

# BandStats keeps no pixels, so 1,001 quantiles approximate the histogram. The first and
# the last of them are left out, since a few dead pixels would squeeze it.
QUANTILES = np.linspace(0, 100, 1001).tolist()
BINS = 64

# Kind of images with common histograms: bands, dtype and nodata value.
GroupKey = tuple[tuple[str, ...], str, str]


class BandPicture(NamedTuple):
    """The histogram of a band, and percentiles of its stored values."""

    band: str
    svg: bytes
    minimum: float
    median: float
    maximum: float


class Pictures:
    """Thumbnails of some images, and the statistics of all images.

    Parameters
    ----------
    sampled : collection of Path
        The files that get a thumbnail.
    """

    def __init__(self, sampled: Iterable[AnyPath] = ()) -> None:
        self.sampled = frozenset(sampled)
        self.thumbnails: dict[AnyPath, bytes] = {}
        self.groups: dict[GroupKey, BandStats] = {}
        # Files that are not in the histograms
        self.left_out = 0

    def add(self, path: AnyPath, image: NDArray[Any], source: Source) -> None:
        """Add an image."""
        if path in self.sampled:
            self.thumbnails[path] = draw_thumbnail(image, source)
        bands = source.bands[:MAX_BANDS]
        nodata = source.nodata
        if isinstance(nodata, tuple):
            nodata = nodata[:MAX_BANDS]
        planes = layouts.conversion(source.layout, "CHW").source_planes(image)
        key = (bands, image.dtype.name, str(nodata))
        stats = self.groups.get(key)
        if stats is None:
            stats = BandStats(Source(bands, "CHW", nodata=nodata))
        try:
            stats.update(planes[:MAX_BANDS].reshape(len(bands), -1, 1))
        except GraypipeError:  # NaN and infinity, for example
            self.left_out += 1
            return
        if key not in self.groups:
            self._add_group(key, stats)

    def merge(self, other: Self) -> None:
        """Add the pictures of other files."""
        self.thumbnails |= other.thumbnails
        self.left_out += other.left_out
        for key, stats in other.groups.items():
            self._add_group(key, stats)

    def _add_group(self, key: GroupKey, stats: BandStats) -> None:
        """Add the statistics of images to those of their kind."""
        if key in self.groups:
            self.groups[key].merge(stats)
        elif len(self.groups) < MAX_GROUPS:
            self.groups[key] = stats
        else:
            self.left_out += 1


def sample(paths: Sequence[AnyPath]) -> list[AnyPath]:
    """Return at most `MAX_THUMBNAILS` paths, evenly spaced."""
    count = min(len(paths), MAX_THUMBNAILS)
    positions = np.linspace(0, max(len(paths) - 1, 0), count).round().astype(int)
    return [paths[position] for position in positions]


def draw_thumbnail(image: NDArray[Any], source: Source) -> bytes:
    """Return a small picture of an image, as JPEG.

    Bands R, G and B, or those of a sensor, are shown in colour; otherwise the first
    band is shown. Values that are not of 8 bits are stretched.
    """
    from PIL import Image

    planes = layouts.conversion(source.layout, "CHW").source_planes(image)
    # Of a stack, show the image in the middle.
    while planes.ndim > 3:
        planes = planes[:, planes.shape[1] // 2]
    step = max(1, max(planes.shape[1:]) // (2 * THUMBNAIL_SIZE))
    planes = planes[:, ::step, ::step]
    is_valid = np.ones(planes.shape[1:], bool)
    if source.nodata is not None:
        is_valid = ~missing_pixels(planes, source)
    shown = planes[_shown_bands(source)]
    black, white = source._pairs(image.dtype)[0]
    if shown.dtype != np.uint8 or (black, white) != (0, 255):
        shown = _stretch(shown, is_valid, is_inverted=black > white)
    # Pillow takes a gray image without an axis of bands.
    pixels = shown[0] if len(shown) == 1 else np.moveaxis(shown, 0, -1)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _shown_bands(source: Source) -> list[int]:
    """Return the positions of red, green and blue, or of the first band."""
    names: Sequence[str | None] = ("R", "G", "B")
    if source.sensor is not None:
        facts = sensor(source.sensor)
        names = [facts._find(colour) for colour in ("red", "green", "blue")]
    if all(name in source.bands for name in names):
        return [source.bands.index(str(name)) for name in names]
    return [0]


def _stretch(
    planes: NDArray[Any], is_valid: NDArray[np.bool_], is_inverted: bool
) -> NDArray[np.uint8]:
    """Return 8-bit values with a few percent of the pixels black, and of them white."""
    values = np.nan_to_num(planes.astype(np.float64), posinf=0, neginf=0)
    valid = values[:, is_valid]
    if not valid.size:
        return np.zeros(planes.shape, np.uint8)
    low, high = np.percentile(valid, STRETCH)
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    if is_inverted:
        scaled = 1 - scaled
    stretched: NDArray[np.uint8] = np.rint(scaled * 255).astype(np.uint8)
    return stretched


def draw_bands(stats: BandStats) -> list[BandPicture]:
    """Draw the histogram of each band as SVG."""
    quantiles = stats.percentile(QUANTILES)
    middle = len(QUANTILES) // 2
    pictures = []
    for index, band in enumerate(stats.source.bands):
        values = quantiles[:, index]
        svg = _draw_histogram(values[1:-1], BAND_COLOURS.get(band, "#4a6fa5"))
        pictures.append(BandPicture(band, svg, values[0], values[middle], values[-1]))
    return pictures


def _draw_histogram(quantiles: NDArray[Any], colour: str) -> bytes:
    """Return the histogram of a band as SVG, the same bytes for the same values."""
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Use matplotlib's default settings, not those of the user. Text that is not
    # converted to paths is ten times smaller.
    settings = {
        "font.size": 12,
        "font.family": "sans-serif",
        "svg.fonttype": "none",
        "svg.hashsalt": "graypipe",
    }
    with style.context(["default", settings]):
        figure = Figure(figsize=(3.4, 1.5))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.05, 0.22, 0.9, 0.76))
        shares, edges = np.histogram(quantiles, BINS)
        axes.stairs(100 * shares / len(quantiles), edges, fill=True, color=colour)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=4)
        axes.margins(x=0)
        file = BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()
