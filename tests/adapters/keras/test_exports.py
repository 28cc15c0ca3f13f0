"""Exported Keras models give the numbers of training, from stored pixels."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers

import graypipe as gp
from graypipe.adapters.keras import ChannelLayer, fold_into
from graypipe.adapters.onnx import prepend

PLAN = gp.plan(gp.Source("gray", bits=12), gp.preset("imagenet", layout="HWC"))
IMAGES = np.random.default_rng(5).integers(0, 4096, (4, 32, 40), np.uint16)

# tf.lite.Interpreter is deprecated in favour of ai_edge_litert; tf2onnx asks NumPy for
# names that it no longer has.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:\s+Warning. tf.lite.Interpreter"),
    pytest.mark.filterwarnings("ignore:In the future `np:FutureWarning"),
]


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((32, 40, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


@pytest.fixture(scope="module")
def expected(network):
    """What the network gives for the output of the plan."""
    return network(PLAN.batch(IMAGES)).numpy()


@pytest.fixture(scope="module")
def model(network):
    """The network behind a layer that applies the plan."""
    images = keras.Input((32, 40, 1), dtype="uint16")
    layer = ChannelLayer(PLAN, name="channel_layer")
    return keras.Model(images, network(layer(images)))


@pytest.fixture(scope="module")
def saved_model(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_model")
    model.export(folder, verbose=False)
    return folder


def run_onnx(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def run_tflite(content, images):
    interpreter = tf.lite.Interpreter(model_content=content)
    (taken,), (given,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    assert taken["dtype"] == images.dtype
    interpreter.allocate_tensors()
    results = []
    for image in images:
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(given["index"])[0])
    return np.array(results)


def convert_to_int8(folder, examples):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([each[None]] for each in examples)
    return converter.convert()


def test_a_saved_model_takes_stored_values(saved_model, expected):
    loaded = tf.saved_model.load(saved_model)
    result = loaded.serve(IMAGES[..., None]).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_layer_is_exported_to_onnx(model, expected, tmp_path):
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    exported = onnx.load(tmp_path / "model.onnx")
    result = run_onnx(exported, IMAGES[..., None])
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_plan_is_put_in_front_of_an_exported_model(network, expected, tmp_path):
    network.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    merged = prepend(onnx.load(tmp_path / "model.onnx"), PLAN, dtype="uint16")
    result = run_onnx(merged, IMAGES)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_tflite_takes_stored_values(saved_model, expected):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    result = run_tflite(converter.convert(), IMAGES[..., None])
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_tflite_in_int8_takes_stored_values(saved_model, network, expected, tmp_path):
    images = IMAGES[..., None]
    result = run_tflite(convert_to_int8(saved_model, images), images)
    error = np.abs(result - expected).max()
    # Quantising the network alone, on the output of the plan, costs as much.
    network.export(tmp_path, verbose=False)
    converted = PLAN.batch(IMAGES)
    alone = run_tflite(convert_to_int8(tmp_path, converted), converted)
    assert 0 < error < 2 * np.abs(alone - expected).max()
    assert error < 0.05 * np.abs(expected).max()


def test_a_folded_model_is_exported_with_its_own_plan(network, expected, tmp_path):
    folded, folded_plan = fold_into(network, PLAN, exact=True)
    images = folded_plan.batch(IMAGES)
    folded.export(tmp_path / "saved_model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved_model")
    result = loaded.serve(images).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    folded.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    merged = prepend(onnx.load(tmp_path / "model.onnx"), folded_plan, dtype="uint16")
    result = run_onnx(merged, IMAGES)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved_model"))
    result = run_tflite(converter.convert(), images)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    result = run_tflite(convert_to_int8(tmp_path / "saved_model", images), images)
    assert np.abs(result - expected).max() < 0.05 * np.abs(expected).max()


def test_a_saved_model_contains_the_plan(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    PLAN.check(loaded.get_layer("channel_layer").plan.fingerprint)
    # A model without a layer has its plan in a file of the same folder.
    (tmp_path / "model.plan.json").write_text(PLAN.to_json())
    PLAN.check((tmp_path / "model.plan.json").read_text())
