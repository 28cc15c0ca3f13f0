"""The fifteen guarantees, each by a call and numbers written by hand."""

import pickle
from pathlib import Path

import imagenet
import numpy as np
import pytest
from PIL import Image

import graypipe as gp

MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)
RNG = np.random.default_rng(15)
GRAY = RNG.integers(0, 256, (6, 8), np.uint8)
RGB = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def normalised(rgb):
    """(..., H, W, 3) uint8 -> (..., 3, H, W) float64."""
    return np.moveaxis((rgb / 255 - MEAN) / STD, -1, -3)


@pytest.mark.parametrize("layout", ["HW", "HWC", "CHW"])
def test_g01_gray_becomes_three_equal_channels_of_real_memory(layout):
    image = {"HW": GRAY, "HWC": GRAY[..., None], "CHW": GRAY[None]}[layout]
    x = gp.plan(gp.Source("gray", layout), "unit")(image)
    assert x.shape == (3, 6, 8)
    assert x.strides == (192, 32, 4)
    assert x.flags.writeable
    np.testing.assert_allclose(x, np.stack([GRAY / 255] * 3), rtol=0, atol=1e-6)


def test_g02_rgb_is_left_as_it_is_and_other_counts_name_the_choices():
    np.testing.assert_array_equal(gp.plan("RGB", "rgb8")(RGB), RGB)
    with pytest.raises(
        gp.ChannelError,
        match=r"(?s)via=\{\"R\": \"R\", \"G\": \"G\", \"B\": \"B\"\}.*does not read \['A'",
    ):
        gp.plan("RGBA", "rgb8")
    for count in (1, 2, 4, 5):
        with pytest.raises(gp.ChannelError, match=rf"3 bands.*C={count}.*gp\.select"):
            gp.plan("RGB", "rgb8")(np.zeros((6, 8, count), np.uint8))


@pytest.mark.parametrize(
    ("layout", "shape"), [("HW", (3, 6, 8)), ("HWC", (6, 8)), ("CHW", (1, 3, 6, 8))]
)
def test_g03_axes_are_never_guessed(layout, shape):
    source = gp.Source("gray" if layout == "HW" else "RGB", layout)
    with pytest.raises(gp.LayoutError) as caught:
        gp.plan(source, "rgb8")(np.zeros(shape, np.uint8))
    assert repr(layout) in str(caught.value)
    assert str(shape) in str(caught.value)
    assert "It can be read as" in str(caught.value)


def test_g03_a_square_image_is_read_as_declared():
    cube = RNG.integers(0, 256, (3, 3, 3), np.uint8)
    np.testing.assert_array_equal(
        gp.plan(gp.Source("RGB", "CHW"), "rgb8")(cube), cube.transpose(1, 2, 0)
    )
    np.testing.assert_array_equal(gp.plan(gp.Source("RGB", "HWC"), "rgb8")(cube), cube)
    np.testing.assert_array_equal(
        gp.plan(gp.Source("RGB", "HCW"), "rgb8")(cube), cube.transpose(0, 2, 1)
    )


@pytest.mark.parametrize(
    "shape", [(1, 6, 8), (3, 6, 8), (5, 6, 1), (5, 6, 3), (4, 1, 1)]
)
@pytest.mark.parametrize("threads", [1, 3])
def test_g04_a_batch_equals_its_single_images_bit_for_bit(shape, threads):
    batch = RNG.integers(0, 65536, shape, np.uint16)
    plan = gp.plan(gp.Source(bits=16), "imagenet")
    singles = np.stack([plan(image) for image in batch])
    for images in (batch, list(batch), np.asfortranarray(batch)):
        assert plan.batch(images, threads=threads).tobytes() == singles.tobytes()


def test_g05_the_range_is_declared_or_follows_from_the_dtype():
    top = {
        "bool": 1,
        "uint8": 255,
        "uint16": 65535,
        "float16": 1,
        "float32": 1,
        "float64": 1,
    }
    for dtype, white in top.items():
        x = gp.plan("gray", "unit")(np.full((2, 2), white, dtype))
        assert (x == 1).all(), dtype
    half = np.full((2, 2), 2048, np.uint16)
    for source in (gp.Source(bits=12), gp.Source(range=(0, 4095))):
        np.testing.assert_allclose(
            gp.plan(source, "unit")(half), 2048 / 4095, rtol=0, atol=1e-7
        )
    with pytest.raises(
        gp.RangeError, match="int64 does not imply a black and a white level"
    ):
        gp.plan("gray", "unit")(half.astype(np.int64))


def test_g06_16_bit_pixels_from_pillow_keep_every_level(tmp_path):
    levels = np.arange(0, 65536, 257, np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "levels.png")
    image, source = gp.read(tmp_path / "levels.png")
    np.testing.assert_array_equal(image, levels)
    assert np.unique(gp.plan(source, "imagenet")(image)[0]).size == 256


@pytest.mark.parametrize(
    "statistics",
    [{"mean": (0.5,)}, {"mean": (0.5, 0.5)}, {"std": (1, 1, 1, 1)}, {"mean": ()}],
)
def test_g07_statistics_hold_one_number_per_band_or_are_one_number(statistics):
    name = next(iter(statistics))
    with pytest.raises(
        gp.ChannelError,
        match=rf"{name} holds one number per band of 'RGB' \(3\) or is a plain number",
    ):
        gp.Target("RGB", **statistics)
    assert gp.Target("RGB", **{name: 0.5}) != gp.Target("RGB")


def test_g08_statistics_carry_their_unit_and_scaling_happens_once():
    in_255 = gp.Target(
        "RGB", range=(0, 255), mean=tuple(MEAN * 255), std=tuple(STD * 255)
    )
    expected = normalised(RGB)
    for target in ("imagenet", in_255):
        np.testing.assert_allclose(
            gp.plan("RGB", target)(RGB), expected, rtol=0, atol=4e-6
        )
    with pytest.raises(gp.RangeError, match="looks like 0-255"):
        gp.plan("RGB", "imagenet")(RGB.astype(np.float32))


def test_g09_presets_differ_in_order_scale_and_place_of_the_normalisation():
    pixel = np.array([[[255, 0, 51]]], np.uint8)
    expected = {
        "imagenet": (np.array([1, 0, 0.2]) - MEAN) / STD,
        "keras-torch": (np.array([1, 0, 0.2]) - MEAN) / STD,
        "keras-caffe": [51 - 103.939, -116.779, 255 - 123.68],
        "keras-tf": [1, -1, -0.6],
        "keras-efficientnet": [255, 0, 51],
        "inception": [1, -1, -0.6],
        "openai-clip": [
            (1 - 0.48145466) / 0.26862954,
            -0.4578275 / 0.26130258,
            (0.2 - 0.40821073) / 0.27577711,
        ],
        "unit": [1, 0, 0.2],
        "rgb8": [255, 0, 51],
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(
            gp.plan("RGB", name)(pixel).ravel(), wanted, rtol=0, atol=2e-5, err_msg=name
        )


def awkward(image):
    """The same pixels, lying in memory in every way an array can."""
    read_only = image.copy()
    read_only.flags.writeable = False
    wide = np.repeat(image, 2, 1)
    return {
        "reversed": image[::-1, ::-1].copy()[::-1, ::-1],
        "every second": wide[:, ::2],
        "fortran": np.asfortranarray(image),
        "read-only": read_only,
        "big-endian": image.astype(image.dtype.newbyteorder(">")),
        "offset": np.frombuffer(b"\0" + image.tobytes(), image.dtype, offset=1).reshape(
            image.shape
        ),
        "stride 0": np.broadcast_to(image[:1], image.shape),
    }


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("way", sorted(awkward(GRAY)))
def test_g10_any_array_goes_in_an_owned_one_comes_out_and_the_input_is_untouched(
    dtype, way
):
    unit = GRAY / 255
    image = awkward((unit if dtype == "float32" else GRAY).astype(dtype))[way]
    kept = image.copy()
    white = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    for target in ("imagenet", gp.Target("RGB", "HWC", dtype, range=(0, white))):
        x = gp.plan("gray", target)(image)
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert x.dtype.isnative
        assert not np.shares_memory(x, image)
        stack = np.stack([kept] * 3, -1)
        wanted = normalised(stack * (255 / white)) if target == "imagenet" else stack
        np.testing.assert_allclose(x, wanted, rtol=0, atol=4e-6)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (6, 1), (0, 8), (6, 0), (3, 3)])
def test_g11_shapes_survive_and_no_axis_is_squeezed(shape):
    image = np.zeros(shape, np.uint8)
    assert gp.plan("gray", "imagenet")(image).shape == (3, *shape)
    assert gp.plan("gray", "rgb8").batch(image[None]).shape == (1, *shape, 3)
    one = gp.plan(gp.Source("gray", "HWC"), gp.Target("gray", "HWC"))(image[..., None])
    assert one.shape == (*shape, 1)
    assert one.dtype == np.float32


def test_g11_axes_beyond_the_target_s_stay_in_front():
    video = RNG.integers(0, 256, (2, 5, 6, 8), np.uint8)
    x = gp.plan(gp.Source(layout="NTHW"), "imagenet")(video)
    np.testing.assert_allclose(
        x, normalised(np.stack([video] * 3, -1)), rtol=0, atol=4e-6
    )


@pytest.mark.parametrize(
    "thing",
    [
        GRAY.tolist(),
        {"image": GRAY},
        Image.fromarray(GRAY),
        Path("image.png"),
        None,
        7,
        memoryview(GRAY),
        np.ma.masked_equal(GRAY, 0),
        GRAY.view(np.matrix),
        GRAY.astype(object),
        GRAY.astype(complex),
        GRAY.astype("datetime64[s]"),
        GRAY.astype(str),
    ],
    ids=lambda thing: f"{type(thing).__name__} {getattr(thing, 'dtype', '')}".strip(),
)
def test_g12_what_is_no_image_is_a_type_error(thing):
    with pytest.raises(TypeError, match="expected") as caught:
        gp.plan("gray", "imagenet")(thing)
    assert isinstance(caught.value, gp.DTypeError)


def test_g13_bands_go_by_name_and_statistics_travel_with_them():
    rgby = RNG.integers(0, 256, (6, 8, 4), np.uint8)
    merged = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}
    yellow = rgby[..., 3:] / 255
    unit = np.concatenate(
        [(rgby[..., :2] / 255 + yellow) / 2, rgby[..., 2:3] / 255], -1
    )
    expected = np.moveaxis((unit - MEAN) / STD, -1, 0)
    np.testing.assert_allclose(
        gp.plan("RGBY", "imagenet", via=merged)(rgby), expected, rtol=0, atol=4e-6
    )
    reordered = gp.plan("YBGR", gp.preset("imagenet", bands="GRB"), via=merged)(
        rgby[..., ::-1]
    )
    np.testing.assert_allclose(reordered, expected[[1, 0, 2]], rtol=0, atol=4e-6)


def test_g14_nan_stays_in_its_pixel_and_nodata_becomes_zero_by_declaration():
    image = np.array([[0.25, np.nan, 0.75], [0, 0.5, 1]], np.float32)
    unit = np.array([[0.25, np.nan, 0.75], [0, 0.5, 1]])
    expected = np.moveaxis((unit[..., None] - MEAN) / STD, -1, 0)
    np.testing.assert_allclose(
        gp.plan("gray", "imagenet")(image), expected, rtol=0, atol=4e-6
    )
    expected[:, 0, 1] = 0
    x = gp.plan(gp.Source(nodata=float("nan")), "imagenet")(image)
    np.testing.assert_allclose(x, expected, rtol=0, atol=4e-6)
    assert (x[:, 0, 1] == 0).all()


def test_g14_nodata_in_any_band_empties_the_pixel_even_where_the_band_is_not_read():
    image = np.full((1, 3, 4), 100, np.uint8)
    image[0, 1, 3] = 0
    x = gp.plan(
        gp.Source("RGBY", nodata=0), "unit", via={"R": "R", "G": "G", "B": "B"}
    )(image)
    np.testing.assert_allclose(
        x, np.array([100, 0, 100]) / 255 * np.ones((3, 1, 1)), rtol=0, atol=1e-7
    )


def test_g14_the_nan_of_a_band_that_is_not_read_does_not_spread():
    image = np.full((2, 2, 4), 0.5, np.float32)
    image[..., 3] = np.nan
    x = gp.plan("RGBY", "unit", via={"R": "R", "G": "G", "B": "B"})(image)
    assert (x == 0.5).all()


def test_g15_one_specification_survives_pickle_and_json_with_the_same_numbers():
    source = gp.Source("RGBY", bits=12, clip=True, nodata=float("nan"))
    plan = gp.plan(
        source, "imagenet", via={"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"}
    )
    image = RNG.integers(0, 5000, (6, 8, 4), np.uint16)
    for again in (pickle.loads(pickle.dumps(plan)), gp.Plan.from_json(plan.to_json())):
        assert again == plan
        assert hash(again) == hash(plan)
        assert again.fingerprint == plan.fingerprint
        assert again(image).tobytes() == plan(image).tobytes()


@pytest.mark.parametrize(
    "text", ['{"format":1}', '{"format":2}', '{"format":1,"matrix":[[1]]}', "[]"]
)
def test_g15_json_of_something_else_is_refused(text):
    for cls in (gp.Plan, gp.ChannelMap):
        with pytest.raises(gp.ChannelError, match="expected"):
            cls.from_json(text)
