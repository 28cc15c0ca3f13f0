"""fold_into of torch with new=: models that read more bands than their weights know."""

import numpy as np
import pytest
import torch
from torch import nn

import graypipe as gp
from graypipe.adapters.torch import compare, fold_into

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OWN_MEAN, OWN_STD = 0.3, 0.15  # of the band that is new
S2 = gp.Source.from_sensor(
    "sentinel-2-l2a", ("blue", "nir", "green", "red"), layout="CHW", nodata=None
)
TARGET = gp.Target(
    ("B04", "B03", "B02", "B08"), mean=(*MEAN, OWN_MEAN), std=(*STD, OWN_STD)
)
PLAN = gp.plan(S2, TARGET)
IMAGES = np.random.default_rng(5).integers(1000, 11001, (2, 4, 32, 32), np.uint16)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    ).eval()


def normalised(images):
    """Return the four bands R, G, B, NIR as the extended model reads them, by hand."""
    unit = (images[:, [3, 2, 0, 1]] - 1000.0) / 10000
    mean = np.array((*MEAN, OWN_MEAN))[:, None, None]
    std = np.array((*STD, OWN_STD))[:, None, None]
    return torch.from_numpy(((unit - mean) / std).astype(np.float32))


def folded_output(model, images=IMAGES, **options):
    folded, feed = fold_into(model, PLAN, **options)
    assert folded[0].in_channels == 4
    assert feed.target.bands == S2.bands
    return folded(torch.from_numpy(feed.batch(images)))


def test_zero_kernels_give_the_result_for_rgb(model):
    expected = model(normalised(IMAGES)[:, :3])
    changed = IMAGES.copy()
    changed[:, 1] = 5
    for images in (IMAGES, changed):
        actual = folded_output(model, images, new="zero")
        assert torch.allclose(actual, expected, atol=1e-4)


def test_nearest_shares_the_kernel_of_red_with_the_statistics_of_each(model):
    x = normalised(IMAGES)
    red = (x[:, 0] + x[:, 3]) / 2
    expected = model(torch.stack([red, x[:, 1], x[:, 2]], dim=1))
    actual = folded_output(model, new="nearest")
    assert torch.allclose(actual, expected, atol=1e-4)


def test_mean_adds_a_third_of_the_new_band_to_each_known_one(model):
    x = normalised(IMAGES)
    expected = model(x[:, :3] + x[:, 3:] / 3)
    actual = folded_output(model, new="mean")
    assert torch.allclose(actual, expected, atol=1e-4)


def test_exact_keeps_nodata_and_borders(model):
    padded = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *list(model)[1:]).eval()
    source = gp.Source.from_sensor("sentinel-2-l2a", S2.bands, layout="CHW")
    plan = gp.plan(source, TARGET)
    images = IMAGES.copy()
    images[:, :, 3:6] = 0  # nodata
    x = normalised(images)
    x[:, :, 3:6] = 0
    folded, feed = fold_into(padded, plan, new="zero", exact=True)
    actual = folded(torch.from_numpy(feed.batch(images)))
    assert torch.allclose(actual, padded(x[:, :3]), atol=1e-4)


def test_compare_measures_against_the_plan_of_the_known_bands(model):
    known = gp.plan(S2, gp.preset("imagenet"), {"R": "red", "G": "green", "B": "blue"})
    comparison = compare(model, known, *fold_into(model, PLAN, new="zero"))
    assert comparison.interior.relative < 1e-5
    assert comparison.model.relative < 1e-5


def test_the_order_of_the_model_is_declared(model):
    swapped = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, bias=False), *list(model)[1:])
    swapped[0].weight.data = model[0].weight.data.flip(1)
    actual = folded_output(swapped.eval(), new="zero", of="BGR")
    assert torch.allclose(actual, model(normalised(IMAGES)[:, :3]), atol=1e-4)


def test_grouped_first_layers_are_extended():
    grouped = nn.Sequential(nn.Conv2d(3, 9, 3, groups=3), nn.Flatten()).eval()
    actual = folded_output(grouped, new="zero")
    expected = grouped(normalised(IMAGES)[:, :3])
    assert torch.allclose(actual, expected, atol=1e-4)


def test_the_model_is_left_alone_and_errors_are_those_of_extend(model):
    before = model[0].weight.clone()
    with pytest.raises(gp.ChannelError, match="'zero', 'nearest', 'mean'"):
        fold_into(model, PLAN, new="tile")
    with pytest.raises(gp.ChannelError, match="no band 'gray'"):
        fold_into(model, PLAN, new="zero", of="gray")
    with pytest.raises(gp.ChannelError, match="4 bands"):
        fold_into(model, PLAN)
    fold_into(model, PLAN, new="mean")
    assert (model[0].weight == before).all()
