"""Traps of channels and axes, T1 to T27: the input on which others return something plausible and wrong."""

import imagenet
import numpy as np
import pytest

import graypipe as gp

MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)
THIRTEEN = tuple(f"B{i:02}" for i in range(1, 14))
RNG = np.random.default_rng(27)


def normalised(unit, mean=MEAN, std=STD):
    """(..., C) unit intensities -> (C, ...) float64, bands first."""
    return np.moveaxis((np.asarray(unit, np.float64) - mean) / std, -1, 0)


@pytest.mark.parametrize(
    "bands", ["gray", "RGBY", THIRTEEN], ids=["1 band", "4 bands", "13 bands"]
)
def test_t01_three_statistics_on_another_number_of_bands_are_refused(bands):
    count = 1 if bands == "gray" else len(bands)
    with pytest.raises(
        gp.ChannelError,
        match=rf"(?s)one number per band.*\({count}\).*plain number.*got 3",
    ):
        gp.Target(bands, mean=tuple(MEAN), std=tuple(STD))


def test_t01_thirteen_bands_take_thirteen_statistics_each_its_own():
    mean, std = np.linspace(0.1, 0.7, 13), np.linspace(0.2, 0.5, 13)
    image = np.full((4, 5, 13), 100, np.uint8)
    x = gp.plan(THIRTEEN, gp.Target(THIRTEEN, mean=mean, std=std))(image)
    np.testing.assert_allclose(x, normalised(image / 255, mean, std), rtol=0, atol=4e-6)
    assert len(set(x[:, 0, 0].tolist())) == 13


def test_t02_gray_under_three_statistics_is_repeated_first_and_written_so():
    image = RNG.integers(0, 256, (6, 7), np.uint8)
    x = gp.plan("gray", "imagenet")(image)
    np.testing.assert_allclose(
        x, normalised(np.repeat(image[..., None], 3, -1) / 255), rtol=0, atol=4e-6
    )
    with pytest.raises(
        gp.ChannelError,
        match=r"'imagenet' has a mean for 'RGB', none for 'gray'.*give mean=",
    ):
        gp.preset("imagenet", bands="gray")


def test_t12_a_batch_of_gray_images_without_a_declared_batch_axis_prints_its_readings():
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
    expected = normalised(np.repeat(batch[..., None], 3, -1) / 255).transpose(
        1, 0, 2, 3
    )
    np.testing.assert_allclose(plan.batch(batch), expected, rtol=0, atol=4e-6)
    np.testing.assert_array_equal(
        gp.plan(gp.Source(layout="NHW"), "imagenet")(batch), plan.batch(batch)
    )


@pytest.mark.parametrize("shape", [(5, 8, 1), (1, 8, 5), (3, 8, 3), (3, 1, 1)])
def test_t13_a_batch_axis_or_width_of_one_or_three_is_never_taken_for_bands(shape):
    batch = RNG.integers(0, 256, shape, np.uint8)
    with pytest.raises(gp.LayoutError, match=r"layout 'HW'.*plan\.batch"):
        gp.plan("gray", "rgb8")(batch)
    declared = gp.plan(gp.Source(layout="NHW"), "rgb8")
    np.testing.assert_array_equal(declared(batch), np.stack([batch] * 3, -1))


@pytest.mark.parametrize("count", [1, 2, 4, 13])
def test_t14_other_than_three_channels_do_not_pass_through_an_rgb_plan(count):
    image = np.zeros((6, 7, count), np.uint8)
    with pytest.raises(
        gp.ChannelError, match=rf"'HWC' with 3 bands.*C={count}.*gp\.select"
    ):
        gp.plan("RGB", "imagenet")(image)


@pytest.mark.parametrize("bands", ["RGBY", "RGBA", "RG", THIRTEEN])
def test_t14_other_bands_than_the_target_s_need_a_mapping_which_the_error_writes_down(
    bands,
):
    with pytest.raises(
        gp.ChannelError,
        match=r"(?s)cannot infer a channel map from .* to 'RGB'.*via=\{\"R\": ",
    ):
        gp.plan(bands, "imagenet")
    picked = {"R": bands[0], "G": bands[1], "B": bands[0]}
    image = RNG.integers(0, 256, (3, 4, len(bands)), np.uint8)
    np.testing.assert_array_equal(
        gp.plan(bands, "rgb8", via=picked)(image), image[..., [0, 1, 0]]
    )


def test_t15_rgb_stays_rgb_and_a_channel_axis_of_one_becomes_three():
    rgb = RNG.integers(0, 256, (6, 7, 3), np.uint8)
    np.testing.assert_array_equal(gp.plan("RGB", "rgb8")(rgb), rgb)
    gray = rgb[..., :1]
    one = gp.plan(gp.Source("gray", "HWC"), "rgb8")(gray)
    assert one.shape == (6, 7, 3)
    np.testing.assert_array_equal(one, np.repeat(gray, 3, -1))


def test_t15_rgb_given_to_a_gray_plan_is_refused():
    with pytest.raises(
        gp.LayoutError, match=r"layout 'HW' with 1 band.*\(6, 7, 3\).*HWC"
    ):
        gp.plan("gray", "rgb8")(np.zeros((6, 7, 3), np.uint8))


def test_t17_a_count_of_channels_other_than_the_preset_s_is_refused_for_every_keras_mode():
    for name in ("keras-caffe", "keras-tf", "keras-torch", "keras-efficientnet"):
        with pytest.raises(gp.ChannelError, match=r"with 3 bands.*C=1"):
            gp.plan("RGB", name)(np.zeros((4, 4, 1), np.uint8))


def test_t17_a_fourth_band_is_not_flipped_into_the_caffe_order():
    pixel = np.array([[[10, 20, 30, 200]]], np.uint8)  # R, G, B and NIR
    bands = ("R", "G", "B", "NIR")
    with pytest.raises(gp.ChannelError, match="NIR"):
        gp.plan(bands, "keras-caffe")
    x = gp.plan(bands, "keras-caffe", via={"R": "R", "G": "G", "B": "B"})(pixel)
    np.testing.assert_allclose(
        x[0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=0, atol=1e-5
    )


def test_t20_gray_and_colour_samples_leave_with_one_shape_so_that_they_stack():
    gray, rgb = (
        RNG.integers(0, 256, (6, 7), np.uint8),
        RNG.integers(0, 256, (6, 7, 3), np.uint8),
    )
    pair = [gp.plan("gray", "imagenet")(gray), gp.plan("RGB", "imagenet")(rgb)]
    batch = np.stack(pair)
    assert batch.shape == (2, 3, 6, 7)
    assert batch.dtype == np.float32
    with pytest.raises(gp.LayoutError, match=r"one size.*\(6, 7\), \(6, 7, 3\)"):
        gp.plan("gray", "imagenet").batch([gray, rgb])


def test_t23_statistics_and_bands_are_matched_by_name_whatever_the_order():
    rgb = RNG.integers(0, 256, (6, 7, 3), np.uint8)
    expected = normalised(rgb / 255)
    from_bgr = gp.plan("BGR", "imagenet")(rgb[..., ::-1])
    np.testing.assert_allclose(from_bgr, expected, rtol=0, atol=4e-6)
    to_bgr = gp.plan("RGB", gp.preset("imagenet", bands="BGR"))(rgb)
    np.testing.assert_allclose(to_bgr, expected[::-1], rtol=0, atol=4e-6)
    backwards = gp.mix({"B": "B", "G": "G", "R": "R"}, of="BRG")
    np.testing.assert_array_equal(
        gp.plan("RGB", "imagenet", via=backwards)(rgb), gp.plan("RGB", "imagenet")(rgb)
    )


@pytest.mark.parametrize(
    "declare",
    [
        lambda: gp.Source({"R", "G", "B"}),
        lambda: gp.Source(range={4095, 0}),
        lambda: gp.Source("RG", range={(0, 10), (0, 20)}),
        lambda: gp.Target(mean=set(imagenet.MEAN)),
        lambda: gp.select({"R", "B"}, of="RGB"),
        lambda: gp.replicate(gains={1, 2, 3}),
    ],
    ids=["bands", "range", "ranges", "mean", "select", "gains"],
)
def test_t23_a_set_has_no_order_and_is_refused_where_order_counts(declare):
    with pytest.raises(gp.GraypipeError, match=r"sequence|set|order|pair"):
        declare()


def test_t24_rgb_statistics_are_not_tiled_onto_extra_bands():
    with pytest.raises(
        gp.ChannelError, match=r"'imagenet' has a mean for 'RGB', none for 'B01'.*via="
    ):
        gp.preset("imagenet", bands=THIRTEEN)
    with pytest.raises(gp.ChannelError, match=r"\(13\).*plain number.*got 6"):
        gp.Target(THIRTEEN, mean=tuple(MEAN) * 2, std=tuple(STD) * 2)


def test_t25_gray_in_one_channel_and_gray_in_three_are_two_specifications():
    image = RNG.integers(1, 256, (6, 7), np.uint8)
    everywhere = gp.plan("gray", "rgb8")
    red_only = gp.plan("gray", "rgb8", via={"R": "gray", "G": {}, "B": {}})
    np.testing.assert_array_equal(
        red_only(image), np.stack([image, 0 * image, 0 * image], -1)
    )
    assert everywhere.fingerprint != red_only.fingerprint
    again = gp.Plan.from_json(red_only.to_json())
    np.testing.assert_array_equal(again(image), red_only(image))


def test_t26_a_vector_of_statistics_never_makes_channels():
    with pytest.raises(
        gp.ChannelError, match=r"one number per band of 'gray' \(1\).*got 3"
    ):
        gp.Target("gray", "HWC", mean=(0.5, 0.4, 0.3))
    with pytest.raises(
        gp.ChannelError, match=r"std .*one number per band of 'RGB' \(3\).*got 1"
    ):
        gp.Target("RGB", std=(0.5,))
    assert gp.plan("gray", gp.Target("gray", "HWC", mean=0.5, std=0.5))(
        np.zeros((4, 4), np.uint8)
    ).shape == (4, 4, 1)
