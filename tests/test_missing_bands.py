"""Missing bands: None in `via` is 0.0 after normalisation in every execution; a band without weights is refused."""

import numpy as np
import pytest

import graypipe as gp

GRAY = np.random.default_rng(5).integers(0, 256, (6, 7), dtype=np.uint8)
WITHOUT_RED = {"R": None, "G": "gray", "B": "gray"}

TARGETS = {
    "imagenet": gp.preset("imagenet"),
    "keras-caffe": gp.preset("keras-caffe"),
    "openai-clip": gp.preset("openai-clip"),
    "inception": gp.preset("inception"),
    "unit": gp.preset("unit"),
    "rgb8": gp.preset("rgb8"),
    "int8": gp.Target("RGB", "HWC", "int8", range=(-128, 127)),
    "odd": gp.Target("RGB", "HWC", "float64", range=(0.1, 7.3), mean=(0.7, 0.2, 0.3)),
}


def by_hand(unit, target):
    """Return the result in float64, bands last in the order of the target; R is 0."""
    low, high = target.range
    mean = np.broadcast_to(target.mean, 3)
    std = np.broadcast_to(target.std, 3)
    expected = (low + unit[..., None] * (high - low) - mean) / std
    expected[..., target.bands.index("R")] = 0
    return expected


def bands_last(x, target):
    if target.layout == "HWC":
        return x
    return np.moveaxis(x, -3, -1)


@pytest.mark.parametrize("name", TARGETS)
def test_a_missing_band_is_exactly_zero(name):
    target = TARGETS[name]
    plan = gp.plan("gray", target, WITHOUT_RED)
    result = bands_last(plan(GRAY), target)
    expected = by_hand(GRAY / 255, target)
    assert (result[..., target.bands.index("R")] == 0).all()
    if np.dtype(target.dtype).kind == "i":
        expected = np.rint(expected)
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_a_missing_band_survives_json(name):
    plan = gp.plan("gray", TARGETS[name], WITHOUT_RED)
    again = gp.Plan.from_json(plan.to_json())
    assert again == plan
    assert again.fingerprint == plan.fingerprint
    np.testing.assert_array_equal(again(GRAY), plan(GRAY))


def test_a_missing_band_is_zero_in_a_narrow_range():
    source = gp.Source("gray", range=(60_000, 60_010), nodata=0)
    plan = gp.plan(source, "imagenet", WITHOUT_RED)
    x = plan(np.array([[60_003, 0]], np.uint16))
    assert (x[0] == 0).all()
    np.testing.assert_allclose(
        x[1:, 0, 0], (0.3 - np.array([0.456, 0.406])) / [0.224, 0.225], rtol=1e-6
    )
    assert (x[:, 0, 1] == 0).all()


def test_nan_does_not_reach_a_missing_band():
    x = gp.plan("gray", "imagenet", WITHOUT_RED)(np.full((1, 1), np.nan, np.float32))
    np.testing.assert_array_equal(x.ravel(), [0, np.nan, np.nan])


def test_a_batch_with_a_missing_band_equals_its_images():
    plan = gp.plan("gray", "imagenet", WITHOUT_RED)
    batch = plan.batch(np.stack([GRAY, GRAY[::-1]]), threads=2)
    np.testing.assert_array_equal(batch, np.stack([plan(GRAY), plan(GRAY[::-1])]))


def test_a_view_cannot_have_a_missing_band():
    with pytest.raises(gp.CopyRequiredError):
        gp.plan("gray", "rgb8", WITHOUT_RED).view(GRAY)


def test_a_missing_band_is_ignored_by_invert():
    plan = gp.plan("gray", "imagenet", WITHOUT_RED)
    x = plan(GRAY)
    x[0] = 1000
    np.testing.assert_array_equal(plan.invert(x, dtype="uint8"), GRAY)


def test_explain_shows_a_missing_band():
    text = gp.plan("gray", "keras-caffe", WITHOUT_RED).explain(dtype="uint8")
    assert "R = 0 (no input band)" in text


def test_a_missing_band_adds_nothing_to_folded_weights():
    plan = gp.plan(gp.Source("gray", range=(0, 255)), "keras-caffe", WITHOUT_RED)
    assert plan.map.matrix[2] == (0,)
    assert plan.map.offset[2] == plan.unit_map.offset[2] == 0
    kernel = np.random.default_rng(1).normal(size=(4, 3, 1, 1)).astype(np.float64)
    folded, bias = gp.weights.fold(kernel, None, plan.map, layout="OIHW")
    x = by_hand(GRAY / 255, plan.target).reshape(-1, 3)
    expected = x @ kernel[:, :, 0, 0].T
    result = GRAY.reshape(-1, 1) * folded[:, :, 0, 0].T + bias
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-9)


def test_a_map_for_another_order_of_bands_keeps_the_band_missing():
    target = gp.preset("imagenet", bands="GBR")
    x = gp.plan("gray", target, WITHOUT_RED)(GRAY)
    np.testing.assert_allclose(
        bands_last(x, target), by_hand(GRAY / 255, target), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("make", [gp.mix, gp.select])
def test_maps_alone_have_no_mean_for_a_missing_band(make):
    with pytest.raises(gp.ChannelError, match="via="):
        make({"R": None, "G": "gray"}, of="gray")


def test_a_band_without_weights_is_refused_with_the_cure():
    with pytest.raises(gp.ChannelError, match=r"{'R': None}"):
        gp.plan("gray", "imagenet", {"R": {}, "G": "gray", "B": "gray"})
    with pytest.raises(gp.ChannelError, match="black"):
        gp.mix({"R": {}, "G": "gray"}, of="gray")


def test_a_plan_cannot_miss_every_band():
    with pytest.raises(gp.ChannelError, match="all output bands"):
        gp.plan("gray", "imagenet", dict.fromkeys("RGB"))


def test_missing_bands_are_bands_of_the_target():
    with pytest.raises(gp.ChannelError, match="unexpected in the map: \\['X'\\]"):
        gp.plan("gray", "imagenet", {"X": None, **dict.fromkeys("RGB", "gray")})


def test_the_message_for_unmapped_bands_offers_none():
    with pytest.raises(gp.ChannelError, match="None means that the band is missing"):
        gp.plan("GB", "imagenet")
    x = gp.plan("GB", "imagenet", {"R": None, "G": "G", "B": "B"})(
        np.full((1, 1, 2), 255, np.uint8)
    )
    np.testing.assert_allclose(
        x.ravel(), [0, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-6
    )
