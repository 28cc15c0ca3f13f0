"""PIL images given to a plan: the mode states layout, bands and depth; a lossy decoding is refused."""

import io

import numpy as np
import pytest
from PIL import Image
from png_files import png

import graypipe as gp

RNG = np.random.default_rng(8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
DEEP = RNG.integers(0, 4096, (5, 7), dtype=np.uint16)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
UNIT = gp.Target("gray", "HW", "float64")


@pytest.mark.parametrize(
    ("source", "picture", "expected"),
    [
        ("gray", Image.fromarray(GRAY), GRAY / 255),
        (gp.Source("gray", bits=12), Image.fromarray(DEEP), DEEP / 4095),
        (gp.Source("gray", "HWC"), Image.fromarray(GRAY), GRAY / 255),
        ("gray", Image.fromarray(GRAY > 99), GRAY > 99),
        ("gray", Image.fromarray(GRAY / np.float32(255)), GRAY / np.float32(255)),
    ],
)
def test_gray_images_keep_every_level(source, picture, expected):
    np.testing.assert_allclose(gp.plan(source, UNIT)(picture), expected, rtol=1e-12)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_colour_images_ignore_the_layout_of_the_source(layout):
    plan = gp.plan(gp.Source("RGB", layout), "imagenet")
    mean, std = np.array(plan.target.mean), np.array(plan.target.std)
    expected = np.moveaxis((RGB / 255 - mean) / std, -1, 0)
    out = np.empty((3, 5, 7), np.float32)
    assert plan(Image.fromarray(RGB), out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_lists_of_images_become_a_batch():
    plan = gp.plan("RGB", "imagenet")
    pictures = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    expected = np.stack([plan(RGB), plan(RGB[::-1])])
    np.testing.assert_array_equal(plan.batch(pictures, threads=2), expected)
    with pytest.raises(gp.DTypeError):
        plan.batch([pictures[0], RGB])


def test_palettes_and_opaque_alpha_become_their_colours():
    palette = Image.fromarray(RGB).quantize(8)
    colours = np.asarray(palette.convert("RGB"))
    plan = gp.plan("RGB", gp.preset("rgb8"))
    np.testing.assert_array_equal(plan(palette), colours)
    opaque = Image.fromarray(RGB).convert("RGBA")
    np.testing.assert_array_equal(plan(opaque), RGB)
    opaque.putpixel((0, 0), (1, 2, 3, 4))
    with pytest.raises(gp.ChannelError, match="transparent"):
        plan(opaque)
    with_alpha = gp.plan(
        "RGBA", gp.Target("A", "HW", "uint8", range=(0, 255)), {"A": "A"}
    )
    assert with_alpha(opaque)[0, 0] == 4


def test_images_of_other_bands_are_refused():
    with pytest.raises(gp.ChannelError, match="whose bands are 'RGB'"):
        gp.plan("gray", "imagenet")(Image.fromarray(RGB))
    with pytest.raises(gp.ChannelError, match="in the order 'BGR'"):
        gp.plan("BGR", "imagenet")(Image.fromarray(RGB))
    with pytest.raises(gp.DTypeError, match="CMYK"):
        gp.plan("RGB", "imagenet")(Image.new("CMYK", (4, 4)))


def test_a_declared_depth_is_compared_with_the_mode():
    with pytest.raises(gp.RangeError, match="uint8 can only represent"):
        gp.plan(gp.Source("gray", bits=12), "imagenet")(Image.fromarray(GRAY))


def test_files_that_pillow_truncates_are_refused():
    data = png(RNG.integers(0, 65536, (5, 7, 3)), depth=16, colour=2)
    with pytest.raises(gp.DTypeError, match="16 bits per band"):
        gp.plan("RGB", "imagenet")(Image.open(io.BytesIO(data)))
