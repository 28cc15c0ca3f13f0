"""Channel maps that adapt the weights of a transfer: folded, or refused with the reason."""

import imagenet
import numpy as np
import pytest

import graypipe as gp
from graypipe.adapters._shared.transfer import resolve_adapt

MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)
PLAN = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
KERNEL = np.random.default_rng(5).normal(size=(5, 3, 3, 3)).astype("float32")
HELD, LAYOUTS = ("c.weight", "c.bias", "fc.weight"), {3: "OIW", 4: "OIHW", 5: "OIDHW"}


def test_a_channel_map_adapts_kernel_and_bias():
    bias = np.ones(5, "float32")
    adapt = resolve_adapt(
        {"c.weight": gp.replicate(), "fc.weight": np.square}, HELD, LAYOUTS, "weight"
    )
    assert list(adapt) == ["c.weight", "fc.weight"]
    np.testing.assert_allclose(
        adapt["c.weight"](KERNEL), KERNEL.sum(1, keepdims=True), rtol=1e-5, atol=1e-5
    )
    assert adapt["fc.weight"] is np.square

    adapt = resolve_adapt({"c.weight": PLAN.unit_map}, HELD, LAYOUTS, "weight")
    kernel, constants = adapt["c.weight", "c.bias"](KERNEL, bias)
    assert kernel.shape == (5, 1, 3, 3)
    expected = 1 - np.einsum("oirc,i->o", KERNEL.astype(np.float64), MEAN / STD)
    np.testing.assert_allclose(constants, expected, rtol=1e-5, atol=1e-5)
    assert resolve_adapt(None, HELD, LAYOUTS, "weight") == {}


def test_a_plan_adapts_by_its_unit_map():
    bias = np.ones(5, "float32")
    names = ("c.weight", "c.bias")
    of_plan = resolve_adapt({"c.weight": PLAN}, HELD, LAYOUTS, "weight")
    of_map = resolve_adapt({"c.weight": PLAN.unit_map}, HELD, LAYOUTS, "weight")
    assert list(of_plan) == list(of_map) == [names]
    for actual, expected in zip(
        of_plan[names](KERNEL, bias), of_map[names](KERNEL, bias), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
    without_offset = gp.plan("gray", "unit")
    assert list(
        resolve_adapt({"c.weight": without_offset}, ("c.weight",), LAYOUTS, "weight")
    ) == ["c.weight"]


def test_plans_that_do_more_than_their_map_are_refused():
    nodata = gp.plan(gp.Source("gray", nodata=0), "imagenet")
    with pytest.raises(
        gp.RangeError,
        match=r"'c.weight' sets pixels with nodata.*plan\.unit_map.*exact",
    ):
        resolve_adapt({"c.weight": nodata}, HELD, LAYOUTS, "weight")
    with pytest.raises(
        gp.DTypeError, match=r"rounds to uint8.*dtype='float32'.*plan\.unit_map"
    ):
        resolve_adapt({"c.weight": gp.plan("gray", "rgb8")}, HELD, LAYOUTS, "weight")


@pytest.mark.parametrize("adapt", [PLAN, gp.replicate(), [PLAN]])
def test_adapt_without_a_name_shows_the_mapping(adapt):
    with pytest.raises(gp.DTypeError, match=r"as in adapt=\{'\.\.\.weight': plan\}"):
        resolve_adapt(adapt, HELD, LAYOUTS, "weight")


@pytest.mark.parametrize(("value", "kind"), [(gp.replicate(), "map"), (PLAN, "plan")])
def test_plans_and_channel_maps_adapt_only_kernels(value, kind):
    for name in ("c.bias", ("c.weight", "c.bias")):
        with pytest.raises(
            gp.ChannelError,
            match=rf"{kind} can only .*ending in 'weight'.*alone.*pass a function",
        ):
            resolve_adapt({name: value}, HELD, LAYOUTS, "weight")
    with pytest.raises(gp.ChannelError, match=r"got one for 'c': name 'c\.weight', "):
        resolve_adapt({"c": value}, HELD, LAYOUTS, "weight")
    with pytest.raises(gp.ChannelError, match="name 'c/kernel', "):
        resolve_adapt({"c": value}, ("c/kernel",), LAYOUTS, "kernel")


def test_an_offset_needs_a_bias():
    with pytest.raises(
        gp.ChannelError,
        match=r"'c.weight' has an offset.*has none: build.*with a bias, or",
    ):
        resolve_adapt({"c.weight": PLAN.unit_map}, ("c.weight",), LAYOUTS, "weight")
    assert list(
        resolve_adapt({"c.weight": gp.replicate()}, ("c.weight",), LAYOUTS, "weight")
    ) == ["c.weight"]


def test_a_map_for_a_dense_layer_is_refused():
    adapt = resolve_adapt({"fc.weight": gp.replicate()}, HELD, LAYOUTS, "weight")
    with pytest.raises(
        gp.ChannelError,
        match=r"kernels with 3 to 5 axes, but 'fc.weight' of the source has shape \(10, 3\)",
    ):
        adapt["fc.weight"](np.ones((10, 3)))


def test_the_error_for_depthwise_kernels_shows_how_to_fold_them():
    adapt = resolve_adapt({"c.weight": gp.replicate()}, HELD, LAYOUTS, "weight")
    depthwise = KERNEL[:3, :1]
    with pytest.raises(
        gp.ChannelError, match=r"reads 1 band: .*adapt=\{'c.weight': (lambda w: .*)\}$"
    ) as refused:
        adapt["c.weight"](depthwise)
    function = (
        str(refused.value)
        .partition("adapt={'c.weight': ")[2]
        .removesuffix("}")
        .replace("...", "3")
    )
    folded = eval(function, {"gp": gp, "channel_map": gp.replicate()})
    np.testing.assert_array_equal(folded(depthwise), depthwise)
