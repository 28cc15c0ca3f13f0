"""Files read with sensor=: the names in the file decide which band is which."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio

import graypipe as gp

S2 = "sentinel-2-l2a"


def save(path, names, **options):
    """Write a GeoTIFF with one constant band per name, and return its path."""
    profile = {"width": 6, "height": 5, "dtype": "uint16", **options}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(names),
        transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
        **profile,
    ) as file:
        for number, name in enumerate(names, 1):
            file.write(np.full((5, 6), 1000 + number, profile["dtype"]), number)
            if name:
                file.set_band_description(number, name)
    return path


def values(image, source):
    axis = source.layout.index("C")
    return dict(zip(source.bands, np.moveaxis(image, axis, 0)[:, 0, 0], strict=True))


def test_names_in_the_file_become_official_names_in_its_order(tmp_path):
    path = save(tmp_path / "a.tif", ("B8", "red", "SWIR_1"))
    image, source = gp.read(path, sensor=S2)
    assert values(image, source) == {"B08": 1001, "B04": 1002, "B11": 1003}
    assert (source.sensor, source.range, source.nodata) == (S2, (1000, 11000), 0)


def test_bands_without_names_are_those_of_the_sensor_in_its_order(tmp_path):
    bands = gp.sensor(S2).bands
    path = save(tmp_path / "a.tif", [""] * len(bands))
    assert gp.read(path, sensor=S2)[1].bands == bands
    some = save(tmp_path / "b.tif", ["", "", ""])
    assert gp.read(some, sensor=S2, bands="RGB")[1].bands == ("B04", "B03", "B02")
    with pytest.raises(gp.ReadError, match="3 bands"):
        gp.read(some, sensor=S2)


def test_a_declared_order_that_the_file_contradicts_is_refused(tmp_path):
    path = save(tmp_path / "a.tif", ("blue", "green", "red"))
    with pytest.raises(gp.ReadError, match="stored order"):
        gp.read(path, sensor=S2, bands=("B04", "B03", "B02"))


@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_select_takes_any_name(tmp_path, interleave):
    path = save(tmp_path / "a.tif", ("B2", "B8", "red"), interleave=interleave)
    image, source = gp.read(path, sensor=S2, select=("R", "blue"))
    assert values(image, source) == {"B04": 1003, "B02": 1001}
    with pytest.raises(gp.ReadError, match="B03"):
        gp.read(path, sensor=S2, select=("green",))
    with pytest.raises(gp.ChannelError, match="no band 'cirrus'"):
        gp.read(path, sensor=S2, select=("cirrus",))


def test_the_nodata_value_of_the_file_and_keywords_take_precedence(tmp_path):
    path = save(tmp_path / "a.tif", ("red",), nodata=65535)
    assert gp.read(path, sensor=S2)[1].nodata == 65535
    assert gp.read(path, sensor=S2, nodata=7)[1].nodata == 7
    assert gp.read(path, sensor=S2, range=(0, 10000))[1].range == (0, 10000)
    plain = save(tmp_path / "b.tif", ("red",))
    assert gp.read(plain, sensor=S2)[1].nodata == 0


def described(path, **keywords):
    """Return the source of all bands of a raster."""
    with rasterio.open(path) as raster:
        return gp.Source.from_rasterio(raster, sensor=S2, **keywords)


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("B8", "red", "SWIR_1"), {}),
        (("red", "green"), {"nodata": 65535}),
        ([*gp.sensor(S2).bands[::-1]], {}),
        ([""] * 12, {}),
    ],
)
def test_rasters_have_the_source_that_read_returns(tmp_path, names, options):
    path = save(tmp_path / "a.tif", names, **options)
    _, source = gp.read(path, sensor=S2)
    assert described(path) == replace(source, layout="CHW")


def test_rasters_with_a_sensor_take_other_keywords(tmp_path):
    unnamed = save(tmp_path / "a.tif", ("", ""))
    source = described(unnamed, bands=("red", "B8"), range=(0, 1), nodata=7)
    assert source.bands == ("B04", "B08")
    assert (source.range, source.nodata) == ((0, 1), 7)
    assert described(unnamed, bands="RG", physical=(0, 5000)).range == (0, 5000)
    with pytest.raises(gp.ChannelError, match="bands=\\('red', 'green', 'blue'\\)"):
        described(unnamed)
    named = save(tmp_path / "b.tif", ("blue", "green"))
    with pytest.raises(gp.ChannelError, match="omit bands="):
        described(named, bands=("B03", "B02"))
    with rasterio.open(save(tmp_path / "c.tif", [""] * 12)) as raster:
        source = gp.Source.from_rasterio(raster, sensor=S2, indexes=(4, 3))
    assert source.bands == ("B04", "B03")


def test_other_bands_than_those_of_the_sensor_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", ("red", "NDVI"))
    with pytest.raises(gp.GraypipeError):
        gp.read(path, sensor=S2)
    with pytest.raises(gp.ChannelError, match=r"gp\.sensors\(\)"):
        gp.read(path, sensor="nikon")


def test_read_bands_names_its_files_officially(tmp_path):
    files = {
        "red": save(tmp_path / "a.tif", ("B04",)),
        "nir": save(tmp_path / "b.tif", ("",)),
    }
    image, source = gp.read_bands(files, sensor=S2)
    assert source.bands == ("B04", "B08")
    assert source.range == (1000, 11000)
    assert image.shape == (2, 5, 6)


# Sentinel-2 in the order of many exports, with an alias in the place of one name.
STORED = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
STORED += ("B01", "B09")


@pytest.mark.parametrize(
    "form",
    ["{}, reflectance", "Sentinel-2 {}", "{} (20m)", "{}_sr", "T32TQM_{}_10m", "x.{}"],
)
@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_names_in_longer_descriptions_decide_the_order(tmp_path, form, interleave):
    names = [form.format(band) for band in STORED]
    path = save(tmp_path / "a.tif", names, interleave=interleave)
    expected = {band: 1001 + index for index, band in enumerate(STORED)}
    image, source = gp.read(path, sensor=S2)
    assert values(image, source) == expected
    image, source = gp.read(path, sensor=S2, select=("red", "B8A"))
    assert values(image, source) == {"B04": 1003, "B8A": 1008}
    with rasterio.open(path) as raster:
        source = gp.Source.from_rasterio(raster, sensor=S2)
        assert values(raster.read(), source) == expected
        some = gp.Source.from_rasterio(raster, sensor=S2, indexes=(4, 1))
    assert some.bands == ("B08", "B02")
    with pytest.raises(gp.ReadError, match="stored order"):
        gp.read(path, sensor=S2, bands=gp.sensor(S2).bands)
    with pytest.raises(gp.ReadError, match="stored order"):
        gp.BandStats(gp.Source.from_sensor(S2)).update(path)


@pytest.mark.parametrize(
    ("name", "descriptions", "bands"),
    [
        (S2, ("Red edge (B05)", "Infra-red B08"), ("B05", "B08")),
        (S2, ("NIR narrow, 10 nm", "SWIR 1 (1610 nm)"), ("B8A", "B11")),
        (S2, ("red edge 1", "B1 0.443 um"), ("B05", "B01")),
        (S2, ("coastal aerosol (B01)", "SR_B4"), ("B01", "B04")),
        ("landsat-8-c2-l2", ("LC08_SR_B4", "ST_B10 in K"), ("SR_B4", "ST_B10")),
        ("landsat-8-c2-l2", ("SR_B5", "B2 reflectance"), ("SR_B5", "SR_B2")),
        ("landsat-7-c2-l1", ("B6_VCID_2 low", "B7"), ("B6_VCID_2", "B7")),
    ],
)
def test_the_longest_name_in_a_description_counts(tmp_path, name, descriptions, bands):
    path = save(tmp_path / "a.tif", descriptions)
    image, source = gp.read(path, sensor=name)
    assert values(image, source) == dict(zip(bands, (1001, 1002), strict=True))


@pytest.mark.parametrize("form", ["Band {}", "reflectance", "", "layer_{}"])
def test_descriptions_without_names_leave_the_order_of_the_sensor(tmp_path, form):
    bands = gp.sensor(S2).bands
    path = save(tmp_path / "a.tif", [form.format(number) for number in range(12)])
    image, source = gp.read(path, sensor=S2)
    expected = {band: 1001 + index for index, band in enumerate(bands)}
    assert values(image, source) == expected
    with rasterio.open(path) as raster:
        source = gp.Source.from_rasterio(raster, sensor=S2)
        assert values(raster.read(), source) == expected


@pytest.mark.parametrize(
    ("third", "problem"),
    [
        ("B99_sr", "'B99_sr' of band 3 mentions no band"),
        ("", "'' of band 3 mentions no band"),
        ("B04 B05", "'B04 B05' of band 3 mentions several bands"),
        ("Red edge", "'Red edge' of band 3 mentions no band"),
    ],
)
def test_partly_recognised_descriptions_are_an_error(tmp_path, third, problem):
    names = [f"{band}_sr" for band in gp.sensor(S2).bands]
    names[2] = third
    path = save(tmp_path / "a.tif", names)
    with pytest.raises(gp.ReadError, match=problem) as caught:
        gp.read(path, sensor=S2)
    assert "bands=('B01', 'B02', '?', 'B04'," in str(caught.value)
    with rasterio.open(path) as raster, pytest.raises(gp.ChannelError, match=problem):
        gp.Source.from_rasterio(raster, sensor=S2)
    image, source = gp.read(path, sensor=S2, bands=gp.sensor(S2).bands)
    assert values(image, source)["B03"] == 1003


def test_two_descriptions_of_the_same_band_are_an_error(tmp_path):
    names = ["B02 (10m)", "B02 (20m)", *gp.sensor(S2).bands[2:]]
    path = save(tmp_path / "a.tif", names)
    with pytest.raises(gp.ReadError, match="of band 1 mentions B02"):
        gp.read(path, sensor=S2)


@pytest.mark.parametrize("count", [1, 7])
def test_the_error_for_fewer_bands_ends_with_what_to_type(tmp_path, count):
    path = save(tmp_path / "a.tif", [""] * count)
    with pytest.raises(gp.ReadError, match="stored order") as caught:
        gp.read(path, sensor="landsat-9-c2-l2")
    bands = tuple(f"SR_B{number}" for number in range(1, count + 1))
    line = f"sensor='landsat-9-c2-l2', bands={bands}"
    assert str(caught.value).endswith(f"such as {line}")
    # What the message suggests works.
    keywords = eval(f"dict({line})")
    assert gp.read(path, **keywords)[1].bands == bands
