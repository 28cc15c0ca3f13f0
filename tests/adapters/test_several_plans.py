"""Several plans in one adapter: each image selects one by its band count and dtype."""

import pickle

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import albumentations
import numpy as np
import pytest
import tensorflow as tf
import torch
from PIL import Image

import graypipe as gp
from graypipe.adapters import albumentations as for_albumentations
from graypipe.adapters import tf_data
from graypipe.adapters import torchvision as for_torchvision

GRAY = gp.plan(gp.Source("gray", bits=8, dtype="uint8"), "imagenet")
DEEP = gp.plan(gp.Source("gray", bits=12, dtype="uint16"), "imagenet")
RGB = gp.plan(gp.Source("RGB", bits=8), "imagenet")
PLANS = (GRAY, DEEP, RGB)

RANDOM = np.random.default_rng(3)
IMAGES = (
    RANDOM.integers(0, 256, (6, 9), np.uint8),
    RANDOM.integers(0, 4096, (6, 9), np.uint16),
    RANDOM.integers(0, 256, (6, 9, 3), np.uint8),
)
EXPECTED = [plan(image) for plan, image in zip(PLANS, IMAGES, strict=True)]


def bands_last(image):
    """Return ``image`` with a band axis at the end."""
    return image[..., None] if image.ndim == 2 else image


def tensors():
    """Return the images as torch tensors of shape (C, H, W)."""
    return [torch.from_numpy(np.moveaxis(bands_last(x), -1, 0).copy()) for x in IMAGES]


def test_tensors_pictures_and_arrays_of_torchvision():
    to_backbone = for_torchvision.ToBackbone(*PLANS)
    restored = pickle.loads(pickle.dumps(to_backbone))
    for transform in (to_backbone, restored):
        for image, tensor, expected in zip(IMAGES, tensors(), EXPECTED, strict=True):
            for value in (tensor, Image.fromarray(image), image):
                np.testing.assert_array_equal(transform(value), expected)


@pytest.mark.parametrize("dynamic", [False, None])
def test_compiled_graphs_select_the_plan(dynamic):
    torch._dynamo.reset()
    to_backbone = for_torchvision.ToBackbone(*PLANS)
    compiled = torch.compile(
        to_backbone, fullgraph=True, dynamic=dynamic, backend="aot_eager"
    )
    for tensor, expected in zip(tensors(), EXPECTED, strict=True):
        np.testing.assert_allclose(compiled(tensor), expected, rtol=1e-6, atol=1e-6)


def test_exported_graphs_select_the_plan():
    model = torch.nn.Sequential(for_torchvision.ToBackbone(*PLANS))
    for tensor, expected in zip(tensors(), EXPECTED, strict=True):
        program = torch.export.export(model, (tensor,))
        result = program.module()(tensor)
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_images_batches_and_volumes_of_albumentations():
    to_backbone = albumentations.Compose([for_albumentations.ToBackbone(*PLANS)])
    saved = albumentations.from_dict(albumentations.to_dict(to_backbone))
    for transform in (to_backbone, saved):
        for image, expected in zip(IMAGES, EXPECTED, strict=True):
            hwc = np.moveaxis(expected, 0, -1)
            np.testing.assert_array_equal(transform(image=image)["image"], hwc)
            stack = np.stack([image, image])
            for name in ("images", "volume"):
                result = transform(**{name: stack})[name]
                np.testing.assert_array_equal(result, np.stack([hwc, hwc]))


def test_data_sets_of_tensorflow():
    to_backbone = tf_data.ToBackbone(*PLANS)
    for image, expected in zip(IMAGES, EXPECTED, strict=True):
        data = tf.data.Dataset.from_tensors((bands_last(image), 7))
        result, label = next(iter(data.map(to_backbone)))
        np.testing.assert_allclose(
            np.moveaxis(result, -1, 0), expected, rtol=1e-6, atol=1e-6
        )
        assert label == 7


def test_an_unknown_band_count_needs_plans_of_one_band_count():
    def unknown(dtype):
        spec = tf.TensorSpec([None, None, None], dtype)
        return tf.data.Dataset.from_generator(
            lambda: iter([bands_last(IMAGES[1])]), output_signature=spec
        )

    gray = unknown(tf.uint16).map(tf_data.ToBackbone(GRAY, DEEP))
    result = np.moveaxis(next(iter(gray)), -1, 0)
    np.testing.assert_allclose(result, EXPECTED[1], rtol=1e-6, atol=1e-6)
    with pytest.raises(gp.ChannelError, match="selects one of 3 plans"):
        unknown(tf.uint16).map(tf_data.ToBackbone(*PLANS))


@pytest.mark.parametrize(
    "adapter", [for_torchvision, for_albumentations, tf_data], ids=lambda x: x.__name__
)
def test_plans_that_take_the_same_images_are_an_error(adapter):
    same = gp.plan(gp.Source("gray", bits=12), "imagenet")
    with pytest.raises(gp.ChannelError, match="accept uint16"):
        adapter.ToBackbone(DEEP, same)
    with pytest.raises(gp.ChannelError, match="at least one plan"):
        adapter.ToBackbone()


def test_a_dtype_that_no_plan_takes_is_an_error():
    image = np.zeros((6, 9, 1), np.int32)
    chw = torch.from_numpy(np.moveaxis(image, -1, 0).copy())
    calls = [
        lambda: for_torchvision.ToBackbone(*PLANS)(chw),
        lambda: for_albumentations.ToBackbone(*PLANS)(image=image),
        lambda: tf_data.ToBackbone(*PLANS)(tf.constant(image)),
    ]
    for call in calls:
        with pytest.raises(gp.DTypeError, match=r"uint16, uint8.*got int32") as raised:
            call()
        assert len(str(raised.value)) < 600
