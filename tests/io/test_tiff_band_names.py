"""Names of bands that GDAL, ImageJ and OME store in TIFF files."""

import numpy as np
import pytest
import rasterio
import tifffile

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(23)
GRAY16 = RNG.integers(0, 65536, (16, 18), dtype=np.uint16)
FOUR8 = RNG.integers(0, 255, (4, 16, 18), dtype=np.uint8)
NORTH_UP = rasterio.Affine(10, 0, 600000, 0, -10, 5000000)
SENTINEL = (*(f"B{number:02}" for number in range(1, 13)), "B8A")


def test_channels_take_their_names_from_the_file(tmp_path):
    planes = RNG.integers(0, 65536, (3, 37, 50), dtype=np.uint16)
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(
        path,
        planes,
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}},
    )
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, planes)
    assert source == gp.Source(("DAPI", "GFP", "Cy5"), "CHW", dtype="uint16")
    path = tmp_path / "cells.tif"
    tifffile.imwrite(
        path,
        planes,
        imagej=True,
        metadata={"axes": "CYX", "Labels": ["DAPI", "GFP", "Cy5"]},
    )
    assert gp.read(path)[1] == source
    tifffile.imwrite(
        path, planes, imagej=True, metadata={"axes": "CYX", "Labels": ["A", "A", "B"]}
    )
    assert gp.read(path)[1].bands == ("band1", "band2", "band3")
    assert gp.read(path, bands="RGB")[1] == gp.Source("RGB", "CHW", dtype="uint16")


def test_bands_without_names_are_numbered_from_one(tmp_path):
    five = RNG.integers(0, 65536, (37, 50, 5), dtype=np.uint16)
    path = tmp_path / "five.tif"
    tifffile.imwrite(path, five, photometric="minisblack", planarconfig="contig")
    numbered = tuple(f"band{number}" for number in range(1, 6))
    assert gp.read(path)[1] == gp.Source(numbered, dtype="uint16")
    for wrong in ("RGB", "RGBYNX"):
        with pytest.raises(gp.ReadError, match="5 bands"):
            gp.read(path, bands=wrong)
    image, source = gp.read(path, bands="RGBYN")
    np.testing.assert_array_equal(image, five)
    assert source == gp.Source("RGBYN", dtype="uint16")


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_gdal_descriptions_are_band_names(tmp_path, interleave):
    scene = RNG.integers(1000, 11001, (13, 40, 48), dtype=np.uint16)
    path = tmp_path / "scene.tif"
    tiles = {
        "interleave": interleave,
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "compress": "deflate",
    }
    keywords = {
        "count": 13,
        "dtype": "uint16",
        "nodata": 0,
        "transform": NORTH_UP,
        **tiles,
    }
    with rasterio.open(path, "w", "GTiff", width=48, height=40, **keywords) as out:
        out.write(scene)
        out.descriptions = SENTINEL
    image, source = gp.read(path, range=(1000, 11000))
    layout = "HWC" if interleave == "pixel" else "CHW"
    assert source == gp.Source(
        SENTINEL, layout, dtype="uint16", range=(1000, 11000), nodata=0
    )
    np.testing.assert_array_equal(
        image, scene.transpose(1, 2, 0) if layout == "HWC" else scene
    )
    x = gp.plan(source, gp.Target("RGB"), via={"R": "B04", "G": "B03", "B": "B02"})(
        image
    )
    np.testing.assert_allclose(
        x, (scene[[3, 2, 1]] - 1000.0) / 10000, rtol=0, atol=1e-6
    )
    with pytest.raises(gp.ReadError, match="order"):
        gp.read(path, bands=SENTINEL[::-1])
    assert gp.read(path, nodata=None)[1].nodata is None


def write_four_bands(path, image, names=None):
    with rasterio.open(
        path, "w", "GTiff", 18, 16, 4, dtype="uint8", transform=NORTH_UP
    ) as out:
        out.write(image)
        out.descriptions = names or (None,) * 4
    return path


@pytest.mark.parametrize("fourth", [FOUR8[3], np.full((16, 18), 255, np.uint8)])
def test_a_fourth_band_with_a_description_is_not_alpha(tmp_path, fourth):
    image = np.stack([*FOUR8[:3], fourth])
    path = write_four_bands(
        tmp_path / "scene.tif", image, ("red", "green", "blue", "nir")
    )
    read, source = gp.read(path)
    with rasterio.open(path) as scene:
        assert source.bands == gp.Source.from_rasterio(scene).bands
        np.testing.assert_array_equal(np.moveaxis(read, -1, 0), scene.read())
    assert not facts(path)["alpha"]
    write_four_bands(path, FOUR8, ("red", "green", "blue", "alpha"))
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)


def test_declared_bands_include_a_sample_marked_alpha(tmp_path):
    path = write_four_bands(tmp_path / "scene.tif", FOUR8)
    with pytest.raises(gp.ReadError, match=r"transparent.*bands= with a name for it"):
        gp.read(path)
    image, source = gp.read(path, bands="RGBN")
    np.testing.assert_array_equal(np.moveaxis(image, -1, 0), FOUR8)
    assert source == gp.Source("RGBN", dtype="uint8")
    np.testing.assert_array_equal(
        gp.read(path, bands="RGB", alpha="drop")[0], np.moveaxis(FOUR8[:3], 0, -1)
    )
    tifffile.imwrite(
        path,
        FOUR8[:2],
        planarconfig="separate",
        photometric="minisblack",
        extrasamples=["unassalpha"],
    )
    image, source = gp.read(path, bands=("gray", "NIR"))
    np.testing.assert_array_equal(
        np.moveaxis(image, source.layout.index("C"), 0), FOUR8[:2]
    )


def test_each_image_of_an_ome_file_has_its_own_channels(tmp_path):
    path = tmp_path / "cells.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as out:
        out.write(GRAY16, metadata={"axes": "YX", "Channel": {"Name": "DAPI"}})
        out.write(GRAY16[:8, :8], metadata={"axes": "YX", "Channel": {"Name": "GFP"}})
    assert [gp.read(path, frame=at)[1].bands for at in (0, 1)] == [("DAPI",), ("GFP",)]


def test_labels_of_slices_are_not_band_names(tmp_path):
    path = tmp_path / "stack.tif"
    stack = RNG.integers(0, 256, (3, 10, 12, 3), dtype=np.uint8)
    tifffile.imwrite(
        path,
        stack,
        imagej=True,
        metadata={"axes": "ZYXS", "Labels": ["s1", "s2", "s3"]},
    )
    image, source = gp.read(path, frame=1)
    np.testing.assert_array_equal(image, stack[1])
    assert source.bands == ("R", "G", "B")
