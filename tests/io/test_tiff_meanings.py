"""What tags say beside the pixels: which image is meant, names, nodata, alpha; or an error with what to do."""

import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
import rasterio
import tifffile
from png_files import SIGNATURE, chunk

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(23)
GRAY8 = RNG.integers(0, 255, (16, 18), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (16, 18), dtype=np.uint16)
FOUR8 = RNG.integers(0, 255, (4, 16, 18), dtype=np.uint8)
NORTH_UP = rasterio.Affine(10, 0, 600000, 0, -10, 5000000)


def nodata(text):
    return {"extratags": [(42113, "s", 0, text, True)]}


def test_a_preview_is_not_taken_for_the_image_in_its_subifd(tmp_path):
    path = tmp_path / "raw.dng"
    with tifffile.TiffWriter(path) as out:
        out.write(
            np.full((8, 8, 3), 7, np.uint8), subifds=1, subfiletype=1, photometric="rgb"
        )
        out.write(GRAY16, subfiletype=0, photometric="minisblack")
    with pytest.raises(
        gp.ReadError, match=r"raw\.dng: the pages are previews.*SubIFD.*TIFF first"
    ):
        gp.read(path)


def test_overviews_in_subifds_leave_the_image_readable(tmp_path):
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as out:
        out.write(GRAY16, subifds=1, photometric="minisblack")
        out.write(GRAY16[::2, ::2], subfiletype=1, photometric="minisblack")
    np.testing.assert_array_equal(gp.read(path)[0], GRAY16)


@pytest.mark.parametrize("planes", [1, 3])
def test_a_metamorph_stack_of_several_planes_is_refused(tmp_path, planes):
    pixels = RNG.integers(0, 256, (planes, 8, 8), dtype=np.uint8)
    counts = b"".join(
        struct.pack("<6I", at, 1, 2451545, 1000, 2451545, 1000) for at in range(planes)
    )
    times = 8 + pixels.nbytes
    first = times + len(counts)
    waves = first + 8
    sizes = [
        (256, 3, 1, 8),
        (257, 3, 1, 8),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
    ]
    strips = [(277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64)]
    tags = [
        *sizes,
        *strips,
        (33628, 4, 1, first),
        (33629, 5, planes, times),
        (33630, 5, planes, waves),
    ]
    path = tmp_path / "cells.stk"
    path.write_bytes(
        b"II*\0"
        + struct.pack("<I", waves + 8 * planes)
        + pixels.tobytes()
        + counts
        + bytes(8)
        + struct.pack("<II", 1, 1) * planes
        + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + bytes(4)
    )
    if planes == 1:
        np.testing.assert_array_equal(gp.read(path)[0], pixels[0])
        return
    for frame in (None, 0, 2):
        with pytest.raises(
            gp.ReadError, match=r"cells\.stk: a MetaMorph stack of 3 images in 1 page"
        ):
            gp.read(path, frame=frame)


def test_nodata_of_a_palette_is_alpha(tmp_path):
    path = tmp_path / "palette.tif"
    clear = int(GRAY8[3, 4])
    keywords = {
        "dtype": "uint8",
        "nodata": clear,
        "photometric": "palette",
        "transform": NORTH_UP,
    }
    colours = RNG.integers(0, 256, (256, 3))
    with rasterio.open(path, "w", "GTiff", 18, 16, 1, **keywords) as out:
        out.write(GRAY8, 1)
        out.write_colormap(
            1, {at: (*map(int, colour), 255) for at, colour in enumerate(colours)}
        )
    assert facts(path)["alpha"]
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    expected = colours[GRAY8]
    np.testing.assert_array_equal(gp.read(path, alpha="drop")[0], expected)
    expected[clear == GRAY8] = 255
    np.testing.assert_array_equal(gp.read(path, alpha="white")[0], expected)


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("int64", str(2**53 + 1), 2**53 + 1),
        ("int64", str(2**63 - 1), 2**63 - 1),
        ("int64", str(2**63), None),
        ("int64", str(-(2**63)), -(2**63)),
        ("uint64", str(2**63 + 1), 2**63 + 1),
        ("int16", "-9999.0", -9999),
        ("uint8", "-3.4e+38", None),
        ("uint8", "nan", None),
        ("uint8", "inf", None),
        ("uint8", "", None),
        ("float32", " ", None),
        ("float32", "0,5", 0.5),
    ],
)
def test_nodata_is_exact_or_marks_nothing(tmp_path, caplog, dtype, text, expected):
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, np.full((4, 4), 5, dtype), **nodata(text))
    source = gp.read(path, range=(0, 100))[1]
    assert source.nodata == expected  # Python compares integers with floats exactly
    assert caplog.records == []


def test_a_nodata_that_is_no_number_is_an_error(tmp_path):
    tifffile.imwrite(tmp_path / "scene.tif", GRAY8, **nodata("none"))
    with pytest.raises(
        gp.ReadError,
        match=r"scene\.tif: the nodata value is 'none', not a number: correct",
    ):
        gp.read(tmp_path / "scene.tif")


def test_what_other_threads_log_of_a_nodata_is_left_alone(
    tmp_path, caplog, monkeypatch
):
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, GRAY8, **nodata("-9999"))
    page = tifffile.TiffPage.asarray

    def meanwhile(self, *args, **keywords):
        other = threading.Thread(target=tifffile.imread, args=(path,))
        monkeypatch.setattr(tifffile.TiffPage, "asarray", page)
        other.start()
        other.join()
        return page(self, *args, **keywords)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", meanwhile)
    gp.read(path)
    assert ["GDAL_NODATA" in record.getMessage() for record in caplog.records] == [True]


def four(path, image, names=None):
    with rasterio.open(
        path, "w", "GTiff", 18, 16, 4, dtype="uint8", transform=NORTH_UP
    ) as out:
        out.write(image)
        out.descriptions = names or (None,) * 4
    return path


@pytest.mark.parametrize("fourth", [FOUR8[3], np.full((16, 18), 255, np.uint8)])
def test_a_fourth_band_with_a_description_is_no_alpha(tmp_path, fourth):
    image = np.stack([*FOUR8[:3], fourth])
    path = four(tmp_path / "scene.tif", image, ("red", "green", "blue", "nir"))
    read, source = gp.read(path)
    with rasterio.open(path) as scene:
        assert source.bands == gp.Source.from_rasterio(scene).bands
        np.testing.assert_array_equal(np.moveaxis(read, -1, 0), scene.read())
    assert not facts(path)["alpha"]
    four(path, FOUR8, ("red", "green", "blue", "alpha"))
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)


def test_declared_bands_read_a_fourth_sample_that_is_marked_alpha(tmp_path):
    path = four(tmp_path / "scene.tif", FOUR8)
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


def test_labels_of_slices_are_no_names_of_bands(tmp_path):
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


def test_axes_that_are_no_image_are_named_with_what_to_do(tmp_path):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, GRAY8, metadata={"axes": "XY"}, photometric="minisblack")
    with pytest.raises(
        gp.ReadError, match=r"odd\.tif: expected height and width.*gp\.Source"
    ):
        gp.read(path)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 18), (37, 41)])
def test_interlaced_colour_of_16_bits_is_read_without_a_word_on_stderr(
    tmp_path, capfd, shape
):
    pixels = RNG.integers(0, 65536, (*shape, 3), dtype=np.uint16)
    path = tmp_path / "interlaced.png"
    path.write_bytes(interlaced(pixels))
    np.testing.assert_array_equal(gp.read(path)[0], pixels)
    assert capfd.readouterr().err == ""
    np.testing.assert_array_equal(
        gp.read(path)[0], cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    )


def interlaced(pixels):
    """Return a PNG with the passes that section 8.1 of the specification draws."""
    passes = [pixels[::8, ::8], pixels[::8, 4::8], pixels[4::8, ::4], pixels[::4, 2::4]]
    passes += [pixels[2::4, ::2], pixels[::2, 1::2], pixels[1::2]]
    rows = [
        b"\0" + row.astype(">u2").tobytes()
        for part in passes
        if part.size
        for row in part
    ]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 1)
    coded = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return SIGNATURE + chunk(b"IHDR", header) + coded + chunk(b"IEND")


def test_a_depth_of_24_bits_is_read(tmp_path):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.full((8, 8), 7, np.uint32), bitspersample=24)
    assert gp.read(path)[1].bits == 24
