"""The questions the package answers, row by row: S1 to S4 and S10, against plain NumPy."""

import imagenet
import numpy as np

import graypipe as gp

RNG = np.random.default_rng(64)
BATCH = RNG.integers(0, 256, (64, 224, 224), np.uint8)
GRAY = BATCH[0]


def test_s01_a_batch_of_gray_images_repeated_along_a_last_axis():
    x = gp.replicate()(BATCH, layout="NHW")
    assert x.shape == (64, 224, 224, 3)
    assert x.dtype == np.uint8
    np.testing.assert_array_equal(x, np.repeat(BATCH[..., None], 3, -1))


def test_s01_the_same_without_copying_a_byte():
    x = gp.replicate()(BATCH, layout="NHW", copy=False)
    assert np.shares_memory(x, BATCH)
    np.testing.assert_array_equal(x, np.repeat(BATCH[..., None], 3, -1))


def test_s02_three_copies_stacked_deep_or_in_front():
    np.testing.assert_array_equal(
        gp.replicate()(GRAY, layout="HW"), np.dstack((GRAY, GRAY, GRAY))
    )
    planes = gp.replicate()(GRAY, layout="HW", out_layout="CHW")
    np.testing.assert_array_equal(planes, np.concatenate([GRAY[None]] * 3))
    batch = BATCH[:5, ..., None]
    x = gp.replicate()(batch, layout="NHWC", out_layout="NCHW")
    np.testing.assert_array_equal(
        x, np.concatenate([batch] * 3, -1).transpose(0, 3, 1, 2)
    )


def test_s03_an_rgb_array_allocated_beforehand_is_filled():
    dummy = np.full((224, 224, 3), 7, np.uint8)
    returned = gp.replicate()(GRAY, layout="HW", out=dummy)
    assert np.shares_memory(returned, dummy)
    for channel in range(3):
        np.testing.assert_array_equal(dummy[..., channel], GRAY)


def test_s04_gray_to_rgb_keeps_the_dtype_and_the_values():
    for dtype in (
        "bool",
        "uint8",
        "uint16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
    ):
        image = GRAY.astype(dtype)
        rgb = gp.replicate()(image, layout="HW")
        assert rgb.dtype == image.dtype
        np.testing.assert_array_equal(rgb, np.stack([image] * 3, -1))


def test_s10_efficientnet_normalises_inside_and_the_plan_says_what_broadcasting_hides():
    mean, std = np.array(imagenet.MEAN), np.array(imagenet.STD)
    x = gp.plan("gray", "keras-efficientnet")(GRAY)
    assert x.shape == (224, 224, 3)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.repeat(GRAY[..., None], 3, -1))
    inside_on_one_channel = (GRAY[..., None] / 255 - mean) / std
    np.testing.assert_allclose(
        (x.astype(np.float64) / 255 - mean) / std,
        inside_on_one_channel,
        rtol=0,
        atol=1e-12,
    )
    explicit = gp.plan("gray", gp.preset("keras-torch"))(GRAY)
    np.testing.assert_allclose(explicit, inside_on_one_channel, rtol=0, atol=4e-6)
