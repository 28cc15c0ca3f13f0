"""The layer that reads the image: found in plain models, refused where a fold would change the model."""

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
    return nn.Sequential(
        *before, stem, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


class Around(nn.Module):
    """A model whose forward is the function ``flow`` of the module and the image."""

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
    "normalised inside": (
        net(conv(), nn.BatchNorm2d(3)),
        r"no convolution.*'0' \(BatchNorm2d\) reads it instead",
    ),
    "computed before": (
        Around(lambda m, x: m.stem(x * 2), stem=conv()),
        "'stem', is a tensor.*computed from the image",
    ),
    "padded by another number": (
        Around(lambda m, x: m.stem(functional.pad(x, (1, 1), value=0.5)), stem=conv()),
        "'stem', is a tensor.*computed from the image",
    ),
    "padded by reflection": (
        net(conv(), nn.ReflectionPad2d(1)),
        r"'0' \(ReflectionPad2d\) reads it instead",
    ),
    "flipped": (
        Around(lambda m, x: m.stem(x.flip(1)), stem=conv()),
        "'stem', is a tensor.*computed from the image",
    ),
    "cropped": (
        Around(lambda m, x: m.stem(x[..., 1:, :]), stem=conv()),
        "'stem', is a tensor.*computed from the image",
    ),
    "no convolution": (
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)),
        r"'0' \(Flatten\) reads it instead",
    ),
    "functional": (
        Around(
            lambda m, x: functional.conv2d(x, m.w),
            w=nn.Parameter(torch.ones(2, 3, 3, 3)),
        ),
        "functional convolutions",
    ),
    "two readers": (
        Around(lambda m, x: m.a(x) + m.b(x), a=conv(), b=conv()),
        "several.*'a', 'b'.*layer=",
    ),
    "a skip of the image": (
        Around(lambda m, x: m.b(m.a(x)) + x, a=conv(), b=nn.Conv2d(4, 3, 1)),
        "other parts of the model",
    ),
    "the image among the outputs": (
        Around(lambda m, x: [x, m.a(x)], a=conv()),
        "other parts of the model",
    ),
    "statistics of the image": (
        Around(lambda m, x: m.a(x) + x.mean(), a=conv()),
        "other parts of the model",
    ),
    "bands counted": (
        Around(lambda m, x: m.a(x) if x.shape[1] == 3 else x.no_such_thing, a=conv()),
        "does not accept 1 band: it raises AttributeError.*no_such_thing",
    ),
    "called twice": (
        Around(lambda m, x: m.a(x) + m.a(x * 2), a=conv()),
        "'a' reads the image but is also called with",
    ),
    "weight norm": (
        net(nn.utils.parametrizations.weight_norm(conv())),
        "computed from other tensors",
    ),
    "pruned": (
        net(prune.l1_unstructured(conv(), "weight", 0.5)),
        "computed from other tensors",
    ),
    "standardised": (
        net(StdConv2d(3, 4, 3)),
        r"\(StdConv2d\) does not apply its weight unchanged",
    ),
    "scaled": (
        net(ScaledStdConv2d(3, 4, 3)),
        r"\(ScaledStdConv2d\) does not apply its weight unchanged",
    ),
    "tied": (tied(), "'a' shares a parameter with 'b'"),
    "four bands": (
        net(nn.Conv2d(4, 4, 3)),
        r"does not accept images of 3 bands \(the output of the plan\).*expected input.*4 channels",
    ),
}


@pytest.mark.parametrize("model", REFUSED)
def test_models_that_a_fold_would_change_are_refused(model):
    built, message = REFUSED[model]
    with pytest.raises(gp.ChannelError, match=f"(?s){message}"):
        fold_into(built, GRAY)


class Clamping(nn.Conv2d):
    def forward(self, x):
        return super().forward(x.clamp(-2, 2))


class Centring(nn.Conv2d):
    def forward(self, x):
        return super().forward(x - x.mean((1, 2, 3), keepdim=True))


class Masked(nn.Conv2d):
    """As in PixelCNN: no tap reads pixels below or to the right."""

    def forward(self, x):
        mask = torch.ones(self.kernel_size)
        mask[1, 1:], mask[2:] = 0, 0
        return self._conv_forward(x, self.weight * mask, self.bias)


class Brightened(nn.Conv2d):
    """Scales its kernel if it reads three bands, so that tracing with one band sees a plain layer."""

    def forward(self, x):
        return self._conv_forward(
            x, self.weight * (1.5 if x.shape[1] == 3 else 1), self.bias
        )


def before(change):
    return Around(lambda m, x: m.stem(change(x)), stem=conv())


def after(change):
    return Around(lambda m, x: change(m.stem(x), x), stem=conv())


CHANGED = "'stem', is a tensor.*computed from the image"
NEARLY = {
    "ReLU": (net(conv(), nn.ReLU()), r"'0' \(ReLU\) reads it instead"),
    "Hardtanh": (net(conv(), nn.Hardtanh(-2, 2)), r"'0' \(Hardtanh\) reads it instead"),
    "clamped": (before(lambda x: x.clamp(-2, 2)), CHANGED),
    "clamped below": (before(lambda x: x.clamp(min=0)), CHANGED),
    "absolute": (before(lambda x: x.abs()), CHANGED),
    "zeros filled": (before(lambda x: torch.where(x == 0, 0.4, x)), CHANGED),
    "scaled where large": (before(lambda x: x / 255 if x.max() > 2 else x), CHANGED),
    "scaled where negative": (
        before(lambda x: (x + 1) / 2 if x.min() < 0 else x),
        CHANGED,
    ),
    "scaled where positive": (
        before(lambda x: x * 2 - 1 if x.min() >= 0 else x),
        "for some values only",
    ),
    "scaled where wide": (
        before(lambda x: x / 255 if x.max() > 2000 else x),
        "become Python numbers",
    ),
    "other padding at other sizes": (
        before(lambda x: functional.pad(x, (0, -x.shape[3] % 8, 0, 0), value=0.5)),
        "does not reproduce its original outputs",
    ),
    "mask of the first band": (
        after(lambda y, x: y * (x[:, :1] > 0)),
        "other parts of the model",
    ),
    "mask of the sum": (
        after(lambda y, x: y * (x.sum(1, keepdim=True) > 0)),
        "other parts of the model",
    ),
    "mask of what is not zero": (
        after(lambda y, x: y * (x[:, :1] != 0)),
        "other parts of the model",
    ),
    "switched by the mean": (
        after(lambda y, x: y if x.mean() > 0 else -y),
        "other parts of the model",
    ),
    "clamping layer": (
        net(Clamping(3, 4, 3)),
        r"\(Clamping\) does not apply its weight unchanged",
    ),
    "centring layer": (
        net(Centring(3, 4, 3, padding=1)),
        r"\(Centring\) does not apply its weight unchanged",
    ),
    "masked layer": (
        net(Masked(3, 4, 3, padding=1)),
        r"\(Masked\) does not apply its weight unchanged",
    ),
    "brightened layer": (
        net(Brightened(3, 4, 3)),
        "after folding, '0' does not reproduce its original outputs",
    ),
}
WIDE = gp.plan(
    gp.Source("gray", range=(0, 65535)), gp.Target("RGB", "CHW", range=(0, 65535))
)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("model", NEARLY)
def test_operations_that_change_only_some_images_are_refused(model, exact):
    built, message = NEARLY[model]
    plan = WIDE if model == "scaled where wide" else GRAY
    with pytest.raises(gp.ChannelError, match=f"(?s){message}"):
        fold_into(built, plan, exact=exact)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_plain_stems_of_any_precision_are_accepted(dtype):
    resized = before(
        lambda x: (
            functional.interpolate(x, (64, 64), mode="nearest")
            if x.shape[-1] != 64
            else x
        )
    )
    for model in (
        net(conv()),
        net(conv(), nn.ZeroPad2d(2)),
        net(conv(), nn.Identity()),
        resized,
    ):
        fold_into(model.to(dtype), GRAY, exact=True)


def test_layer_selects_one_of_several_readers():
    plan = gp.plan(gp.Source("BGR", range=(0, 255)), "imagenet")
    model = Around(lambda m, x: [m.a(x), m.b(x)][0], a=conv(), b=conv()).eval()
    with pytest.raises(
        gp.ChannelError, match=r"several layers read the image \('a', 'b'\)"
    ):
        fold_into(model, plan)
    folded, feed = fold_into(model, plan, layer="a")
    assert compare(model, plan, folded, feed, layer="a").interior.relative <= 1e-5
    with pytest.raises(gp.ChannelError, match=r"'c' does not read the image.*'a', 'b'"):
        fold_into(model, plan, layer="c")
    with pytest.raises(
        gp.ChannelError, match=r"after folding 'a', the model does not accept 1 band"
    ):
        fold_into(model, GRAY, layer="a")


def test_a_second_reader_is_detected_if_bands_only_change_order():
    plan = gp.plan(gp.Source("BGR", range=(0, 255)), "imagenet")
    both = Around(lambda m, x: m.a(x) + m.b(x), a=conv(), b=conv())
    with pytest.raises(
        gp.ChannelError, match="other parts of the model besides 'a' read the image"
    ):
        fold_into(both, plan, layer="a")


def test_model_and_plan_are_checked():
    with pytest.raises(gp.DTypeError, match=r"expected a torch.nn.Module, got dict"):
        fold_into({}, GRAY)
    with pytest.raises(gp.RangeError, match="a folded model comes from other code"):
        fold_into(net(conv()), gp.plan("gray", "imagenet"))
    with pytest.raises(gp.DTypeError, match=r"expected plans.*got str"):
        fold_into(net(conv()), "imagenet")
