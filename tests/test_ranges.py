"""Ranges: black and white are declared or follow from the dtype, never from the pixels."""

import numpy as np
import pytest
from imagenet import MEAN, STD, normalise, normalise_gray

import graypipe as gp

RAMP16 = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)
RAMP8 = np.linspace(0, 255, 48).round().astype(np.uint8).reshape(6, 8)


def test_bright_uint16_does_not_wrap_to_negative_values():
    image = np.array([[0, 32767, 32768, 65535]], np.uint16)
    x = gp.plan("gray", "unit")(image)
    np.testing.assert_allclose(
        x[0, 0], [0, 32767 / 65535, 32768 / 65535, 1], rtol=0, atol=1e-7
    )


def test_int16_implies_no_range():
    with pytest.raises(
        gp.RangeError,
        match=r"int16 does not imply a black and a white level.*declare range=",
    ):
        gp.plan("gray", "unit")(RAMP16.view(np.int16))


def test_uint16_is_never_divided_by_255():
    x = gp.plan("gray", "imagenet")(RAMP16)
    np.testing.assert_allclose(x, normalise_gray(RAMP16 / 65535), rtol=0, atol=4e-6)
    assert x.max() < 2.65


def test_a_declaration_the_dtype_contradicts_is_refused():
    with pytest.raises(
        gp.DTypeError, match=r"declares dtype uint8, got uint16.*convert"
    ):
        gp.plan(gp.Source(dtype="uint8"), "imagenet")(RAMP16)
    with pytest.raises(
        gp.RangeError,
        match=r"uint8 can only represent 0 to 255, but the source declares .* 4095.*bits=",
    ):
        gp.plan(gp.Source(bits=12), "imagenet")(RAMP8)
    with pytest.raises(gp.RangeError, match=r"uint8 can only represent 0 to 255.*4095"):
        gp.Source(dtype="uint8", range=(0, 4095))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_in_0_to_1_are_not_divided_by_255(dtype):
    image = np.linspace(0, 1, 48).reshape(6, 8).astype(dtype)
    x = gp.plan("gray", "imagenet")(image)
    np.testing.assert_allclose(x, normalise_gray(image), rtol=0, atol=4e-6)
    assert np.ptp(x) > 4


@pytest.mark.parametrize("scale", [255, 65535, -3])
def test_floats_beyond_0_to_1_need_a_declared_range(scale):
    image = (np.linspace(0, 1, 48).reshape(6, 8) * scale).astype(np.float32)
    with pytest.raises(
        gp.RangeError,
        match=r"without a declared range is read as 0 to 1, but holds.*range=\(0, 255\)",
    ):
        gp.plan("gray", "imagenet")(image)
    x = gp.plan(gp.Source(range=(0, scale)), "imagenet")(image)
    np.testing.assert_allclose(
        x, normalise_gray(image.astype(np.float64) / scale), rtol=0, atol=4e-6
    )


def test_one_pixel_beyond_the_implied_range_is_enough():
    image = np.zeros((300, 400), np.float32)
    image[-1, -1] = 200
    with pytest.raises(gp.RangeError, match="looks like 0-255"):
        gp.plan("gray", "imagenet")(image)


@pytest.mark.parametrize("brightest", [0, 1, 2, 255])
def test_a_dark_image_is_scaled_like_any_other(brightest):
    image = np.full((6, 8), brightest, np.uint8)
    x = gp.plan("gray", "imagenet")(image)
    np.testing.assert_allclose(x, normalise_gray(image / 255), rtol=0, atol=4e-6)


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "uint32", "int64", "uint64"]
)
def test_wide_and_signed_integers_need_a_declared_range(dtype):
    image = (RAMP8 // 3).astype(dtype)
    with pytest.raises(
        gp.RangeError,
        match=rf"{dtype} does not imply a black and a white level.*range=.*bits=",
    ):
        gp.plan("gray", "imagenet")(image)
    x = gp.plan(gp.Source(range=(0, 100)), "imagenet")(image)
    np.testing.assert_allclose(x, normalise_gray(image / 100), rtol=0, atol=4e-6)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "uint64", "int16", "int64"]
)
@pytest.mark.parametrize("declared", ["range", "bits"])
def test_the_whole_depth_of_a_dtype_can_be_declared(dtype, declared):
    top = int(np.iinfo(dtype).max)
    source = (
        gp.Source(bits=top.bit_length())
        if declared == "bits"
        else gp.Source(range=(0, top))
    )
    x = gp.plan(source, gp.Target("gray", "HW"))(np.array([[0, top // 2, top]], dtype))
    np.testing.assert_allclose(x, [[0, (top // 2) / top, 1]], rtol=0, atol=1e-7)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_declared_bits_in_uint16_reach_white(bits):
    image = (RAMP16 >> (16 - bits)).astype(np.uint16)
    x = gp.plan(gp.Source(bits=bits), "unit")(image)
    np.testing.assert_allclose(x[0], image / (2**bits - 1), rtol=0, atol=1e-6)
    assert x.max() == 1


def test_explain_shows_the_range_and_where_it_comes_from():
    assert "0..65535 becomes 0..1 (implied by the dtype)" in gp.plan(
        "gray", "unit"
    ).explain((6, 8), "uint16")
    assert "0..4095 becomes 0..1 (declared)" in gp.plan(
        gp.Source(bits=12), "unit"
    ).explain((6, 8), "uint16")


def test_a_constant_image_stays_finite():
    x = gp.plan("gray", "imagenet")(np.full((6, 8), 7, np.uint8))
    np.testing.assert_allclose(
        x, normalise_gray(np.full((6, 8), 7 / 255)), rtol=0, atol=4e-6
    )
    for std in (0, (0.2, 0, 0.2), -1, float("nan"), float("inf")):
        with pytest.raises(gp.RangeError, match=r"std.*(positive|finite)"):
            gp.Target(std=std)
    with pytest.raises(gp.RangeError, match=r"two distinct values, got 7 twice"):
        gp.Source(range=(7, 7))


def test_the_range_is_declared_or_implied_by_the_dtype():
    top = {
        "bool": 1,
        "uint8": 255,
        "uint16": 65535,
        "float16": 1,
        "float32": 1,
        "float64": 1,
    }
    for dtype, white in top.items():
        x = gp.plan("gray", "unit")(np.full((2, 2), white, dtype))
        assert (x == 1).all(), dtype
    half = np.full((2, 2), 2048, np.uint16)
    for source in (gp.Source(bits=12), gp.Source(range=(0, 4095))):
        np.testing.assert_allclose(
            gp.plan(source, "unit")(half), 2048 / 4095, rtol=0, atol=1e-7
        )
    with pytest.raises(
        gp.RangeError, match="int64 does not imply a black and a white level"
    ):
        gp.plan("gray", "unit")(half.astype(np.int64))


def test_statistics_in_0_to_255_equal_those_in_0_to_1():
    rgb = np.stack([RAMP8, RAMP8[::-1], RAMP8[:, ::-1]], -1)
    in_255 = gp.Target(
        "RGB",
        range=(0, 255),
        mean=tuple(np.multiply(MEAN, 255)),
        std=tuple(np.multiply(STD, 255)),
    )
    expected = normalise(rgb / 255)
    for target in ("imagenet", in_255):
        np.testing.assert_allclose(
            gp.plan("RGB", target)(rgb), expected, rtol=0, atol=4e-6
        )
    with pytest.raises(gp.RangeError, match="looks like 0-255"):
        gp.plan("RGB", "imagenet")(rgb.astype(np.float32))
