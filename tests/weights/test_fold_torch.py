"""Folded layers in torch equal the three-band pipeline; those of peers do not."""

import ml_dtypes
import numpy as np
import pytest
import torch
from segmentation_models_pytorch.encoders._utils import patch_first_conv
from timm.models import adapt_input_conv
from torch import nn
from torch.nn import functional

import graypipe as gp

RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (4, 40, 48), dtype=np.uint8)
PLAN = gp.plan("gray", "imagenet")
RAW = gp.plan("gray", gp.Target("gray", "CHW"))
ONE = gp.plan(
    "gray",
    gp.Target(("gray", "one"), "CHW"),
    gp.ChannelMap([[1], [0]], [0, 1], inputs="gray", outputs=("gray", "one")),
)
MARGIN = 2  # outputs whose window reaches into the padding: 7 taps, padding 3, stride 2


def stem(bias=False):
    torch.manual_seed(11)
    return nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=bias)


def run(plan, kernel, bias=None, **options):
    options = options or {"stride": 2, "padding": 3}
    bias = None if bias is None else torch.as_tensor(bias)
    return functional.conv2d(
        torch.from_numpy(plan.batch(IMAGES)), torch.as_tensor(kernel), bias, **options
    )


def error(y, expected):
    return float((y.double() - expected.double()).norm() / expected.double().norm())


def inside(y):
    return y[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


@pytest.mark.parametrize("biased", [False, True])
def test_folded_stems_equal_the_three_band_pipeline(
    biased,
):
    layer = stem(biased)
    with torch.no_grad():
        expected = layer(torch.from_numpy(PLAN.batch(IMAGES)))
    folded = run(
        RAW, *gp.weights.fold(layer.weight, layer.bias, PLAN.unit_map, layout="OIHW")
    )
    assert error(inside(folded), inside(expected)) <= 1e-5
    assert error(folded, expected) > 0.01
    exact = run(
        ONE,
        *gp.weights.fold_exact(layer.weight, layer.bias, PLAN.unit_map, layout="OIHW"),
    )
    assert error(exact, expected) <= 1e-5


def test_a_stem_without_padding_is_equal_everywhere():
    kernel = stem().weight.detach()
    folded = run(
        RAW, *gp.weights.fold(kernel, None, PLAN.unit_map, layout="OIHW"), stride=4
    )
    assert error(folded, run(PLAN, kernel, stride=4)) <= 1e-5


def test_summed_kernels_of_timm_and_smp_are_not_equal():
    layer = stem()
    kernel = layer.weight.detach()
    by_timm = adapt_input_conv(1, kernel)
    patched = nn.Sequential(stem())
    patch_first_conv(patched, 1, 3, pretrained=True)
    summed, _ = gp.weights.fold(kernel, None, gp.replicate(), layout="OIHW")
    for theirs in (by_timm, patched[0].weight.detach()):
        np.testing.assert_allclose(summed, theirs.numpy(), rtol=0, atol=1e-6)

    mean, std = np.mean(PLAN.target.mean), np.mean(PLAN.target.std)
    averaged = gp.plan("gray", gp.Target("gray", "CHW", mean=mean, std=std))
    expected = run(PLAN, kernel)
    theirs = run(averaged, by_timm)
    assert error(inside(theirs), inside(expected)) > 0.01

    rest = averaged.unit_map.inverse() >> PLAN.unit_map
    folded = run(averaged, *gp.weights.fold(kernel, None, rest, layout="OIHW"))
    assert error(inside(folded), inside(expected)) <= 1e-5
    assert error(folded, expected) < error(theirs, expected)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_kernels_of_one_and_three_dimensions(dimensions):
    convolution = {1: functional.conv1d, 3: functional.conv3d}[dimensions]
    layout = {1: "OIW", 3: "OIDHW"}[dimensions]
    x = torch.from_numpy(RNG.random((2, 1, *[9] * dimensions), dtype=np.float32))
    kernel = torch.from_numpy(
        RNG.normal(size=(6, 3, *[3] * dimensions)).astype("float32")
    )
    shape = (3, *[1] * dimensions)
    matrix = torch.tensor(PLAN.unit_map.matrix).reshape(shape).float()
    offset = torch.tensor(PLAN.unit_map.offset).reshape(shape).float()
    expected = convolution(x * matrix + offset, kernel, padding=1)
    exact, _ = gp.weights.fold_exact(kernel, None, PLAN.unit_map, layout=layout)
    assert (
        error(
            convolution(
                torch.cat([x, torch.ones_like(x)], 1),
                torch.from_numpy(exact),
                padding=1,
            ),
            expected,
        )
        <= 1e-5
    )
    folded, bias = map(
        torch.from_numpy, gp.weights.fold(kernel, None, PLAN.unit_map, layout=layout)
    )
    within = (..., *[slice(1, -1)] * dimensions)
    assert (
        error(convolution(x, folded, bias, padding=1)[within], expected[within]) <= 1e-5
    )


@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_layer_of_torch_becomes_one_without_groups(groups):
    bands = ("a", "b")
    channel_map = gp.ChannelMap(
        RNG.normal(size=(4, 2)), RNG.normal(size=4), inputs=bands, outputs="RGBY"
    )
    x = torch.from_numpy(RNG.random((2, 2, 9, 9), dtype=np.float32))
    kernel = torch.from_numpy(RNG.normal(size=(8, 4 // groups, 3, 3)).astype("float32"))
    bias = torch.from_numpy(RNG.normal(size=8).astype("float32"))
    seen = torch.einsum(
        "ij,njhw->nihw",
        torch.tensor(channel_map.matrix, dtype=torch.float64),
        x.double(),
    )
    seen = (seen + torch.tensor(channel_map.offset)[:, None, None]).float()
    expected = functional.conv2d(seen, kernel, bias, padding=1, groups=groups)
    exact, same = gp.weights.fold_exact(
        kernel, bias, channel_map, layout="OIHW", groups=groups
    )
    with_one = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    y = functional.conv2d(
        with_one, torch.from_numpy(exact), torch.from_numpy(same), padding=1
    )
    assert error(y, expected) <= 1e-5


def test_an_rgb_stem_folds_to_four_bands():
    plan = gp.plan("RGBY", "imagenet", {"R": "R", "G": "G", "B": {"B": 0.5, "Y": 0.5}})
    rgby = RNG.integers(0, 256, (2, 40, 48, 4), dtype=np.uint8)
    kernel = stem().weight.detach()
    folded, bias = map(
        torch.from_numpy, gp.weights.fold(kernel, None, plan.unit_map, layout="OIHW")
    )
    assert folded.shape == (64, 4, 7, 7)
    raw = torch.from_numpy(gp.plan("RGBY", gp.Target("RGBY", "CHW")).batch(rgby))
    expected = functional.conv2d(torch.from_numpy(plan.batch(rgby)), kernel, stride=2)
    assert error(functional.conv2d(raw, folded, bias, stride=2), expected) <= 1e-5


def test_bfloat16_is_kept_from_ml_dtypes_but_not_from_torch():
    kernel = RNG.normal(size=(4, 3, 3, 3)).astype(ml_dtypes.bfloat16)
    new_kernel, bias = gp.weights.fold(kernel, None, PLAN.unit_map, layout="OIHW")
    assert new_kernel.dtype == bias.dtype == ml_dtypes.bfloat16
    wide = gp.weights.fold(kernel.astype("float64"), None, PLAN.unit_map, layout="OIHW")
    np.testing.assert_array_equal(new_kernel, wide[0].astype(ml_dtypes.bfloat16))
    with pytest.raises(
        gp.DTypeError,
        match=r"(?s)the kernel.*got Tensor.*pass weight.float",
    ):
        gp.weights.fold(
            torch.zeros(4, 3, 3, 3, dtype=torch.bfloat16),
            None,
            PLAN.unit_map,
            layout="OIHW",
        )


def test_a_meta_tensor_is_refused():
    with pytest.raises(
        gp.DTypeError, match=r"(?s)the kernel.*got Tensor.*pass weight.float"
    ):
        gp.weights.fold(
            torch.zeros(4, 3, 3, 3, device="meta"), None, PLAN.unit_map, layout="OIHW"
        )
