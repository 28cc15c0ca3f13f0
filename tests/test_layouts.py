"""Layouts: every pair of them against NumPy's own axis moves, and what is refused."""

import itertools

import numpy as np
import pytest
from imagenet import normalise_gray

import graypipe as gp
from graypipe import layouts

RNG = np.random.default_rng(15)
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
        ("HWC", "WHC", "only C can be moved"),
        ("HWT", "CHW", "only C can be moved"),
        ("HW", "NCHW", "plan.batch"),
        ("HW", "TCHW", "which is not in the source layout"),
        ("NTHWC", "TNCHW", "only C can be moved"),
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


def test_other_axes_are_refused_with_every_reading():
    with pytest.raises(gp.LayoutError) as caught:
        gp.plan("gray", "imagenet")(np.zeros((8, 16, 16), np.uint8))
    for part in ("'HW'", "(8, 16, 16)", "N=8 H=16 W=16", "C=16", ".batch"):
        assert part in str(caught.value)
    with pytest.raises(gp.LayoutError, match="one band"):
        gp.plan("RGB", "imagenet")(np.zeros((16, 16), np.uint8))
    with pytest.raises(gp.LayoutError, match="call the plan itself"):
        gp.plan(gp.Source("RGB", "NHWC"), "imagenet")(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize("count", [1, 2, 4, 13])
def test_another_band_count_is_a_channel_error_with_the_shape(count):
    with pytest.raises(gp.ChannelError, match=rf"C={count}"):
        gp.plan("RGB", "imagenet")(np.zeros((6, 7, count), np.uint8))


def test_letters_are_the_ones_the_contract_names():
    assert sorted("".join(set(itertools.chain(*PIXELS))) + "C") == sorted(
        layouts.LETTERS
    )


def test_an_undeclared_batch_axis_is_refused_with_its_readings():
    batch = RNG.integers(0, 256, (8, 16, 16), np.uint8)
    plan = gp.plan("gray", "imagenet")
    with pytest.raises(gp.LayoutError) as caught:
        plan(batch)
    message = str(caught.value)
    for part in (
        "layout 'HW'",
        "(8, 16, 16)",
        "NHW (N=8 H=16 W=16)",
        "plan.batch",
        "CHW (C=8 H=16 W=16)",
        "HWC",
    ):
        assert part in message
    expected = normalise_gray(batch / 255)
    np.testing.assert_allclose(plan.batch(batch), expected, rtol=0, atol=4e-6)
    np.testing.assert_array_equal(
        gp.plan(gp.Source(layout="NHW"), "imagenet")(batch), plan.batch(batch)
    )


@pytest.mark.parametrize("shape", [(5, 8, 1), (1, 8, 5), (3, 8, 3), (3, 1, 1)])
def test_a_batch_axis_or_width_is_never_taken_for_bands(shape):
    batch = RNG.integers(0, 256, shape, np.uint8)
    with pytest.raises(gp.LayoutError, match=r"layout 'HW'.*plan\.batch"):
        gp.plan("gray", "rgb8")(batch)
    declared = gp.plan(gp.Source(layout="NHW"), "rgb8")
    np.testing.assert_array_equal(declared(batch), np.stack([batch] * 3, -1))


@pytest.mark.parametrize(
    ("layout", "shape"), [("HW", (3, 6, 8)), ("HWC", (6, 8)), ("CHW", (1, 3, 6, 8))]
)
def test_axes_are_never_guessed(layout, shape):
    source = gp.Source("gray" if layout == "HW" else "RGB", layout)
    with pytest.raises(gp.LayoutError) as caught:
        gp.plan(source, "rgb8")(np.zeros(shape, np.uint8))
    assert repr(layout) in str(caught.value)
    assert str(shape) in str(caught.value)
    assert "They can be read as" in str(caught.value)


def test_a_cube_is_read_as_declared():
    cube = RNG.integers(0, 256, (3, 3, 3), np.uint8)
    np.testing.assert_array_equal(
        gp.plan(gp.Source("RGB", "CHW"), "rgb8")(cube), cube.transpose(1, 2, 0)
    )
    np.testing.assert_array_equal(gp.plan(gp.Source("RGB", "HWC"), "rgb8")(cube), cube)
    np.testing.assert_array_equal(
        gp.plan(gp.Source("RGB", "HCW"), "rgb8")(cube), cube.transpose(0, 2, 1)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (6, 1), (0, 8), (6, 0), (3, 3)])
def test_no_axis_is_squeezed(shape):
    image = np.zeros(shape, np.uint8)
    assert gp.plan("gray", "imagenet")(image).shape == (3, *shape)
    assert gp.plan("gray", "rgb8").batch(image[None]).shape == (1, *shape, 3)
    one = gp.plan(gp.Source("gray", "HWC"), gp.Target("gray", "HWC"))(image[..., None])
    assert one.shape == (*shape, 1)
    assert one.dtype == np.float32


def test_axes_the_target_lacks_stay_in_front():
    video = RNG.integers(0, 256, (2, 5, 6, 8), np.uint8)
    x = gp.plan(gp.Source(layout="NTHW"), "imagenet")(video)
    np.testing.assert_allclose(x, normalise_gray(video / 255), rtol=0, atol=4e-6)
