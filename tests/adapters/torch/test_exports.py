"""Exported torch models give the numbers of training, from stored pixels."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tifffile
import timm
import torch
import torchvision
from torch import nn
from torch.export import Dim

import graypipe as gp
from graypipe.adapters.onnx import plan_of, prepend
from graypipe.adapters.torch import ChannelLayer, fold_into

RNG = np.random.default_rng(5)
PLAN = gp.plan(gp.Source("gray", bits=12), "imagenet")
IMAGES = RNG.integers(0, 4096, (2, 1, 32, 40), np.uint16)
OTHER_SIZE = RNG.integers(0, 4096, (3, 1, 24, 17), np.uint16)
DYNAMIC = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)

# torch.jit is deprecated, and torch.onnx uses deprecated parts of torch.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()


def expected(images):
    """Return what the network gives for the output of the plan."""
    with torch.no_grad():
        return network()(torch.from_numpy(PLAN.batch(images[:, 0]))).numpy()


def run(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def assert_equal(result, images):
    np.testing.assert_allclose(result, expected(images), rtol=1e-5, atol=1e-6)


def to_onnx(model, images, tmp_path):
    program = torch.onnx.export(
        model,
        (torch.from_numpy(images),),
        dynamo=True,
        dynamic_shapes=DYNAMIC,
        verbose=False,
    )
    program.save(tmp_path / "model.onnx")
    return onnx.load(tmp_path / "model.onnx")


def test_a_layer_is_exported_to_onnx_with_any_size(tmp_path):
    model = nn.Sequential(ChannelLayer(PLAN), network()).eval()
    exported = to_onnx(model, IMAGES, tmp_path)
    element_type = exported.graph.input[0].type.tensor_type.elem_type
    assert element_type == onnx.TensorProto.UINT16
    for images in (IMAGES, OTHER_SIZE):
        assert_equal(run(exported, images), images)


def test_a_plan_is_put_in_front_of_an_exported_model(tmp_path):
    exported = to_onnx(network(), PLAN.batch(IMAGES[:, 0]), tmp_path)
    merged = prepend(exported, PLAN, dtype="uint16")
    for images in (IMAGES, OTHER_SIZE):
        assert_equal(run(merged, images[:, 0]), images)
    planes = prepend(exported, PLAN.with_layouts("NCHW", "NCHW"), dtype="uint16")
    assert_equal(run(planes, IMAGES), IMAGES)


@pytest.mark.parametrize(
    "build",
    [
        lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
        lambda: timm.create_model("resnet10t", num_classes=5),
        lambda: timm.create_model("convnext_atto", num_classes=5),
    ],
    ids=["torchvision", "timm ResNet", "timm ConvNeXt"],
)
def test_a_plan_is_put_in_front_of_models_of_libraries(build, tmp_path):
    torch.manual_seed(0)
    model = build().eval()
    images = RNG.integers(0, 4096, (2, 1, 64, 64), np.uint16)
    x = PLAN.batch(images[:, 0])
    with torch.no_grad():
        logits = model(torch.from_numpy(x)).numpy()
    merged = prepend(to_onnx(model, x, tmp_path), PLAN, dtype="uint16")
    error = np.abs(run(merged, images[:, 0]) - logits).max()
    assert error <= 1e-5 * np.abs(logits).max()


def test_a_folded_model_is_exported_with_its_own_plan(tmp_path):
    folded, folded_plan = fold_into(network(), PLAN, exact=True)
    exported = to_onnx(folded, folded_plan.batch(IMAGES[:, 0]), tmp_path)
    merged = prepend(exported, folded_plan, dtype="uint16")
    assert plan_of(merged) == folded_plan
    for images in (IMAGES, OTHER_SIZE):
        assert_equal(run(merged, images[:, 0]), images)


def test_a_model_with_a_layer_is_exported_and_saved(tmp_path):
    model = nn.Sequential(ChannelLayer(PLAN), network()).eval()
    program = torch.export.export(
        model, (torch.from_numpy(IMAGES),), dynamic_shapes=DYNAMIC
    )
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for images in (IMAGES, OTHER_SIZE):
        assert_equal(loaded(torch.from_numpy(images)).detach().numpy(), images)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_model_with_a_layer_is_traced(tmp_path):
    model = nn.Sequential(ChannelLayer(PLAN), network()).eval()
    traced = torch.jit.trace(model, torch.from_numpy(IMAGES))
    torch.jit.save(traced, tmp_path / "model.pt")
    loaded = torch.jit.load(tmp_path / "model.pt")
    for images in (IMAGES, OTHER_SIZE):
        assert_equal(loaded(torch.from_numpy(images)).detach().numpy(), images)


def test_training_and_a_process_without_graypipe_agree(tmp_path):
    """From a 16-bit file through training to onnxruntime in a fresh process."""
    tifffile.imwrite(tmp_path / "scan.tif", IMAGES[0, 0])
    image, source = gp.read(tmp_path / "scan.tif", bits=12)
    plan = gp.plan(source, "imagenet")
    batch = torch.from_numpy(image)[None, None]
    model = nn.Sequential(ChannelLayer(plan), network()).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), torch.tensor([1])).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(batch).numpy()
    exported = to_onnx(model[1], plan.batch(image[None]), tmp_path)
    onnx.save(prepend(exported, plan), tmp_path / "deployed.onnx")
    code = """
import sys, numpy, onnxruntime, tifffile
image = tifffile.imread("scan.tif")[None]
session = onnxruntime.InferenceSession("deployed.onnx")
numpy.save("logits.npy", session.run(None, {"graypipe/image": image})[0])
assert not {"graypipe", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    result = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(result, logits, rtol=1e-5, atol=1e-6)
    assert np.abs(logits - expected(IMAGES[:1])).max() > 0.01  # it was trained
