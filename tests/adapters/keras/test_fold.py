"""Folding into Keras models: the folded model equals the original one."""

from functools import cache
from pathlib import Path

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import keras
import numpy as np
import pytest

import graypipe as gp
from graypipe.adapters.keras import ChannelLayer, compare, fold_into

ROOT = Path(__file__).parents[3]
GRAY = gp.Source("gray", range=(0, 255))
RGBY = gp.Source("RGBY", range=(0, 255))
BACKBONES = {
    "ResNet50": (64, {"classes": 10, "classifier_activation": None}),
    "VGG19": (32, {"include_top": False}),
    "MobileNetV2": (64, {"classes": 10, "classifier_activation": None}),
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy"
)  # Keras 3.15


@cache
def backbone(name):
    """Return a model of keras.applications with random weights; no test changes it."""
    side, options = BACKBONES.get(name, (75, {"include_top": False}))
    keras.utils.set_random_seed(11)
    return getattr(keras.applications, name)(
        weights=None, input_shape=(side, side, 3), **options
    )


def pixels(side, bands=None):
    shape = (2, side, side) if bands is None else (2, side, side, bands)
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def relative(result, expected):
    result, expected = (np.asarray(part, np.float64) for part in (result, expected))
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


def first(model):
    return next(
        layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_folded_backbones_equal_the_originals_on_gray_images(name):
    model, image = backbone(name), pixels(BACKBONES[name][0])
    before = [weight.copy() for weight in model.get_weights()]
    plan = gp.plan(GRAY, gp.Target.from_keras(name))
    expected = model(plan.batch(image), training=False)

    exact, feed = fold_into(model, plan, exact=True)
    assert exact.input_shape == (*model.input_shape[:-1], 2)
    assert feed.target.bands == ("gray", "one")
    assert relative(exact(feed.batch(image), training=False), expected) <= 1e-5
    comparison = compare(model, plan, exact, feed)
    assert (
        max(
            comparison.interior.relative,
            comparison.border.relative,
            comparison.model.relative,
        )
        <= 1e-5
    )

    folded, feed = fold_into(model, plan)
    assert folded.input_shape == (*model.input_shape[:-1], 1)
    assert (feed.target.layout, feed.target.bands) == ("HWC", ("gray",))
    comparison = compare(model, plan, folded, feed)
    assert comparison.interior.relative <= 1e-5
    off = relative(folded(feed.batch(image), training=False), expected)
    if (
        name == "MobileNetV2"
    ):  # one mean and std for all bands, so one centre removes the whole offset
        assert max(off, comparison.border.relative, comparison.model.relative) <= 1e-5
    else:
        assert 1e-4 < comparison.border.relative < 0.15
        assert 1e-4 < off < 0.05
    assert [layer.name for layer in folded.layers] == [
        layer.name for layer in model.layers
    ]
    assert [weight.path for weight in folded.weights] == [
        weight.path for weight in model.weights
    ]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("new", ["zero", "nearest", "mean"])
def test_models_are_extended_to_bands_that_they_do_not_know(new):
    mean, std = (0.4, 0.5, 0.3, 0.2), (0.2, 0.1, 0.3, 0.25)
    target = gp.Target(
        ("blue", "green", "red", "nir"), "HWC", range=(0, 1), mean=mean, std=std
    )
    plan = gp.plan(gp.Source.from_sensor("naip"), target)
    keras.utils.set_random_seed(3)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3, name="stem")]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    images = pixels(32, 4)

    folded, feed = fold_into(model, plan, new=new, of="BGR")

    x = (images[..., [2, 1, 0, 3]] / 255 - mean) / std
    known, added = x[..., :3].copy(), x[..., 3]
    if new == "nearest":
        known[..., 2] = (known[..., 2] + added) / 2  # red
    if new == "mean":
        known += added[..., None] / 3
    expected = model(known.astype(np.float32))
    assert folded.input_shape == (None, 32, 32, 4)
    assert feed.target.bands == ("red", "green", "blue", "nir")
    assert [layer.name for layer in folded.layers] == ["stem", model.layers[-1].name]
    assert relative(folded(feed.batch(images)), expected) <= 1e-5


def test_a_stem_without_padding_is_exact():
    whole = backbone("Xception")
    model = keras.Model(whole.input, whole.get_layer("block2_sepconv1").output)
    plan = gp.plan(GRAY, "keras-torch")
    folded, feed = fold_into(model, plan)
    assert feed.target.std == 1.0
    comparison = compare(model, plan, folded, feed)
    assert max(comparison.interior.relative, comparison.model.relative) <= 1e-5
    assert comparison.border.largest == 0


def test_replication_folds_into_the_sum_of_the_kernel():
    model = backbone("VGG19")
    folded, feed = fold_into(
        model, gp.plan(gp.Source("gray", range=(0, 1)), gp.Target("RGB"))
    )
    kernel, bias = first(model).get_weights()
    folded_weights = first(folded).get_weights()
    np.testing.assert_allclose(
        folded_weights[0],
        kernel.sum(2, keepdims=True, dtype="float64"),
        rtol=0,
        atol=1e-6,
    )
    np.testing.assert_array_equal(folded_weights[1], bias)
    assert feed.target == gp.Target("gray", "HWC")


YELLOW = {
    "blue": ({"R": "R", "G": "G", "B": {"B": 1, "Y": 1}}, 0),
    "blue, rescaled": ({"R": "R", "G": "G", "B": {"B": 0.5, "Y": 0.5}}, 0),
    "red": ({"R": {"R": 1, "Y": 1}, "G": "G", "B": "B"}, 2),
    "red, rescaled": ({"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"}, 2),
}


@pytest.mark.parametrize("case", YELLOW)
def test_yellow_gets_the_kernel_of_the_band_it_is_mixed_into(case):
    via, place = YELLOW[case]
    model, gain = backbone("VGG19"), 0.5 if "rescaled" in case else 1.0
    plan = gp.plan(RGBY, "keras-caffe", via)
    four, feed = fold_into(model, plan, layer="block1_conv1")
    original, kernel = (
        first(net).get_weights()[0] for net in (model, four)
    )  # of the bands BGR and RGBY
    np.testing.assert_allclose(
        kernel[:, :, 3], original[:, :, place] * 255 * gain, rtol=1e-6
    )
    for band, bgr in enumerate((2, 1, 0)):
        share = gain if bgr == place else 1.0
        np.testing.assert_allclose(
            kernel[:, :, band], original[:, :, bgr] * 255 * share, rtol=1e-6
        )
    comparison = compare(model, plan, four, feed)
    assert comparison.interior.relative <= 1e-5 < comparison.border.relative


def test_a_four_band_vgg19_can_be_saved_and_loaded(tmp_path):
    model, images = backbone("VGG19"), pixels(32, 4)
    four, feed = fold_into(model, gp.plan(RGBY, "keras-caffe", YELLOW["blue"][0]))
    four.save(tmp_path / "four.keras")
    loaded = keras.models.load_model(tmp_path / "four.keras")
    assert loaded.input_shape == (None, 32, 32, 4)
    np.testing.assert_array_equal(loaded(feed.batch(images)), four(feed.batch(images)))


@pytest.mark.parametrize("name", ["EfficientNetB0", "MobileNetV3Small", "ConvNeXtTiny"])
def test_a_model_that_normalises_inside_is_refused(name):
    model = backbone(name)
    with pytest.raises(
        gp.ChannelError,
        match=r"normalises its input: (Rescaling|Normalization) '\w+' reads.*ChannelLayer",
    ):
        fold_into(model, gp.plan(GRAY, "keras-efficientnet"))


def small(*before, **options):
    """Return a model of images (12, 10, 3), with batch normalisation that is not trivial."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((12, 10, 3), name="image")
    x = inputs
    for layer in before:
        x = layer(x)
    x = keras.layers.Conv2D(
        8, 3, **{"name": "stem", "padding": "same", "strides": 2, **options}
    )(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(x), name="small")
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    return model


PLAN = gp.plan(GRAY, "keras-torch")


def test_the_copy_keeps_the_configuration_of_every_layer():
    model = small(
        use_bias=False,
        activation="relu",
        dilation_rate=1,
        kernel_regularizer=keras.regularizers.L2(0.25),
        dtype="mixed_bfloat16",
    )
    model.get_layer("bn").trainable = False
    model.compile("sgd", "mse")
    folded, feed = fold_into(model, PLAN, exact=True)
    stem = folded.get_layer("stem")
    original = model.get_layer("stem")
    assert (stem.strides, stem.padding, stem.activation) == (
        original.strides,
        original.padding,
        original.activation,
    )
    assert (stem.dtype_policy.name, stem.use_bias) == ("mixed_bfloat16", False)
    assert stem.kernel_regularizer.l2 == pytest.approx(0.25)
    assert (folded.name, [part.name for part in folded.inputs]) == ("small", ["image"])
    assert [layer.trainable for layer in folded.layers] == [
        layer.trainable for layer in model.layers
    ]
    assert not folded.get_layer("bn").trainable
    assert folded.loss == "mse"
    folded.fit(feed.batch(np.zeros((4, 12, 10), np.uint8)), np.zeros((4, 4)), verbose=0)


def test_frozen_layers_stay_frozen_in_the_copy():
    model = small()
    model.trainable = False
    model.get_layer("head").trainable = True
    folded, _ = fold_into(model, PLAN)
    assert not folded.trainable
    assert [layer.trainable for layer in folded.layers] == [
        layer.trainable for layer in model.layers
    ]
    assert folded.get_layer("head").trainable
    assert not folded.trainable_weights


def test_a_bias_is_added_only_if_the_plan_has_an_offset():
    model = small(use_bias=False, padding="valid")
    folded, feed = fold_into(model, PLAN)
    assert folded.get_layer("stem").use_bias
    assert len(folded.weights) == len(model.weights) + 1
    assert compare(model, PLAN, folded, feed).model.relative <= 1e-5
    plain, _ = fold_into(model, gp.plan(GRAY, gp.Target("RGB", range=(0, 255))))
    assert len(plain.weights) == len(model.weights)


def test_clip_and_nodata_stay_in_the_feeding_plan():
    source = gp.Source("gray", range=(20, 200), clip=True, nodata=0)
    plan, model = gp.plan(source, "keras-torch"), small()
    with pytest.raises(gp.RangeError, match=r"nodata=0.*exact=True"):
        fold_into(model, plan)
    folded, feed = fold_into(model, plan, exact=True)
    assert feed.source == source
    image = pixels(12)[:, :, :10]
    image[:, 3:6, 2:5] = 0
    assert relative(folded(feed.batch(image)), model(plan.batch(image))) <= 1e-5
    assert compare(model, plan, folded, feed).model.relative <= 1e-5


@pytest.mark.parametrize(
    ("plan", "raises", "says"),
    [
        (
            gp.plan("gray", "keras-torch"),
            gp.RangeError,
            r"dtype no longer implies.*range=\(0, 255\)",
        ),
        (gp.plan(GRAY, "rgb8"), gp.DTypeError, "folded weights cannot round.*uint8"),
        (
            gp.plan(GRAY, gp.Target("WXYZ", "HWC")),
            gp.ChannelError,
            r"expected a map with 3 outputs.*got 4, 'WXYZ'",
        ),
        ("keras-torch", gp.DTypeError, "expected plans.*str"),
    ],
)
def test_an_unsuitable_plan_is_refused(plan, raises, says):
    with pytest.raises(raises, match=f"(?s){says}"):
        fold_into(small(), plan)


def test_compare_detects_a_wrong_weight_and_a_wrong_plan():
    model = small(padding="valid")
    folded, feed = fold_into(model, PLAN)
    assert compare(model, PLAN, folded, feed).model.relative <= 1e-5
    other = gp.plan(GRAY, gp.Target("gray", "HWC", mean=0.5))
    assert compare(model, PLAN, folded, other).interior.relative > 0.1
    kernel, bias = folded.get_layer("stem").get_weights()
    folded.get_layer("stem").set_weights([kernel, bias + 1])
    comparison = compare(model, PLAN, folded, feed)
    assert comparison.interior.largest == pytest.approx(1, abs=1e-4)
    assert "stem, interior" in str(comparison)
    with pytest.raises(gp.ChannelError, match="plans with the same source"):
        compare(
            model, PLAN, folded, gp.plan(gp.Source("gray", bits=12), gp.Target("gray"))
        )


def test_a_model_with_new_bands_cannot_be_compared():
    bands = ("R", "G", "B", "nir")
    plan = gp.plan(gp.Source(bands, range=(0, 255)), gp.Target(bands, "HWC"))
    model = small()
    with pytest.raises(gp.ChannelError, match="got 4: a model that fold_into"):
        compare(model, plan, *fold_into(model, plan, new="zero"))


def test_a_zero_padding_layer_counts_as_padding():
    padding = keras.layers.ZeroPadding2D(((2, 1), (3, 0)), name="pad")
    model = small(padding, padding="valid", strides=(2, 2))
    folded, feed = fold_into(model, PLAN)
    comparison = compare(model, PLAN, folded, feed)
    assert comparison.interior.relative <= 1e-5 < comparison.border.relative
    # By hand: a 3 x 3 kernel reaches into 2 padded rows at row 0, into 1 at row 6, and
    # into 3 padded columns at columns 0 and 1.
    image = pixels(12)[:, :, :10]
    layers = [
        keras.Model(net.input, net.get_layer("stem").output) for net in (model, folded)
    ]
    off = np.abs(
        np.asarray(layers[0](PLAN.batch(image)))
        - np.asarray(layers[1](feed.batch(image)))
    ).max((0, 3))
    inside = np.zeros(off.shape, bool)
    inside[1:6, 2:] = True
    assert off.shape == (7, 6)
    assert off[inside].max() <= 1e-5 < off[~inside].min()
    exact, feed = fold_into(model, PLAN, exact=True)
    assert compare(model, PLAN, exact, feed).border.relative <= 1e-5


def test_a_channel_layer_replaces_a_refused_fold():
    model = small(keras.layers.Rescaling(1 / 255))
    with pytest.raises(gp.ChannelError, match="ChannelLayer in front"):
        fold_into(model, PLAN)
    expanded = keras.Sequential([keras.Input((12, 10, 1)), ChannelLayer(PLAN), model])
    image = pixels(12)[:, :, :10]
    assert relative(expanded(image[..., None]), model(PLAN.batch(image))) <= 1e-6
