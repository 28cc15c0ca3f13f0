"""Traps of values and ranges: what the numbers mean is declared, or follows from the dtype, or is asked for."""

import imagenet
import numpy as np
import pytest
from PIL import Image

import graypipe as gp

MEAN = np.array(imagenet.MEAN)[:, None, None]
STD = np.array(imagenet.STD)[:, None, None]
RAMP16 = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)
RAMP8 = np.linspace(0, 255, 48).round().astype(np.uint8).reshape(6, 8)


def normalised(unit):
    """(H, W) unit intensities -> (3, H, W) float64."""
    return (np.asarray(unit, np.float64)[None] - MEAN) / STD


def save(path, array):
    Image.fromarray(array).save(path)
    return path


def test_t03_a_16_bit_gray_file_keeps_every_level_on_its_way_to_rgb(tmp_path):
    image, source = gp.read(save(tmp_path / "ramp.png", RAMP16))
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, RAMP16)
    x = gp.plan(source, "unit")(image)
    np.testing.assert_allclose(x, np.stack([RAMP16 / 65535] * 3), rtol=0, atol=1e-6)
    assert np.unique(x).size == 48


def test_t04_one_16_bit_file_has_one_range_whatever_it_is_read_for(tmp_path):
    image, source = gp.read(save(tmp_path / "ramp.png", RAMP16))
    gray = gp.plan(source, gp.Target("gray", "HW"))(image)
    rgb = gp.plan(source, "unit")(image)
    assert gray.min() == 0
    assert gray.max() == 1
    np.testing.assert_array_equal(rgb, np.stack([gray] * 3))


def test_t05_the_upper_half_of_uint16_does_not_wrap_to_negative_values():
    image = np.array([[0, 32767, 32768, 65535]], np.uint16)
    x = gp.plan("gray", "unit")(image)
    np.testing.assert_allclose(
        x[0, 0], [0, 32767 / 65535, 32768 / 65535, 1], rtol=0, atol=1e-7
    )


def test_t05_int16_says_nothing_about_black_and_white():
    with pytest.raises(
        gp.RangeError,
        match=r"int16 does not imply a black and a white level.*declare range=",
    ):
        gp.plan("gray", "unit")(RAMP16.view(np.int16))


def test_t06_uint16_is_never_divided_by_255():
    x = gp.plan("gray", "imagenet")(RAMP16)
    np.testing.assert_allclose(x, normalised(RAMP16 / 65535), rtol=0, atol=4e-6)
    assert x.max() < 2.65


def test_t06_a_declaration_that_the_dtype_contradicts_is_an_error_without_looking_at_pixels():
    with pytest.raises(
        gp.DTypeError, match=r"declares dtype uint8, got uint16.*convert"
    ):
        gp.plan(gp.Source(dtype="uint8"), "imagenet")(RAMP16)
    with pytest.raises(
        gp.RangeError,
        match=r"uint8 holds 0 to 255, but the source declares .* 4095.*bits=",
    ):
        gp.plan(gp.Source(bits=12), "imagenet")(RAMP8)
    with pytest.raises(gp.RangeError, match=r"uint8 holds 0 to 255.*4095"):
        gp.Source(dtype="uint8", range=(0, 4095))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_t07_floats_in_0_to_1_are_not_divided_by_255(dtype):
    image = np.linspace(0, 1, 48).reshape(6, 8).astype(dtype)
    x = gp.plan("gray", "imagenet")(image)
    np.testing.assert_allclose(x, normalised(image), rtol=0, atol=4e-6)
    assert np.ptp(x) > 4


@pytest.mark.parametrize("scale", [255, 65535, -3])
def test_t08_floats_beyond_0_to_1_are_refused_until_their_range_is_declared(scale):
    image = (np.linspace(0, 1, 48).reshape(6, 8) * scale).astype(np.float32)
    with pytest.raises(
        gp.RangeError,
        match=r"without a declared range is read as 0 to 1, but holds.*range=\(0, 255\)",
    ):
        gp.plan("gray", "imagenet")(image)
    x = gp.plan(gp.Source(range=(0, scale)), "imagenet")(image)
    np.testing.assert_allclose(
        x, normalised(image.astype(np.float64) / scale), rtol=0, atol=4e-6
    )


def test_t08_the_error_says_what_0_to_255_looks_like_and_one_pixel_is_enough():
    image = np.zeros((300, 400), np.float32)
    image[-1, -1] = 200
    with pytest.raises(gp.RangeError, match="looks like 0-255"):
        gp.plan("gray", "imagenet")(image)


@pytest.mark.parametrize("brightest", [0, 1, 2, 255])
def test_t09_a_dark_image_is_scaled_like_any_other(brightest):
    image = np.full((6, 8), brightest, np.uint8)
    x = gp.plan("gray", "imagenet")(image)
    np.testing.assert_allclose(x, normalised(image / 255), rtol=0, atol=4e-6)


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "uint32", "int64", "uint64"]
)
def test_t10_wide_and_signed_integers_ask_for_a_range_and_use_it(dtype):
    image = (RAMP8 // 3).astype(dtype)
    with pytest.raises(
        gp.RangeError,
        match=rf"{dtype} does not imply a black and a white level.*range=.*bits=",
    ):
        gp.plan("gray", "imagenet")(image)
    x = gp.plan(gp.Source(range=(0, 100)), "imagenet")(image)
    np.testing.assert_allclose(x, normalised(image / 100), rtol=0, atol=4e-6)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "uint64", "int16", "int64"]
)
@pytest.mark.parametrize("declared", ["range", "bits"])
def test_t10_the_whole_depth_of_a_dtype_can_be_declared(dtype, declared):
    top = int(np.iinfo(dtype).max)
    source = (
        gp.Source(bits=top.bit_length())
        if declared == "bits"
        else gp.Source(range=(0, top))
    )
    x = gp.plan(source, gp.Target("gray", "HW"))(np.array([[0, top // 2, top]], dtype))
    np.testing.assert_allclose(x, [[0, (top // 2) / top, 1]], rtol=0, atol=1e-7)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_t11_10_to_14_bits_in_uint16_reach_white_once_they_are_declared(bits):
    image = (RAMP16 >> (16 - bits)).astype(np.uint16)
    x = gp.plan(gp.Source(bits=bits), "unit")(image)
    np.testing.assert_allclose(x[0], image / (2**bits - 1), rtol=0, atol=1e-6)
    assert x.max() == 1


def test_t11_explain_shows_the_white_level_that_the_dtype_implies():
    assert "0..65535 becomes 0..1 (implied by the dtype)" in gp.plan(
        "gray", "unit"
    ).explain((6, 8), "uint16")
    assert "0..4095 becomes 0..1 (declared)" in gp.plan(
        gp.Source(bits=12), "unit"
    ).explain((6, 8), "uint16")


def test_t16_a_constant_image_stays_finite_and_a_std_of_zero_is_refused():
    x = gp.plan("gray", "imagenet")(np.full((6, 8), 7, np.uint8))
    np.testing.assert_allclose(
        x, normalised(np.full((6, 8), 7 / 255)), rtol=0, atol=4e-6
    )
    for std in (0, (0.2, 0, 0.2), -1, float("nan"), float("inf")):
        with pytest.raises(gp.RangeError, match=r"std.*(positive|finite)"):
            gp.Target(std=std)
    with pytest.raises(gp.RangeError, match=r"two distinct values, got 7 twice"):
        gp.Source(range=(7, 7))


def test_t18_each_weight_family_has_its_own_numbers():
    rgb = np.stack([RAMP8, RAMP8[::-1], RAMP8[:, ::-1]], -1)
    x = rgb.astype(np.float64)
    expected = {
        "keras-caffe": x[..., ::-1] - [103.939, 116.779, 123.68],
        "keras-tf": x / 127.5 - 1,
        "keras-torch": (x / 255 - MEAN.ravel()) / STD.ravel(),
        "keras-efficientnet": x,
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(
            gp.plan("RGB", name)(rgb), wanted, rtol=0, atol=3e-5, err_msg=name
        )


@pytest.mark.parametrize(
    "name",
    ["imagenet", "keras-caffe", "keras-torch", "keras-efficientnet", "openai-clip"],
)
def test_t18_preprocessing_twice_is_an_error(name):
    target = gp.preset(name, layout="HWC")
    once = gp.plan("gray", target)(RAMP8)
    again = gp.plan(gp.Source(target.bands, "HWC"), target)
    with pytest.raises(gp.RangeError, match="read as 0 to 1, but holds"):
        again(once)


def test_t18_a_declared_dtype_refuses_a_second_preprocessing_whose_values_look_possible():
    once = gp.plan("gray", "keras-tf")(RAMP8)
    with pytest.raises(gp.DTypeError, match="declares dtype uint8, got float32"):
        gp.plan(gp.Source("RGB", dtype="uint8"), "keras-tf")(once)
