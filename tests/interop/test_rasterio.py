"""Sources from raster metadata, on stand-ins that have attributes only.

The package does not import rasterio, so these tests do not need it.
"""

from math import nan
from types import SimpleNamespace

import numpy as np
import pytest

import graypipe as gp


def raster(count=2, **attributes):
    """Return a minimal raster: bands of uint16, and ``attributes``."""
    return SimpleNamespace(
        **{
            "descriptions": ("B02", "B03", "B04")[:count],
            "dtypes": ("uint16",) * count,
            "nodatavals": (None,) * count,
            "scales": (1.0,) * count,
            "offsets": (0.0,) * count,
            **attributes,
        }
    )


def test_a_raster_is_chw_with_its_names_dtype_and_nodata():
    source = gp.Source.from_rasterio(raster(nodatavals=(0.0, 0.0)), range=(1000, 11000))
    assert source == gp.Source(
        ("B02", "B03"), "CHW", dtype="uint16", range=(1000, 11000), nodata=0
    )
    holes = raster(dtypes=("float32",) * 2, nodatavals=(nan, nan))
    assert gp.Source.from_rasterio(holes) == gp.Source(
        ("B02", "B03"), "CHW", dtype="float32", nodata=nan
    )


def test_a_range_for_floats_declares_no_dtype_to_trust():
    floats = raster(1, dtypes=("float32",))
    image = np.random.default_rng(2).uniform(0, 1, (1, 9, 9)).astype(np.float32)
    source = gp.Source.from_rasterio(floats, range=(0, 10000))
    assert source.dtype is None
    with pytest.raises(gp.RangeError, match="an earlier step has already divided"):
        gp.plan(source, "imagenet")(image)
    trusted = gp.Source.from_rasterio(floats, range=(0, 10000), dtype="float32")
    gp.plan(trusted, "imagenet")(image)


def test_keywords_override_the_raster():
    one = raster(1, descriptions=(None,), nodatavals=(0.0,))
    source = gp.Source.from_rasterio(
        one, bands="gray", layout="HW", bits=12, clip=True, nodata=None, dtype="int32"
    )
    assert source == gp.Source("gray", "HW", bits=12, clip=True, dtype="int32")
    mixed = raster(dtypes=("uint8", "uint16"), nodatavals=(0.0, None))
    assert gp.Source.from_rasterio(mixed, dtype="uint16", nodata=0).dtype == "uint16"


def test_physical_values_use_scale_and_offset_of_each_band():
    reflectance = raster(scales=(0.0001, 0.0001), offsets=(-0.1, -0.1))
    assert gp.Source.from_rasterio(reflectance, physical=(0, 1)).range == (1000, 11000)
    each = raster(scales=(0.5, 0.1), offsets=(10.0, 0.0))
    source = gp.Source.from_rasterio(each, physical=(20, 30))
    assert (source.range, source.dtype) == (((20, 40), (200, 300)), "uint16")
    assert gp.Source.from_rasterio(each, physical=((20, 30), (30, 20))).range == (
        (20, 40),
        (300, 200),
    )
    assert gp.Source.from_rasterio(each, range=(0, 4095)).range == (0, 4095)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", "int16"), ("uint16", "int32"), ("float32", "float32")],
)
def test_physical_values_beyond_the_pixels_widen_the_dtype(dtype, expected):
    file = raster(
        1, dtypes=(dtype,), scales=(2.0,), offsets=(100.0,), nodatavals=(255.0,)
    )
    source = gp.Source.from_rasterio(file, physical=(0, 200))
    assert (source.dtype, source.range, source.nodata) == (expected, (-50, 50), 255)
    stored = np.array([[[0, 50, 255]]], dtype).astype(source.dtype)
    np.testing.assert_array_equal(
        gp.plan(source, gp.Target(("B02",), "HW", "float64"))(stored), [[0.5, 1, 0]]
    )


def test_bands_without_descriptions_are_gray_or_numbered():
    one = raster(1, descriptions=(None,))
    assert gp.Source.from_rasterio(one).bands == ("gray",)
    assert gp.Source.from_rasterio(one).layout == "CHW"
    two = raster(2, descriptions=(None, ""))
    assert gp.Source.from_rasterio(two).bands == ("band1", "band2")
    assert gp.Source.from_rasterio(two, indexes=2).bands == ("band2",)


def test_indexes_describe_the_bands_that_are_read():
    mixed = raster(
        3,
        dtypes=("uint8", "uint16", "uint16"),
        nodatavals=(None, 0.0, 0.0),
        scales=(0.5, 1.0, 1.0),
    )
    source = gp.Source.from_rasterio(mixed, indexes=[3, 2])
    assert source == gp.Source(("B04", "B03"), "CHW", dtype="uint16", nodata=0)
    one = gp.Source.from_rasterio(mixed, indexes=np.int64(1), range=(0, 100))
    assert one == gp.Source(("B02",), "HW", dtype="uint8", range=(0, 100))
    assert gp.Source.from_rasterio(mixed, indexes=(2,)).layout == "CHW"
    for wrong in (0, 4, -1, (), (1, 4), 1.5, "B02", (None,)):
        with pytest.raises(gp.ChannelError, match="band numbers from 1 to 3"):
            gp.Source.from_rasterio(mixed, indexes=wrong)


def test_nodata_values_that_differ_are_one_per_band():
    assert gp.Source.from_rasterio(raster(nodatavals=(0.0, None))).nodata == (0, None)
    source = gp.Source.from_rasterio(raster(nodatavals=(0.0, nan)), dtype="float32")
    assert source == gp.Source.from_rasterio(
        raster(), dtype="float32", nodata=(0.0, nan)
    )
    assert gp.Source.from_rasterio(raster(nodatavals=(0.0, 0.0))).nodata == 0


def nbits(*counts):
    """Return the method ``tags`` of a raster with these values of NBITS."""

    def tags(number, ns):
        assert ns == "IMAGE_STRUCTURE"
        count = counts[number - 1]
        return {} if count is None else {"NBITS": str(count)}

    return tags


def test_nbits_of_gdal_is_the_range_of_the_samples():
    assert gp.Source.from_rasterio(raster(tags=nbits(12, 12))).bits == 12
    each = gp.Source.from_rasterio(raster(tags=nbits(12, None)))
    assert each.range == ((0, 4095), (0, 65535))
    assert gp.Source.from_rasterio(raster(tags=nbits(None, None))).bits is None
    declared = gp.Source.from_rasterio(raster(tags=nbits(12, 12)), range=(0, 100))
    assert (declared.bits, declared.range) == (None, (0, 100))
    half = raster(dtypes=("float32",) * 2, tags=nbits(16, 16))
    assert gp.Source.from_rasterio(half).bits is None
    scaled = raster(scales=(0.5, 0.5), tags=nbits(12, 12))
    with pytest.raises(gp.RangeError, match="physical="):
        gp.Source.from_rasterio(scaled)


@pytest.mark.parametrize(
    ("attributes", "keywords", "error", "message"),
    [
        ({"descriptions": ("B02", None)}, {}, gp.ChannelError, "bands="),
        ({"descriptions": ("B02", "")}, {}, gp.ChannelError, "bands="),
        ({"descriptions": ("B02", "B02")}, {}, gp.ChannelError, "bands="),
        ({}, {"bands": "RGB"}, gp.ChannelError, "2 bands"),
        ({}, {"bands": ("B03", "B02")}, gp.ChannelError, "order"),
        (
            {"colorinterp": (SimpleNamespace(name="palette"),) * 2},
            {},
            gp.ChannelError,
            "palette",
        ),
        ({"dtypes": ("uint8", "uint16")}, {}, gp.RangeError, "differ in dtype"),
        ({"scales": (0.0001, 0.0001)}, {}, gp.RangeError, "physical="),
        ({"offsets": (0.0, 5.0)}, {"range": None}, gp.RangeError, "physical="),
        ({"scales": (0.0, 1.0)}, {"physical": (0, 1)}, gp.RangeError, "slope"),
        ({"scales": (nan, 1.0)}, {"physical": (0, 1)}, gp.RangeError, "finite"),
        ({}, {"physical": (0, 1), "range": (0, 1)}, gp.RangeError, "one of them"),
        ({}, {"physical": (0, 1), "bits": 12}, gp.RangeError, "one of them"),
        ({}, {"physical": ((0, 1),) * 3}, gp.ChannelError, "2 pairs"),
        ({}, {"physical": 1}, gp.RangeError, "pair"),
        ({}, {"physical": ()}, gp.ChannelError, "0"),
        ({"dtypes": ("complex64",) * 2}, {}, gp.DTypeError, "expected"),
        (
            {"dtypes": ("complex_int16",) * 2},
            {"physical": (0, 1)},
            gp.DTypeError,
            "expected",
        ),
        ({}, {"gain": 2}, TypeError, "gain"),
    ],
)
def test_undecidable_rasters_are_refused(attributes, keywords, error, message):
    with pytest.raises(error, match=message):
        gp.Source.from_rasterio(raster(**attributes), **keywords)


def test_other_objects_than_rasters_are_refused():
    with pytest.raises(gp.ChannelError, match=r"rasterio\.open"):
        gp.Source.from_rasterio("scene.tif")
