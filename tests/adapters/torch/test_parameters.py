"""Parameters of a trainable ChannelLayer: device, dtype, meta, reset, DistributedDataParallel."""

import copy

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import graypipe as gp
from graypipe.adapters.torch import ChannelLayer

PLAN = gp.plan(gp.Source("gray", bits=8), "imagenet")
IMAGES = torch.randint(
    0,
    256,
    (4, 1, 6, 7),
    dtype=torch.uint8,
    generator=torch.Generator().manual_seed(2),
)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_layer_built_on_meta_is_materialised(kernel_size):
    options = {"trainable": True, "kernel_size": kernel_size}
    expected = ChannelLayer(PLAN, **options).state_dict()
    layer = ChannelLayer(PLAN, **options, device="meta")
    assert layer.weight.is_meta
    assert layer.bias.is_meta
    layer.to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.fill_(torch.nan)
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, expected[name])
    assert all(each.requires_grad for each in layer.parameters())
    assert torch.equal(layer(IMAGES), ChannelLayer(PLAN, **options)(IMAGES))


def test_reset_parameters_undoes_training():
    layer = ChannelLayer(PLAN, trainable=True)
    before = copy.deepcopy(layer.state_dict())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(IMAGES).square().sum().backward()
    optimizer.step()
    parameters = list(layer.parameters())
    assert not torch.equal(layer.weight, before["weight"])
    layer.reset_parameters()
    assert torch.equal(layer.weight, before["weight"])
    assert torch.equal(layer.bias, before["bias"])
    for old, new in zip(parameters, layer.parameters(), strict=True):
        assert old is new  # the optimizer still refers to it


def test_a_layer_without_parameters_can_be_reset():
    layer = ChannelLayer(PLAN, device="meta", dtype=torch.float64)
    layer.to_empty(device="cpu").reset_parameters()
    assert torch.equal(layer(IMAGES), ChannelLayer(PLAN)(IMAGES))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtype_is_that_of_the_parameters(dtype):
    layer = ChannelLayer(PLAN, trainable=True, dtype=dtype)
    assert {each.dtype for each in layer.parameters()} == {dtype}
    cast = ChannelLayer(PLAN, trainable=True).to(dtype)
    for new, old in zip(layer.parameters(), cast.parameters(), strict=True):
        assert torch.equal(new, old)
    layer.reset_parameters()
    assert layer(IMAGES).dtype == torch.float32
    assert torch.equal(layer(IMAGES), cast(IMAGES))


def test_skip_init_takes_the_layer():
    layer = nn.utils.skip_init(ChannelLayer, PLAN, trainable=True)
    assert layer.weight.shape == (3, 1, 1, 1)
    assert not layer.weight.is_meta


def test_distributed_data_parallel_trains_the_same_layer(tmp_path):
    alone = ChannelLayer(PLAN, trainable=True, kernel_size=3)
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        parallel = DistributedDataParallel(copy.deepcopy(alone))
        for module in (alone, parallel):
            optimizer = torch.optim.SGD(module.parameters(), lr=1e-4)
            module(IMAGES).square().mean().backward()
            optimizer.step()
        assert torch.equal(parallel.module.weight, alone.weight)
        assert torch.equal(parallel(IMAGES), alone(IMAGES))
    finally:
        distributed.destroy_process_group()
