"""Files of more than 8 bits keep every level, where other readers cut, clip or wrap them."""

import sys

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from png_files import png

import graypipe as gp

LEVELS = np.arange(65536, dtype=np.uint16).reshape(256, 256)
UNIT = LEVELS / 65535
GRAY = gp.Target("gray", "HW", "float64")
RAMP = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)


@pytest.fixture
def ramp(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "ramp.png")
    return tmp_path / "ramp.png"


@pytest.fixture
def deep(tmp_path):
    Image.fromarray(LEVELS).save(tmp_path / "deep.png")
    return tmp_path / "deep.png"


def test_16_bit_gray_is_scaled_and_not_clipped(deep):
    with Image.open(deep) as opened:
        assert (np.asarray(opened.convert("RGB")) == 255).mean() > 0.99
    image, source = gp.read(deep)
    np.testing.assert_allclose(gp.plan(source, GRAY)(image), UNIT, rtol=0, atol=1e-15)
    rgb = gp.plan(source, "rgb8")(image)
    np.testing.assert_array_equal(rgb[..., 0], np.rint(UNIT * 255))
    assert len(np.unique(rgb)) == 256


def test_a_file_has_one_range_as_gray_and_as_colour(deep):
    image, source = gp.read(deep)
    colour = gp.plan(source, gp.Target("RGB", "HWC", "float64"))(image)
    for band in range(3):
        np.testing.assert_array_equal(colour[..., band], gp.plan(source, GRAY)(image))


def test_bright_pixels_do_not_wrap_to_negative_ones(deep):
    image, source = gp.read(deep)
    assert image.dtype == np.uint16
    x = gp.plan(source, gp.Target("gray", "HW"))(image)
    assert (x.min(), x.max()) == (0, 1)
    assert (np.diff(x.ravel()) > 0).all()


def test_12_bits_are_refused_for_a_file_of_8_bits(deep, tmp_path):
    Image.fromarray(LEVELS // 16).save(deep)
    image, source = gp.read(deep, bits=12)
    np.testing.assert_allclose(
        gp.plan(source, GRAY)(image), (LEVELS // 16) / 4095, rtol=0, atol=1e-15
    )
    Image.fromarray((LEVELS // 256).astype(np.uint8)).save(tmp_path / "cut.png")
    with pytest.raises(gp.RangeError, match=r"cut\.png: .*in its original dtype"):
        gp.read(tmp_path / "cut.png", bits=12)


def test_16_bit_colour_is_read_whole_or_refused(deep, tmp_path, monkeypatch):
    np.testing.assert_array_equal(gp.read(deep)[0], LEVELS)
    colour = tmp_path / "colour.png"
    colour.write_bytes(png(np.dstack([LEVELS] * 3), 16, 2))
    with Image.open(colour) as opened:
        assert np.asarray(opened).dtype == np.uint8
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(
        gp.MissingExtraError,
        match=r"colour\.png: imagecodecs is not installed: .*graypipe\[io\]",
    ):
        gp.read(colour)


def test_transparency_is_not_dropped_silently(tmp_path):
    pixels = np.dstack([LEVELS % 256, LEVELS // 256]).astype(np.uint8)
    (tmp_path / "two.png").write_bytes(png(pixels, 8, 4))
    with pytest.raises(gp.ReadError, match=r"two\.png: .*transparent"):
        gp.read(tmp_path / "two.png")


def test_lossless_jpeg_keeps_every_level(tmp_path):
    files = {
        "lossless.jpg": imagecodecs.jpeg8_encode(
            LEVELS, lossless=True, bitspersample=16
        ),
        "lossless.jls": imagecodecs.jpegls_encode(LEVELS),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        image, source = gp.read(tmp_path / name)
        np.testing.assert_array_equal(image, LEVELS)
        np.testing.assert_allclose(
            gp.plan(source, GRAY)(image), UNIT, rtol=0, atol=1e-15
        )


def test_16_bit_gray_keeps_every_level_on_its_way_to_rgb(ramp):
    image, source = gp.read(ramp)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, RAMP)
    x = gp.plan(source, "unit")(image)
    np.testing.assert_allclose(x, np.stack([RAMP / 65535] * 3), rtol=0, atol=1e-6)
    assert np.unique(x).size == 48


def test_a_ramp_is_black_to_white_for_every_target(ramp):
    image, source = gp.read(ramp)
    gray = gp.plan(source, gp.Target("gray", "HW"))(image)
    rgb = gp.plan(source, "unit")(image)
    assert gray.min() == 0
    assert gray.max() == 1
    np.testing.assert_array_equal(rgb, np.stack([gray] * 3))


def test_256_levels_of_16_bits_stay_256_levels(tmp_path):
    levels = np.arange(0, 65536, 257, np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "levels.png")
    image, source = gp.read(tmp_path / "levels.png")
    np.testing.assert_array_equal(image, levels)
    assert np.unique(gp.plan(source, "imagenet")(image)[0]).size == 256
