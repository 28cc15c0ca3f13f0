"""Several plans with one target: each image is converted by the plan that takes it."""

import copy
import pickle

import numpy as np
import pytest
from PIL import Image

import graypipe as gp

GRAY = gp.plan(gp.Source("gray", dtype="uint8"), "imagenet")
DEEP = gp.plan(gp.Source("gray", bits=12, dtype="uint16"), "imagenet")
RGB = gp.plan("RGB", "imagenet")
PLANS = gp.Plans(GRAY, DEEP, RGB)


@pytest.fixture
def rng():
    """A generator of random pixels."""
    return np.random.default_rng(7)


def images(rng):
    """Return an image that each of the plans takes, of one size."""
    return {
        GRAY: rng.integers(0, 256, (5, 7), dtype=np.uint8),
        DEEP: rng.integers(0, 4096, (5, 7), dtype=np.uint16),
        RGB: rng.integers(0, 256, (5, 7, 3), dtype=np.uint8),
    }


def test_band_count_and_dtype_select_the_plan(rng):
    for plan, image in images(rng).items():
        np.testing.assert_array_equal(PLANS(image), plan(image))


def test_every_image_of_a_list_selects_its_plan(rng):
    arrays = images(rng)
    batch = list(arrays.values())
    expected = np.stack([plan(image) for plan, image in arrays.items()])
    for threads in (1, 3):
        np.testing.assert_array_equal(PLANS.batch(batch, threads=threads), expected)


def test_the_images_of_an_array_share_one_plan(rng):
    deep = rng.integers(0, 4096, (4, 5, 7), dtype=np.uint16)
    np.testing.assert_array_equal(PLANS.batch(deep), DEEP.batch(deep))
    colour = rng.integers(0, 256, (4, 5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(PLANS.batch(colour), RGB.batch(colour))


def test_results_are_written_into_out(rng):
    batch = list(images(rng).values())
    expected = PLANS.batch(batch)
    out = np.empty_like(expected)
    assert PLANS.batch(batch, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert PLANS(batch[1], out=out[0]) is not None
    np.testing.assert_array_equal(out[0], expected[1])


def test_out_must_match_the_results(rng):
    batch = list(images(rng).values())
    with pytest.raises(gp.LayoutError, match="out"):
        PLANS.batch(batch, out=np.empty((2, 3, 5, 7), np.float32))
    with pytest.raises(gp.DTypeError, match="float64"):
        PLANS.batch(batch, out=np.empty((3, 3, 5, 7)))


def test_the_mode_of_a_picture_selects_the_plan(rng):
    arrays = images(rng)
    pictures = [Image.fromarray(image) for image in arrays.values()]
    assert [picture.mode for picture in pictures] == ["L", "I;16", "RGB"]
    expected = [plan(image) for plan, image in arrays.items()]
    for picture, result in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(PLANS(picture), result)
    np.testing.assert_array_equal(PLANS.batch(pictures), np.stack(expected))


def test_alpha_selects_the_plan_that_has_it(rng):
    rgba = gp.plan("RGBA", "unit", {"R": "R", "G": "G", "B": "B"})
    plans = gp.Plans(gp.plan("gray", "unit"), rgba)
    pixels = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    picture = Image.fromarray(pixels, "RGBA")
    np.testing.assert_array_equal(plans(picture), rgba(pixels))


def test_pictures_in_another_band_order_are_an_error():
    plans = gp.Plans(gp.plan("gray", "unit"), gp.plan("BGR", "unit"))
    with pytest.raises(gp.ChannelError, match="order"):
        plans(Image.new("RGB", (4, 4)))


def test_layouts_tell_arrays_of_one_dtype_apart(rng):
    video = gp.plan(gp.Source("gray", "THW"), "unit")
    plans = gp.Plans(video, gp.plan("RGB", "unit"))
    frames = rng.integers(0, 256, (2, 5, 7), dtype=np.uint8)
    np.testing.assert_array_equal(plans(frames), video(frames))
    with pytest.raises(gp.ChannelError, match="fits several of them"):
        plans(np.zeros((4, 5, 3), np.uint8))


def test_an_image_that_no_plan_takes_is_an_error():
    with pytest.raises(
        gp.ChannelError, match=r"HW of 'gray'.*HWC of 'RGB'.*\(5, 7, 4\)"
    ):
        PLANS(np.zeros((5, 7, 4), np.uint8))
    with pytest.raises(gp.DTypeError, match=r"uint16, uint8.*got int32"):
        PLANS(np.zeros((5, 7), np.int32))
    with pytest.raises(gp.DTypeError, match="one image"):
        PLANS(np.zeros((5, 7), np.uint8), 3)


def test_one_plan_raises_its_own_errors():
    plans = gp.Plans(GRAY)
    with pytest.raises(gp.LayoutError, match="batch"):
        plans(np.zeros((8, 16, 16), np.uint8))
    with pytest.raises(gp.LayoutError, match="empty"):
        plans.batch([])


def test_results_of_different_shapes_are_an_error():
    with pytest.raises(gp.LayoutError, match="one shape"):
        PLANS.batch([np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint16)])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("RGB", "BGR"),
        ("gray", gp.Source("gray", bits=12)),
        (gp.Source("gray", bits=12), gp.Source("gray", bits=16)),
        (gp.Source("gray", bits=10), gp.Source("gray", "THW", bits=12)),
    ],
)
def test_plans_that_take_the_same_images_are_an_error(first, second):
    with pytest.raises(gp.ChannelError, match="dtype") as raised:
        gp.Plans(gp.plan(first, "unit"), gp.plan(second, "unit"))
    assert len(str(raised.value)) < 600


def test_a_range_that_a_dtype_cannot_hold_tells_plans_apart():
    deep = gp.plan(gp.Source("gray", bits=12), "imagenet")  # 4095 is not a uint8
    plans = gp.Plans(GRAY, deep)
    image = np.full((2, 2), 255, np.int16)
    np.testing.assert_array_equal(plans(image), deep(image))


def test_different_targets_are_an_error():
    with pytest.raises(gp.ChannelError, match="share one target"):
        gp.Plans(GRAY, gp.plan("RGB", "unit"))


def test_missing_plans_and_other_types_are_errors():
    with pytest.raises(gp.ChannelError, match="at least one plan"):
        gp.Plans()
    with pytest.raises(gp.DTypeError, match=r"expected plans.*got str"):
        gp.Plans("imagenet")


def test_plans_are_values():
    for twin in (
        gp.Plans(GRAY, DEEP, RGB),
        pickle.loads(pickle.dumps(PLANS)),
        copy.deepcopy(PLANS),
    ):
        assert twin == PLANS
        assert hash(twin) == hash(PLANS)
    assert gp.Plans(GRAY, RGB) != PLANS
    assert PLANS.target == GRAY.target
    with pytest.raises(AttributeError):
        PLANS.plans = ()
