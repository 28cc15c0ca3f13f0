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


def test_a_channel_map_adapts_only_kernels():
    for name in ("c.bias", ("c.weight", "c.bias")):
        with pytest.raises(
            gp.ChannelError, match=r"name ending in 'weight'.*pass a function"
        ):
            resolve_adapt({name: gp.replicate()}, HELD, LAYOUTS, "weight")


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
