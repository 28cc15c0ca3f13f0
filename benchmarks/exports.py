"""``python -m benchmarks.exports``: how far the outputs of exported models are from those of the original.

The errors of the table in docs/deployment.md, relative to the largest logit, are written to
``benchmarks/results/exports.json``.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
import torchvision

# isort: split
import keras
import numpy as np
import onnx
import onnxruntime
import openvino
import tensorflow as tf
from numpy.typing import NDArray

import graypipe as gp
from graypipe.adapters import keras as keras_adapter
from graypipe.adapters import torch as torch_adapter
from graypipe.adapters.onnx import prepend

from . import photographs, results

Array = NDArray[Any]
Errors = dict[str, float]

RECORD = results.RECORD / "exports.json"
LIBRARIES = (
    "numpy",
    "torch",
    "torchvision",
    "keras",
    "tensorflow",
    "onnx",
    "onnxruntime",
    "openvino",
)
PLAN = gp.plan(gp.Source("gray", bits=12), "imagenet")
CHANNELS_LAST = gp.plan(PLAN.source, gp.preset("imagenet", layout="HWC"))
# A network with random weights hardly tells images of noise apart.
IMAGES = np.stack([*photographs.crops((96, 96), 16)]).astype(np.uint16) * 16

FRAMEWORK = "none, in the framework"
TRACED = "`torch.export`, `torch.jit.trace`"
SAVED_MODEL = "SavedModel"
ONNXRUNTIME = "ONNX in onnxruntime"
OPENVINO = "ONNX in OpenVINO, float32"
TFLITE = "TFLite, float"
INT8 = "TFLite, int8 weights and activations"

WITH_LAYER = "with `ChannelLayer`"
PREPENDED = "`prepend`"
WITHOUT_PLAN = "without a plan"
FOLDED = "folded"
FOLDED_EXACTLY = "folded exactly"


def measure() -> dict[str, dict[str, Errors]]:
    """Return the errors by framework, by the way the plan is applied, and by export."""
    with tempfile.TemporaryDirectory() as folder:
        return {"torch": _torch(Path(folder)), "Keras": _keras(Path(folder))}


def _torch(folder: Path) -> dict[str, Errors]:
    """Return the errors of a ResNet-18."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18().eval()
    converted = PLAN.batch(IMAGES)
    with torch.no_grad():
        expected = network(torch.from_numpy(converted)).numpy()

    stored = IMAGES[:, None]
    model = torch.nn.Sequential(torch_adapter.ChannelLayer(PLAN), network).eval()
    batch = torch.from_numpy(stored)
    exported = torch.export.export(model, (batch,)).module()
    traced = torch.jit.trace(model, batch)
    with torch.no_grad():
        in_framework = {
            FRAMEWORK: _error(model(batch).numpy(), expected),
            TRACED: max(
                _error(each(batch).numpy(), expected) for each in (exported, traced)
            ),
        }
    plain = _to_onnx(network, converted, folder)
    return {
        WITH_LAYER: in_framework
        | _onnx_errors(_to_onnx(model, stored, folder), stored, expected),
        PREPENDED: _onnx_errors(prepend(plain, PLAN, dtype="uint16"), IMAGES, expected),
        WITHOUT_PLAN: _onnx_errors(plain, converted, expected),
        FOLDED: _folded_errors(network, expected, folder, exact=False),
        FOLDED_EXACTLY: _folded_errors(network, expected, folder, exact=True),
    }


def _folded_errors(
    network: torch.nn.Module, expected: Array, folder: Path, *, exact: bool
) -> Errors:
    model, plan = torch_adapter.fold_into(network, PLAN, exact=exact)
    converted = plan.batch(IMAGES)
    with torch.no_grad():
        in_framework = model(torch.from_numpy(converted)).numpy()
    exported = _to_onnx(model, converted, folder)
    errors = _onnx_errors(exported, converted, expected)
    return {FRAMEWORK: _error(in_framework, expected), **errors}


def _keras(folder: Path) -> dict[str, Errors]:
    """Return the errors of a ResNet-50."""
    keras.utils.set_random_seed(0)
    network = keras.applications.ResNet50(
        weights=None, input_shape=(96, 96, 3), classifier_activation=None
    )
    converted = CHANNELS_LAST.batch(IMAGES)
    expected = network(converted).numpy()

    inputs = keras.Input((96, 96, 1), dtype="uint16")
    layer = keras_adapter.ChannelLayer(CHANNELS_LAST)
    model = keras.Model(inputs, network(layer(inputs)))
    stored = IMAGES[..., None]
    plain = _keras_to_onnx(network, folder)
    merged = prepend(plain, CHANNELS_LAST, dtype="uint16")
    with_layer = {FRAMEWORK: _error(model(stored).numpy(), expected)}
    with_layer |= _onnx_errors(_keras_to_onnx(model, folder), stored, expected)
    return {
        WITH_LAYER: with_layer | _saved_model_errors(model, stored, expected, folder),
        PREPENDED: _onnx_errors(merged, IMAGES, expected),
        WITHOUT_PLAN: _onnx_errors(plain, converted, expected)
        | _saved_model_errors(network, converted, expected, folder),
    }


def _error(actual: Array, expected: Array) -> float:
    """Return the largest difference, relative to the largest logit."""
    difference = actual.astype(np.float64) - expected
    return float(np.abs(difference).max() / np.abs(expected).max())


def _to_onnx(model: torch.nn.Module, images: Array, folder: Path) -> onnx.ModelProto:
    batch = torch.from_numpy(images)
    program = torch.onnx.export(model, (batch,), dynamo=True, verbose=False)
    program.save(folder / "model.onnx")
    return onnx.load(folder / "model.onnx")


def _keras_to_onnx(model: keras.Model, folder: Path) -> onnx.ModelProto:
    model.export(folder / "model.onnx", format="onnx", verbose=False)
    return onnx.load(folder / "model.onnx")


def _onnx_errors(model: onnx.ModelProto, images: Array, expected: Array) -> Errors:
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content)
    in_onnxruntime = session.run(None, {session.get_inputs()[0].name: images})[0]
    core = openvino.Core()
    network = core.read_model(content)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    in_float32 = core.compile_model(network, "CPU", exact)
    by_default = core.compile_model(network, "CPU")
    precision = core.get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()
    return {
        ONNXRUNTIME: _error(in_onnxruntime, expected),
        OPENVINO: _error(in_float32(images)[0], expected),
        f"ONNX in OpenVINO, default ({precision} here)": _error(
            by_default(images)[0], expected
        ),
    }


def _saved_model_errors(
    model: keras.Model, images: Array, expected: Array, folder: Path
) -> Errors:
    """Return the errors of a SavedModel, and of the TFLite models that are made from it."""
    path = str(folder / model.name)
    model.export(path, verbose=False)
    plain = tf.lite.TFLiteConverter.from_saved_model(path)
    quantised = tf.lite.TFLiteConverter.from_saved_model(path)
    quantised.optimizations = [tf.lite.Optimize.DEFAULT]
    quantised.representative_dataset = lambda: ([each[None]] for each in images)
    loaded = tf.saved_model.load(path)
    return {
        SAVED_MODEL: _error(loaded.serve(images).numpy(), expected),
        TFLITE: _error(_run_tflite(plain.convert(), images), expected),
        INT8: _error(_run_tflite(quantised.convert(), images), expected),
    }


def _run_tflite(content: bytes, images: Array) -> Array:
    interpreter = tf.lite.Interpreter(model_content=content)
    (input_details,) = interpreter.get_input_details()
    (output_details,) = interpreter.get_output_details()
    interpreter.allocate_tensors()
    outputs = []
    for image in images:
        interpreter.set_tensor(input_details["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(output_details["index"])[0])
    return np.array(outputs)


if __name__ == "__main__":
    record = results.measured(LIBRARIES, errors=measure())
    results.save(record, RECORD)
    print(RECORD)
