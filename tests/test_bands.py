"""Bands: they are matched by name, and another count of them is an error, never a guess."""

import numpy as np
import pytest
from imagenet import MEAN, STD, normalise

import graypipe as gp

THIRTEEN = tuple(f"B{i:02}" for i in range(1, 14))
RNG = np.random.default_rng(27)


@pytest.mark.parametrize(
    "bands", ["gray", "RGBY", THIRTEEN], ids=["1 band", "4 bands", "13 bands"]
)
def test_three_statistics_for_another_band_count_are_refused(bands):
    count = 1 if bands == "gray" else len(bands)
    with pytest.raises(
        gp.ChannelError,
        match=rf"(?s)to be a number, or one number per band.*\({count}\).*got 3",
    ):
        gp.Target(bands, mean=MEAN, std=STD)


def test_thirteen_bands_take_thirteen_statistics():
    mean, std = np.linspace(0.1, 0.7, 13), np.linspace(0.2, 0.5, 13)
    image = np.full((4, 5, 13), 100, np.uint8)
    x = gp.plan(THIRTEEN, gp.Target(THIRTEEN, mean=mean, std=std))(image)
    np.testing.assert_allclose(
        x, np.moveaxis((image / 255 - mean) / std, -1, 0), rtol=0, atol=4e-6
    )
    assert len(set(x[:, 0, 0].tolist())) == 13


def test_gray_is_repeated_before_three_statistics_apply():
    image = RNG.integers(0, 256, (6, 7), np.uint8)
    x = gp.plan("gray", "imagenet")(image)
    np.testing.assert_allclose(
        x, normalise(np.repeat(image[..., None], 3, -1) / 255), rtol=0, atol=4e-6
    )
    with pytest.raises(
        gp.ChannelError,
        match=r"'imagenet' has a mean for 'RGB', but none for 'gray'.*pass mean=",
    ):
        gp.preset("imagenet", bands="gray")


@pytest.mark.parametrize("count", [1, 2, 4, 13])
def test_an_rgb_plan_refuses_other_band_counts(count):
    image = np.zeros((6, 7, count), np.uint8)
    with pytest.raises(
        gp.ChannelError, match=rf"'HWC' with 3 bands.*C={count}.*gp\.select"
    ):
        gp.plan("RGB", "imagenet")(image)


@pytest.mark.parametrize("bands", ["RGBY", "RGBA", "RG", THIRTEEN])
def test_the_error_for_other_bands_spells_out_a_mapping(
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


def test_a_channel_axis_of_one_becomes_three():
    rgb = RNG.integers(0, 256, (6, 7, 3), np.uint8)
    np.testing.assert_array_equal(gp.plan("RGB", "rgb8")(rgb), rgb)
    gray = rgb[..., :1]
    one = gp.plan(gp.Source("gray", "HWC"), "rgb8")(gray)
    assert one.shape == (6, 7, 3)
    np.testing.assert_array_equal(one, np.repeat(gray, 3, -1))


def test_rgb_given_to_a_gray_plan_is_refused():
    with pytest.raises(
        gp.LayoutError, match=r"layout 'HW', 1 band.*got 3 axes.*\(6, 7, 3\).*HWC"
    ):
        gp.plan("gray", "rgb8")(np.zeros((6, 7, 3), np.uint8))


def test_every_keras_mode_refuses_one_band_for_three():
    for name in ("keras-caffe", "keras-tf", "keras-torch", "keras-efficientnet"):
        with pytest.raises(gp.ChannelError, match=r"with 3 bands.*C=1"):
            gp.plan("RGB", name)(np.zeros((4, 4, 1), np.uint8))


def test_a_fourth_band_is_not_flipped_into_the_caffe_order():
    pixel = np.array([[[10, 20, 30, 200]]], np.uint8)  # R, G, B and NIR
    bands = ("R", "G", "B", "NIR")
    with pytest.raises(gp.ChannelError, match="NIR"):
        gp.plan(bands, "keras-caffe")
    x = gp.plan(bands, "keras-caffe", via={"R": "R", "G": "G", "B": "B"})(pixel)
    np.testing.assert_allclose(
        x[0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=0, atol=1e-5
    )


def test_gray_and_colour_samples_stack():
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


def test_statistics_are_matched_to_bands_by_name():
    rgb = RNG.integers(0, 256, (6, 7, 3), np.uint8)
    expected = normalise(rgb / 255)
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
        lambda: gp.Target(mean=set(MEAN)),
        lambda: gp.select({"R", "B"}, of="RGB"),
        lambda: gp.replicate(gains={1, 2, 3}),
    ],
    ids=["bands", "range", "ranges", "mean", "select", "gains"],
)
def test_a_set_is_refused_where_order_counts(declare):
    with pytest.raises(gp.GraypipeError, match=r"sequence|set|order|pair"):
        declare()


def test_rgb_statistics_are_not_tiled_onto_extra_bands():
    with pytest.raises(
        gp.ChannelError,
        match=r"'imagenet' has a mean for 'RGB', but none for 'B01'.*via=",
    ):
        gp.preset("imagenet", bands=THIRTEEN)
    with pytest.raises(gp.ChannelError, match=r"one number per band.*\(13\).*got 6"):
        gp.Target(THIRTEEN, mean=MEAN * 2, std=STD * 2)


def test_gray_in_one_channel_is_another_plan_than_in_three():
    image = RNG.integers(1, 256, (6, 7), np.uint8)
    everywhere = gp.plan("gray", "rgb8")
    red_only = gp.plan("gray", "rgb8", via={"R": "gray", "G": None, "B": None})
    np.testing.assert_array_equal(
        red_only(image), np.stack([image, 0 * image, 0 * image], -1)
    )
    assert everywhere.fingerprint != red_only.fingerprint
    again = gp.Plan.from_json(red_only.to_json())
    np.testing.assert_array_equal(again(image), red_only(image))


def test_a_vector_of_statistics_never_makes_channels():
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


def test_rgb_is_left_as_it_is_and_other_bands_are_refused():
    rgb = RNG.integers(0, 256, (6, 8, 3), np.uint8)
    np.testing.assert_array_equal(gp.plan("RGB", "rgb8")(rgb), rgb)
    with pytest.raises(
        gp.ChannelError,
        match=r"(?s)via=\{\"R\": \"R\", \"G\": \"G\", \"B\": \"B\"\}.*ignores the input bands \['A'",
    ):
        gp.plan("RGBA", "rgb8")
    for count in (1, 2, 4, 5):
        with pytest.raises(gp.ChannelError, match=rf"3 bands.*C={count}.*gp\.select"):
            gp.plan("RGB", "rgb8")(np.zeros((6, 8, count), np.uint8))


@pytest.mark.parametrize(
    "statistics",
    [{"mean": (0.5,)}, {"mean": (0.5, 0.5)}, {"std": (1, 1, 1, 1)}, {"mean": ()}],
)
def test_statistics_are_one_number_or_one_per_band(statistics):
    name = next(iter(statistics))
    with pytest.raises(
        gp.ChannelError,
        match=rf"expected {name} to be a number, or one number per band of 'RGB' \(3\), got",
    ):
        gp.Target("RGB", **statistics)
    assert gp.Target("RGB", **{name: 0.5}) != gp.Target("RGB")


def test_statistics_follow_their_bands_into_another_order():
    rgby = RNG.integers(0, 256, (6, 8, 4), np.uint8)
    merged = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}
    yellow = rgby[..., 3:] / 255
    unit = np.concatenate(
        [(rgby[..., :2] / 255 + yellow) / 2, rgby[..., 2:3] / 255], -1
    )
    expected = normalise(unit)
    np.testing.assert_allclose(
        gp.plan("RGBY", "imagenet", via=merged)(rgby), expected, rtol=0, atol=4e-6
    )
    reordered = gp.plan("YBGR", gp.preset("imagenet", bands="GRB"), via=merged)(
        rgby[..., ::-1]
    )
    np.testing.assert_allclose(reordered, expected[[1, 0, 2]], rtol=0, atol=4e-6)
