"""Missing bands in layers and folded models: 0.0, as in the plan itself."""

import numpy as np
import torch

import graypipe as gp
from graypipe.adapters.torch import ChannelLayer, fold_into
from graypipe.adapters.torchvision import ToBackbone

SOURCE = gp.Source("gray", range=(0, 255))
WITHOUT_RED = {"R": None, "G": "gray", "B": "gray"}
IMAGE = np.random.default_rng(5).integers(0, 256, (1, 8, 9), dtype=np.uint8)
PLAN = gp.plan(SOURCE, gp.preset("keras-caffe", layout="CHW"), WITHOUT_RED)


def expected():
    """Return the plan's result in float64: B, G, R."""
    result = IMAGE[0] - np.array([103.939, 116.779, 0]).reshape(3, 1, 1)
    result[2] = 0
    return result


def test_layers_set_a_missing_band_to_zero():
    x = torch.from_numpy(IMAGE)
    for layer in (
        ChannelLayer(PLAN),
        ChannelLayer(PLAN, trainable=True),
        ToBackbone(PLAN),
    ):
        y = layer(x).detach().numpy()
        assert (y[2] == 0).all()
        np.testing.assert_allclose(y, expected(), rtol=1e-5, atol=1e-4)


def test_gradients_pass_a_missing_band():
    x = torch.from_numpy(IMAGE).float().requires_grad_()
    ChannelLayer(PLAN)(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(IMAGE.shape, 2.0))


def test_folded_models_treat_a_missing_band_as_zero():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)).eval()
    for exact in (False, True):
        folded, feed = fold_into(model, PLAN, exact=exact)
        y = model(torch.from_numpy(PLAN(IMAGE[0])[None]))
        z = folded(torch.from_numpy(feed(IMAGE[0])[None]))
        inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
        np.testing.assert_allclose(
            z[inside].detach().numpy(), y[inside].detach().numpy(), atol=2e-3
        )
