"""Pixels that an earlier step of a framework has changed: an error with the cure in each adapter."""

import albumentations as A
import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters import albumentations as for_albumentations
from graypipe.adapters import torchvision as for_torchvision
from graypipe.adapters.torch import ChannelLayer

RNG = np.random.default_rng(9)
STORED = RNG.integers(0, 4096, (24, 40), np.uint16)
DEEP = RNG.integers(0, 65536, (24, 40), np.uint16)
PLAN = gp.plan(gp.Source("gray", bits=12), "imagenet")
UNIT = gp.plan(gp.Source("gray", range=(0, 1)), "imagenet")
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)


def tensor(image):
    return torch.from_numpy(image)[None]


def with_torchvision(image, *steps):
    return v2.Compose([*steps, for_torchvision.ToBackbone(PLAN)])(image)


def with_albumentations(steps=(), **images):
    pipeline = A.Compose([*steps, for_albumentations.ToBackbone(PLAN)])
    (result,) = pipeline(**images).values()
    return result


DIVIDED = {
    "tensor": lambda: with_torchvision(tensor(STORED), TO_FLOAT),
    "image": lambda: with_torchvision(tv_tensors.Image(tensor(STORED)), TO_FLOAT),
    "video": lambda: with_torchvision(tv_tensors.Video(tensor(STORED)[None]), TO_FLOAT),
    "PIL image": lambda: with_torchvision(
        PIL.Image.fromarray(STORED), v2.ToImage(), TO_FLOAT
    ),
    "layer": lambda: ChannelLayer(PLAN)(tensor(STORED / 4095).float()[None]),
    "layer with gradients": lambda: ChannelLayer(PLAN)(
        tensor(STORED / 4095).float()[None].requires_grad_()
    ),
    "albumentations": lambda: with_albumentations(
        [A.ToFloat(max_value=4095)], image=STORED
    ),
    "albumentations images": lambda: with_albumentations(
        [A.ToFloat(max_value=4095)], images=np.stack([STORED, STORED])
    ),
    "albumentations volume": lambda: with_albumentations(
        [A.ToFloat(max_value=4095)], volume=np.stack([STORED, STORED])
    ),
}

TOO_HIGH = {
    "tensor": lambda: with_torchvision(tensor(DEEP)),
    "video": lambda: with_torchvision(tv_tensors.Video(tensor(DEEP)[None])),
    "PIL image": lambda: with_torchvision(PIL.Image.fromarray(DEEP)),
    "array": lambda: with_torchvision(DEEP),
    "layer": lambda: ChannelLayer(PLAN)(tensor(DEEP)[None]),
    "albumentations": lambda: with_albumentations(image=DEEP),
    "albumentations images": lambda: with_albumentations(images=np.stack([DEEP] * 2)),
    "albumentations volume": lambda: with_albumentations(volume=np.stack([DEEP] * 2)),
    "255 as 1": lambda: for_torchvision.ToBackbone(UNIT)(tensor(DEEP.astype(np.uint8))),
}


@pytest.mark.parametrize("how", DIVIDED)
def test_pixels_that_were_divided_are_refused(how):
    with pytest.raises(gp.RangeError) as caught:
        DIVIDED[how]()
    assert "ToDtype(scale=True), ToFloat" in str(caught.value)
    assert "declare range=(0, 1)" in str(caught.value)


@pytest.mark.parametrize("how", TOO_HIGH)
def test_pixels_of_more_bits_are_refused(how):
    with pytest.raises(gp.RangeError, match=r"If its values have more bits, declare"):
        TOO_HIGH[how]()


def test_without_the_dividing_step_results_are_right():
    expected = PLAN(STORED)
    np.testing.assert_array_equal(with_torchvision(tensor(STORED)), expected)
    to_float = v2.ToDtype(torch.float32)
    result = with_torchvision(tensor(STORED), to_float)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    result = with_albumentations(image=STORED)
    np.testing.assert_array_equal(np.moveaxis(result, -1, 0), expected)


def test_a_list_of_plans_is_answered_with_the_call():
    for adapter in (for_torchvision, for_albumentations):
        with pytest.raises(gp.DTypeError, match=r"ToBackbone\(\*plans\)"):
            adapter.ToBackbone([PLAN])
