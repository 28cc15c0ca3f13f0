"""Traps of memory: what comes back belongs to the caller, what was passed in stays as it was."""

import numpy as np
import pytest

import graypipe as gp

RNG = np.random.default_rng(19)


@pytest.mark.parametrize("target", ["imagenet", "keras-caffe", "rgb8", "unit"])
def test_t19_three_equal_channels_are_three_pieces_of_memory(target):
    gray = RNG.integers(0, 256, (6, 8), np.uint8)
    x = gp.plan("gray", target)(gray)
    assert x.flags.c_contiguous
    assert x.flags.writeable
    assert x.flags.owndata
    before = x.copy()
    first = (0, 0, 0)
    x[first] += 1
    changed = x != before
    assert changed[first]
    assert changed.sum() == 1


def test_t19_a_repeating_view_comes_only_on_request_and_cannot_be_written():
    gray = RNG.integers(0, 256, (6, 8), np.uint8)
    view = gp.plan("gray", "rgb8").view(gray)
    assert view.strides == (8, 1, 0)
    assert np.shares_memory(view, gray)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0, 0] = 1
    with pytest.raises(
        gp.CopyRequiredError, match=r"computes new values.*call the plan itself"
    ):
        gp.plan("gray", "imagenet").view(gray)


def test_t19_a_view_of_another_byte_order_is_another_dtype():
    image = RNG.integers(0, 65536, (6, 8), np.uint16).astype(">u2")
    target = gp.Target("RGB", "HWC", "uint16", range=(0, 65535))
    with pytest.raises(gp.CopyRequiredError, match="dtype changes"):
        gp.plan("gray", target).view(image)
    x = gp.replicate()(image, layout="HW", dtype="uint16", copy=None)
    assert x.dtype.isnative
    np.testing.assert_array_equal(x, np.stack([image] * 3, -1))


@pytest.mark.parametrize("target", ["imagenet", "rgb8"])
def test_t21_the_output_for_a_read_only_image_is_writable_memory_of_its_own(target):
    gray = RNG.integers(1, 256, (6, 8), np.uint8)
    gray.flags.writeable = False
    kept = gray.copy()
    x = gp.plan("gray", target)(gray)
    assert not np.shares_memory(x, gray)
    x[...] = 0
    np.testing.assert_array_equal(gray, kept)


@pytest.mark.parametrize(
    "target", ["imagenet", "keras-caffe", "keras-tf", "unit", "rgb8"]
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_t22_the_image_is_the_same_after_one_model_and_after_two(target, dtype):
    rgb = (RNG.random((6, 8, 3)) * (255 if dtype == "uint8" else 1)).astype(dtype)
    kept = rgb.copy()
    plan = gp.plan("RGB", target)
    first = plan(rgb)
    second = plan(rgb)
    np.testing.assert_array_equal(rgb, kept)
    np.testing.assert_array_equal(first, second)


def test_t22_guards_do_not_write_into_the_image_either():
    image = np.array([[-9999, 0, 50, 200]], np.float32)
    kept = image.copy()
    x = gp.plan(
        gp.Source(range=(0, 100), clip=True, nodata=-9999), gp.Target("gray", "HW")
    )(image)
    np.testing.assert_array_equal(image, kept)
    np.testing.assert_array_equal(x, [[0, 0, 0.5, 1]])
