"""One nodata value per band gives the same in every framework as in the plan."""

import jax
import numpy as np
import pytest
import tensorflow as tf
import torch

import graypipe as gp
from graypipe.adapters import albumentations, keras, tf_data, torchvision
from graypipe.adapters import jax as jax_adapter
from graypipe.adapters import torch as torch_adapter

NAN = float("nan")
RNG = np.random.default_rng(4)
VIA = {"R": {"X": 0.5, "Z": 0.5}, "G": {"X": 0.5, "Y": 0.5}, "B": "Z"}


def example(dtype):
    """Return a plan and an image (H, W, C) in which a quarter of the values is nodata."""
    missing = NAN if dtype == "float32" else 0
    source = gp.Source("XYZ", range=(10, 255), nodata=(missing, 1, None))
    image = RNG.integers(2, 255, (9, 8, 3)).astype(dtype)
    image[..., 0][RNG.random((9, 8)) < 0.25] = missing
    image[..., 1][RNG.random((9, 8)) < 0.25] = 1
    return gp.plan(source, gp.Target("RGB", "HWC", mean=0.5, std=0.25), VIA), image


def in_torch(transform, image):
    tensor = torch.from_numpy(image).movedim(-1, 0)
    return transform(tensor).detach().movedim(0, -1).numpy()


RUNS = {
    "torchvision": lambda plan, image: in_torch(torchvision.ToBackbone(plan), image),
    "torchvision, gradients": lambda plan, image: (
        torchvision.ToBackbone(plan)(
            torch.from_numpy(image).movedim(-1, 0).float().requires_grad_()
        )
        .detach()
        .movedim(0, -1)
        .numpy()
    ),
    "torch layer": lambda plan, image: in_torch(
        torch_adapter.ChannelLayer(plan), image
    ),
    "trainable torch layer": lambda plan, image: in_torch(
        torch_adapter.ChannelLayer(plan, trainable=True), image
    ),
    "tf.data": lambda plan, image: np.asarray(
        next(iter(tf.data.Dataset.from_tensors(image).map(tf_data.ToBackbone(plan))))
    ),
    "keras layer": lambda plan, image: np.asarray(
        keras.ChannelLayer(plan)(image[None])
    )[0],
    "trainable keras layer": lambda plan, image: np.asarray(
        keras.ChannelLayer(plan, trainable=True)(image[None])
    )[0],
    "jax": lambda plan, image: np.asarray(jax.jit(jax_adapter.apply(plan))(image)),
    "albumentations": lambda plan, image: albumentations.ToBackbone(plan)(image=image)[
        "image"
    ],
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("name", RUNS)
def test_frameworks_equal_the_plan(name, dtype):
    plan, image = example(dtype)
    result = RUNS[name](plan, image)
    np.testing.assert_allclose(result, plan(image), rtol=1e-5, atol=1e-5)
    assert (result[..., 0][image[..., 1] == 1] != 0).any()


def test_folding_is_refused():
    plan = gp.plan(gp.Source("XY", range=(0, 255), nodata=(0, None)), gp.Target("XY"))
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3))
    for exact in (False, True):
        with pytest.raises(gp.RangeError, match="one nodata value for all bands"):
            torch_adapter.fold_into(model, plan, exact=exact)
