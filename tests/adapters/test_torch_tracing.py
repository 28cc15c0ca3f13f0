"""Which layer of a torch model reads the image: one is found, and models that a fold would change are refused."""

import pytest
import torch
from timm.layers import ScaledStdConv2d, StdConv2d
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import graypipe as gp
from graypipe.adapters.torch import compare, fold_into

GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")


def net(stem, *before):
    return nn.Sequential(*before, stem, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Around(nn.Module):
    """A model in Python code: what ``flow`` makes of the module and the image."""

    def __init__(self, flow, **parts):
        super().__init__()
        self.flow = flow
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.flow(self, x)


def conv(**options):
    return nn.Conv2d(3, 4, 3, **{"padding": 1, **options})


def tied():
    model = Around(lambda m, x: m.b(m.a(x)[:, :3]), a=conv(), b=conv())
    model.b.weight = model.a.weight
    return model


REFUSED = {
    "normalised inside": (net(conv(), nn.BatchNorm2d(3)), "no convolution.*'0' takes it, a layer BatchNorm2d"),
    "computed before": (Around(lambda m, x: m.stem(x * 2), stem=conv()), "'stem', is given.*computed from it"),
    "padded by another number": (
        Around(lambda m, x: m.stem(functional.pad(x, (1, 1), value=0.5)), stem=conv()),
        "'stem', is given.*computed from it",
    ),
    "padded by reflection": (net(conv(), nn.ReflectionPad2d(1)), "'0' takes it, a layer ReflectionPad2d"),
    "flipped": (Around(lambda m, x: m.stem(x.flip(1)), stem=conv()), "'stem', is given.*computed from it"),
    "cropped": (Around(lambda m, x: m.stem(x[..., 1:, :]), stem=conv()), "'stem', is given.*computed from it"),
    "no convolution": (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), "'0' takes it, a layer Flatten"),
    "functional": (
        Around(lambda m, x: functional.conv2d(x, m.w), w=nn.Parameter(torch.ones(2, 3, 3, 3))),
        "a function",
    ),
    "two readers": (Around(lambda m, x: m.a(x) + m.b(x), a=conv(), b=conv()), "several.*'a', 'b'.*layer="),
    "a skip of the image": (Around(lambda m, x: m.b(m.a(x)) + x, a=conv(), b=nn.Conv2d(4, 3, 1)), "elsewhere too"),
    "the image among the outputs": (Around(lambda m, x: [x, m.a(x)], a=conv()), "elsewhere too"),
    "statistics of the image": (Around(lambda m, x: m.a(x) + x.mean(), a=conv()), "elsewhere too"),
    "bands counted": (
        Around(lambda m, x: m.a(x) if x.shape[1] == 3 else x.no_such_thing, a=conv()),
        "still does not take 1 band, but raises AttributeError.*no_such_thing",
    ),
    "called twice": (Around(lambda m, x: m.a(x) + m.a(x * 2), a=conv()), "'a' reads the image, and is called with"),
    "weight norm": (net(nn.utils.parametrizations.weight_norm(conv())), "computed from others"),
    "pruned": (net(prune.l1_unstructured(conv(), "weight", 0.5)), "computed from others"),
    "standardised": (net(StdConv2d(3, 4, 3)), "a layer StdConv2d, does not convolve by its weight"),
    "scaled": (net(ScaledStdConv2d(3, 4, 3)), "a layer ScaledStdConv2d, does not convolve by its weight"),
    "tied": (tied(), "'a' shares its weight with 'b'"),
    "four bands": (net(nn.Conv2d(4, 4, 3)), "the plan makes 3 bands.*does not run.*expected input.*4 channels"),
}


@pytest.mark.parametrize("model", REFUSED)
def test_a_model_that_a_fold_would_change_is_refused_with_the_reason(model):
    built, says = REFUSED[model]
    with pytest.raises(gp.ChannelError, match=f"(?s){says}"):
        fold_into(built, GRAY)


def test_layer_names_one_of_several_readers_where_the_others_reach_no_output():
    plan = gp.plan(gp.Source("BGR", range=(0, 255)), "imagenet")
    model = Around(lambda m, x: [m.a(x), m.b(x)][0], a=conv(), b=conv()).eval()
    with pytest.raises(gp.ChannelError, match=r"several layers read the image, 'a', 'b'"):
        fold_into(model, plan)
    folded, feed = fold_into(model, plan, layer="a")
    assert compare(model, plan, folded, feed, layer="a").interior.relative <= 1e-5
    with pytest.raises(gp.ChannelError, match=r"'c' does not read the image.*'a', 'b'"):
        fold_into(model, plan, layer="c")
    with pytest.raises(gp.ChannelError, match=r"'a' folded the model still does not take 1 band"):
        fold_into(model, GRAY, layer="a")


def test_same_number_of_bands_in_another_order_is_seen_by_other_readers_too():
    plan = gp.plan(gp.Source("BGR", range=(0, 255)), "imagenet")
    both = Around(lambda m, x: m.a(x) + m.b(x), a=conv(), b=conv())
    with pytest.raises(gp.ChannelError, match="elsewhere too, not through 'a' alone"):
        fold_into(both, plan, layer="a")


def test_what_is_no_model_or_has_no_declared_range_is_refused():
    with pytest.raises(gp.DTypeError, match=r"expected a torch.nn.Module, got dict"):
        fold_into({}, GRAY)
    with pytest.raises(gp.RangeError, match="a folded model is fed by others"):
        fold_into(net(conv()), gp.plan("gray", "imagenet"))
    with pytest.raises(gp.DTypeError, match=r"expected plans.*got str"):
        fold_into(net(conv()), "imagenet")
