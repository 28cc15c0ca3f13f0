"""ToBackbone of torchvision: which values of a sample are images, results and errors."""

import copy
import pickle
from typing import NamedTuple

import numpy as np
import oracle
import pytest
import torch
from imagenet import MEAN, STD
from PIL import Image
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torchvision import ToBackbone

RNG = np.random.default_rng(8)
GRAY = RNG.integers(0, 256, (6, 9), np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9), np.uint16)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
TO_BACKBONE = ToBackbone(gp.plan("gray", "imagenet"))
MIXED = ToBackbone(gp.plan("gray", "imagenet"), gp.plan("RGB", "imagenet"))


def assert_imagenet(x, unit):
    """Assert that ``x`` is ``unit``, intensities (..., 1 or 3, H, W), normalised for ImageNet."""
    mean, std = np.reshape(MEAN, (3, 1, 1)), np.reshape(STD, (3, 1, 1))
    expected = (np.asarray(unit, np.float64) - mean) / std
    oracle.assert_matches(
        np.asarray(x), expected, np.abs(np.asarray(unit) / std) + np.abs(mean / std)
    )
    assert x.is_contiguous()
    assert x.dtype == torch.float32


def test_tensors_keep_their_type_and_others_become_images():
    tensor = torch.from_numpy(GRAY)[None]
    for value, kind in [
        (tensor, torch.Tensor),
        (tv_tensors.Image(tensor), tv_tensors.Image),
        (tv_tensors.Video(tensor.expand(4, 1, 6, 9)), tv_tensors.Video),
        (Image.fromarray(GRAY), tv_tensors.Image),
        (GRAY, tv_tensors.Image),
    ]:
        x = TO_BACKBONE(value)
        assert type(x) is kind
        assert_imagenet(
            torch.Tensor(x), np.broadcast_to(GRAY / 255, (*x.shape[:-3], 1, 6, 9))
        )


@pytest.mark.parametrize(
    "lead", [(), (0,), (3,), (2, 3), (2, 1, 3), (1, 2, 1, 2)], ids=str
)
def test_leading_axes_are_free_and_shapes_are_kept(lead):
    image = RNG.integers(0, 65536, (*lead, 1, 4, 5), np.uint16)
    assert_imagenet(TO_BACKBONE(torch.from_numpy(image)), image / 65535)


def test_only_images_of_a_sample_change():
    sample = {
        "image": tv_tensors.Image(GRAY),
        "mask": tv_tensors.Mask(GRAY > 9),
        "boxes": tv_tensors.BoundingBoxes(
            [[0, 0, 3, 4]], format="XYXY", canvas_size=(6, 9)
        ),
        "more": [
            torch.arange(3),
            (tv_tensors.Video(GRAY[None, None]), "name", None, 0.5),
        ],
        "label": 7,
    }
    out = TO_BACKBONE(sample)
    assert list(out) == list(sample)
    for key in ("mask", "boxes", "label"):
        assert out[key] is sample[key]
    assert out["more"][0] is sample["more"][0]
    assert type(out["more"][1]) is tuple
    assert out["more"][1][1:] == ("name", None, 0.5)
    assert_imagenet(out["image"], GRAY[None] / 255)
    assert_imagenet(out["more"][1][0], GRAY[None, None] / 255)


class Sample(NamedTuple):
    image: object
    label: object


def test_samples_keep_their_structure():
    out = TO_BACKBONE(Sample(Image.fromarray(GRAY), torch.tensor(3)))
    assert type(out) is Sample
    assert out.label == 3
    image, label = TO_BACKBONE(Image.fromarray(GRAY), 3)
    assert torch.equal(image, out.image)
    assert label == 3


def test_the_first_plain_tensor_is_the_image_if_none_is_marked():
    image, labels = torch.from_numpy(GRAY)[None], torch.zeros(1, 2, 2)
    x, y = TO_BACKBONE((image, labels))
    assert_imagenet(x, GRAY[None] / 255)
    assert y is labels
    assert TO_BACKBONE((labels, tv_tensors.Image(image)))[0] is labels


@pytest.mark.parametrize(
    "sample",
    [3, "path.png", None, {}, [], {"mask": tv_tensors.Mask(GRAY)}, (1, "two")],
    ids=str,
)
def test_a_sample_without_an_image_is_a_type_error(sample):
    with pytest.raises(TypeError, match="expected a PIL image, a tensor"):
        TO_BACKBONE(sample)


@pytest.mark.parametrize(
    "sample",
    [
        (GRAY, 3),
        [GRAY],
        {"image": GRAY},
        (tv_tensors.Image(GRAY), GRAY),
        (torch.zeros(3), {"image": GRAY}),
    ],
)
def test_an_array_inside_a_sample_is_refused(sample):
    with pytest.raises(TypeError, match=r"with v2\.ToImage\(\)"):
        TO_BACKBONE(sample)
    assert_imagenet(
        v2.Compose([v2.ToImage(), TO_BACKBONE])((GRAY, 3))[0], GRAY[None] / 255
    )


def test_an_array_has_the_layout_of_its_plan():
    batch = RNG.integers(0, 256, (4, 6, 9), np.uint8)
    assert_imagenet(
        ToBackbone(gp.plan(gp.Source("gray", "NHW"), "imagenet"))(batch),
        batch[:, None] / 255,
    )
    hwc = gp.plan("RGB", gp.preset("imagenet", layout="HWC"))
    assert_imagenet(ToBackbone(hwc)(RGB), RGB.transpose(2, 0, 1) / 255)
    for image in (
        GRAY,
        GRAY[:, ::-1],
        np.asfortranarray(GRAY),
        GRAY.astype(">u2") * 257,
    ):
        assert_imagenet(
            MIXED(image), image[None] / (65535 if image.itemsize == 2 else 255)
        )
    assert_imagenet(MIXED(RGB), RGB.transpose(2, 0, 1) / 255)
    with pytest.raises(gp.LayoutError, match="layout 'HW', 1 band"):
        TO_BACKBONE(batch)
    with pytest.raises(
        gp.ChannelError, match=r"HW of 'gray', HWC of 'RGB', got shape \(4, 6, 9\)"
    ):
        MIXED(batch)
    with pytest.raises(gp.DTypeError, match="masked array"):
        TO_BACKBONE(np.ma.masked_array(GRAY))


def test_a_batch_without_a_band_axis_is_refused():
    batch = torch.from_numpy(RNG.integers(0, 256, (8, 16, 12), np.uint8))
    with pytest.raises(
        gp.ChannelError,
        match=r"'gray' \(1\), got 8 bands in a tensor of shape \(8, 16, 12\)",
    ):
        TO_BACKBONE(batch)
    with pytest.raises(gp.ChannelError, match=r"got 8"):
        MIXED(tv_tensors.Image(batch))
    with pytest.raises(gp.LayoutError, match=r"\(16, 12\).*x\[None\].*x\[:, None\]"):
        TO_BACKBONE(batch[0])
    assert_imagenet(TO_BACKBONE(batch[:, None]), batch[:, None] / 255)


@pytest.mark.parametrize("count", [2, 3, 4, 13])
def test_another_band_count_is_refused(count):
    for bands, taken in (("gray", 1), ("RGB", 3)):
        if count != taken:
            with pytest.raises(
                gp.ChannelError, match=rf"\({taken}\), got {count} bands? in a tensor"
            ):
                ToBackbone(gp.plan(bands, "imagenet"))(torch.zeros(count, 4, 5))
    with pytest.raises(ValueError, match="got 1 band in a tensor"):
        ToBackbone(gp.plan("RGB", "imagenet"))(torch.zeros(1, 4, 5))


def test_16_bits_do_not_wrap():
    picture = Image.fromarray(np.array([[0, 32767, 32768, 65535]], np.uint16))
    unit = ToBackbone(gp.plan("gray", "unit"))
    np.testing.assert_allclose(
        unit(picture)[0, 0], [0, 32767 / 65535, 32768 / 65535, 1], rtol=0, atol=1e-7
    )


def test_channels_do_not_share_memory():
    x = TO_BACKBONE(torch.from_numpy(GRAY)[None])
    assert x.stride() == (54, 9, 1)
    before = x.clone()
    x[0].add_(1)
    assert torch.equal(x[1:], before[1:])


def test_images_of_a_mixed_folder_have_one_shape():
    batch = torch.stack([MIXED(Image.fromarray(image)) for image in (GRAY, RGB, DEEP)])
    assert_imagenet(batch[0], GRAY[None] / 255)
    assert_imagenet(batch[1], RGB.transpose(2, 0, 1) / 255)
    assert_imagenet(batch[2], DEEP[None] / 65535)


def test_read_only_arrays_are_not_changed():
    image = GRAY.copy()
    image.flags.writeable = False
    for value in (image, Image.fromarray(image)):
        x = ToBackbone(
            gp.plan("gray", gp.Target("gray", "CHW", "uint8", range=(0, 255)))
        )(value)
        assert np.array_equal(x[0], GRAY)
        x.zero_()
        assert np.array_equal(np.asarray(value), GRAY)


@pytest.mark.parametrize("compose", [v1.Compose, v2.Compose])
def test_it_replaces_a_lambda_and_can_be_pickled(compose):
    by_hand = v1.Compose(
        [
            v1.ToTensor(),
            v1.Lambda(lambda x: x.broadcast_to(3, x.shape[1], x.shape[2])),
            v1.Normalize(MEAN, STD),
        ]
    )
    chain = compose([TO_BACKBONE])
    picture = Image.fromarray(GRAY)
    torch.testing.assert_close(
        torch.Tensor(chain(picture)), by_hand(picture), rtol=1e-5, atol=1e-6
    )
    again = pickle.loads(pickle.dumps(chain))
    assert torch.equal(again(picture), chain(picture))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(by_hand)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "float16", "float32", "float64"]
)
def test_results_equal_those_of_the_plan_bit_for_bit(dtype):
    plan = gp.Plan.from_json(gp.plan("gray", "imagenet").to_json())
    batch = RNG.uniform(0, 1 if dtype.startswith("f") else 256, (3, 7, 5)).astype(dtype)
    expected = plan.batch(batch)
    to_backbone = ToBackbone(plan)
    assert np.array_equal(to_backbone(torch.from_numpy(batch)[:, None]), expected)
    for image, one in zip(batch, expected, strict=True):
        assert np.array_equal(to_backbone(torch.from_numpy(image)[None]), one)
        assert np.array_equal(to_backbone(image), one)


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda transform: pickle.loads(pickle.dumps(transform))]
)
def test_it_is_copied_and_pickled_before_and_after_use(again):
    for transform in (ToBackbone(gp.plan("gray", "imagenet")), MIXED):
        assert torch.equal(again(transform)(GRAY), transform(GRAY))
        assert torch.equal(again(transform)(GRAY), transform(GRAY))
        assert not transform.state_dict()


def test_the_repr_shows_source_and_target_of_every_plan():
    text = repr(v2.Compose([MIXED]))
    for part in (
        "ToBackbone(",
        "bands=('gray',), layout='CHW'",
        "bands=('R', 'G', 'B'), layout='CHW'",
        str(MEAN[0]),
    ):
        assert part in text


def test_it_works_between_augmentations():
    chain = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomCrop(4),
            v2.RandomHorizontalFlip(1),
            TO_BACKBONE,
            v2.GaussianBlur(3),
        ]
    )
    image, mask = chain((Image.fromarray(GRAY), tv_tensors.Mask(GRAY)))
    assert image.shape == (3, 4, 4)
    assert mask.shape[-2:] == (4, 4)
    assert mask.dtype == torch.uint8


def test_it_compiles_and_is_exported_on_plain_tensors():
    torch._dynamo.reset()
    x = torch.from_numpy(RNG.integers(0, 256, (2, 1, 4, 5), np.uint8))
    chain = v2.Compose([v2.CenterCrop((4, 5)), TO_BACKBONE])
    for value in (x, x.to(torch.uint16) * 257, x / 255):
        assert_imagenet(
            torch.compile(TO_BACKBONE, fullgraph=True, backend="aot_eager")(value),
            x / 255,
        )
    assert_imagenet(
        torch.compile(chain, fullgraph=True, backend="aot_eager")(x), x / 255
    )
    declared = ToBackbone(gp.plan(gp.Source("gray", bits=8), "imagenet"))
    for strict in (True, False):
        assert_imagenet(
            torch.export.export(declared, (x,), strict=strict).module()(x), x / 255
        )
    with pytest.raises(gp.RangeError, match="declare the range in the source"):
        torch.export.export(TO_BACKBONE, (x,), strict=False)
    # Older releases do not tell strict export from torch.compile.
    if torch.__version__ >= "2.14":
        with pytest.raises(Exception, match="declare the range in the source"):
            torch.export.export(TO_BACKBONE, (x,), strict=True)


def test_an_image_type_compiles_with_a_break_in_the_graph():
    torch._dynamo.reset()
    x = tv_tensors.Image(GRAY)
    y = torch.compile(TO_BACKBONE, backend="eager")(x)
    assert type(y) is tv_tensors.Image
    assert_imagenet(torch.Tensor(y), GRAY[None] / 255)


def test_plans_are_checked_when_it_is_built():
    for wrong, message in [
        ((), "at least one"),
        ((gp.plan("gray", "imagenet"), gp.plan("R", "imagenet")), "both have 1"),
    ]:
        with pytest.raises(gp.ChannelError, match=message):
            ToBackbone(*wrong)
    with pytest.raises(gp.ChannelError, match="share one target"):
        ToBackbone(gp.plan("gray", "imagenet"), gp.plan("RGB", "unit"))
    with pytest.raises(gp.DTypeError, match="expected plans"):
        ToBackbone("imagenet")
