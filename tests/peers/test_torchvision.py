"""torchvision as the oracle: its own chain on repeated images, its weights' transforms; and its side of the traps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from imagenet import MEAN, STD
from PIL import Image
from torchvision import models
from torchvision.models import get_model_weights, list_models
from torchvision.transforms import v2
from torchvision.transforms.functional import to_tensor

import graypipe as gp

RNG = np.random.default_rng(28)
GRAY = RNG.integers(0, 256, (32, 32), np.uint8)
VIDEO = RNG.integers(0, 256, (4, 32, 32), np.uint8)
WEIGHTS = [weights for model in list_models() for weights in get_model_weights(model)]
KINDS = {weights: type(weights.transforms()).__name__ for weights in WEIGHTS}


def of_kind(*kinds):
    return [weights for weights in WEIGHTS if KINDS[weights] in kinds]


def assert_close(x, peer):
    expected = peer.numpy()
    assert x.dtype == expected.dtype
    np.testing.assert_allclose(x, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "shape", [(1, 31, 17), (5, 1, 31, 17)], ids=["single", "batch"]
)
def test_a_plan_equals_repeat_scale_and_normalise_of_v2(dtype, shape):
    image = RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    chain = v2.Compose(
        [v2.RGB(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    plan = gp.plan(gp.Source("gray", "NCHW"[4 - image.ndim :]), "imagenet")
    assert_close(plan(image), chain(torch.from_numpy(image)))


@pytest.mark.parametrize("bands", ["RGB", "BGR"])
def test_a_colour_plan_equals_permute_scale_and_normalise_of_v2(bands):
    image = RNG.integers(0, 256, (3, 31, 17), np.uint8)
    order = ["RGB".index(band) for band in bands]
    rgb = v2.functional.permute_channels(
        torch.from_numpy(image), np.argsort(order).tolist()
    )
    peer = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])(
        rgb
    )
    assert_close(gp.plan(gp.Source(bands, "CHW"), "imagenet")(image), peer)


def test_every_torchvision_weight_equals_its_own_transforms():
    chosen = of_kind("ImageClassification", "SemanticSegmentation")
    assert len(chosen) > 100
    rgb = torch.from_numpy(np.stack([GRAY] * 3))
    for weights in chosen:
        size = {"crop_size": 32} if KINDS[weights] == "ImageClassification" else {}
        peer = weights.transforms(resize_size=32, **size)(rgb)
        assert_close(gp.plan("gray", gp.Target.from_torchvision(weights))(GRAY), peer)


def test_every_video_weight_equals_its_own_transforms():
    chosen = of_kind("VideoClassification")
    assert chosen
    rgb = torch.from_numpy(np.stack([VIDEO] * 3, 1))
    for weights in chosen:
        peer = weights.transforms(resize_size=(32, 32), crop_size=(32, 32))(rgb)
        target = replace(gp.Target.from_torchvision(weights), layout="CTHW")
        assert_close(gp.plan(gp.Source(layout="THW"), target)(VIDEO), peer)


def test_the_unit_preset_equals_to_dtype():
    peer = v2.Compose([v2.RGB(), v2.ToDtype(torch.float32, scale=True)])(
        torch.from_numpy(GRAY[None])
    )
    assert_close(gp.plan("gray", "unit")(GRAY), peer)


def test_weights_that_state_no_statistics_are_refused():
    chosen = of_kind("ObjectDetection", "OpticalFlow")
    assert chosen
    for weights in chosen:
        with pytest.raises(gp.ChannelError, match=r"has no mean"):
            gp.Target.from_torchvision(weights)


def test_the_imagenet_preset_is_what_resnet_weights_say():
    weights = get_model_weights("resnet50").DEFAULT
    assert gp.Target.from_torchvision(weights) == gp.preset("imagenet")
    assert gp.Target.from_torchvision(weights.transforms()) == gp.preset("imagenet")


def test_normalize_silently_makes_three_channels_of_one():
    one = torch.rand(1, 4, 5)
    assert v2.Normalize(MEAN, STD)(one).shape == (3, 4, 5)
    with pytest.raises(gp.ChannelError, match="got 3"):
        gp.Target("gray", mean=MEAN, std=STD)


def test_rgb_saturates_16_bit_images():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    peer = np.asarray(v2.RGB()(Image.fromarray(ramp)))
    assert np.unique(peer).tolist() == [0, 255]
    np.testing.assert_allclose(
        gp.plan("gray", "unit")(ramp)[0], ramp / 65535, rtol=0, atol=1e-7
    )


def test_to_tensor_wraps_16_bit_images_to_negative_values():
    ramp = np.array([[0, 32767, 32768, 65535]], np.uint16)
    peer = to_tensor(Image.fromarray(ramp))
    assert peer[0, 0].tolist() == [0, 32767, -32768, -1]
    x = gp.plan("gray", "unit")(ramp)
    np.testing.assert_allclose(x[0, 0], ramp[0] / 65535, rtol=0, atol=1e-7)


def test_to_tensor_takes_a_batch_for_one_image():
    batch = RNG.integers(0, 256, (8, 16, 12), np.uint8)
    assert to_tensor(batch).shape == (12, 8, 16)
    assert v2.RGB()(torch.from_numpy(batch)).shape == (8, 16, 12)
    assert v2.RGB()(torch.from_numpy(batch[:1])).shape == (3, 16, 12)
    assert gp.plan("gray", "unit").batch(batch).shape == (8, 3, 16, 12)
    assert gp.plan("gray", "unit").batch(batch[:1]).shape == (1, 3, 16, 12)


@pytest.mark.parametrize("count", [4, 13])
def test_rgb_passes_other_band_counts_and_arrays_through(count):
    image = RNG.integers(0, 256, (count, 4, 5), np.uint8)
    tensor = torch.from_numpy(image)
    assert v2.RGB()(tensor) is tensor
    assert v2.RGB()(image) is image
    with pytest.raises(gp.ChannelError, match=f"C={count}"):
        gp.plan(gp.Source("RGB", "CHW"), "unit")(image)


def test_grayscale_returns_memory_that_cannot_be_written():
    rgb = RNG.integers(0, 256, (3, 4, 5), np.uint8)
    peer = v2.Grayscale(3)(torch.from_numpy(rgb))
    assert peer.stride()[0] == 0
    with pytest.raises(RuntimeError, match="single memory location"):
        peer.add_(1)
    gray = gp.plan(
        gp.Source("RGB", "CHW"), gp.Target("gray", "CHW"), via=gp.luminance()
    )(rgb)
    x = gp.plan(gp.Source("gray", "CHW"), "unit")(gray)
    x += 1
    assert x.strides[0] > 0


def test_a_plan_takes_weights_but_not_models():
    weights = models.ResNet18_Weights.DEFAULT
    expected = gp.plan("gray", gp.Target.from_torchvision(weights))
    assert gp.plan("gray", weights) == expected
    assert gp.plan("gray", weights.transforms()) == expected
    with pytest.raises(gp.ChannelError, match=r"ResNet50_Weights\.DEFAULT"):
        gp.plan("gray", models.resnet18(weights=None))
