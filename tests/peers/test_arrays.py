"""NumPy, scikit-image, OpenCV, Pillow and kornia as oracles of replicate and select, and their side of the traps."""

import cv2
import kornia
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import gray2rgb

import graypipe as gp

RNG = np.random.default_rng(26)
NUMBERS = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()  # noqa: SIM905


def gray(dtype, shape=(31, 17)):
    return (RNG.random(shape) * (100 if np.dtype(dtype).kind in "iu" else 1.5)).astype(
        dtype
    )


@pytest.mark.parametrize("dtype", NUMBERS)
def test_replicate_equals_np_repeat_and_gray2rgb(dtype):
    image = gray(dtype)
    rgb = gp.replicate()(image, layout="HW")
    for peer in (np.repeat(image[..., None], 3, -1), gray2rgb(image)):
        assert rgb.dtype == peer.dtype
        np.testing.assert_array_equal(rgb, peer)
    planes = gp.replicate()(image, layout="HW", out_layout="CHW")
    np.testing.assert_array_equal(planes, gray2rgb(image, channel_axis=0))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_replicate_equals_cvt_color(dtype):
    image = gray(dtype)
    np.testing.assert_array_equal(
        gp.replicate()(image, layout="HW"), cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    )


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"]
)
def test_replicate_and_select_equal_merge_and_split(dtype):
    image = gray(dtype)
    np.testing.assert_array_equal(
        gp.replicate("RGBA")(image, layout="HW"), cv2.merge([image] * 4)
    )
    rgb = gray(dtype, (31, 17, 3))
    np.testing.assert_array_equal(
        gp.select("BGR", of="RGB")(rgb, layout="HWC"), cv2.merge(cv2.split(rgb)[::-1])
    )


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_replicate_equals_kornia_in_batches(dtype):
    batch = gray(dtype, (5, 1, 31, 17))
    peer = kornia.color.grayscale_to_rgb(torch.from_numpy(batch)).numpy()
    np.testing.assert_array_equal(gp.replicate()(batch, layout="NCHW"), peer)


def test_the_rgb8_preset_equals_pillow_on_8_bit_images():
    image = gray("uint8")
    np.testing.assert_array_equal(
        gp.plan("gray", "rgb8")(image),
        np.asarray(Image.fromarray(image).convert("RGB")),
    )


def test_luminance_equals_cvt_color_within_its_rounding():
    rgb = RNG.random((31, 17, 3)).astype(np.float32)
    x = gp.luminance()(rgb, layout="HWC")[..., 0]
    np.testing.assert_allclose(
        x, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), rtol=0, atol=2e-6
    )


def test_merging_bands_equals_the_matrix_of_cv2_transform():
    rgby = RNG.random((31, 17, 4)).astype(np.float32)
    matrix = np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 1, 0]], np.float32)
    merged = gp.mix(
        {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}, of="RGBY"
    )
    np.testing.assert_allclose(
        merged(rgby, layout="HWC"), cv2.transform(rgby, matrix), rtol=0, atol=2e-7
    )


def test_pillow_convert_saturates_16_bit_gray():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for mode in ("L", "RGB"):
        assert np.unique(np.asarray(Image.fromarray(ramp).convert(mode))).tolist() == [
            0,
            255,
        ]
    x = gp.plan("gray", "rgb8")(ramp)
    np.testing.assert_array_equal(x, np.stack([np.rint(ramp / 257)] * 3, -1))


def test_kornia_takes_a_batch_of_one_but_not_of_eight():
    batch = torch.from_numpy(gray("uint8", (8, 16, 12)))
    assert kornia.color.grayscale_to_rgb(batch[:1]).shape == (3, 16, 12)
    with pytest.raises(ValueError, match="8"):
        kornia.color.grayscale_to_rgb(batch)
    for count in (1, 8):
        assert gp.plan(gp.Source(layout="NHW"), "unit")(
            batch[:count].numpy()
        ).shape == (count, 3, 16, 12)


def test_gray2rgb_adds_an_axis_to_an_image_with_channels():
    rgb = gray("uint8", (6, 7, 3))
    assert gray2rgb(rgb).shape == (6, 7, 3, 3)
    assert gray2rgb(rgb[..., :1]).shape == (6, 7, 1, 3)
    np.testing.assert_array_equal(gp.plan("RGB", "rgb8")(rgb), rgb)
    np.testing.assert_array_equal(
        gp.replicate()(rgb[..., :1], layout="HWC"), rgb[..., [0, 0, 0]]
    )
