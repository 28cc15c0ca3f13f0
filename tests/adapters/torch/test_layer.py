"""ChannelLayer of torch: fixed and trainable, eager and in graphs."""

import copy
import pickle

import numpy as np
import oracle
import pytest
import torch
from imagenet import MEAN, STD
from torch import nn
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torch import ChannelLayer

GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
VIA = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.75, "Y": 0.25}, "B": "B"}
RGBY = gp.plan(gp.Source("RGBY", range=(10, 200), clip=True, nodata=7), "imagenet", VIA)
MATRIX = np.array([[0.5, 0, 0, 0.5], [0, 0.75, 0, 0.25], [0, 0, 1, 0]])
LEARNED = {"1x1": {"trainable": True}, "5x5": {"trainable": True, "kernel_size": 5}}
KINDS = {"fixed": {}, **LEARNED}


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
    expected, scale = oracle.plan(
        x.numpy(),
        **layout,
        ranges=[(10, 200)] * 4,
        via=MATRIX,
        mean=MEAN,
        std=STD,
        clip=True,
        nodata=7,
    )
    oracle.assert_matches(y.detach().numpy(), expected, scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.float32, torch.float16]
)
def test_the_first_output_follows_the_plan(kind, dtype):
    x = image(RGBY, 5)
    x[:, 1, 2, :3] = 7
    y = ChannelLayer(RGBY, **KINDS[kind])(x.to(dtype))
    assert (y.dtype, y.shape) == (torch.float32, (5, 3, 6, 7))
    assert_means_rgby(x, y)
    assert (y[:, :, 2, :3] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lead", [(), (0,), (2,), (2, 3), (0, 3), (2, 1, 3)], ids=str)
def test_leading_axes_are_free(kind, lead):
    layer, x = ChannelLayer(GRAY, **KINDS[kind]), image(GRAY, *lead)
    y = layer(x)
    assert y.shape == (*lead, 3, 6, 7)
    singles = [layer(part) for part in x.reshape(-1, 1, 6, 7)] if x.numel() else []
    assert all(
        torch.allclose(one, part, atol=1e-6)
        for one, part in zip(singles, y.reshape(-1, 3, 6, 7), strict=False)
    )


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_trainable_layer_starts_as_the_plan_and_learns(
    kernel_size,
):
    x = image(GRAY, 4)
    layer = ChannelLayer(GRAY, trainable=True, kernel_size=kernel_size)
    base = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    by_hand = base((x.repeat(1, 3, 1, 1) / 255 - mean) / std)
    model = nn.Sequential(layer, base)
    torch.testing.assert_close(model(x), by_hand, rtol=1e-5, atol=1e-5)

    assert {name: tuple(part.shape) for name, part in layer.named_parameters()} == {
        "weight": (3, 1, kernel_size, kernel_size),
        "bias": (3,),
    }
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert (layer.weight.grad != 0).any()
    assert not torch.allclose(layer(x), ChannelLayer(GRAY)(x), atol=1e-3)


def test_nodata_stays_zero_and_is_black_to_its_neighbours():
    plan = gp.plan(gp.Source("gray", range=(0, 100), nodata=float("nan")), "unit")
    layer = ChannelLayer(plan, trainable=True, kernel_size=3)
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.fill_(0.5)
    x = torch.full((1, 5, 5), 100.0)
    x[0, 2, 2] = torch.nan
    y = layer(x)
    assert (y[:, 2, 2] == 0).all()
    assert y[0, 1, 1].item() == pytest.approx(8.5)
    assert y[0, 0, 0].item() == pytest.approx(4.5)


def test_gradients_reach_the_image_through_both_kinds():
    for options in KINDS.values():
        x = image(GRAY, 2).double().requires_grad_()
        ChannelLayer(GRAY, **options)(x)[:, :, 2:4, 2:4].sum().backward()
        expected = np.zeros((2, 1, 6, 7))
        expected[:, :, 2:4, 2:4] = np.sum(1 / np.array(STD)) / 255
        np.testing.assert_allclose(x.grad, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_autocast_leaves_it_in_float32(kind, low):
    layer, x = ChannelLayer(RGBY, **KINDS[kind]), image(RGBY, 2)
    convolution = nn.Conv2d(3, 1, 1)
    for images in (x, x.float().requires_grad_()):
        with torch.autocast("cpu", dtype=low):
            y = layer(images)
            assert convolution(y).dtype == low
        assert y.dtype == torch.float32
        assert_means_rgby(x, y)


@pytest.mark.parametrize(
    "cast",
    [
        nn.Module.half,
        nn.Module.bfloat16,
        lambda m: m.to(torch.float16),
        nn.Module.double,
    ],
)
def test_casting_a_model_keeps_range_and_statistics(cast):
    x = image(RGBY, 2)
    assert_means_rgby(x, cast(nn.Sequential(ChannelLayer(RGBY)))(x))
    learned = cast(
        ChannelLayer(RGBY, trainable=True)
    )  # casting rounds its parameters, as those of every layer
    assert learned(x).dtype == torch.float32
    torch.testing.assert_close(learned(x), ChannelLayer(RGBY)(x), rtol=0, atol=0.05)


def test_a_float16_target_gives_float16():
    plan = gp.plan(gp.Source("gray", bits=16), gp.preset("imagenet", dtype="float16"))
    x = torch.full((1, 4, 5), 65535, dtype=torch.uint16)
    for options in KINDS.values():
        y = ChannelLayer(plan, **options)(x)
        assert y.dtype == torch.float16
        np.testing.assert_allclose(
            y[:, 0, 0].tolist(), (1 - np.array(MEAN)) / STD, rtol=1e-3
        )


@pytest.mark.parametrize("kind", KINDS)
def test_float16_that_cannot_hold_the_levels_is_refused(kind):
    x = torch.tensor([0, 4094, 4095, 65535]).reshape(1, 2, 2)
    for source in (
        gp.Source(bits=12),
        gp.Source(bits=16),
        gp.Source(range=(0, 1), nodata=-9999),
    ):
        layer = ChannelLayer(gp.plan(source, "unit"), **KINDS[kind])
        with pytest.raises(
            gp.RangeError,
            match=r"float16, which cannot represent every integer up to \d+.*the stored integers",
        ):
            layer(x.half())
        with pytest.raises(gp.RangeError, match="float16"):
            torch.compile(layer, backend="eager")(x.half())
    deep = ChannelLayer(gp.plan(gp.Source(bits=16), "unit"), **KINDS[kind])
    expected = np.array([0, 4094, 4095, 65535]) / 65535
    for images in (x.int(), x.to(torch.uint16), x.float()):
        np.testing.assert_allclose(
            deep(images)[0].detach().ravel(), expected, rtol=0, atol=1e-7
        )
    eight = ChannelLayer(gp.plan(gp.Source(bits=8), "unit"), **KINDS[kind])
    levels = torch.arange(256).reshape(1, 16, 16)
    np.testing.assert_allclose(
        eight(levels.half())[0].detach(), levels[0] / 255, rtol=0, atol=1e-7
    )


def test_float16_files_declare_their_dtype():
    layer = ChannelLayer(gp.plan(gp.Source(dtype="float16", range=(0, 4096)), "unit"))
    assert layer(torch.tensor([[[2048.0, 4096.0]]]).half())[0, 0].tolist() == [0.5, 1]


def test_a_bfloat16_model_takes_integers():
    x, layer = image(GRAY, 2), ChannelLayer(GRAY)
    backbone = nn.Conv2d(3, 4, 3)
    expected = backbone(layer(x))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = nn.Sequential(layer, backbone)(x)
    cast = nn.Sequential(layer, v2.ToDtype(torch.bfloat16), backbone).bfloat16()
    for y in (mixed, cast(x)):
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.05)
    with pytest.raises(gp.DTypeError, match=r"the stored integers.*bfloat16"):
        cast(x.bfloat16())


def test_the_state_dict_holds_only_parameters():
    assert not ChannelLayer(GRAY).state_dict()
    assert not list(ChannelLayer(GRAY).parameters())
    layer = ChannelLayer(RGBY, trainable=True, kernel_size=3)
    with torch.no_grad():
        layer.weight.add_(0.25)
    other = ChannelLayer(RGBY, trainable=True, kernel_size=3)
    other.load_state_dict(layer.state_dict())
    x = image(RGBY, 2)
    assert torch.equal(other(x), layer(x))
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(again(x), layer(x))


def test_a_model_saved_whole_loads_from_the_public_module(tmp_path):
    assert ChannelLayer.__module__ == "graypipe.adapters.torch"
    model = nn.Sequential(ChannelLayer(RGBY, trainable=True), nn.Conv2d(3, 4, 3))
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    x = image(RGBY, 2)
    assert torch.equal(loaded(x), model(x))
    assert loaded[0].plan == model[0].plan


def test_the_repr_shows_source_and_target():
    text = repr(ChannelLayer(RGBY, trainable=True, kernel_size=3))
    for part in (
        "ChannelLayer(",
        "'R', 'G', 'B', 'Y'",
        "layout='CHW'",
        "range=(10.0, 200.0)",
        str(MEAN[0]),
        "size=3",
    ):
        assert part in text
    assert "trainable" not in repr(ChannelLayer(GRAY))


def test_shapes_are_known_without_data():
    for options in KINDS.values():
        assert ChannelLayer(GRAY, **options).to("meta")(
            image(GRAY, 2).to("meta")
        ).shape == (2, 3, 6, 7)


def test_a_layer_needs_a_declared_range_and_a_floating_target():
    with pytest.raises(gp.RangeError, match="declare the range in the source"):
        ChannelLayer(gp.plan("gray", "imagenet"))
    with pytest.raises(gp.DTypeError, match="uint8"):
        ChannelLayer(gp.plan(gp.Source(range=(0, 255)), "rgb8"))
    with pytest.raises(gp.DTypeError, match="expected plans"):
        ChannelLayer("imagenet")


@pytest.mark.parametrize("size", [0, 2, -1, 3.0, True])
def test_kernel_sizes_must_be_odd(size):
    with pytest.raises(gp.LayoutError, match=r"odd positive integer"):
        ChannelLayer(GRAY, trainable=True, kernel_size=size)


def test_only_trainable_layers_have_larger_kernels():
    with pytest.raises(gp.LayoutError, match="trainable=True"):
        ChannelLayer(GRAY, kernel_size=3)


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_the_plan_does_not_take_are_refused(kind):
    layer = ChannelLayer(GRAY, **KINDS[kind])
    with pytest.raises(
        gp.LayoutError, match=r"\(\.\.\., C, H, W\).*\(6, 7\).*x\[None\]"
    ):
        layer(torch.zeros(6, 7))
    with pytest.raises(gp.ChannelError, match=r"'gray' \(1\), got 3 bands"):
        layer(torch.zeros(3, 6, 7))
    with pytest.raises(gp.DTypeError, match="ndarray"):
        layer(np.zeros((1, 6, 7), np.uint8))
    with pytest.raises(gp.DTypeError, match="bfloat16"):
        layer(torch.zeros(1, 6, 7, dtype=torch.bfloat16))
    declared = ChannelLayer(
        gp.plan(gp.Source(dtype="uint16", range=(0, 4095)), "imagenet"), **KINDS[kind]
    )
    with pytest.raises(gp.DTypeError, match="declares dtype uint16, got float32"):
        declared(torch.zeros(1, 6, 7))


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
def test_a_traced_layer_computes_other_images_too(kind):
    traced = torch.jit.trace(ChannelLayer(RGBY, **KINDS[kind]), (image(RGBY, 2),))
    x = image(RGBY, 2).flip(-1)
    assert_means_rgby(x, traced(x))
