"""Targets: presets, statistics that travel with their bands, and configurations of other libraries."""

import dataclasses
from types import SimpleNamespace

import imagenet
import numpy as np
import pytest

import graypipe as gp

U = np.linspace(0, 1, 12).reshape(3, 4)
MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)
RAMP = np.linspace(0, 255, 48).round().astype(np.uint8).reshape(6, 8)

BY_HAND = {
    "imagenet": ("CHW", lambda u: (u - MEAN) / STD),
    "keras-caffe": ("HWC", lambda u: 255 * u - [103.939, 116.779, 123.68]),
    "keras-tf": ("HWC", lambda u: np.repeat(255 * u / 127.5 - 1, 3, -1)),
    "keras-torch": ("HWC", lambda u: (u - MEAN) / STD),
    "keras-efficientnet": ("HWC", lambda u: np.repeat(255 * u, 3, -1)),
    "inception": ("CHW", lambda u: np.repeat((u - 0.5) / 0.5, 3, -1)),
    "openai-clip": (
        "CHW",
        lambda u: (
            (u - [0.48145466, 0.4578275, 0.40821073])
            / [0.26862954, 0.26130258, 0.27577711]
        ),
    ),
    "unit": ("CHW", lambda u: np.repeat(u, 3, -1)),
    "rgb8": ("HWC", lambda u: np.repeat(np.rint(255 * u), 3, -1)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_presets_give_what_the_model_family_was_trained_with(name):
    layout, expected = BY_HAND[name]
    result = gp.plan(gp.Source("gray", range=(0, 1)), name)(U)
    bands_last = result if layout == "HWC" else np.moveaxis(result, 0, -1)
    np.testing.assert_allclose(
        bands_last,
        expected(U[..., None]),
        rtol=1e-6,
        atol=2e-6 * np.abs(expected(U[..., None])).max(),
    )
    assert result.dtype == ("uint8" if name == "rgb8" else "float32")


def test_a_plan_writes_its_preset_out_as_numbers():
    text = gp.plan("gray", "imagenet").to_json()
    assert str(imagenet.MEAN[0]) in text
    assert "imagenet" not in text


def test_overridden_bands_keep_their_statistics():
    assert gp.preset("imagenet", bands="BGR").mean == imagenet.MEAN[::-1]
    assert gp.preset("keras-caffe", bands="RGB").mean == (123.68, 116.779, 103.939)
    assert gp.preset("imagenet", bands="G").std == (0.224,)
    assert gp.preset("inception", bands=("NIR", "SWIR")).mean == 0.5
    own = gp.preset("imagenet", bands=("B04", "B03"), mean=(0.1, 0.2), std=1)
    assert (own.mean, own.std) == ((0.1, 0.2), 1.0)


@pytest.mark.parametrize("name", ["imagenet", "keras-caffe", "openai-clip"])
def test_new_bands_get_nobody_elses_statistics(name):
    with pytest.raises(gp.ChannelError, match="NIR"):
        gp.preset(name, bands=("NIR", "R", "G"))


def test_an_unknown_preset_says_what_lists_the_known_ones():
    with pytest.raises(gp.ChannelError, match=r"gp\.presets\(\)"):
        gp.plan("gray", "imagenette")


@pytest.mark.parametrize(
    "values",
    [
        {"mean": (0.5, 0.5)},
        {"std": (1, 1, 1, 1)},
        {"mean": (0.5,)},
        {"std": np.ones(2)},
    ],
)
def test_one_statistic_per_band_or_a_plain_number(values):
    with pytest.raises(gp.ChannelError, match="per band"):
        gp.Target("RGB", **values)


@pytest.mark.parametrize(
    "values",
    [
        {"std": 0},
        {"std": (1, 0, 1)},
        {"std": -1},
        {"std": float("nan")},
        {"mean": float("inf")},
        {"range": (1, 1)},
        {"range": (0, float("inf"))},
        {"range": 255},
        {"mean": "0"},
    ],
)
def test_numbers_no_image_could_have_are_a_range_error(values):
    with pytest.raises(gp.RangeError):
        gp.Target("RGB", **values)


def test_targets_change_by_replace():
    target = dataclasses.replace(gp.preset("imagenet"), layout="HWC", dtype="float16")
    assert (target.layout, target.dtype, target.mean) == (
        "HWC",
        "float16",
        imagenet.MEAN,
    )
    assert target == gp.preset("imagenet", layout="HWC", dtype=np.float16)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int64", "uint64", "bool"]
)
def test_integer_targets_round_half_to_even_and_saturate(dtype):
    top = 1 if dtype == "bool" else np.iinfo(dtype).max
    low = 0 if dtype == "bool" else np.iinfo(dtype).min
    x = np.array([[0.5, 1.5, 2.5, -0.5, 1e30, -1e30, np.inf, -np.inf, np.nan]])
    plan = gp.plan(gp.Source("gray", range=(0, 1)), gp.Target("gray", "HW", dtype))
    expected = np.array(
        [[0, min(2, top), min(2, top), 0, top, low, top, low, 0]], dtype
    )
    np.testing.assert_array_equal(plan(x), expected)


def test_timm_models_of_other_bands_than_their_statistics_are_refused():
    statistics = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    four_bands = SimpleNamespace(in_chans=4, pretrained_cfg=statistics)
    with pytest.raises(gp.ChannelError, match=r"in_chans=4.* of 3 bands"):
        gp.Target.from_timm(four_bands)
    three_bands = SimpleNamespace(in_chans=3, pretrained_cfg=statistics)
    assert gp.Target.from_timm(three_bands).bands == ("R", "G", "B")


def test_timm_configurations_are_read_as_mappings_or_objects():
    cfg = {
        "mean": (0.5, 0.4, 0.3),
        "std": (0.1, 0.2, 0.3),
        "input_size": (3, 224, 224),
        "crop_pct": 0.9,
    }
    assert gp.Target.from_timm(cfg) == gp.Target(
        "RGB", mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3)
    )
    assert gp.Target.from_timm(SimpleNamespace(**cfg)) == gp.Target.from_timm(cfg)
    assert gp.Target.from_timm(
        {"mean": (0.5,), "std": (0.2,), "input_size": (1, 28, 28)}
    ).bands == ("gray",)
    for bad in (
        {**cfg, "input_size": (1, 224, 224)},
        {"mean": (1, 2, 3)},
        {},
        {"mean": (0,) * 13, "std": (1,) * 13},
    ):
        with pytest.raises(gp.ChannelError):
            gp.Target.from_timm(bad)


def test_torchvision_weights_are_read_through_their_transforms():
    transforms = SimpleNamespace(mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    weights = SimpleNamespace(transforms=lambda: transforms)
    assert gp.Target.from_torchvision(weights) == gp.Target(
        "RGB", mean=(0.1, 0.2, 0.3), std=(1, 2, 3)
    )
    with pytest.raises(gp.ChannelError, match="unit"):
        gp.Target.from_torchvision(
            SimpleNamespace(transforms=lambda: SimpleNamespace(antialias=True))
        )


HF = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [1, 2, 3],
}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HF, lambda v: (v / 255 - [0.5, 0.4, 0.3]) / [1, 2, 3]),
        ({**HF, "do_rescale": False}, lambda v: (v - [0.5, 0.4, 0.3]) / [1, 2, 3]),
        ({**HF, "do_normalize": False}, lambda v: v / 255),
        (
            {**HF, "do_normalize": False, "rescale_factor": 1 / 127.5, "offset": True},
            lambda v: v / 127.5 - 1,
        ),
        (
            {"do_normalize": False, "do_flip_channel_order": True},
            lambda v: v[..., ::-1] / 255,
        ),
        (
            {"do_normalize": True, "image_mean": 0.5, "image_std": 0.25},
            lambda v: (v / 255 - 0.5) / 0.25,
        ),
    ],
)
def test_hugging_face_configurations_become_targets(config, expected):
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    for given in (config, SimpleNamespace(**config)):
        result = gp.plan("RGB", gp.Target.from_hf(given))(image)
        np.testing.assert_allclose(
            np.moveaxis(result, 0, -1),
            expected(image.astype(float)),
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"do_normalize": True},
        {**HF, "image_std": None},
        {**HF, "do_flip_channel_order": True},
        {**HF, "include_top": True},
    ],
)
def test_a_configuration_without_statistics_is_an_error(config):
    with pytest.raises(gp.ChannelError):
        gp.Target.from_hf(config)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("resnet50", "keras-caffe"),
        ("ResNet50V2", "keras-tf"),
        ("DenseNet121", "keras-torch"),
        ("EfficientNetB0", "keras-efficientnet"),
    ],
)
def test_keras_models_have_their_preset_by_name(name, preset):
    assert gp.Target.from_keras(name) == gp.preset(preset)


def test_an_unknown_keras_model_is_an_error():
    with pytest.raises(gp.ChannelError, match="resnet51"):
        gp.Target.from_keras("resnet51")


def test_another_range_needs_statistics_in_its_units():
    with pytest.raises(gp.RangeError, match="mean= and std="):
        gp.preset("imagenet", range=(0, 255))
    assert gp.preset("imagenet", range=(0, 255), mean=128, std=64).range == (0, 255)
    assert gp.preset("unit", range=(-1, 1)) == gp.Target(range=(-1, 1))


def test_presets_give_the_numbers_of_their_weight_family():
    pixel = np.array([[[255, 0, 51]]], np.uint8)
    expected = {
        "imagenet": (np.array([1, 0, 0.2]) - MEAN) / STD,
        "keras-torch": (np.array([1, 0, 0.2]) - MEAN) / STD,
        "keras-caffe": [51 - 103.939, -116.779, 255 - 123.68],
        "keras-tf": [1, -1, -0.6],
        "keras-efficientnet": [255, 0, 51],
        "inception": [1, -1, -0.6],
        "openai-clip": [
            (1 - 0.48145466) / 0.26862954,
            -0.4578275 / 0.26130258,
            (0.2 - 0.40821073) / 0.27577711,
        ],
        "unit": [1, 0, 0.2],
        "rgb8": [255, 0, 51],
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(
            gp.plan("RGB", name)(pixel).ravel(), wanted, rtol=0, atol=2e-5, err_msg=name
        )


def test_keras_presets_give_the_numbers_of_their_mode():
    rgb = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
    x = rgb.astype(np.float64)
    expected = {
        "keras-caffe": x[..., ::-1] - [103.939, 116.779, 123.68],
        "keras-tf": x / 127.5 - 1,
        "keras-torch": (x / 255 - MEAN) / STD,
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
def test_preprocessing_twice_is_refused(name):
    target = gp.preset(name, layout="HWC")
    once = gp.plan("gray", target)(RAMP)
    again = gp.plan(gp.Source(target.bands, "HWC"), target)
    with pytest.raises(gp.RangeError, match="read as 0 to 1, but holds"):
        again(once)


def test_a_declared_dtype_refuses_preprocessing_twice():
    once = gp.plan("gray", "keras-tf")(RAMP)
    with pytest.raises(gp.DTypeError, match="declares dtype uint8, got float32"):
        gp.plan(gp.Source("RGB", dtype="uint8"), "keras-tf")(once)


def test_efficientnet_gets_three_bands_and_no_normalisation():
    x = gp.plan("gray", "keras-efficientnet")(RAMP)
    assert x.shape == (6, 8, 3)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.repeat(RAMP[..., None], 3, -1))
    inside_on_one_channel = (RAMP[..., None] / 255 - MEAN) / STD
    np.testing.assert_allclose(
        (x.astype(np.float64) / 255 - MEAN) / STD,
        inside_on_one_channel,
        rtol=0,
        atol=1e-12,
    )
    explicit = gp.plan("gray", gp.preset("keras-torch"))(RAMP)
    np.testing.assert_allclose(explicit, inside_on_one_channel, rtol=0, atol=4e-6)
