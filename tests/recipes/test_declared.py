"""Recipes in which the user says what the values mean: microscopes, satellites, scanners."""

import numpy as np
import pydicom
import pytest
import rasterio
import sentinel2
from PIL import Image
from pydicom.pixels import apply_modality_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from recipes.imagenet import assert_ready, colour, gray

import graypipe as gp

TRUE, FALSE = ("B04", "B03", "B02"), ("B08", "B04", "B03")


@pytest.fixture
def rng():
    return np.random.default_rng(9)


def test_four_filters_become_rgb_with_yellow_in_red_and_green(
    run_recipe, tmp_path, rng
):
    cell = rng.integers(0, 256, (4, 12, 16), dtype=np.uint8)
    for plane, word in zip(cell, ("red", "green", "blue", "yellow"), strict=True):
        Image.fromarray(plane).save(tmp_path / f"17_{word}.png")

    x = run_recipe("RGBY fluorescence to RGB")["x"]

    assert_ready(
        x, *colour(cell, [[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 1, 0]], 0, 255)
    )


def geotiff(path, pixels, bands):
    """Write ``pixels``, (C, H, W), as a GeoTIFF that names its bands."""
    north_up = rasterio.Affine(10, 0, 600000, 0, -10, 5000000)
    shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    with rasterio.open(
        path, "w", "GTiff", dtype=pixels.dtype, transform=north_up, **shape
    ) as file:
        file.write(pixels)
        file.descriptions = bands


def picked(pixels, bands, names, black, white):
    via = [[float(band == name) for band in bands] for name in names]
    return colour(pixels, via, black, white, nodata=0)


def test_thirteen_bands_become_true_and_false_colour(run_recipe, tmp_path, rng):
    pixels = rng.integers(900, 12000, (13, 12, 16), dtype=np.uint16)
    pixels[:, :3, :5] = 0
    geotiff(tmp_path / "scene.tif", pixels, sentinel2.L1C)

    names = run_recipe("Sentinel-2 in true and false colour")

    assert_ready(
        names["true_colour"], *picked(pixels, sentinel2.L1C, TRUE, 1000, 11000)
    )
    assert_ready(
        names["false_colour"], *picked(pixels, sentinel2.L1C, FALSE, 1000, 11000)
    )
    assert not names["true_colour"][:, :3, :5].any()


def test_a_reflectance_is_one_number_across_baselines(run_recipe, tmp_path, rng):
    bands = ("B08", "B04", "B03", "B02")
    before = rng.integers(1, 10001, (4, 12, 16), dtype=np.uint16)
    (tmp_path / "scenes").mkdir()
    products = {
        "20210714T103629_N0301": 0,
        "20210714T103629_N0500": 1000,
        "20220830T103629_N0400": 1000,
    }
    for product, added in products.items():
        name = f"S2B_MSIL2A_{product}_R008_T33VUE_20230101T120000.tif"
        geotiff(tmp_path / "scenes" / name, before + np.uint16(added), bands)

    x = run_recipe("Sentinel-2 from before and after January 2022")["x"]

    assert x.shape == (3, 3, 12, 16)
    for made in x:
        assert_ready(made, *picked(before, bands, TRUE, 0, 10000))


def test_twelve_bits_reach_white_at_4095(run_recipe, tmp_path, rng):
    pixels = rng.integers(0, 4096, (12, 16), dtype=np.uint16)
    pixels[0, :2] = 0, 4095
    Image.fromarray(pixels).save(tmp_path / "microscope.png")

    assert_ready(run_recipe("12-bit gray")["x"], *gray(pixels, 0, 4095))

    with Image.open(tmp_path / "microscope.png") as file:
        assert (
            np.asarray(file.convert("L")) == 255
        ).mean() > 0.9  # what the page says of Pillow


def dicom(path, pixels, bits, kind, **attributes):
    """Write gray ``pixels`` as a DICOM file and return it as pydicom reads it."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, kind
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(data, name, value)
    data.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    data.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


@pytest.mark.parametrize(
    ("dtype", "intercept"), [("int16", 0), ("uint16", -1024), ("uint16", 100)]
)
def test_a_ct_window_is_black_and_white_in_hounsfield_units(
    run_recipe, tmp_path, rng, dtype, intercept
):
    stored = rng.integers(0, 2000, (12, 16)).astype(dtype)
    stored[0] = 3000
    rescaling = {"RescaleSlope": "1", "RescaleIntercept": str(intercept)}
    scan = dicom(
        tmp_path / "ct.dcm",
        stored,
        16,
        "MONOCHROME2",
        PixelPaddingValue=3000,
        **rescaling,
    )

    x = run_recipe("A CT window")["x"]

    hounsfield = apply_modality_lut(scan.pixel_array, scan)
    assert_ready(x, *gray(hounsfield, -160, 240, clip=True, nodata=3000 + intercept))
    assert not x[:, 0].any()


def test_hounsfield_units_in_an_array_need_the_window_alone(rng):
    hounsfield = rng.integers(-1024, 3000, (12, 16), dtype=np.int16)
    x = gp.plan(gp.Source("gray", range=(-160, 240), clip=True), "imagenet")(hounsfield)
    assert_ready(x, *gray(hounsfield, -160, 240, clip=True))


def test_monochrome1_is_inverted_by_its_depth(run_recipe, tmp_path, rng):
    pixels = rng.integers(100, 3000, (12, 16), dtype=np.uint16)
    dicom(tmp_path / "xray.dcm", pixels, 12, "MONOCHROME1")

    names = run_recipe("MONOCHROME1")

    assert names["source"].range == (4095, 0)
    assert_ready(names["x"], *gray(4095 - pixels, 0, 4095))
