"""Layouts: every pair of them against NumPy's own axis moves, and what is refused."""

import itertools

import numpy as np
import pytest

import graypipe as gp
from graypipe import layouts

PIXELS = ["HW", "NHW", "THW", "NTHW", "NDHW", "NTDHW"]


def with_c(pixels):
    return [pixels[:at] + "C" + pixels[at:] for at in range(len(pixels) + 1)]


PAIRS = [
    (source, target)
    for pixels in PIXELS
    for source in with_c(pixels)
    for kept in range(len(pixels) - 1)
    for target in with_c(pixels[kept:])
]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_c_may_stand_anywhere_and_missing_letters_stay_in_front(source, target):
    sizes = {"N": 2, "T": 3, "D": 4, "H": 5, "W": 6, "C": 2}
    image = np.arange(np.prod([sizes[k] for k in source])).reshape(
        [sizes[k] for k in source]
    )
    full = "".join(letter for letter in source if letter not in target + "C") + target
    expected = np.einsum(f"{source}->{full}", image)[..., :]
    expected = np.take(expected, [1, 0, 1], axis=full.index("C"))
    m = gp.select({"A": "G", "B": "R", "X": "G"}, of="RG")
    np.testing.assert_array_equal(m(image, layout=source, out_layout=target), expected)


def test_video_becomes_a_stack_of_planes():
    x = gp.plan(gp.Source("gray", "THW"), "imagenet")(np.zeros((4, 5, 6), np.uint8))
    assert x.shape == (4, 3, 5, 6)


@pytest.mark.parametrize(
    "layout", ["", "H", "HH", "HWX", "hw", "WCH ", "CHWC", None, 3]
)
def test_what_is_no_layout_is_refused(layout):
    with pytest.raises(gp.LayoutError, match="layout"):
        layouts.parse(layout)


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("HWC", "WHC", "only C may move"),
        ("HWT", "CHW", "only C may move"),
        ("HW", "NCHW", "plan.batch"),
        ("HW", "TCHW", "lacks"),
        ("NTHWC", "TNCHW", "only C may move"),
    ],
)
def test_axes_are_neither_swapped_nor_invented(source, target, says):
    bands = "R" if "C" not in source else "RGB"
    with pytest.raises(gp.LayoutError, match=says):
        gp.plan(gp.Source(bands, source), gp.Target("RGB", target))


def test_several_bands_need_a_band_axis():
    for make in (
        lambda: gp.Source("RGB", "HW"),
        lambda: gp.Target("RGB", "HW"),
        lambda: gp.replicate()(np.zeros((2, 2)), layout="HW", out_layout="HW"),
        lambda: gp.luminance()(np.zeros((2, 2)), layout="HW"),
    ):
        with pytest.raises(gp.LayoutError, match="no C"):
            make()


def test_one_band_needs_none():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    gray = gp.plan("RGB", gp.Target("gray", "HW"), gp.luminance())(image)
    np.testing.assert_allclose(
        gray, image @ np.array([0.299, 0.587, 0.114]) / 255, rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_images_without_pixels_keep_their_shape(shape):
    assert gp.plan("gray", "imagenet")(np.zeros(shape, np.uint8)).shape == (3, *shape)
    assert gp.plan("gray", "rgb8")(np.zeros(shape, np.uint8)).shape == (*shape, 3)
    assert (
        gp.plan("gray", "imagenet")
        .batch(np.zeros((0, 2, *shape[1:]), np.uint8))
        .shape[0]
        == 0
    )


def test_an_array_of_other_axes_is_refused_with_every_reading_it_may_have():
    with pytest.raises(gp.LayoutError) as caught:
        gp.plan("gray", "imagenet")(np.zeros((8, 16, 16), np.uint8))
    for part in ("'HW'", "(8, 16, 16)", "N=8 H=16 W=16", "C=16", ".batch"):
        assert part in str(caught.value)
    with pytest.raises(gp.LayoutError, match="one band"):
        gp.plan("RGB", "imagenet")(np.zeros((16, 16), np.uint8))
    with pytest.raises(gp.LayoutError, match="a single image"):
        gp.plan(gp.Source("RGB", "NHWC"), "imagenet")(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize("count", [1, 2, 4, 13])
def test_another_count_of_bands_is_a_channel_error_with_the_shape(count):
    with pytest.raises(gp.ChannelError, match=rf"C={count}"):
        gp.plan("RGB", "imagenet")(np.zeros((6, 7, count), np.uint8))


def test_letters_are_the_ones_the_contract_names():
    assert sorted("".join(set(itertools.chain(*PIXELS))) + "C") == sorted(
        layouts.LETTERS
    )
