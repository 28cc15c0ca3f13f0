"""Derivatives, vmap and tensor subclasses, compared with `v2.Normalize` of torchvision."""

import pytest
import torch
from imagenet import MEAN, STD
from torch import nn
from torch.autograd import forward_ad
from torchvision import tv_tensors
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torch import ChannelLayer
from graypipe.adapters.torchvision import ToBackbone

# torch compiles its own rules for forward mode with torch.jit.script on first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

UNIT = gp.plan(gp.Source("RGB", range=(0, 1)), "imagenet")
NORMALIZE = v2.Normalize(MEAN, STD)
LAYERS = {
    "transform": ToBackbone(UNIT),
    "implied range": ToBackbone(gp.plan("RGB", "imagenet")),
    "layer": ChannelLayer(UNIT),
    "trainable": ChannelLayer(UNIT, trainable=True),
}


def rand(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def dual_result(function, x, tangent):
    with forward_ad.dual_level():
        y = forward_ad.unpack_dual(function(forward_ad.make_dual(x, tangent)))
        return y.primal.detach(), y.tangent.detach()


@pytest.mark.parametrize("kind", LAYERS)
def test_forward_mode_keeps_the_tangent(kind):
    x, tangent = rand(2, 3, 4, 5), rand(2, 3, 4, 5) - 0.5
    for actual, expected in zip(
        dual_result(LAYERS[kind], x, tangent),
        dual_result(NORMALIZE, x, tangent),
        strict=True,
    ):
        assert_close(actual, expected)


def test_a_level_without_a_tangent_changes_nothing():
    x = rand(2, 3, 4, 5)
    with forward_ad.dual_level():
        assert torch.equal(LAYERS["transform"](x), LAYERS["transform"](x.clone()))


def test_an_implied_range_is_checked_in_forward_mode():
    x = 255 * rand(2, 3, 4, 5)
    with pytest.raises(gp.RangeError, match="looks like 0-255"):
        dual_result(LAYERS["implied range"], x, torch.ones_like(x))


@pytest.mark.parametrize("kind", LAYERS)
def test_func_transforms_equal_those_of_normalize(kind):
    x, tangent = rand(2, 3, 4, 5), rand(2, 3, 4, 5) - 0.5
    for transform in (
        lambda function: torch.func.jvp(function, (x,), (tangent,)),
        lambda function: torch.func.vjp(function, x)[1](tangent),
        lambda function: torch.func.jacfwd(function)(x),
        lambda function: torch.func.jacrev(function)(x),
        lambda function: torch.func.hessian(lambda v: function(v).square().sum())(x),
        lambda function: torch.vmap(function)(x),
        lambda function: torch.vmap(torch.func.grad(lambda v: function(v).sum()))(x),
    ):
        assert_close(transform(LAYERS[kind]), transform(NORMALIZE))


class Named(torch.Tensor):
    """A subclass of a user that carries more than pixels."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        named = [value for value in args if isinstance(value, Named)]
        if isinstance(result, Named) and named:
            result.file = getattr(named[0], "file", None)
        return result


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("subclass", [nn.Parameter, Named])
def test_subclasses_become_what_normalize_makes_of_them(kind, subclass):
    x = rand(2, 3, 4, 5)
    for value in (x.as_subclass(subclass), nn.Parameter(x, requires_grad=False)):
        y, expected = LAYERS[kind](value), NORMALIZE(value)
        assert type(y) is type(expected)
        assert_close(y.as_subclass(torch.Tensor), expected.as_subclass(torch.Tensor))


@pytest.mark.parametrize("kind", LAYERS)
def test_attributes_of_subclasses_are_kept(kind):
    x = rand(2, 3, 4, 5).as_subclass(Named)
    x.file = "scan.png"
    assert LAYERS[kind](x).file == "scan.png"


def test_an_implied_range_is_checked_for_subclasses():
    x = (255 * rand(2, 3, 4, 5)).as_subclass(Named)
    with pytest.raises(gp.RangeError, match="looks like 0-255"):
        LAYERS["implied range"](x)


@pytest.mark.parametrize("kind", ["transform", "implied range"])
def test_image_types_become_what_normalize_makes_of_them(kind):
    for value in (
        tv_tensors.Image(rand(3, 4, 5)),
        tv_tensors.Video(rand(2, 3, 4, 5)),
        tv_tensors.Image(rand(3, 4, 5).requires_grad_()),
    ):
        y, expected = LAYERS[kind](value), NORMALIZE(value)
        assert type(y) is type(expected)
        assert y.requires_grad == expected.requires_grad
        assert_close(y.as_subclass(torch.Tensor), expected.as_subclass(torch.Tensor))


def test_a_layer_makes_a_plain_tensor_of_an_image():
    image = tv_tensors.Image(rand(3, 4, 5))
    convolution = nn.Conv2d(3, 3, 1)
    for kind in ("layer", "trainable"):
        assert type(LAYERS[kind](image)) is type(convolution(image))
