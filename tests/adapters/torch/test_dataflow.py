"""Second readers of the image are found by following it, whatever the outputs show."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import graypipe as gp
from graypipe.adapters.torch import fold_into
from graypipe.adapters.torch.dataflow import follow

GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
READ = "other parts of the model besides 'conv' read the image"
MASKED = "the image combined with values computed from it"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(5)


class Model(nn.Module):
    """A convolution of ``before(image)``, and a function of its output and the image."""

    def __init__(self, after=lambda y, _: y, before=lambda x: x, bands=3):
        super().__init__()
        self.conv = nn.Conv2d(bands, 4, 3)
        self.after, self.before = after, before
        self.register_buffer("memory", torch.zeros(1, 3, 80, 80), persistent=False)

    def forward(self, x):
        return self.after(self.conv(self.before(x)), x)


def written_through_a_view(y, x):
    result = torch.zeros(2, 5)
    result[0].copy_(x.mean().expand(5))
    return y.mean() + result[:, 1]


def in_place(y, x):
    return y.mul_(x.mean().sigmoid())


READERS = {
    "a small summand": lambda y, x: y + 1e-9 * x.mean(),
    "a saturated sigmoid": lambda y, x: torch.sigmoid(1e6 + y.mean() + x.mean()),
    "a steep softmax": lambda y, x: torch.softmax(
        torch.stack([1e5 + y.mean(), x.mean()]), 0
    ),
    "an argmax": lambda y, x: torch.stack([1e9 + y.mean(), x.mean()]).argmax(),
    "a sign": lambda y, x: torch.sign(1e6 + y.mean() + x.mean()),
    "rounding": lambda y, x: torch.round(y.mean() * 1e-6 + x.mean() * 1e-6),
    "empty images": lambda y, x: y * (x.sum((1, 2, 3), keepdim=True) != 0),
    "all-zero rows": lambda y, x: y * (x[..., 2:, 2:] != 0).any(3, True).any(1, True),
    "torch.where": lambda y, x: torch.where(x.sum() == 0, torch.zeros_like(y), y),
    "filled": lambda y, x: y.masked_fill(x.abs().amax() > 1e6, 0),
    "not a number": lambda y, x: y + torch.isnan(x).any(),
    "a view": written_through_a_view,
    "in place": in_place,
    "one pixel": lambda y, x: torch.maximum(y, x[:, :1, 5:6, 5:6] - 1e9),
    "in three bands": lambda y, x: y * (x.mean() > -1e9) if x.shape[1] == 3 else y,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_second_reader_without_visible_effect_is_refused(reader):
    with pytest.raises(gp.ChannelError, match=READ) as caught:
        fold_into(Model(READERS[reader]), GRAY)
    assert len(str(caught.value)) < 600


BRANCHES = {
    "if": lambda y, x: y if x.max() < 1e9 else -y,
    "item": lambda y, x: y + 0 * x.mean().item(),
    "equal": lambda y, x: y if not torch.equal(x, -x) else -y,
    "allclose": lambda y, x: y if not torch.allclose(x, x + 1) else -y,
    "nonzero": lambda y, x: y * min(len(x.nonzero()), 1),
    "NumPy": lambda y, x: y if np.asarray(x).max() < 1e9 else -y,
    "a list": lambda y, x: y if x.tolist() else -y,
}


@pytest.mark.parametrize("branch", BRANCHES)
def test_branches_that_depend_on_values_are_refused(branch):
    with pytest.raises(gp.ChannelError, match="become Python numbers, shapes") as error:
        fold_into(Model(BRANCHES[branch]), GRAY)
    assert len(str(error.value)) < 600


def zero_rows_masked(x):
    return x * (x != 0).any(3, keepdim=True).any(1, keepdim=True)


def assigned(x):
    x = x.clone()
    x[x.abs() > 1e6] = 0
    return x


MASKS = {
    "all-zero rows": zero_rows_masked,
    "empty images": lambda x: x * (x.sum((1, 2, 3), keepdim=True) != 0),
    "where": lambda x: torch.where(x.abs() > 1e6, 0, x),
    "filled": lambda x: x.masked_fill(x > 1e6, 0),
    "assigned": assigned,
    "limited by another band": lambda x: torch.minimum(x, x[:, :1] + 1e6),
}


@pytest.mark.parametrize("mask", MASKS)
def test_masks_that_noise_does_not_trigger_are_refused(mask):
    with pytest.raises(gp.ChannelError, match=MASKED) as error:
        fold_into(Model(before=MASKS[mask]), GRAY)
    assert len(str(error.value)) < 600


def concatenated(x):
    return torch.cat([x[:, band : band + 1] for band in range(x.shape[1])], 1)


def batch_from_images(x):
    result = x.new_zeros(1, *x.shape[1:])
    for target, image in zip(result, x, strict=True):
        target[..., : image.shape[-1]].copy_(image)
    return result


HARMLESS = {
    "shape": lambda y, x: y / (x.shape[-1] * x.size(0) * x.ndim),
    "zeros of its shape": lambda y, x: y + torch.zeros_like(x).mean(),
    "new tensors": lambda y, x: y + x.new_ones(len(x), 1, 1, 1),
    "size of interpolation": lambda y, x: functional.interpolate(y, x.shape[-2:]),
    "dtype": lambda y, x: y.to(x.dtype),
    "unused": lambda y, x: [y, x.mean()][0],
    "a layer norm of features": lambda y, _: functional.layer_norm(y, y.shape[1:]),
    "branches on features": lambda y, _: y if y.max() > 1e9 else -y,
}
MOVED = {
    "contiguous": lambda x: x.contiguous(memory_format=torch.channels_last),
    "dtype and back": lambda x: x.double().float(),
    "reshaped": lambda x: x.flatten(2).reshape(x.shape),
    "permuted twice": lambda x: x.permute(0, 2, 3, 1).clone().permute(0, 3, 1, 2),
    "zero padding": lambda x: functional.pad(x, (1, 1, 2, 2)),
    "bands split and joined": concatenated,
    "copied into zeros": batch_from_images,
    "a list of images": lambda x: torch.stack(list(x)),
}


@pytest.mark.parametrize("use", [*HARMLESS, *MOVED])
def test_shapes_and_moves_are_no_readers(use):
    model = Model(HARMLESS.get(use, lambda y, _: y), MOVED.get(use, lambda x: x))
    folded, feed = fold_into(model.eval(), GRAY, exact=True)
    image = np.random.default_rng(1).integers(0, 256, (1, 20, 20), dtype=np.uint8)
    with torch.no_grad():
        expected = model.float()(torch.from_numpy(GRAY.batch(image)))
        actual = folded(torch.from_numpy(feed.batch(image)))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_writes_through_views_reach_the_whole_tensor():
    image, other = torch.ones(3), torch.zeros(2, 3)
    with follow(image) as flow:
        row = other[1]
        assert not flow.contains(other)
        row.copy_(image)
        assert flow.contains(other[0])
        assert not flow.is_combined(other)
        assert flow.is_combined(image * (image > 0))
        assert not flow.contains(torch.zeros_like(image))
