"""Sources of GeoTIFF files written and read by rasterio, compared with the oracle."""

import warnings

import numpy as np
import oracle
import pytest
import rasterio
from imagenet import MEAN, STD

import graypipe as gp

UNIT = gp.Target("gray", "HW", "float64")

RNG = np.random.default_rng(11)


BANDS = (
    "B01",
    "B02",
    "B03",
    "B04",
    "B05",
    "B06",
    "B07",
    "B08",
    "B09",
    "B10",
    "B11",
    "B12",
    "B8A",
)


TRUE_COLOUR = {"R": "B04", "G": "B03", "B": "B02"}


def geotiff(path, pixels, *, names=None, scales=None, offsets=None, **profile):
    """Write ``pixels``, (bands, H, W), as a GeoTIFF file and return its path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
            dtype=pixels.dtype, transform=rasterio.Affine(10, 0, 6e5, 0, -10, 5e6), **profile,
        ) as file:  # fmt: skip
            file.write(pixels)
            if names:
                file.descriptions = names
            if scales:
                file.scales, file.offsets = scales, offsets
    return path


def scene():
    """Return 13 bands of reflectance times 10000, with nodata in one corner.

    All values are odd. ImageNet's means are even numbers on this scale, so that only
    nodata becomes 0.
    """
    pixels = 2 * RNG.integers(450, 6000, (13, 21, 34), dtype=np.uint16) + 1
    pixels[:, :4, :5] = 0
    return pixels


def true_colour(pixels):
    """Return the expected RGB image and its error scale, by the oracle."""
    via = [[float(name == TRUE_COLOUR[band]) for name in BANDS] for band in "RGB"]
    return oracle.plan(
        pixels,
        layout="CHW",
        out_layout="CHW",
        ranges=[(1000, 11000)] * 13,
        via=via,
        mean=MEAN,
        std=STD,
        nodata=0,
    )


def test_sentinel_2_in_true_colour_by_its_band_descriptions(tmp_path):
    pixels = scene()
    path = geotiff(tmp_path / "scene.tif", pixels, names=BANDS, nodata=0)
    with rasterio.open(path) as file:
        source, image = gp.Source.from_rasterio(file, range=(1000, 11000)), file.read()

    assert source == gp.Source(
        BANDS, "CHW", dtype="uint16", range=(1000, 11000), nodata=0
    )
    result = gp.plan(source, "imagenet", TRUE_COLOUR)(image)
    oracle.assert_matches(result, *true_colour(pixels))
    assert (result[:, :4, :5] == 0).all()
    assert result[:, 4:, 5:].all()


def test_scales_and_offsets_give_the_same_image(
    tmp_path,
):
    pixels = scene()
    path = geotiff(
        tmp_path / "scene.tif",
        pixels,
        names=BANDS,
        nodata=0,
        scales=[0.0001] * 13,
        offsets=[-0.1] * 13,
    )
    with rasterio.open(path) as file:
        source, image = gp.Source.from_rasterio(file, physical=(0, 1)), file.read()
        with pytest.raises(gp.RangeError, match="scales"):
            gp.Source.from_rasterio(file)

    assert source.range == (1000, 11000)
    oracle.assert_matches(
        gp.plan(source, "imagenet", TRUE_COLOUR)(image), *true_colour(pixels)
    )


def test_one_band_of_a_raster_is_read_as_hw(tmp_path):
    pixels = RNG.normal(250, 20, (1, 21, 34)).astype(np.float32)
    pixels[0, 0] = np.nan
    with rasterio.open(
        geotiff(tmp_path / "thermal.tif", pixels, nodata=np.nan)
    ) as file:
        assert gp.Source.from_rasterio(file, range=(200, 300)).layout == "CHW"
        source = gp.Source.from_rasterio(file, indexes=1, range=(200, 300))
        assert source.bands == ("gray",)
        result = gp.plan(source, UNIT)(file.read(1))

    np.testing.assert_allclose(
        result[1:], (pixels[0, 1:].astype(float) - 200) / 100, rtol=0, atol=1e-12
    )
    assert (result[0] == 0).all()


def test_a_raster_with_a_palette_is_refused(tmp_path):
    path = geotiff(
        tmp_path / "classes.tif",
        RNG.integers(0, 3, (1, 8, 9), dtype=np.uint8),
        photometric="palette",
    )
    with rasterio.open(path, "r+") as file:
        file.write_colormap(
            1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255), 2: (0, 255, 0, 255)}
        )
    with rasterio.open(path) as file, pytest.raises(gp.ChannelError, match="palette"):
        gp.Source.from_rasterio(file, bands="gray")


def test_samples_of_12_bits_have_their_range(tmp_path):
    pixels = RNG.integers(0, 4096, (2, 21, 34), dtype=np.uint16)
    path = geotiff(tmp_path / "deep.tif", pixels, nbits=12)
    with rasterio.open(path) as file:
        source, image = gp.Source.from_rasterio(file, indexes=2), file.read(2)
    assert source == gp.Source(("band2",), "HW", dtype="uint16", bits=12)
    target = gp.Target(("band2",), "HW", "float64")
    np.testing.assert_allclose(
        gp.plan(source, target)(image), pixels[1] / 4095, rtol=0, atol=1e-12
    )
