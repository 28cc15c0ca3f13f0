"""Keras and TensorFlow as oracles: preprocess_input of every model known by name, and their side of the traps."""

import sys

import imagenet
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.applications import imagenet_utils
from PIL import Image

import graypipe as gp
from graypipe.preset_definitions import KERAS_MODELS

RNG = np.random.default_rng(315)
GRAY = RNG.integers(0, 256, (31, 17), np.uint8)
MODELS = {
    name.lower(): getattr(keras.applications, name)
    for name in dir(keras.applications)
    if name[0].isupper()
}


def repeated(image):
    """(H, W, 3) float32: what a person hands to preprocess_input, which may write into it."""
    return np.repeat(image[..., None], 3, -1).astype(np.float32)


def test_the_names_known_are_the_models_of_keras_applications():
    assert {name for names in KERAS_MODELS.values() for name in names} == set(MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_known_by_name_equals_its_preprocess_input(name):
    expected = sys.modules[MODELS[name].__module__].preprocess_input(
        repeated(GRAY), data_format="channels_last"
    )
    for spelled in (name, MODELS[name].__name__):
        x = gp.plan("gray", gp.Target.from_keras(spelled))(GRAY)
        assert x.dtype == expected.dtype
        assert x.shape == expected.shape
        np.testing.assert_allclose(
            x, expected, rtol=0, atol=2e-6 * np.abs(expected).max()
        )


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_a_keras_preset_equals_its_mode_on_colour(mode):
    rgb = RNG.integers(0, 256, (31, 17, 3), np.uint8)
    expected = imagenet_utils.preprocess_input(
        rgb.astype(np.float32), data_format="channels_last", mode=mode
    )
    x = gp.plan("RGB", f"keras-{mode}")(rgb)
    np.testing.assert_allclose(x, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
def test_replicate_equals_grayscale_to_rgb(dtype):
    batch = RNG.integers(0, 256, (5, 31, 17, 1)).astype(dtype)
    peer = tf.image.grayscale_to_rgb(tf.constant(batch)).numpy()
    np.testing.assert_array_equal(gp.replicate()(batch, layout="NHWC"), peer)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_unit_preset_equals_convert_image_dtype(dtype):
    image = RNG.integers(0, np.iinfo(dtype).max + 1, (31, 17, 3), dtype)
    peer = tf.image.convert_image_dtype(tf.constant(image), tf.float32).numpy()
    np.testing.assert_allclose(
        gp.plan("RGB", gp.preset("unit", layout="HWC"))(image), peer, rtol=0, atol=2e-7
    )


def test_load_img_has_two_ranges_for_one_16_bit_file(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    path = tmp_path / "ramp.png"
    Image.fromarray(ramp).save(path)
    modes = {
        mode: np.asarray(keras.utils.load_img(path, color_mode=mode))
        for mode in ("grayscale", "rgb")
    }
    assert modes["grayscale"].max() == 65535
    assert np.unique(modes["rgb"]).tolist() == [0, 255]
    image, source = gp.read(path)
    x = gp.plan(source, "unit")(image)
    np.testing.assert_allclose(x, np.stack([ramp / 65535] * 3), rtol=0, atol=1e-7)


def test_preprocess_input_normalises_columns_of_a_gray_batch():
    batch = np.full((8, 16, 16), 100, np.float32)
    peer = imagenet_utils.preprocess_input(
        batch.copy(), data_format="channels_last", mode="torch"
    )
    assert peer.shape == batch.shape
    assert len(np.unique(peer[0, 0])) == 4
    x = gp.plan("gray", "keras-torch").batch(batch.astype(np.uint8))
    assert x.shape == (8, 16, 16, 3)
    np.testing.assert_allclose(
        x[3, 5, 7],
        (100 / 255 - np.array(imagenet.MEAN)) / imagenet.STD,
        2e-6,
    )


def test_grayscale_to_rgb_takes_a_width_of_one_for_a_channel():
    batch = RNG.integers(0, 256, (8, 16, 1), np.uint8)
    assert tf.image.grayscale_to_rgb(tf.constant(batch)).shape == (8, 16, 3)
    x = gp.plan(gp.Source(layout="NHW"), "rgb8")(batch)
    np.testing.assert_array_equal(x, np.stack([batch] * 3, -1))
    assert x.shape == (8, 16, 1, 3)


def test_preprocess_input_differs_for_arrays_and_tensors():
    def one(image):
        return imagenet_utils.preprocess_input(
            image, data_format="channels_last", mode="torch"
        )

    single = np.full((4, 4, 1), 100, np.float32)
    assert one(tf.constant(single)).shape == (4, 4, 3)
    with pytest.raises(IndexError):
        one(single.copy())
    with pytest.raises(gp.ChannelError, match="C=1"):
        gp.plan("RGB", "keras-torch")(single)


def test_caffe_mode_moves_a_fourth_band_to_blue():
    pixel = np.array([[[10, 20, 30, 200]]], np.float32)
    peer = imagenet_utils.preprocess_input(
        pixel.copy(), data_format="channels_last", mode="caffe"
    )
    np.testing.assert_allclose(
        peer.ravel(), [200 - 103.939, 30 - 116.779, 20 - 123.68, 10], 1e-5
    )
    bands = ("R", "G", "B", "NIR")
    with pytest.raises(
        gp.ChannelError, match=r"cannot infer a channel map from .*NIR.*to 'BGR'"
    ):
        gp.plan(bands, "keras-caffe")
    x = gp.plan(
        gp.Source(bands, range=(0, 255)),
        "keras-caffe",
        via={band: band for band in "RGB"},
    )(pixel)
    np.testing.assert_allclose(
        x.ravel(), [30 - 103.939, 20 - 116.779, 10 - 123.68], 1e-6
    )


def test_preprocess_input_writes_into_the_image():
    rgb = RNG.integers(0, 256, (4, 4, 3)).astype(np.float32)
    for mode in ("caffe", "tf", "torch"):
        image = rgb.copy()
        imagenet_utils.preprocess_input(image, data_format="channels_last", mode=mode)
        assert not np.array_equal(image, rgb)
        image = rgb.copy()
        gp.plan(gp.Source("RGB", range=(0, 255)), f"keras-{mode}")(image)
        np.testing.assert_array_equal(image, rgb)


def test_rescaling_makes_channels_its_summary_does_not_show():
    layer = keras.layers.Rescaling(1.0, offset=[0.1, 0.2, 0.3])
    assert layer(np.zeros((1, 4, 4, 1), np.float32)).shape == (1, 4, 4, 3)
    assert layer.compute_output_shape((1, 4, 4, 1)) == (1, 4, 4, 1)
    with pytest.raises(gp.ChannelError, match=r"\(1\).*got 3"):
        gp.Target("gray", "HWC", mean=(0.1, 0.2, 0.3))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_plan_takes_a_function_or_its_module(name):
    module = sys.modules[MODELS[name].__module__]
    expected = gp.plan("gray", gp.Target.from_keras(name))
    for model in (MODELS[name], module, module.preprocess_input):
        assert gp.plan("gray", model) == expected


def test_a_plan_refuses_a_model_of_keras():
    with pytest.raises(gp.ChannelError, match=r"keras\.applications\.ResNet50"):
        gp.plan("gray", keras.Sequential())
