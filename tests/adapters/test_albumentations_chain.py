"""albumentations chains on photographs, with masks, boxes and keypoints, in DataLoaders.

A chain without ToBackbone and with the same seed gives the image that ToBackbone receives.
"""

from functools import cache

import albumentations as A
import numpy as np
import oracle
import pytest
import torch
from albumentations.pytorch import ToTensorV2
from imagenet import MEAN, STD
from skimage import data, transform
from torch.utils.data import DataLoader, Dataset

import graypipe as gp
from graypipe.adapters.albumentations import ToBackbone

PHOTOGRAPHS = ("camera", "coins", "page", "moon")
CROP = (96, 128)


@cache
def photograph(name, bits):
    """Return a photograph (H, W) as uint8, or enlarged twice as uint16."""
    image = getattr(data, name)()
    if bits == 8:
        return image
    return np.rint(
        np.clip(transform.rescale(image / 255, 2, order=3), 0, 1) * 65535
    ).astype(np.uint16)


def chain(*last):
    return A.Compose(
        [A.RandomCrop(*CROP), A.HorizontalFlip(), A.GaussianBlur(p=0.5), *last],
        bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]),
        keypoint_params=A.KeypointParams("xy"),
    )


def sample(name, bits):
    """Return a photograph with a mask of its bright parts, and many boxes and points."""
    image = photograph(name, bits)
    height, width = image.shape
    corners = [
        (x, y) for y in range(0, height - 40, 37) for x in range(0, width - 40, 41)
    ]
    return {
        "image": image,
        "mask": (image > np.median(image)).astype(np.uint8),
        "bboxes": np.array([(x, y, x + 23, y + 31) for x, y in corners], np.float32),
        "labels": list(range(len(corners))),
        "keypoints": np.array(corners, np.float32),
    }


class Photographs(Dataset):
    """Pairs of the augmented photograph and the result of the whole chain."""

    def __init__(self, bits):
        self.bits = bits
        self.chains = (
            chain(),
            chain(ToBackbone(gp.plan("gray", "imagenet")), ToTensorV2()),
        )

    def __len__(self):
        return len(PHOTOGRAPHS)

    def __getitem__(self, index):
        for one in self.chains:
            one.set_random_seed(index)
        return [one(**sample(PHOTOGRAPHS[index], self.bits)) for one in self.chains]


def batched(pairs):
    augmented, result = zip(*pairs, strict=True)
    return augmented, result, torch.stack([one["image"] for one in result])


def expected(image):
    """Return (y, scale) of the oracle for a gray image (H, W) of full range."""
    ranges = [(0, np.iinfo(image.dtype).max)]
    return oracle.plan(
        image.reshape(CROP),
        layout="HW",
        out_layout="CHW",
        ranges=ranges,
        via=np.ones((3, 1)),
        mean=MEAN,
        std=STD,
    )


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # this test forks on purpose
@pytest.mark.parametrize(
    ("bits", "start"), [(8, None), (16, None), (8, "fork"), (16, "fork"), (16, "spawn")]
)
def test_the_plan_converts_the_augmented_image(bits, start):
    workers = {"num_workers": 2, "multiprocessing_context": start} if start else {}
    levels, boxes = 0, 0
    for augmented, result, batch in DataLoader(
        Photographs(bits), batch_size=2, collate_fn=batched, **workers
    ):
        assert (batch.dtype, tuple(batch.shape)) == (torch.float32, (2, 3, *CROP))
        for before, after, x in zip(augmented, result, batch, strict=True):
            assert before["image"].dtype == f"uint{bits}"
            oracle.assert_matches(x.numpy(), *expected(before["image"]))
            for name in ("mask", "bboxes", "labels", "keypoints"):
                np.testing.assert_array_equal(after[name], before[name])
            levels, boxes = (
                max(levels, len(x[0].unique())),
                boxes + len(after["bboxes"]),
            )
    assert levels > 256 if bits == 16 else 16 < levels <= 256
    assert boxes > 8


@pytest.mark.parametrize("bits", [8, 16])
def test_augmentation_can_continue_after_rgb8(bits):
    to_rgb = ToBackbone(gp.plan("gray", "rgb8"), gp.plan("RGB", "rgb8"))
    on = A.Compose([to_rgb, A.RGBShift(p=1), A.HueSaturationValue(p=1)], seed=3)
    alike = A.Compose([A.RGBShift(p=1), A.HueSaturationValue(p=1)], seed=3)
    image = photograph("coins", bits)
    eight = oracle.store(image / (1 if bits == 8 else 257.0), "uint8")
    rgb = np.stack([eight] * 3, -1)
    result = on(image=image)["image"]
    np.testing.assert_array_equal(result, alike(image=rgb)["image"])
    assert (result.dtype, result.shape) == (np.uint8, rgb.shape)


def test_gray_and_colour_images_form_one_batch():
    plans = ToBackbone(gp.plan("gray", "imagenet"), gp.plan("RGB", "imagenet"))
    pipeline = A.Compose([A.RandomCrop(*CROP), plans, ToTensorV2()])
    batch = torch.stack(
        [
            pipeline(image=image)["image"]
            for image in (data.camera(), data.astronaut(), data.coins())
        ]
    )
    assert batch.shape == (3, 3, *CROP)
    gray, colour = batch[0], batch[1]
    levels = gray * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    torch.testing.assert_close(levels[0], levels[2], rtol=0, atol=1e-6)
    assert not torch.allclose(colour[0], colour[2], atol=0.1)


def test_batches_can_be_converted_to_tensors():
    plan = gp.plan("gray", "imagenet")
    crops = np.stack([photograph(name, 8)[:96, :128] for name in PHOTOGRAPHS])
    for images in (crops, crops[:1]):
        result = A.Compose([ToBackbone(plan), ToTensorV2()])(images=images)["images"]
        assert result.numpy().tobytes() == plan.batch(images).tobytes()


def test_additional_targets_are_converted_like_the_image():
    rng = np.random.default_rng(3)
    image, second = (rng.integers(0, 256, (6, 7), np.uint8) for _ in range(2))
    plan = gp.plan("gray", "imagenet")
    chain = A.Compose(
        [ToBackbone(plan)], additional_targets={"second": "image", "labels": "mask"}
    )
    sample = chain(image=image, second=second, mask=image, labels=second)
    for name, pixels in (("image", image), ("second", second)):
        np.testing.assert_array_equal(
            sample[name], plan.with_layouts(target="HWC")(pixels)
        )
    np.testing.assert_array_equal(sample["mask"], image)
    np.testing.assert_array_equal(sample["labels"], second)


def test_augmenting_some_channels_works_around_and_after_rgb8():
    image = np.random.default_rng(4).integers(0, 256, (6, 7, 3), np.uint8)
    to_rgb8 = ToBackbone(gp.plan("RGB", "rgb8"))
    flip = A.HorizontalFlip(p=1)
    expected = image.copy()
    expected[..., 1] = image[:, ::-1, 1]
    for chain in (
        [A.SelectiveChannelTransform([flip], channels=(1,), p=1), to_rgb8],
        [to_rgb8, A.SelectiveChannelTransform([flip], channels=(1,), p=1)],
    ):
        np.testing.assert_array_equal(A.Compose(chain)(image=image)["image"], expected)
    around = A.SelectiveChannelTransform([to_rgb8], channels=(0, 1, 2), p=1)
    np.testing.assert_array_equal(A.Compose([around])(image=image)["image"], image)
