"""ChannelLayer in graphs: compiled, exported, traced."""

import numpy as np
import oracle
import pytest
import torch
from imagenet import MEAN, STD

import graypipe as gp
from graypipe.adapters.torch import ChannelLayer

GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
VIA = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.75, "Y": 0.25}, "B": "B"}
RGBY = gp.plan(gp.Source("RGBY", range=(10, 200), clip=True, nodata=7), "imagenet", VIA)
MATRIX = np.array([[0.5, 0, 0, 0.5], [0, 0.75, 0, 0.25], [0, 0, 1, 0]])
KINDS = {
    "fixed": {},
    "1x1": {"trainable": True},
    "5x5": {"trainable": True, "kernel_size": 5},
}


def image(plan, *lead, size=(6, 7)):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(
        0,
        256,
        (*lead, len(plan.source.bands), *size),
        dtype=torch.uint8,
        generator=generator,
    )


def assert_means_rgby(x, y):
    layout = {"layout": "NCHW", "out_layout": "NCHW"}
    source = {"ranges": [(10, 200)] * 4, "clip": True, "nodata": 7}
    wanted, scale = oracle.plan(
        x.numpy(), **layout, **source, via=MATRIX, mean=MEAN, std=STD
    )
    oracle.assert_matches(y.detach().numpy(), wanted, scale)


@pytest.mark.parametrize("kind", KINDS)
def test_it_compiles_into_one_graph(kind):
    torch._dynamo.reset()
    for plan, sizes in [(GRAY, (2, 3)), (RGBY, (2,))]:
        layer = ChannelLayer(plan, **KINDS[kind])
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        for size in sizes:
            for x in (image(plan, size), image(plan, size).float()):
                torch.testing.assert_close(compiled(x), layer(x), rtol=1e-6, atol=1e-5)


def test_it_compiles_with_the_default_backend():
    torch._dynamo.reset()
    layer, x = ChannelLayer(RGBY), image(RGBY, 2)
    assert_means_rgby(x, torch.compile(layer, fullgraph=True)(x))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_exported_with_a_free_batch_size(kind, strict):
    layer = ChannelLayer(RGBY, **KINDS[kind]).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(
        layer, (image(RGBY, 2),), dynamic_shapes=(batch,), strict=strict
    )
    assert_means_rgby(image(RGBY, 5), program.module()(image(RGBY, 5)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning",
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
)
def test_a_trace_computes_rather_than_remembers(kind):
    traced = torch.jit.trace(ChannelLayer(RGBY, **KINDS[kind]), (image(RGBY, 2),))
    x = image(RGBY, 2).flip(-1)
    assert_means_rgby(x, traced(x))
