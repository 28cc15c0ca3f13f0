"""The albumentations adapter: results for images, batches and volumes.

Runs with albumentations and with AlbumentationsX, which has the same import name.
"""

import albumentations
import numpy as np
import oracle
import pytest
import torch
from imagenet import MEAN, STD

import graypipe as gp
from graypipe.adapters.albumentations import ToBackbone

RNG = np.random.default_rng(7)
GRAY, RGB = gp.plan("gray", "imagenet"), gp.plan("RGB", "imagenet")
THIRTEEN = tuple(f"B{i:02}" for i in range(1, 14))
TRUE_COLOUR = {"R": "B04", "G": "B03", "B": "B02"}
NDIM = {"image": 2, "images": 3, "volume": 3, "volumes": 4}


def alone(plans):
    return ToBackbone(*plans)


def composed(plans):
    return albumentations.Compose([ToBackbone(*plans)])


both = pytest.mark.parametrize("create", [alone, composed])


def unit(value, white):
    """(..., C) stored -> (..., C) normalised, float64."""
    return (value / white - np.array(MEAN)) / np.array(STD)


PLANS = {
    "8 bits": (gp.Source("gray"), "uint8", [(0, 255)], np.ones((3, 1)), {}),
    "16 bits": (gp.Source("gray"), "uint16", [(0, 65535)], np.ones((3, 1)), {}),
    "12 bits of 16": (
        gp.Source("gray", bits=12),
        "uint16",
        [(0, 4095)],
        np.ones((3, 1)),
        {},
    ),
    "unit floats": (gp.Source("gray"), "float32", [(0, 1)], np.ones((3, 1)), {}),
    "unit doubles": (gp.Source("gray"), "float64", [(0, 1)], np.ones((3, 1)), {}),
    "a CT window": (
        gp.Source("gray", range=(-160, 240), clip=True, nodata=-2000),
        "int16",
        [(-160, 240)],
        np.ones((3, 1)),
        {"clip": True, "nodata": -2000},
    ),
    "counts of 32 bits": (
        gp.Source("gray", range=(100, 9000)),
        "int32",
        [(100, 9000)],
        np.ones((3, 1)),
        {},
    ),
    "inverted": (
        gp.Source("gray", range=(4095, 0)),
        "uint16",
        [(4095, 0)],
        np.ones((3, 1)),
        {},
    ),
    "three of thirteen": (
        gp.Source(THIRTEEN, range=(1000, 11000)),
        "uint16",
        [(1000, 11000)] * 13,
        np.eye(13)[[3, 2, 1]],
        {},
    ),
}


@both
@pytest.mark.parametrize("kind", PLANS)
def test_results_match_the_oracle(kind, create):
    source, dtype, ranges, via, guards = PLANS[kind]
    plan = gp.plan(source, "imagenet", None if len(ranges) == 1 else TRUE_COLOUR)
    low, high = (
        (0, 1)
        if np.dtype(dtype).kind == "f"
        else (max(-3000, np.iinfo(dtype).min), 255)
    )
    image = RNG.uniform(
        low, high, (31, 17) if len(ranges) == 1 else (31, 17, 13)
    ).astype(dtype)
    if "nodata" in guards:
        image[3:5] = guards["nodata"]
    kept = image.copy()

    x = create([plan])(image=image)["image"]

    layout = "HW" if len(ranges) == 1 else "HWC"
    statistics = {"mean": MEAN, "std": STD}
    y, scale = oracle.plan(
        image,
        layout=layout,
        out_layout="HWC",
        ranges=ranges,
        via=via,
        **statistics,
        **guards,
    )
    assert x.dtype == np.float32
    oracle.assert_matches(x, y, scale)
    assert x.tobytes() == plan.with_layouts(target="HWC")(image).tobytes()
    np.testing.assert_array_equal(image, kept)


@both
@pytest.mark.parametrize("bands", ["none", "one", "three"])
@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("image", (7, 5)),
        ("image", (7, 1)),
        ("image", (1, 3)),
        ("images", (1, 7, 5)),
        ("images", (3, 8, 3)),
        ("images", (5, 8, 1)),
        ("images", (1, 1, 1)),
        ("volume", (1, 7, 5)),
        ("volume", (3, 8, 3)),
        ("volume", (5, 8, 1)),
        ("volumes", (2, 3, 7, 5)),
        ("volumes", (1, 1, 7, 5)),
        ("volumes", (1, 3, 3, 3)),
        ("volumes", (2, 1, 8, 1)),
    ],
)
def test_batches_and_volumes_equal_their_images_bit_for_bit(
    name, pixels, bands, create
):
    shape = {"none": pixels, "one": (*pixels, 1), "three": (*pixels, 3)}[bands]
    array = RNG.integers(0, 256, shape, np.uint8)

    x = create([GRAY, RGB])(**{name: array})[name]

    plan = RGB if bands == "three" else gp.plan(gp.Source("gray", "HWC"), "imagenet")
    flat = array.reshape(-1, *pixels[-2:], 3 if bands == "three" else 1)
    singles = np.stack([plan.with_layouts(target="HWC")(image) for image in flat])
    assert x.shape == (*pixels, 3)
    assert x.flags.c_contiguous
    assert x.tobytes() == singles.tobytes()


@both
@pytest.mark.parametrize(("name", "ndim"), NDIM.items())
@pytest.mark.parametrize("count", [2, 4, 13])
def test_a_band_count_without_a_plan_is_an_error(count, name, ndim, create):
    transform = create([GRAY, RGB])
    good = np.zeros((2,) * (ndim - 2) + (6, 8), np.uint8)
    for array in (good, np.zeros((*good.shape, 3), np.uint8)):
        assert transform(**{name: array})[name].shape == (*good.shape, 3)
    with pytest.raises(
        gp.ChannelError,
        match=rf"'gray' \(1\) or 'RGB' \(3\), got {count} bands? in .*6, 8, {count}",
    ):
        transform(**{name: np.zeros((*good.shape, count), np.uint8)})


def test_bands_on_the_first_axis_are_answered_with_the_line_that_moves_them():
    plan = gp.plan("RGBY", "unit", {"R": "R", "G": "G", "B": "B"})
    planes = np.zeros((4, 36, 36), np.uint8)
    with pytest.raises(gp.ChannelError, match=r"np\.moveaxis\(image, -3, -1\)"):
        ToBackbone(plan)(image=planes)
    moved = np.moveaxis(planes, -3, -1)
    assert ToBackbone(plan)(image=moved)["image"].shape == (36, 36, 3)


@both
def test_thirteen_bands_are_not_taken_for_three(create):
    with pytest.raises(
        gp.ChannelError, match=r"expected bands 'RGB' \(3\), got 13 bands.*add a plan"
    ):
        create([RGB])(image=np.full((4, 5, 13), 100, np.uint8))


@both
def test_16_bit_images_are_divided_by_65535(create):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    x = create([GRAY])(image=ramp)["image"]
    np.testing.assert_allclose(x, unit(ramp[..., None], 65535), rtol=0, atol=4e-6)
    with pytest.raises(gp.DTypeError, match="declares dtype uint8, got uint16"):
        create([gp.plan(gp.Source("gray", dtype="uint8"), "imagenet")])(image=ramp)
    with pytest.raises(gp.RangeError, match="uint8 can only represent 0 to 255"):
        create([gp.plan(gp.Source("gray", bits=12), "imagenet")])(
            image=ramp.astype(np.uint8)
        )


@both
@pytest.mark.parametrize("name", ["image", "images"])
def test_floats_must_be_in_the_declared_range(name, create):
    pixels = RNG.random((2, 8, 8) if name == "images" else (8, 8)).astype(np.float32)
    x = create([GRAY])(**{name: pixels})[name]
    np.testing.assert_allclose(x, unit(pixels[..., None], 1), rtol=0, atol=4e-6)
    with pytest.raises(gp.RangeError, match="looks like 0-255"):
        create([GRAY])(**{name: pixels * 255})
    declared = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
    x = create([declared])(**{name: pixels * 255})[name]
    np.testing.assert_allclose(x, unit(pixels[..., None], 1), rtol=0, atol=4e-6)


@both
def test_an_image_one_pixel_wide_has_no_band_axis(create):
    columns = RNG.integers(0, 256, (5, 8, 1), np.uint8)
    x = create([gp.plan("gray", "rgb8")])(images=columns)["images"]
    np.testing.assert_array_equal(x, np.stack([columns] * 3, -1))


@both
def test_colour_and_gray_images_get_the_same_shape(create):
    gray, rgb = (
        RNG.integers(0, 256, (6, 7), np.uint8),
        RNG.integers(0, 256, (6, 7, 3), np.uint8),
    )
    transform = create([gp.plan("gray", "rgb8"), gp.plan("RGB", "rgb8")])
    np.testing.assert_array_equal(
        transform(image=gray)["image"], np.stack([gray] * 3, -1)
    )
    np.testing.assert_array_equal(transform(image=rgb)["image"], rgb)


@both
@pytest.mark.parametrize(
    "kind", ["reversed", "every second", "fortran", "read-only", "big-endian"]
)
def test_any_memory_layout_gives_a_new_contiguous_array(kind, create):
    image = RNG.integers(0, 65536, (6, 8), np.uint16)
    array = {
        "reversed": image[::-1, ::-1].copy()[::-1, ::-1],
        "every second": np.repeat(image, 2, 1)[:, ::2],
        "fortran": np.asfortranarray(image),
        "read-only": image.copy(),
        "big-endian": image.astype(">u2"),
    }[kind]
    array.flags.writeable = kind != "read-only"
    x = create([GRAY])(image=array)["image"]
    assert x.flags.c_contiguous
    assert x.flags.writeable
    assert not np.shares_memory(x, array)
    np.testing.assert_allclose(x, unit(image[..., None], 65535), rtol=0, atol=4e-6)


@both
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint32", "int64", "float16"])
def test_every_dtype_of_the_plan_is_accepted(dtype, create):
    image = RNG.integers(0, 2, (6, 8)).astype(dtype)
    x = create([gp.plan(gp.Source("gray", range=(0, 1)), "imagenet")])(image=image)[
        "image"
    ]
    np.testing.assert_allclose(
        x, unit(image[..., None].astype(float), 1), rtol=0, atol=4e-6
    )


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("apply", (8,)),
        ("apply", (8, 6, 8, 3)),
        ("apply_to_images", (6, 8)),
        ("apply_to_volume", (2, 3, 6, 8, 1)),
        ("apply_to_volumes", (2, 6, 8)),
    ],
)
def test_a_wrong_number_of_axes_is_an_error(name, shape):
    with pytest.raises(gp.LayoutError) as caught:
        getattr(ToBackbone(GRAY, RGB), name)(np.zeros(shape, np.uint8))
    for part in (str(shape), "a batch of images as images=", f"{len(shape)} axes"):
        assert part in str(caught.value)


@both
def test_masks_boxes_and_keypoints_are_unchanged(create):
    image, mask = (
        RNG.integers(0, 256, (6, 7), np.uint8),
        RNG.integers(0, 3, (6, 7), np.uint8),
    )
    boxes, points = (
        np.array([[0.1, 0.2, 0.5, 0.6, 1]], np.float32),
        np.array([[1.0, 2.0]], np.float32),
    )
    out = create([GRAY])(
        image=image,
        mask=mask,
        masks=np.stack([mask] * 2),
        bboxes=boxes,
        keypoints=points,
    )
    assert out["image"].shape == (6, 7, 3)
    for name, value in {
        "mask": mask,
        "masks": np.stack([mask] * 2),
        "bboxes": boxes,
        "keypoints": points,
    }.items():
        np.testing.assert_array_equal(out[name], value)
        assert out[name].dtype == value.dtype


def test_a_list_may_mix_dtypes_and_band_counts():
    images = [
        RNG.integers(0, 256, (6, 7), np.uint8),
        RNG.integers(0, 65536, (6, 7, 1), np.uint16),
        RNG.integers(0, 256, (6, 7, 3), np.uint8),
    ]
    x = ToBackbone(GRAY, RGB).apply_to_images(images)
    white = [255, 65535, 255]
    for result, image, top in zip(x, images, white, strict=True):
        np.testing.assert_allclose(
            result, unit(image.reshape(6, 7, -1), top), rtol=0, atol=4e-6
        )


def test_a_tensor_is_refused_or_returned_as_a_tensor():
    tensor = torch.from_numpy(RNG.integers(0, 256, (1, 6, 7), np.uint8))
    transform = ToBackbone(GRAY)
    if (
        albumentations.__version__ == "2.0.8"
    ):  # which takes arrays only; its Compose refuses tensors itself
        with pytest.raises(gp.DTypeError, match="Tensor"):
            transform(image=tensor)
        return
    x = transform(image=tensor)["image"]
    assert x.shape == (3, 6, 7)
    np.testing.assert_array_equal(x, GRAY(tensor[0].numpy()))


@pytest.mark.parametrize("p", [0, 0.0, 0.5, 0.999999])
def test_a_p_that_leaves_images_unconverted_is_refused(p):
    for arguments in ({}, {"strict": True}):
        with pytest.raises(
            gp.RangeError, match=r"expected p=1, got p=0.*unconverted.*omit p"
        ):
            ToBackbone(GRAY, p=p, **arguments)


def test_a_p_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="less than or equal to 1"):
        ToBackbone(GRAY, p=2)


@pytest.mark.parametrize("arguments", [{}, {"p": 1}, {"p": 1.0}, {"p": np.float32(1)}])
def test_every_image_is_converted(arguments):
    transform = ToBackbone(GRAY, **arguments)
    assert transform.p == 1
    image = RNG.integers(0, 256, (6, 7), np.uint8)
    for _ in range(20):
        assert transform(image=image)["image"].dtype == np.float32
