"""Gray folders on disk to the models of keras.applications, each against its own preprocess_input."""

import sys

import numpy as np
import pytest
from adapters.tf_ways import Dataset, only, tf
from imagenet import MEAN, STD
from PIL import Image

import graypipe as gp
from graypipe.adapters.tf_data import ToBackbone

# isort: split
import keras

RNG = np.random.default_rng(7)
EIGHT = gp.Source("gray", range=(0, 255))
RAMP = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)
MODELS = {
    name: getattr(keras.applications, name)
    for name in ("ResNet50", "VGG19", "MobileNetV2", "EfficientNetB0")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five gray PNG files of 32 x 32 in two classes."""
    root = tmp_path_factory.mktemp("scans")
    for i in range(5):
        path = root / ("dark" if i % 2 else "light") / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (32, 32), np.uint8)).save(path)
    return root


def loaded(folder):
    return keras.utils.image_dataset_from_directory(
        folder,
        color_mode="grayscale",
        image_size=(32, 32),
        batch_size=2,
        shuffle=False,
        verbose=False,
    )


@pytest.mark.parametrize("name", MODELS)
def test_s07_s10_a_gray_folder_reaches_a_model_as_its_preprocess_input_on_the_repeated_image(
    name, folder
):
    target = gp.Target.from_keras(name)
    backbone = ToBackbone(gp.plan(EIGHT, target))
    dataset = loaded(folder)
    mapped = dataset.map(backbone, num_parallel_calls=tf.data.AUTOTUNE).prefetch(
        tf.data.AUTOTUNE
    )
    assert mapped.element_spec[0] == tf.TensorSpec((None, 32, 32, 3), tf.float32)
    assert mapped.element_spec[1] == dataset.element_spec[1]
    preprocess = sys.modules[MODELS[name].__module__].preprocess_input

    keras.utils.set_random_seed(10)
    model = MODELS[name](
        weights=None, input_shape=(32, 32, 3), classes=3, classifier_activation=None
    )
    theirs = dataset.map(
        lambda image, label: (preprocess(tf.repeat(image, 3, -1)), label)
    )
    for (x, label), (peer, peer_label) in zip(mapped, theirs, strict=True):
        np.testing.assert_allclose(x, peer, rtol=0, atol=2e-6 * np.abs(peer).max())
        np.testing.assert_array_equal(label, peer_label)
        logits = model.predict_on_batch(x)
        np.testing.assert_allclose(
            logits,
            model.predict_on_batch(peer),
            rtol=1e-3,
            atol=1e-4 * np.abs(logits).max(),
        )


def test_s10_the_plan_makes_explicit_what_efficientnet_does_to_one_band_by_broadcasting(
    folder,
):
    image, _ = next(iter(loaded(folder)))
    x = ToBackbone(gp.plan(EIGHT, gp.Target.from_keras("EfficientNetB0")))(image)
    np.testing.assert_array_equal(x, np.repeat(image, 3, -1))
    mean, std = (np.float32(stat).reshape(1, 1, 1, 3) for stat in (MEAN, STD))
    np.testing.assert_array_equal((x / 255 - mean) / std, (image / 255 - mean) / std)


def test_g09_keras_presets_differ_and_each_goes_with_its_model(folder):
    image, _ = next(iter(loaded(folder)))
    made = {
        name: ToBackbone(gp.plan(EIGHT, gp.Target.from_keras(name)))(image).numpy()
        for name in MODELS
    }
    np.testing.assert_array_equal(made["ResNet50"], made["VGG19"])
    np.testing.assert_allclose(
        made["ResNet50"][..., 0], image[..., 0] - 103.939, atol=1e-4
    )  # blue first
    assert -1 <= made["MobileNetV2"].min() <= made["MobileNetV2"].max() <= 1
    assert made["EfficientNetB0"].max() > 200


def test_an_undeclared_range_is_refused_before_the_folder_is_read():
    with pytest.raises(gp.RangeError, match="image_dataset_from_directory"):
        ToBackbone(gp.plan("gray", gp.Target.from_keras("ResNet50")))


@pytest.fixture
def deep(tmp_path):
    """A 16-bit gray PNG with 48 levels."""
    path = tmp_path / "16" / "ramp.png"
    path.parent.mkdir()
    Image.fromarray(RAMP).save(path)
    return path


def decoded(path, dtype=tf.uint16):
    """The recipe of docs/tensorflow.md."""
    return tf.io.decode_png(tf.io.read_file(path), channels=1, dtype=dtype)


def test_t04_a_16_bit_file_has_one_range_whatever_it_is_read_for(deep):
    image, _ = gp.read(deep)
    source = gp.Source("gray", bits=16)
    files = Dataset.from_tensor_slices([str(deep)]).map(decoded)
    for target in ("unit", "imagenet", gp.Target("gray")):
        plan = gp.plan(source, target).with_layouts(target="HWC")
        made = only(files.map(ToBackbone(plan)))
        np.testing.assert_allclose(made, plan(image), rtol=0, atol=2e-6)
        assert len(np.unique(made[..., 0])) == 48


def test_t04_t27_peer_the_loaders_that_halve_16_bit_files(deep):
    by_folder = keras.utils.image_dataset_from_directory(
        deep.parent.parent, color_mode="grayscale", image_size=(6, 8), verbose=False
    )
    high_byte = next(iter(by_folder))[0].numpy()[0]
    np.testing.assert_array_equal(high_byte, (RAMP >> 8)[..., None])
    np.testing.assert_array_equal(
        tf.io.decode_png(tf.io.read_file(str(deep))), (RAMP >> 8)[..., None]
    )
    np.testing.assert_array_equal(decoded(str(deep)), RAMP[..., None])


def test_t27_a_file_cut_to_8_bits_is_refused_where_the_source_declares_16(deep):
    sixteen = ToBackbone(gp.plan(gp.Source("gray", bits=16), "unit"))
    cut = Dataset.from_tensors(str(deep)).map(lambda path: decoded(path, tf.uint8))
    with pytest.raises(
        gp.RangeError, match=r"uint8 holds 0 to 255.*keep the full depth of the file"
    ):
        cut.map(sixteen)


def test_t17_one_band_or_four_never_pass_for_three():
    plan = ToBackbone(
        gp.plan(gp.Source("RGB", range=(0, 255)), gp.preset("keras-torch"))
    )
    peer = keras.applications.imagenet_utils.preprocess_input
    single = tf.fill((4, 4, 1), 100.0)
    assert peer(single, mode="torch").shape == (4, 4, 3)
    for count in (1, 4):
        with pytest.raises(gp.ChannelError, match=rf"'RGB' \(3\), got {count}"):
            Dataset.from_tensors(tf.fill((4, 4, count), 100.0)).map(plan)


def test_t12_peer_preprocess_input_takes_columns_of_a_gray_batch_for_bands():
    batch = tf.fill((8, 16, 3), 100.0)
    assert len(np.unique(keras.applications.resnet50.preprocess_input(batch))) == 3
    with pytest.raises(
        gp.ChannelError,
        match=r"read as HWC \(H=8 W=16 C=3\) or as NHW \(N=8 H=16 W=3\)",
    ):
        Dataset.from_tensors(batch).map(
            ToBackbone(gp.plan(EIGHT, gp.Target.from_keras("ResNet50")))
        )
