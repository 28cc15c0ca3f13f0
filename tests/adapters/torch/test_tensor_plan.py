"""TensorPlan: the engine and the elementwise operations against the oracle; memory of results."""

import copy
import pickle

import numpy as np
import oracle
import pytest
import torch
from imagenet import MEAN, STD
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torch.tensor_plan import TORCH_DTYPES, TensorPlan

RNG = np.random.default_rng(5)
DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "int16",
    "int32",
    "uint32",
    "int64",
    "float16",
    "float32",
    "float64",
]
LEADS = [(), (2,), (1,), (2, 3), (2, 1, 3), (1, 2, 1, 2), (0,)]

RGBY_VIA = {"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"}
PLANS = {
    "repeat": gp.plan(gp.Source("gray", range=(0, 1)), "imagenet"),
    "merge": gp.plan(gp.Source("RGBY", range=(0, 1)), "imagenet", RGBY_VIA),
    "guards": gp.plan(
        gp.Source("RGB", range=(0.2, 0.9), clip=True, nodata=1), "imagenet"
    ),
}
MERGED = np.array([[0.5, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0]])
VIAS = {"repeat": np.ones((3, 1)), "merge": MERGED, "guards": np.eye(3)}


def stored(shape, dtype):
    values = (
        RNG.uniform(0, 1.5, shape)
        if dtype.startswith("float")
        else RNG.integers(0, 2, shape)
    )
    return torch.from_numpy(values.astype(dtype))


def assert_right(kind, x, y):
    """Assert that ``y`` is the result of plan ``kind`` for ``x``, in its memory format."""
    source, lead = PLANS[kind].source, x.shape[:-3]
    expected, scale = oracle.plan(
        x.detach().resolve_neg().reshape(lead.numel(), *x.shape[-3:]).numpy(),
        layout="NCHW",
        out_layout="NCHW",
        ranges=[source.range] * len(source.bands),
        via=VIAS[kind],
        mean=MEAN,
        std=STD,
        clip=source.clip,
        nodata=source.nodata,
    )
    oracle.assert_matches(
        y.detach().numpy(),
        *(part.reshape(*lead, *part.shape[1:]) for part in (expected, scale)),
    )
    assert y.is_contiguous(memory_format=memory_format(x))


def memory_format(x):
    if x.is_contiguous() or x.ndim != 4:
        return torch.contiguous_format
    if x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


@pytest.mark.parametrize("lead", LEADS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", PLANS)
def test_every_dtype_and_leading_shape_follows_the_plan(kind, dtype, lead):
    if dtype == "bool" and kind == "guards":
        dtype = "int8"
    x = stored((*lead, len(PLANS[kind].source.bands), 4, 5), dtype)
    assert_right(kind, x, TensorPlan(PLANS[kind])(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", PLANS)
def test_elementwise_operations_follow_the_plan(kind, dtype):
    if dtype == "bool" and kind == "guards":
        dtype = "int8"
    x = stored((2, 3, len(PLANS[kind].source.bands), 4, 5), dtype)
    assert_right(kind, x, torch.vmap(TensorPlan(PLANS[kind]))(x))


@pytest.mark.parametrize("kind", PLANS)
def test_any_strides_are_accepted(kind):
    count = len(PLANS[kind].source.bands)
    whole = stored((3, 8, 10, count), "float32")
    for x in (
        whole.permute(0, 3, 1, 2),
        whole.permute(0, 3, 2, 1),
        whole.permute(0, 3, 1, 2)[::2, :, 1:7:2, 3:],
        whole.permute(0, 3, 1, 2)[:1].expand(4, -1, -1, -1),
        whole.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
        torch.complex(whole, -whole)
        .conj()
        .imag.permute(0, 3, 1, 2),  # a lazily negated view
    ):
        for value in (x, x.detach().clone().requires_grad_()):
            assert_right(kind, value, TensorPlan(PLANS[kind])(value))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 5), (2, 3, 1, 1)])
def test_the_memory_format_is_that_of_normalize(shape, dtype):
    plan = TensorPlan(gp.plan(gp.Source("RGB", bits=8), "imagenet"))
    normalize = v2.Normalize(MEAN, STD)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.ones(shape, dtype=TORCH_DTYPES[dtype]).to(memory_format=memory_format)
        expected = normalize(x / 255)
        inputs = [x] if dtype == "uint8" else [x, x.clone().requires_grad_()]
        for value in inputs:
            y = plan(value)
            for kind in (torch.contiguous_format, torch.channels_last):
                assert y.is_contiguous(memory_format=kind) == expected.is_contiguous(
                    memory_format=kind
                )
            torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("needs_gradients", [False, True])
def test_a_repeated_band_is_contiguous_as_in_torch(needs_gradients):
    x = torch.rand(2, 1, 4, 5).to(memory_format=torch.channels_last)
    y = TensorPlan(PLANS["repeat"])(x.requires_grad_(needs_gradients))
    assert y.stride() == x.repeat(1, 3, 1, 1).stride() == (60, 20, 5, 1)


class Recorded(TorchDispatchMode):
    """Records the operations of torch that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_the_engine_shares_memory_with_tensors():
    x = stored((2, 6, 7, 1), "uint8").permute(0, 3, 1, 2)[..., 1:]
    plan = TensorPlan(gp.plan("gray", "imagenet"))
    with Recorded() as ran:
        plan(x)
    assert set(ran.names) <= {
        "aten.detach.default",
        "aten.lift_fresh.default",
    }  # neither of them copies


IDENTITIES = [
    gp.plan("RGB", gp.Target("RGB", "CHW", "uint8", range=(0, 255))),
    gp.plan("gray", gp.Target("gray", "CHW", "uint8", range=(0, 255))),
]


@pytest.mark.parametrize("plan", IDENTITIES, ids=["RGB", "gray"])
def test_moved_pixels_are_copied(plan):
    x = torch.randint(0, 256, (2, len(plan.source.bands), 4, 5), dtype=torch.uint8)
    for result in (TensorPlan(plan)(x), torch.vmap(TensorPlan(plan))(x)):
        kept = x.clone()
        assert result.is_contiguous()
        result.zero_()
        assert torch.equal(x, kept)


def test_repeated_channels_do_not_share_memory():
    y = TensorPlan(gp.plan("gray", "unit"))(
        torch.full((1, 4, 5), 51, dtype=torch.uint8)
    )
    y[0] += 1
    assert y.unique().tolist() == pytest.approx([0.2, 1.2])


def test_uint16_levels_above_32767_are_not_negative():
    x = torch.tensor([[[0, 32767, 32768, 65535]]], dtype=torch.uint16)
    plan = TensorPlan(gp.plan("gray", "unit"))
    for y in (plan(x), torch.vmap(plan)(x[None])[0]):
        assert y[0, 0].tolist() == pytest.approx([0, 32767 / 65535, 32768 / 65535, 1])


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.complex64, torch.float8_e4m3fn]
)
def test_dtypes_that_numpy_lacks_are_refused(dtype):
    with pytest.raises(gp.DTypeError, match=rf"{dtype}.*x\.float"):
        TensorPlan(gp.plan("gray", "imagenet"))(torch.zeros(1, 4, 5).to(dtype))


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64])
def test_integers_without_a_declared_range_ask_for_it(dtype):
    with pytest.raises(gp.RangeError, match="declare range="):
        TensorPlan(gp.plan("gray", "imagenet"))(torch.zeros(1, 4, 5, dtype=dtype))


@pytest.mark.parametrize("needs_gradients", [False, True])
def test_floats_beyond_the_implied_range_are_refused(needs_gradients):
    x = torch.full((1, 4, 5), 200.0, requires_grad=needs_gradients)
    with pytest.raises(gp.RangeError, match="looks like 0-255"):
        TensorPlan(gp.plan("gray", "imagenet"))(x)


def test_gradients_flow_back_to_the_image():
    x = torch.rand(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    TensorPlan(gp.plan("gray", gp.preset("imagenet", dtype="float64")))(
        x
    ).sum().backward()
    np.testing.assert_allclose(
        x.grad, np.full(x.shape, np.sum(1 / np.array(STD))), rtol=1e-12
    )
    image = x.detach()
    assert torch.equal(
        torch.func.grad(lambda part: TensorPlan(PLANS["repeat"])(part).sum())(image),
        x.grad,
    )


def test_shapes_are_known_without_data():
    y = TensorPlan(PLANS["merge"])(torch.empty(2, 4, 6, 7, device="meta"))
    assert (y.shape, y.device.type, y.dtype) == ((2, 3, 6, 7), "meta", torch.float32)


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("again", [copy.deepcopy, through_pickle])
def test_it_is_copied_and_pickled(again):
    plan, x = TensorPlan(PLANS["guards"]), stored((3, 4, 5), "float32")
    assert torch.equal(again(plan)(x), plan(x))


def test_only_the_engine_writes_64_bit_integers():
    plan = TensorPlan(
        gp.plan("gray", gp.Target("gray", "CHW", "int64", range=(0, 255)))
    )
    x = torch.tensor([[[0, 7, 255]]], dtype=torch.uint8)
    assert plan(x).tolist() == [[[0, 7, 255]]]
    with pytest.raises(
        gp.DTypeError, match="got int64, whose limits cannot be represented"
    ):
        torch.vmap(plan)(x[None])
