"""Gray folders for the models of keras.applications, compared with preprocess_input."""

import sys

import numpy as np
import pytest
from adapters.tf_modes import Dataset, only, tf
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
    """Return a folder of five gray PNG files of 32 x 32 pixels in two classes."""
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
def test_a_gray_folder_matches_preprocess_input_and_logits(name, folder):
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


def test_efficientnet_gets_what_it_would_broadcast(
    folder,
):
    image, _ = next(iter(loaded(folder)))
    x = ToBackbone(gp.plan(EIGHT, gp.Target.from_keras("EfficientNetB0")))(image)
    np.testing.assert_array_equal(x, np.repeat(image, 3, -1))
    mean, std = (np.float32(stat).reshape(1, 1, 1, 3) for stat in (MEAN, STD))
    np.testing.assert_array_equal((x / 255 - mean) / std, (image / 255 - mean) / std)


def test_each_keras_model_has_its_own_preset(folder):
    image, _ = next(iter(loaded(folder)))
    result = {
        name: ToBackbone(gp.plan(EIGHT, gp.Target.from_keras(name)))(image).numpy()
        for name in MODELS
    }
    np.testing.assert_array_equal(result["ResNet50"], result["VGG19"])
    np.testing.assert_allclose(
        result["ResNet50"][..., 0], image[..., 0] - 103.939, atol=1e-4
    )  # blue first
    assert -1 <= result["MobileNetV2"].min() <= result["MobileNetV2"].max() <= 1
    assert result["EfficientNetB0"].max() > 200


def test_an_undeclared_range_is_refused_at_construction():
    with pytest.raises(gp.RangeError, match="image_dataset_from_directory"):
        ToBackbone(gp.plan("gray", gp.Target.from_keras("ResNet50")))


@pytest.fixture
def deep(tmp_path):
    """Return the path of a 16-bit gray PNG with 48 levels."""
    path = tmp_path / "16" / "ramp.png"
    path.parent.mkdir()
    Image.fromarray(RAMP).save(path)
    return path


def decoded(path, dtype=tf.uint16):
    """Decode a PNG as docs/tensorflow.md recommends."""
    return tf.io.decode_png(tf.io.read_file(path), channels=1, dtype=dtype)


def test_a_16_bit_file_keeps_all_of_its_levels(deep):
    image, _ = gp.read(deep)
    source = gp.Source("gray", bits=16)
    files = Dataset.from_tensor_slices([str(deep)]).map(decoded)
    for target in ("unit", "imagenet", gp.Target("gray")):
        plan = gp.plan(source, target).with_layouts(target="HWC")
        result = only(files.map(ToBackbone(plan)))
        np.testing.assert_allclose(result, plan(image), rtol=0, atol=2e-6)
        assert len(np.unique(result[..., 0])) == 48


def test_the_default_loaders_cut_16_bit_files_to_8(deep):
    by_folder = keras.utils.image_dataset_from_directory(
        deep.parent.parent, color_mode="grayscale", image_size=(6, 8), verbose=False
    )
    high_byte = next(iter(by_folder))[0].numpy()[0]
    np.testing.assert_array_equal(high_byte, (RAMP >> 8)[..., None])
    np.testing.assert_array_equal(
        tf.io.decode_png(tf.io.read_file(str(deep))), (RAMP >> 8)[..., None]
    )
    np.testing.assert_array_equal(decoded(str(deep)), RAMP[..., None])


def test_a_file_cut_to_8_bits_is_refused_for_16_bits(deep):
    sixteen = ToBackbone(gp.plan(gp.Source("gray", bits=16), "unit"))
    cut = Dataset.from_tensors(str(deep)).map(lambda path: decoded(path, tf.uint8))
    with pytest.raises(
        gp.RangeError,
        match=r"uint8 can only represent 0 to 255.*pass the image in its original dtype",
    ):
        cut.map(sixteen)


def test_one_or_four_bands_are_not_taken_for_three():
    plan = ToBackbone(
        gp.plan(gp.Source("RGB", range=(0, 255)), gp.preset("keras-torch"))
    )
    peer = keras.applications.imagenet_utils.preprocess_input
    single = tf.fill((4, 4, 1), 100.0)
    assert peer(single, mode="torch").shape == (4, 4, 3)
    for count in (1, 4):
        with pytest.raises(gp.ChannelError, match=rf"'RGB' \(3\), got {count}"):
            Dataset.from_tensors(tf.fill((4, 4, count), 100.0)).map(plan)


def test_columns_of_a_gray_batch_are_not_taken_for_bands():
    batch = tf.fill((8, 16, 3), 100.0)
    assert len(np.unique(keras.applications.resnet50.preprocess_input(batch))) == 3
    with pytest.raises(
        gp.ChannelError,
        match=r"read as HWC \(H=8 W=16 C=3\) or as NHW \(N=8 H=16 W=3\)",
    ):
        Dataset.from_tensors(batch).map(
            ToBackbone(gp.plan(EIGHT, gp.Target.from_keras("ResNet50")))
        )
