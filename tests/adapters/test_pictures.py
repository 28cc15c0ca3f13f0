"""PIL images under ToBackbone: every mode that is gray, RGB or a palette of them, and what is refused."""

import cv2
import numpy as np
import pytest
from PIL import Image

import graypipe as gp
from graypipe.adapters.torchvision import ToBackbone

RNG = np.random.default_rng(12)
GRAY = RNG.integers(0, 256, (5, 7), np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), np.uint16)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
UNIT = ToBackbone(gp.plan("gray", "unit"), gp.plan("RGB", "unit"))


def opaque(image, alpha=255):
    """Return ``image`` with one more band, ``alpha``."""
    bands = image[..., None] if image.ndim == 2 else image
    return np.concatenate([bands, np.full_like(bands[..., :1], alpha)], -1)


def palette(colours, transparency=None):
    picture = Image.fromarray(GRAY % len(colours)).convert("P")
    picture.putdata((GRAY % len(colours)).ravel().tolist())
    picture.putpalette(np.array(colours, np.uint8).ravel().tolist())
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


COLOURS = np.array([[255, 0, 0], [0, 128, 9], [3, 4, 5]], np.uint8)
GRAYS = np.array([[9, 9, 9], [200, 200, 200]], np.uint8)
FLOATS = RNG.random((5, 7), np.float32)

PICTURES = {
    "1": (Image.fromarray(GRAY > 99), (GRAY > 99)),
    "L": (Image.fromarray(GRAY), GRAY / 255),
    "I;16": (Image.fromarray(DEEP), DEEP / 65535),
    "I;16B": (Image.frombytes("I;16B", (7, 5), DEEP.astype(">u2").tobytes()), DEEP / 65535),
    "I;16L": (Image.frombytes("I;16L", (7, 5), DEEP.astype("<u2").tobytes()), DEEP / 65535),
    "F": (Image.fromarray(FLOATS), FLOATS),
    "RGB": (Image.fromarray(RGB), RGB / 255),
    "LA, opaque": (Image.fromarray(opaque(GRAY)), GRAY / 255),
    "RGBA, opaque": (Image.fromarray(opaque(RGB)), RGB / 255),
    "P of grays": (palette(GRAYS), GRAYS[GRAY % 2, 0] / 255),
    "P of colours": (palette(COLOURS), COLOURS[GRAY % 3] / 255),
    "P, opaque": (palette(GRAYS, b"\xff\xff"), GRAYS[GRAY % 2, 0] / 255),
    "P, unused colour transparent": (palette(COLOURS, 7), COLOURS[GRAY % 3] / 255),
    "PA, opaque": (palette(COLOURS).convert("PA"), COLOURS[GRAY % 3] / 255),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_mode_keeps_every_level(name):
    picture, unit = PICTURES[name]
    assert picture.mode == name.split()[0].rstrip(",")
    planes = np.stack([unit] * 3) if unit.ndim == 2 else unit.transpose(2, 0, 1)
    np.testing.assert_allclose(UNIT(picture), planes, rtol=0, atol=2e-7)


def test_32_bit_integers_need_a_range_and_are_not_cut():
    picture = Image.fromarray(np.array([[0, 70_000, 100_000]], np.int32))
    assert picture.mode == "I"
    with pytest.raises(gp.RangeError, match="int32 says nothing"):
        UNIT(picture)
    declared = ToBackbone(gp.plan(gp.Source("gray", range=(0, 100_000)), "unit"))
    np.testing.assert_allclose(declared(picture)[0, 0], [0, 0.7, 1], rtol=0, atol=1e-7)


TRANSPARENT = {
    "LA": Image.fromarray(opaque(GRAY, 254)),
    "RGBA": Image.fromarray(opaque(RGB, 0)),
    "P, a used colour": palette(COLOURS, 1),
    "P, alpha of each colour": palette(COLOURS, b"\xff\xff\x80"),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_parts_are_refused(name):
    with pytest.raises(gp.ChannelError, match=r"transparent.*alpha='white'"):
        UNIT(TRANSPARENT[name])


def test_a_transparent_level_is_refused_where_pixels_have_it():
    for picture, held, other in [
        (Image.fromarray(np.uint8([[3, 4]])), 3, 5),
        (Image.fromarray(np.uint16([[300, 400]])), 300, 500),
        (Image.fromarray(np.uint8([[[1, 2, 3]]])), (1, 2, 3), (1, 2, 4)),
    ]:
        plain = UNIT(picture)
        picture.info["transparency"] = other
        assert (UNIT(picture) == plain).all()
        picture.info["transparency"] = held
        with pytest.raises(gp.ChannelError, match="transparent"):
            UNIT(picture)


def test_alpha_is_a_band_where_a_plan_takes_it_as_one():
    four = ToBackbone(gp.plan("RGBA", "unit", {"R": "A", "G": "G", "B": "B"}))
    x = four(Image.fromarray(opaque(RGB, 51)))
    np.testing.assert_allclose(x[0], np.full((5, 7), 0.2), rtol=0, atol=1e-7)
    np.testing.assert_allclose(x[1:], RGB.transpose(2, 0, 1)[1:] / 255, rtol=0, atol=2e-7)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX"])
def test_other_modes_are_a_type_error(mode):
    with pytest.raises(TypeError, match=rf"mode '{mode}'.*convert it first"):
        UNIT(Image.fromarray(RGB).convert(mode))


def test_a_colour_file_of_16_bits_is_refused_before_pillow_cuts_it(tmp_path):
    path = tmp_path / "deep.png"
    assert cv2.imwrite(str(path), RNG.integers(0, 65536, (5, 7, 3), np.uint16))
    with Image.open(path) as picture, pytest.raises(gp.DTypeError, match=r"16 bits a band.*gp\.read"):
        UNIT(picture)


def test_rgb_under_a_gray_plan_names_the_loader_that_converted_it():
    with pytest.raises(gp.ChannelError, match=r'convert\("RGB"\).*loader=PIL\.Image\.open'):
        ToBackbone(gp.plan("gray", "imagenet"))(Image.fromarray(RGB))
    with pytest.raises(gp.ChannelError, match=r"'RGB' \(3\), got 1 in a picture of mode 'L'"):
        ToBackbone(gp.plan("RGB", "imagenet"))(Image.fromarray(GRAY))


def test_a_picture_says_its_bands_and_a_plan_for_another_order_is_refused():
    picture = Image.fromarray(RGB)
    with pytest.raises(gp.ChannelError, match=r"takes 'BGR' in this order.*holds 'RGB'"):
        ToBackbone(gp.plan("BGR", "imagenet"))(picture)
    names = ToBackbone(gp.plan(("B04", "B03", "B02"), "unit", {"R": "B04", "G": "B03", "B": "B02"}))
    assert (names(picture) == UNIT(picture)).all()


def test_the_picture_is_neither_changed_nor_turned():
    for picture, _ in PICTURES.values():
        before = picture.copy()
        UNIT(picture)
        assert (picture.mode, picture.info, picture.tobytes()) == (before.mode, before.info, before.tobytes())
    turned = Image.fromarray(GRAY)
    turned.getexif()[0x0112] = 6
    assert UNIT(turned).shape == (3, 5, 7)
