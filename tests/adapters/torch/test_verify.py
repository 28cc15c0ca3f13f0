"""What fold_into verifies before it returns: all kinds of outputs, precisions and layers."""

import copy
from dataclasses import dataclass, make_dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

import graypipe as gp
from graypipe.adapters.torch import compare, fold_into

GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
IMAGES = np.random.default_rng(3).integers(0, 256, (2, 32, 32), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(4)


class Stem(nn.Module):
    """A model that returns the function ``flow`` of the output of its convolution and the image."""

    def __init__(self, flow=lambda y, _: y, conv=None):
        super().__init__()
        self.conv = conv or nn.Conv2d(3, 8, 3, padding=1)
        self.flow = flow

    def forward(self, x):
        return self.flow(self.conv(x), x)


def pooled(y, x):
    return (
        y.mean((2, 3)) + 5 * x.mean((1, 2, 3))[:, None]
    )  # reads the image a second time


def masked(y, x):
    return torch.cat([y, torch.tensor([[0, -torch.inf]]).expand(len(x), 2)], 1)


@dataclass
class Answer:
    logits: torch.Tensor


class Holder:
    def __init__(self, logits):
        self.logits = logits
        self.itself = self


Slotted = make_dataclass("Slotted", ["logits"], slots=True)
WRAPPED = [
    Answer,
    Slotted,
    Holder,
    lambda y: SimpleNamespace(logits=[y]),
    lambda y: {"a": Answer((y,))},
]
READ_TWICE = {
    "minus infinity in the output": lambda y, x: masked(pooled(y, x), x),
    "integers alone": lambda y, x: [pooled(y, x).argmax(1), (x > 0).sum()],
    **{
        f"returned as {n}": lambda y, x, wrap=wrap: wrap(pooled(y, x))
        for n, wrap in enumerate(WRAPPED)
    },
}


@pytest.mark.parametrize("flow", READ_TWICE)
def test_a_second_reader_is_detected_in_any_kind_of_output(flow):
    with pytest.raises(
        gp.ChannelError, match="other parts of the model besides 'conv' read the image"
    ):
        fold_into(Stem(READ_TWICE[flow]), GRAY)


OUTPUTS = {
    "bool": lambda y, _: y > 0,
    "logits and bool": lambda y, _: {"logits": y, "mask": y > 0},
    "NaN where negative": lambda y, _: torch.log(y),
    "minus infinity": lambda y, x: masked(y.mean((2, 3)), x),
    "complex": lambda y, _: torch.fft.fft2(y),
    "a dataclass": lambda y, _: Answer(y),
}


@pytest.mark.parametrize("flow", OUTPUTS)
def test_plain_models_fold_whatever_they_return(flow):
    model = Stem(OUTPUTS[flow]).eval()
    folded, feed = fold_into(model, GRAY, exact=True)
    conv = Stem(conv=copy.deepcopy(folded.conv))
    plain = Stem(conv=model.conv)
    expected, actual = (
        plain(torch.from_numpy(GRAY.batch(IMAGES))),
        conv(torch.from_numpy(feed.batch(IMAGES))),
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_compare_sees_the_imaginary_part():
    model = Stem(lambda y, _: torch.complex(torch.zeros_like(y), y)).eval()
    comparison = compare(model, GRAY, *fold_into(model, GRAY))
    # At the padded border, in the imaginary part only.
    assert comparison.model.relative > 1e-3


@pytest.mark.parametrize(
    ("returned", "kind"), [(None, "NoneType"), ("a cat", "str"), ([3], "list")]
)
def test_a_model_that_returns_no_tensor_is_refused(returned, kind):
    with pytest.raises(
        gp.ChannelError,
        match=f"output contains tensors.*of type {kind}, contains none",
    ):
        fold_into(Stem(lambda *_: returned), GRAY)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_model_that_returns_nothing_finite_is_refused(value):
    with pytest.raises(gp.ChannelError, match=r"infinite or NaN.*fold in float32"):
        fold_into(Stem(lambda y, x: pooled(y, x) * value), GRAY)


def test_lazy_layers_are_refused_and_stay_lazy():
    model = nn.Sequential(
        nn.LazyConv2d(8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)
    )
    with pytest.raises(
        gp.ChannelError,
        match=r"'0.weight' of the model is not initialised \(lazy layer\): run the model once",
    ):
        fold_into(model, GRAY)
    assert isinstance(model[3], nn.LazyLinear)
    model(torch.zeros(1, 3, 64, 64))
    folded, _ = fold_into(model, GRAY)
    assert folded[3].in_features == model[3].in_features == 8 * 62 * 62


class Counting(nn.Module):
    """Counts its runs in a buffer, and the calls that set its mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("runs", torch.zeros(1))
        self.modes = 0

    def train(self, mode=True):
        self.modes = getattr(self, "modes", 0) + 1
        return super().train(mode)

    def forward(self, x):
        self.runs += 1
        return x


def test_neither_model_is_run_nor_switched_to_another_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Counting())
    folded, feed = fold_into(model, GRAY)
    compare(model, GRAY, folded, feed)
    for one in (model, folded):
        assert (float(one[1].runs), one[1].modes, one.training) == (0, 0, True)


def test_a_pruned_layer_after_the_first_stays_pruned():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), prune.l1_unstructured(nn.Conv2d(4, 4, 3), "weight", 0.5)
    ).eval()
    folded, feed = fold_into(model, GRAY)
    expected, actual = (
        model(torch.from_numpy(GRAY.batch(IMAGES))),
        folded(torch.from_numpy(feed.batch(IMAGES))),
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(folded[1].weight_mask, model[1].weight_mask)


def test_a_stem_under_autocast_inside_the_model_folds():
    class Cast(Stem):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(x)

    model = Cast().eval()
    folded, feed = fold_into(model, GRAY, exact=True)
    expected, actual = (
        model(torch.from_numpy(GRAY.batch(IMAGES))),
        folded(torch.from_numpy(feed.batch(IMAGES))),
    )
    torch.testing.assert_close(actual, expected, rtol=0.05, atol=0.05)
    assert actual.dtype == torch.bfloat16


class Doubled(nn.Module):
    def forward(self, bias):
        return bias * 2


class Asserting(nn.Conv2d):
    def forward(self, x):
        assert self.weight.shape[0] == 8
        return super().forward(x)


class Quantised(nn.Module):
    """Quantises the image, as torch.ao.quantization does in front of a model."""

    def forward(self, x):
        return torch.quantize_per_tensor(x, 1.0, 0, torch.qint8)


class Levels(nn.Module):
    def forward(self, x):
        return x.dequantize()


def biased():
    conv = nn.Conv2d(3, 8, 3, padding=1)
    parametrize.register_parametrization(conv, "bias", Doubled(), unsafe=True)
    return Stem(conv=conv)


REFUSED = {
    "a bias that is computed": (
        biased,
        "the bias of 'conv' is computed from other tensors",
    ),
    "a layer that asserts": (
        lambda: Stem(conv=Asserting(3, 8, 3)),
        r"'conv' \(Asserting\) does not apply its weight unchanged",
    ),
    "quantised": (
        lambda: nn.Sequential(nn.Identity(), Quantised(), nn.Identity(), Levels()),
        r"no convolution.*'1' \(Quantised\) reads it instead",
    ),
    "scripted": (
        lambda: torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)),
        "compiled or scripted, pass the original module",
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_layers_that_cannot_be_folded_are_refused(kind):
    build, message = REFUSED[kind]
    with pytest.raises(gp.ChannelError, match=f"(?s){message}"):
        fold_into(build(), GRAY)


@pytest.mark.parametrize("size", [(None, None), [64.0, 64.0], (0, 0), -1])
def test_invalid_sizes_of_a_model_are_ignored(size):
    model = Stem()
    model.img_size = size
    folded, _ = fold_into(model, GRAY)
    assert folded.conv.in_channels == 1


def test_a_fold_that_bfloat16_cannot_hold_is_refused():
    model = Stem(conv=nn.Conv2d(3, 4, 1)).bfloat16()
    with torch.no_grad():
        model.conv.weight.copy_(
            torch.tensor([torch.finfo(torch.bfloat16).max, 2.0**119, 0])[:, None, None]
        )
    with pytest.raises(
        gp.RangeError,
        match=r"'conv.weight' contains a value of magnitude 3\.39.*overflows torch.bfloat16",
    ):
        fold_into(model, gp.plan(GRAY.source, "unit"))


def test_compare_refuses_models_that_do_not_belong_together():
    model = Stem()
    folded, feed = fold_into(model, GRAY)
    other, _ = fold_into(Stem(conv=nn.Conv2d(3, 4, 3)), GRAY)
    for other_model, message in (
        (
            nn.Sequential(folded),
            "the folded model has no convolution 'conv'.*wrap either both models or neither",
        ),
        (other, r"have the shapes .*\(2, 8, 64, 64\).*\(2, 4, 62, 62\)"),
        (Stem(lambda y, _: [y, y], folded.conv), "have the shapes"),
    ):
        with pytest.raises(gp.ChannelError, match=message):
            compare(model, GRAY, other_model, feed)
    with pytest.raises(gp.DTypeError, match=r"expected a torch.nn.Module, got dict"):
        compare(model, GRAY, {}, feed)
    plain = nn.Sequential(model.conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    folded, feed = fold_into(plain, GRAY)
    with pytest.raises(gp.ChannelError, match="has no convolution '0'"):
        compare(plain, GRAY, nn.Sequential(folded), feed)
