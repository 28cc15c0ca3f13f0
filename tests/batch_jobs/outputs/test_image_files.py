"""Encoded files, read by libraries other than those that wrote them."""

import io

import cv2
import numpy as np
import pytest
import rasterio
import rasterio.enums
from PIL import Image

import graypipe as gp
from graypipe.batch_jobs.outputs import FORMATS
from graypipe.batch_jobs.outputs.output_format import DataSet, Sample

pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning"
)

RNG = np.random.default_rng(12)


def encode(array, bands, to):
    file = io.BytesIO()
    write(file, array, bands, to)
    return file.getvalue()


def write(file, array, bands, to):
    target = gp.Target(bands, "HWC" if len(bands) > 1 else "HW")
    data_set = DataSet(gp.Plans(gp.plan(bands, target)), (), None)
    FORMATS[to]().write(file, iter([Sample("a.png", array, None)]), data_set)


def written(path, array, bands, to):
    with path.open("xb") as file:
        write(file, array, bands, to)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3)])
def test_opencv_reads_png_files(tmp_path, dtype, shape):
    array = RNG.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    path = written(
        tmp_path / "a.png", array, "RGB" if len(shape) == 3 else ("gray",), "png"
    )
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found if found.ndim == 2 else found[..., ::-1], array)


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"],
)
def test_gdal_reads_tiff_files_and_band_names(tmp_path, dtype):
    array = (RNG.random((7, 9, 4)) * 120).astype(dtype)
    path = written(
        tmp_path / "a.tif", array, ("B02", "B8 < A", "Grün", "青 🌱"), "tiff"
    )
    with rasterio.open(path) as found:
        assert found.descriptions == ("B02", "B8 < A", "Grün", "青 🌱")
        np.testing.assert_array_equal(np.moveaxis(found.read(), 0, -1), array)


def test_only_tiff_files_of_rgb_are_marked_as_rgb(tmp_path):
    array = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    with Image.open(
        written(tmp_path / "a.tif", array, ("R", "G", "B"), "tiff")
    ) as found:
        assert found.mode == "RGB"
    with rasterio.open(
        written(tmp_path / "b.tif", array, ("B", "G", "R"), "tiff")
    ) as found:
        assert found.colorinterp[0] == rasterio.enums.ColorInterp.gray


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 3, 4), np.float32), np.ones((5, 1), bool), np.arange(6.0)[None]],
)
def test_npy_bytes_equal_those_of_numpy_save(array):
    expected = io.BytesIO()
    np.save(expected, array)
    assert encode(array, ("gray",), "npy") == expected.getvalue()


@pytest.mark.parametrize("to", ["png", "tiff", "npy"])
def test_equal_arrays_give_equal_bytes(to):
    array = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert encode(array, "RGB", to) == encode(array.copy(), "RGB", to)
