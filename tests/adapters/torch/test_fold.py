"""fold_into and compare of torch on small models: geometries, and what stays as it was."""

import copy

import imagenet
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from timm import create_model
from timm.layers import Conv2dSame
from torch import nn

import graypipe as gp
from graypipe.adapters.torch import compare, fold_into

MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)
GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
RNG = np.random.default_rng(2)
IMAGES = RNG.integers(0, 256, (2, 64, 64), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(4)


def three_bands(images=IMAGES):
    """Return the input of the three-band model, computed by hand."""
    return torch.from_numpy(
        ((images[:, None] / 255 - MEAN[:, None, None]) / STD[:, None, None]).astype(
            "float32"
        )
    )


def net(stem, *before):
    count = next(
        part.out_channels for part in stem.modules() if hasattr(part, "out_channels")
    )
    head = (
        nn.BatchNorm2d(count),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * count, 5),
    )
    return nn.Sequential(*before, stem, *head)


def error(actual, expected):
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).norm() / expected.norm())


def fed(feed, images=IMAGES):
    return torch.from_numpy(feed.batch(images))


GEOMETRIES = {
    "resnet": lambda: nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False),
    "vgg": lambda: nn.Conv2d(3, 8, 3, padding=1),
    "dilated, oblong": lambda: nn.Conv2d(
        3, 8, (3, 5), stride=(2, 1), padding=(2, 1), dilation=(2, 1)
    ),
    "same": lambda: nn.Conv2d(3, 8, (3, 5), padding="same", dilation=2),
    "TensorFlow's same": lambda: Conv2dSame(3, 8, 3, stride=2),
    "three groups": lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3),
    "padded before": lambda: nn.Sequential(
        nn.ZeroPad2d((3, 2, 1, 0)), nn.Conv2d(3, 8, 7, stride=2)
    ),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_folded_models_equal_the_original_ones(
    geometry,
):
    model = net(GEOMETRIES[geometry]()).eval()
    expected = model(three_bands())
    exact, feed = fold_into(model, GRAY, exact=True)
    assert feed.target.bands == ("gray", "one")
    assert error(exact(fed(feed)), expected) <= 1e-5
    comparison = compare(model, GRAY, exact, feed)
    assert (
        max(
            comparison.interior.relative,
            comparison.border.relative,
            comparison.model.relative,
        )
        <= 1e-5
    )

    folded, feed = fold_into(model, GRAY)
    assert feed.target.bands == ("gray",)
    comparison = compare(model, GRAY, folded, feed)
    assert comparison.interior.relative <= 1e-5
    assert 1e-3 < comparison.border.relative < 0.3
    assert error(folded(fed(feed)), expected) < 0.1


STEMS_WITHOUT_PADDING = {
    "patches": lambda: nn.Conv2d(3, 8, 16, stride=16),
    "valid": lambda: nn.Conv2d(3, 8, 3, stride=2),
    "reflect": lambda: nn.Conv2d(3, 8, 5, padding=2, padding_mode="reflect"),
    "replicate": lambda: nn.Conv2d(3, 8, 5, padding=2, padding_mode="replicate"),
    "circular": lambda: nn.Conv2d(3, 8, 5, padding=2, padding_mode="circular"),
}


@pytest.mark.parametrize("stem", STEMS_WITHOUT_PADDING)
def test_folds_are_exact_without_zero_padding(stem):
    model = net(STEMS_WITHOUT_PADDING[stem]()).eval()
    folded, feed = fold_into(model, GRAY)
    assert error(folded(fed(feed)), model(three_bands())) <= 1e-5
    comparison = compare(model, GRAY, folded, feed)
    assert (comparison.border.largest, comparison.border.relative) == (0, 0)


def test_compare_measures_interior_border_and_model():
    model = net(GEOMETRIES["resnet"]()).eval()
    summed = copy.deepcopy(model)
    summed[0] = nn.Conv2d(1, 8, 7, stride=2, padding=3, bias=False)
    with torch.no_grad():
        summed[0].weight.copy_(model[0].weight.sum(1, keepdim=True))
    averaged = gp.plan(
        GRAY.source, gp.Target("gray", "CHW", mean=MEAN.mean(), std=STD.mean())
    )
    comparison = compare(model, GRAY, summed, averaged)
    assert comparison.layer == "0"
    assert (
        min(
            comparison.interior.relative,
            comparison.border.relative,
            comparison.model.relative,
        )
        > 0.001
    )
    off, expected, heads = [], [], []
    for side in (64, 71):
        images = np.random.default_rng(0).random((2, side, side, 1)) * 255
        unit = images.transpose(0, 3, 1, 2) / 255
        three = torch.from_numpy(
            (unit - MEAN[:, None, None]) / STD[:, None, None]
        ).float()
        one = torch.from_numpy((unit - MEAN.mean()) / STD.mean()).float()
        inner = slice(2, -1 if side == 64 else -2)
        with torch.no_grad():
            expected.append(model[0](three)[..., inner, inner].flatten())
            off.append(summed[0](one)[..., inner, inner].flatten() - expected[-1])
            heads.append((summed(one) - model(three)).flatten())
    off, expected, heads = map(torch.cat, (off, expected, heads))
    assert comparison.interior.largest == pytest.approx(
        float(off.abs().max()), rel=1e-3
    )
    assert comparison.interior.relative == pytest.approx(
        float(off.norm() / expected.norm()), rel=1e-3
    )
    assert comparison.model.largest == pytest.approx(float(heads.abs().max()), rel=1e-3)
    assert "0, interior" in str(comparison)


class Fitted(nn.Module):
    """Pads to a multiple of 32, as timm's dynamic_img_pad pads to one of the patch size."""

    def forward(self, x):
        return nn.functional.pad(x, (0, -x.shape[3] % 32, 0, -x.shape[2] % 32))


PADDED_BY_SIZE = {
    "by hand": lambda: net(nn.Conv2d(3, 8, 3), Fitted()).eval(),
    "timm's": lambda: create_model(
        "vit_tiny_patch16_224",
        dynamic_img_size=True,
        dynamic_img_pad=True,
        depth=1,
        num_classes=5,
    ).eval(),
}


@pytest.mark.parametrize("kind", PADDED_BY_SIZE)
def test_padding_that_depends_on_the_size_is_considered(kind):
    model = PADDED_BY_SIZE[kind]()
    images = RNG.integers(0, 256, (2, 70, 70), dtype=np.uint8)
    folded, feed = fold_into(model, GRAY)
    assert 0.3 < np.ravel(feed.target.mean)[0] < 0.6
    assert compare(model, GRAY, folded, feed).border.relative > 1e-3
    with torch.no_grad():
        assert error(folded(fed(feed, images)), model(three_bands(images))) < 0.3
    exact, feed = fold_into(model, GRAY, exact=True)
    with torch.no_grad():
        assert error(exact(fed(feed, images)), model(three_bands(images))) < 1e-4


def test_the_first_convolution_keeps_everything_but_its_bands():
    model = net(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, dilation=2, bias=False).double()
    )
    model[0].weight.requires_grad_(False)
    model.double()
    folded, _ = fold_into(model, GRAY)
    conv = folded[0]
    assert (conv.in_channels, conv.out_channels, conv.weight.shape) == (
        1,
        8,
        (8, 1, 3, 3),
    )
    assert (conv.stride, conv.padding, conv.dilation, conv.groups) == (
        (2, 2),
        (1, 1),
        (2, 2),
        1,
    )
    assert (conv.weight.dtype, conv.bias.dtype) == (torch.float64, torch.float64)
    assert not conv.weight.requires_grad
    assert not conv.bias.requires_grad
    assert folded[-1].weight.requires_grad
    assert set(dict(folded.named_parameters())) == {
        *dict(model.named_parameters()),
        "0.bias",
    }


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)]
)
def test_low_precision_is_kept(dtype, tolerance):
    model = net(GEOMETRIES["vgg"]()).eval().to(dtype)
    folded, feed = fold_into(model, GRAY, exact=True)
    assert folded[0].weight.dtype == folded[0].bias.dtype == dtype
    assert (
        error(folded(fed(feed).to(dtype)), model(three_bands().to(dtype))) < tolerance
    )


def test_a_map_without_offset_leaves_the_layer_without_bias():
    model = net(nn.Conv2d(3, 8, 3, padding=1, bias=False))
    folded, feed = fold_into(model, gp.plan(GRAY.source, "unit"))
    assert folded[0].bias is None
    assert feed.target.mean == 0


def test_model_and_random_state_are_not_changed():
    model = net(GEOMETRIES["vgg"]()).train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    folded, feed = fold_into(model, GRAY)
    compare(model, GRAY, folded, feed)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()
    )
    for one in (model, folded):
        assert [part.training for part in (one, *one)] == [
            True,
            True,
            False,
            True,
            True,
            True,
            True,
        ]
    assert all(
        not part._forward_hooks for one in (model, folded) for part in one.modules()
    )
    assert all(
        torch.equal(tensor, before[name])
        for name, tensor in folded.state_dict().items()
        if not name.startswith("0.")
    )


def test_the_folded_model_trains():
    folded, feed = fold_into(net(GEOMETRIES["vgg"]()), GRAY)
    folded(fed(feed)).square().mean().backward()
    assert (folded[0].weight.grad != 0).any()
    assert folded[0].bias.grad is not None


@pytest.mark.parametrize("exact", [False, True])
def test_models_of_volumes_are_folded(exact):
    model = nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    ).eval()
    plan = gp.plan(gp.Source("gray", "THW", range=(0, 255)), "imagenet")
    folded, feed = fold_into(model, plan, exact=exact)
    assert feed.target.layout == "CTHW"
    comparison = compare(model, plan, folded, feed)
    assert comparison.interior.relative <= 1e-5
    assert (comparison.border.relative <= 1e-5) == exact
    with pytest.raises(gp.LayoutError, match=r"reads volumes.*'HW'.*layout='DHW'"):
        fold_into(model, GRAY)


def test_layouts_of_a_keras_plan_are_replaced():
    plan = gp.plan(GRAY.source, "keras-caffe")
    model = net(nn.Conv2d(3, 8, 3))
    folded, feed = fold_into(model, plan)
    assert feed.target.layout == "CHW"
    assert compare(model, plan, folded, feed).model.relative <= 1e-5


def test_nodata_and_clip_stay_in_the_plan_that_feeds():
    plan = gp.plan(
        gp.Source("RGBY", range=(10, 200), clip=True, nodata=7),
        "imagenet",
        RGBY["a share of each"],
    )
    model = net(GEOMETRIES["resnet"]()).eval()
    folded, feed = fold_into(model, plan, exact=True)
    assert feed.source == plan.source
    comparison = compare(model, plan, folded, feed)
    assert (
        max(
            comparison.interior.relative,
            comparison.border.relative,
            comparison.model.relative,
        )
        <= 1e-5
    )
    with pytest.raises(gp.RangeError, match="exact=True"):
        fold_into(model, plan)


RGBY = {
    "blue": {"R": "R", "G": "G", "B": {"B": 1, "Y": 1}},
    "blue, its gain shared": {"R": "R", "G": "G", "B": {"B": 0.5, "Y": 0.5}},
    "red": {"R": {"R": 1, "Y": 1}, "G": "G", "B": "B"},
    "red, its gain shared": {"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"},
    "a share of each": {
        "R": {"R": 0.75, "Y": 0.25},
        "G": {"G": 0.75, "Y": 0.25},
        "B": {"B": 0.75, "Y": 0.25},
    },
}


@pytest.mark.parametrize("fed_by", RGBY)
def test_a_fourth_band_can_feed_any_band(fed_by):
    model = net(GEOMETRIES["vgg"]()).eval()
    plan = gp.plan(gp.Source("RGBY", range=(0, 255)), "imagenet", RGBY[fed_by])
    folded, feed = fold_into(model, plan)
    weight, wide = (
        model[0].weight / torch.from_numpy(STD)[:, None, None],
        folded[0].weight,
    )
    shares = [
        RGBY[fed_by][band].get("Y", 0) if isinstance(RGBY[fed_by][band], dict) else 0
        for band in "RGB"
    ]
    yellow = sum(share * weight[:, i] for i, share in enumerate(shares))
    torch.testing.assert_close(wide[:, 3].double(), yellow, rtol=1e-5, atol=1e-6)
    assert feed.target.bands == ("R", "G", "B", "Y")
    assert compare(model, plan, folded, feed).interior.relative <= 1e-5


@pytest.mark.parametrize("geometry", [*GEOMETRIES, *STEMS_WITHOUT_PADDING])
def test_saved_weights_fit_a_model_that_is_folded_anew(geometry):
    build = {**GEOMETRIES, **STEMS_WITHOUT_PADDING}[geometry]
    model = net(build()).eval()
    folded, feed = fold_into(model, GRAY)
    torch.manual_seed(99)
    again, feed_again = fold_into(net(build()).eval(), GRAY)
    assert feed_again == feed
    again.load_state_dict(folded.state_dict())
    inner = compare(model, GRAY, again, feed_again).interior
    assert inner.relative <= 1e-5


RGBY_BLUE = gp.plan(gp.Source("RGBY", range=(0, 255)), "imagenet", RGBY["blue"])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (gp.plan(RGBY_BLUE.source, "inception", RGBY["blue"]), "adds -0.5"),
        (
            gp.plan(gp.Source("YRGB", range=(0, 255)), "imagenet", RGBY["blue"]),
            r"for the bands \['R', 'G', 'B', 'Y'\]",
        ),
    ],
    ids=["another centre", "another order"],
)
def test_weights_folded_for_another_input_are_refused(other, message, tmp_path):
    build = GEOMETRIES["resnet"]
    folded, _ = fold_into(net(build()).eval(), RGBY_BLUE)
    torch.save({"model": folded.state_dict()}, tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["model"]
    again, _ = fold_into(net(build()).eval(), other)
    with pytest.raises(gp.ChannelError, match=rf"{message}.*call fold_into"):
        again.load_state_dict(state)
    # Scale and layout of the images do not change the input of the model.
    twelve_bits = gp.Source("RGBY", "CHW", bits=12)
    again, _ = fold_into(
        net(build()).eval(), gp.plan(twelve_bits, "imagenet", RGBY["blue"])
    )
    again.load_state_dict(state)
    assert torch.equal(again[0].weight, folded[0].weight)


def test_a_model_folded_twice_records_the_last_input():
    folded, _ = fold_into(net(GEOMETRIES["vgg"]()).eval(), RGBY_BLUE)
    mix = {"R": "Y", "G": "Y", "B": "Y", "Y": "Y"}
    unit = gp.Target("RGBY", "CHW", "float32")
    twice, feed = fold_into(folded, gp.plan(gp.Source("Y", range=(0, 255)), unit, mix))
    twice.load_state_dict(twice.state_dict())
    folded.load_state_dict(folded.state_dict())
    assert feed.target.bands == ("Y",)


@pytest.mark.parametrize("kind", ["state_dict", "safetensors"])
def test_a_folded_model_of_four_bands_is_saved_and_loaded(kind, tmp_path):
    plan = gp.plan(gp.Source("RGBY", range=(0, 255)), "imagenet", RGBY["blue"])
    folded, feed = fold_into(net(GEOMETRIES["resnet"]()).eval(), plan)
    if kind == "safetensors":
        save_file(folded.state_dict(), tmp_path / "four.safetensors")
        state = load_file(tmp_path / "four.safetensors")
    else:
        torch.save(folded.state_dict(), tmp_path / "four.pt")
        state = torch.load(tmp_path / "four.pt", weights_only=True)
    again = net(nn.Conv2d(4, 8, 7, stride=2, padding=3)).eval()
    again.load_state_dict(state)
    x = torch.from_numpy(
        feed.batch(RNG.integers(0, 256, (2, 64, 64, 4), dtype=np.uint8))
    )
    assert torch.equal(again(x), folded(x))


def test_weights_that_overflow_are_refused():
    model = net(nn.Conv2d(3, 4, 3, padding=1)).half()
    with torch.no_grad():
        model[0].weight.fill_(3e4)
    with pytest.raises(gp.RangeError, match="overflows float16"):
        fold_into(model, GRAY)


def test_compare_needs_plans_of_one_source():
    model = net(nn.Conv2d(3, 4, 3, padding=1))
    folded, feed = fold_into(model, GRAY)
    with pytest.raises(gp.ChannelError, match="plans with the same source"):
        compare(model, gp.plan(gp.Source(range=(0, 1)), "imagenet"), folded, feed)
